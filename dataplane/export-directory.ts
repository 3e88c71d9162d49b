/**
 * What the NBD listener offers, on the main thread: volumes by name with the worker that owns each. Kept in step by the
 * control API before it answers, so a created volume can be opened and a deleted one cannot, from the answer on.
 */
import type { VolumeStatus } from '../engine/volume/volume-spec.ts'
import type { ExportDirectory, ExportInfo } from './nbd/listener.ts'
import type { Exports } from './node-control.ts'

export class VolumeExports implements ExportDirectory, Exports {
  readonly #byName = new Map<string, ExportInfo>()

  list(): ExportInfo[] {
    return [...this.#byName.values()]
  }

  /** A client that names none gets the volume if there is only one; with several it has to choose. */
  find(name: string): ExportInfo | undefined {
    if (name !== '') return this.#byName.get(name)
    return this.#byName.size === 1 ? this.list()[0] : undefined
  }

  offer({ spec }: VolumeStatus, worker: number): void {
    this.#byName.set(spec.name, {
      name: spec.name,
      sizeBytes: spec.sizeBytes,
      blockSizeBytes: spec.blockSizeBytes,
      readOnly: false,
      description: `Holdfast volume ${spec.name} (${spec.durability})`,
      worker,
    })
  }

  withdraw(name: string): void {
    this.#byName.delete(name)
  }
}
