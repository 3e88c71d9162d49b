/**
 * The keeper's table, `STATE/devices/VOLUME-ID.json`: what is attached here, or was to be when somebody was cut off. An
 * entry is written whole, and durable, before the step that it announces (csi/SPEC.md section 5): a temporary file, its
 * sync, a rename, a sync of the folder. A temporary file that is found was of a write that nobody has built on.
 */
import fs from 'node:fs'
import path from 'node:path'
import { HoldfastError } from '../../engine/errors.ts'
import { isCount, isRecord, isText } from '../../engine/value-shape.ts'
import type { DeviceWish, StagedMount } from './host-devices.ts'

export const TABLE_VERSION = 1

export interface NbdPlace {
  kind: 'nbd'
  /** Undefined: not known yet; it may be there, and is found by its backend. */
  index?: number
}

export interface FusePlace {
  kind: 'fuse'
  /** Of nbdfuse; its loop device is what /sys says. */
  mountPoint: string
}

export interface TableEntry {
  version: typeof TABLE_VERSION
  volumeId: string
  generation: number
  mode: DeviceWish['mode']
  state: 'attaching' | 'attached' | 'detaching'
  device: NbdPlace | FusePlace
  /** The identifier that the kernel is given, and shows. */
  backend: string
  /** 0: not known yet. */
  sizeBytes: number
  blockSizeBytes: number
  /** As it was wished. */
  readOnly: boolean
  /** The data process serves it so, whatever was wished. */
  isServedReadOnly?: boolean
  connections: number
  deadConnectionMs: number
  socket: string
  mounts: readonly StagedMount[]
}

export interface EntryStore {
  /** Of all volumes. */
  read(): TableEntry[]
  /** Durable when it returns. */
  save(entry: TableEntry): void
  remove(volumeId: string): void
}

const SUFFIX = '.json'
const TEMPORARY = '.new'

export class DeviceTable implements EntryStore {
  readonly #folder: string

  /** @throws HoldfastError `keeper-state` when the folder cannot be made */
  constructor(stateFolder: string) {
    this.#folder = path.join(stateFolder, 'devices')
    this.#done(() => fs.mkdirSync(this.#folder, { recursive: true, mode: 0o700 }))
  }

  /** @throws HoldfastError `keeper-state`: one cannot be read, or is none of this version: nothing is guessed */
  read(): TableEntry[] {
    return this.#done(() => fs.readdirSync(this.#folder).flatMap((name) => {
      const file = path.join(this.#folder, name)
      if (name.endsWith(TEMPORARY)) fs.rmSync(file)
      return name.endsWith(SUFFIX) ? [decodeEntry(fs.readFileSync(file, 'utf8'), file)] : []
    }))
  }

  save(entry: TableEntry): void {
    const file = path.join(this.#folder, `${entry.volumeId}${SUFFIX}`)
    this.#done(() => {
      fs.writeFileSync(`${file}${TEMPORARY}`, `${JSON.stringify(entry)}\n`, { mode: 0o600, flush: true })
      fs.renameSync(`${file}${TEMPORARY}`, file)
      this.#syncFolder()
    })
  }

  remove(volumeId: string): void {
    this.#done(() => {
      fs.rmSync(path.join(this.#folder, `${volumeId}${SUFFIX}`), { force: true })
      this.#syncFolder()
    })
  }

  #syncFolder(): void {
    const fd = fs.openSync(this.#folder, 'r')
    try {
      fs.fsyncSync(fd)
    } finally {
      fs.closeSync(fd)
    }
  }

  #done<T>(work: () => T): T {
    try {
      return work()
    } catch (error) {
      if (error instanceof HoldfastError) throw error
      const reason = (error as NodeJS.ErrnoException).code ?? String(error)
      throw new HoldfastError('keeper-state', { path: this.#folder, reason }, { cause: error })
    }
  }
}

const isMount = (value: unknown): boolean =>
  isRecord(value) && isText(value.path) && isText(value.fileSystem)
  && Array.isArray(value.options) && value.options.every(isText)

/** Whole, or refused: an entry of a later version may mean something that we would undo. */
export function decodeEntry(text: string, file: string): TableEntry {
  const refuse = (reason: string): never => {
    throw new HoldfastError('keeper-state', { path: file, reason })
  }
  let found: Partial<TableEntry>
  try {
    found = JSON.parse(text) as Partial<TableEntry>
  } catch {
    return refuse('it is damaged')
  }
  if (found === null || typeof found !== 'object') return refuse('it is damaged')
  if (found.version !== TABLE_VERSION) return refuse(`it has version ${found.version}, this one reads ${TABLE_VERSION}`)
  const { volumeId, generation, state, mode, backend, device, socket, mounts } = found
  const texts = [volumeId, backend, socket, mode, device?.kind].every(isText)
  const { sizeBytes, blockSizeBytes, connections, deadConnectionMs } = found
  const counts = [generation, sizeBytes, blockSizeBytes, connections, deadConnectionMs].every(isCount)
  const isStaged = Array.isArray(mounts) && mounts.every(isMount)
  const isWhole = texts && counts && isStaged && typeof found.readOnly === 'boolean'
  if (!isWhole || !/^[0-9a-f]{32}$/.test(volumeId!) || !path.basename(file).startsWith(volumeId!)) {
    return refuse('it is damaged')
  }
  return ['attaching', 'attached', 'detaching'].includes(state!) ? (found as TableEntry) : refuse('it is damaged')
}
