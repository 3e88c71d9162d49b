/**
 * Disks of a node of a cluster that are not trusted any more (`copy/disk-errors.ts`), kept so that a start does not
 * begin to trust them again: what was damaged is elsewhere by then, and no count would tell.
 *
 *   suspect-disks.json   [{uuid, path, reason, sinceMs}]     a disk that is made anew has another uuid
 */
import type { LogPort } from '../engine/ports.ts'
import type { DiskStatus } from '../engine/volume/volume-spec.ts'
import { KeptFiles } from './kept-files.ts'
import { readJson, replaceFile } from './node-folder.ts'

export interface SuspectDisk {
  uuid: string
  path: string
  reason: string
  /** Wall clock, milliseconds since 1970; for people. */
  sinceMs: number
}

export const suspectDisks = (file: string): SuspectDisk[] => (readJson(file) as SuspectDisk[] | undefined) ?? []

export class SuspectDisks {
  readonly #file: string
  readonly #log: LogPort
  readonly #known: SuspectDisk[]
  readonly #files: KeptFiles
  #isKept = true

  constructor(file: string, log: LogPort) {
    this.#file = file
    this.#log = log
    this.#files = new KeptFiles(log)
    this.#known = suspectDisks(file)
  }

  get all(): readonly SuspectDisk[] {
    return this.#known
  }

  /** Keep those that became so; what cannot be written is tried again at the next call. */
  seen(disks: readonly DiskStatus[]): void {
    const isKnown = (uuid: string): boolean => this.#known.some((one) => one.uuid === uuid)
    const added = disks.filter(({ uuid, state }) => state === 'suspect' && !isKnown(uuid))
    if (added.length === 0 && this.#isKept) return
    for (const { uuid, path, reason } of added) {
      this.#known.push({ uuid, path, reason, sinceMs: Date.now() })
      this.#log.event('error', 'a disk is suspect: its copies are placed elsewhere, replace it', { path, uuid, reason })
    }
    const text = `${JSON.stringify(this.#known, undefined, 2)}\n`
    this.#isKept = this.#files.tried(this.#file, () => replaceFile(this.#file, text))
  }
}
