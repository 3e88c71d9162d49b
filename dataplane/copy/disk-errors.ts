/**
 * How many blocks of each disk were found damaged since this process began, each counted once however often it is met:
 * a disk of which more are than a few is not trusted to keep the next ones. It becomes suspect, once and for good
 * (`suspect-disks.ts`): nothing new is placed on it, and the control plane empties it.
 */
import type { VersionId } from '../../engine/replication/record.ts'

/** Half a MiB. A sector that the medium gives up, or a scratch, is less. */
export const SUSPECT_BLOCKS = 128

export class DiskErrors {
  /** Blocks by disk; of a suspect one no more are counted. */
  readonly #met = new Map<string, Set<string>>()
  readonly #suspects = new Set<string>()
  readonly #onSuspect: (diskUuid: string, reason: string) => void

  /** @param onSuspect  once for each disk */
  constructor(onSuspect: (diskUuid: string, reason: string) => void) {
    this.#onSuspect = onSuspect
  }

  damaged(diskUuid: string, volumeId: string, { lba, epoch, seq }: VersionId): void {
    this.#add(diskUuid, `${volumeId} ${lba} ${epoch} ${seq}`)
  }

  /** A block of a segment that describes it. */
  structureDamaged(diskUuid: string, segment: number, block: number): void {
    this.#add(diskUuid, `segment ${segment} ${block}`)
  }

  #add(diskUuid: string, what: string): void {
    if (this.#suspects.has(diskUuid)) return
    let met = this.#met.get(diskUuid)
    if (met === undefined) this.#met.set(diskUuid, (met = new Set()))
    met.add(what)
    if (met.size < SUSPECT_BLOCKS) return
    this.#suspects.add(diskUuid)
    this.#met.delete(diskUuid)
    this.#onSuspect(diskUuid, `${SUSPECT_BLOCKS} blocks of it were found damaged`)
  }
}
