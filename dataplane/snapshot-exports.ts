/**
 * Snapshots as NBD exports, on the main thread of a node of a cluster: `VOLUME@SNAPSHOT`, both by name or by id, for
 * every volume of the cluster, whoever holds it and wherever it is attached. They are not listed: a volume may have
 * thousands, and only its primary knows them, so each client's is looked for there (`Handshake`), and is held for that
 * client from then on.
 */
import { isName } from '../cluster/api/names.ts'
import type { VolumeRecord } from '../engine/control/volume-record.ts'
import { HoldfastError } from '../engine/errors.ts'
import { describeVolume } from './describe-volume.ts'
import type { ExportInfo, Looked } from './nbd/listener.ts'
import type { OpenReader, SnapshotWish } from './worker-messages.ts'

/** Below the deadline of a handshake. */
const LOOK_MS = 8_000

export interface SnapshotExportsOptions {
  /** By name, else by id; not in the trash. */
  volume(nameOrId: string): VolumeRecord | undefined
  /** The data worker that has what belongs to a volume. */
  homeOf(volumeId: string): number
  /** Rejects with a HoldfastError when nobody who leads answers. */
  open(wish: SnapshotWish, waitMs: number): Promise<OpenReader | null>
  close(volumeId: string, reader: number): void
  onBug(error: unknown): void
}

/** The two halves of an export's name, names or ids both; undefined: it is not a snapshot's. */
export function snapshotName(exportName: string): { volume: string; snapshot: string } | undefined {
  const at = exportName.indexOf('@')
  const [volume, snapshot] = [exportName.slice(0, Math.max(0, at)), exportName.slice(at + 1)]
  return isName(volume) && isName(snapshot) ? { volume, snapshot } : undefined
}

export class SnapshotExports {
  readonly #o: SnapshotExportsOptions
  readonly #volumeOf = new Map<number, string>()

  constructor(options: SnapshotExportsOptions) {
    this.#o = options
  }

  /** Which volume the export of a session is of. */
  idOf(exportName: string): string | undefined {
    const name = snapshotName(exportName)
    return name === undefined ? undefined : this.#o.volume(name.volume)?.spec.id
  }

  look(exportName: string): Promise<Looked> | undefined {
    const name = snapshotName(exportName)
    const record = name === undefined ? undefined : this.#o.volume(name.volume)
    if (name === undefined || record === undefined) return undefined
    return this.#look(record, name.snapshot)
  }

  drop({ reader }: ExportInfo): void {
    const volumeId = reader === undefined ? undefined : this.#volumeOf.get(reader)
    if (reader === undefined || volumeId === undefined) return
    this.#volumeOf.delete(reader)
    this.#o.close(volumeId, reader)
  }

  /** A session has it from now on, and ends it. */
  entered({ reader }: ExportInfo): void {
    if (reader !== undefined) this.#volumeOf.delete(reader)
  }

  async #look({ spec }: VolumeRecord, wanted: string): Promise<Looked> {
    const { ioTimeoutMs, blockSizeBytes } = spec
    try {
      const opened = await this.#o.open({ spec, wanted, ioTimeoutMs }, LOOK_MS)
      if (opened === null) return undefined
      const { reader, snapshot: { name, sizeBytes } } = opened
      this.#volumeOf.set(reader, spec.id)
      const description = `snapshot ${name} of ${describeVolume(spec)}`
      const worker = this.#o.homeOf(spec.id)
      return { name: `${spec.name}@${name}`, sizeBytes, blockSizeBytes, readOnly: true, description, worker, reader }
    } catch (error) {
      if (error instanceof HoldfastError) return { refused: error.message }
      this.#o.onBug(error)
      return { refused: 'the daemon hit a bug of its own' }
    }
  }
}
