/**
 * What the NBD listener offers, on the main thread: volumes by name with the worker that serves each. A volume is found
 * by its id too, which is what a client that comes back names: another volume may have the name by then. Kept in step
 * by the control plane before it answers, so a created volume can be opened and a deleted one cannot, from then on.
 */
import type { HoldfastError } from '../engine/errors.ts'
import type { VolumeSpec } from '../engine/volume/volume-spec.ts'
import { describeVolume } from './describe-volume.ts'
import type { ExportDirectory, ExportInfo, Looked } from './nbd/listener.ts'
import type { Exports } from './node-control.ts'
import type { SnapshotExports } from './snapshot-exports.ts'

export class VolumeExports implements ExportDirectory, Exports {
  /** Of a node of a cluster. */
  snapshots: SnapshotExports | undefined
  /** Why a volume cannot be opened with the keys of this node; undefined: it can. */
  whyLocked: (spec: VolumeSpec) => HoldfastError | undefined = () => undefined
  /** Of a node of a cluster: why another one's certificate is worth nothing. */
  whyRemoved: (node: string, issuedAtMs: number) => HoldfastError | undefined = () => undefined
  readonly #byName = new Map<string, ExportInfo & { id: string }>()
  /** By id. */
  readonly #specs = new Map<string, VolumeSpec>()
  readonly #nameOf = new Map<string, string>()
  /** By id: the attach generation under which it is offered. */
  readonly #generationOf = new Map<string, number>()
  readonly #waiting = new Map<string, Array<() => void>>()

  list(): ExportInfo[] {
    return [...this.#byName.values()]
  }

  /** A client that names none gets the volume if there is only one; with several it has to choose. */
  find(name: string): Looked {
    const found = this.#found(name)
    const spec = found === undefined ? undefined : this.#specs.get(found.id)
    const locked = spec === undefined ? undefined : this.whyLocked(spec)
    return locked === undefined ? found : { refused: locked.message }
  }

  #found(name: string): (ExportInfo & { id: string }) | undefined {
    if (name !== '') return this.#byName.get(name) ?? this.#byName.get(this.#nameOf.get(name) ?? '')
    return this.#byName.size === 1 ? [...this.#byName.values()][0] : undefined
  }

  whyNot(node: string, issuedAtMs: number): string | undefined {
    return this.whyRemoved(node, issuedAtMs)?.message
  }

  look(name: string): Promise<Looked> | undefined {
    return this.snapshots?.look(name)
  }

  drop(found: ExportInfo): void {
    this.snapshots?.drop(found)
  }

  entered(found: ExportInfo): void {
    this.snapshots?.entered(found)
  }

  offer(
    { spec }: { spec: VolumeSpec },
    worker: number,
    { readOnly, generation } = { readOnly: false, generation: 0 },
  ): void {
    const { id, name, sizeBytes, blockSizeBytes } = spec
    const description = describeVolume(spec)
    this.#byName.set(name, { id, name, sizeBytes, blockSizeBytes, readOnly, description, worker })
    this.#nameOf.set(id, name)
    this.#specs.set(id, spec)
    this.#generationOf.set(id, generation)
    for (const tell of this.#waiting.get(id) ?? []) tell()
    this.#waiting.delete(id)
  }

  /** That volume alone, as its only export: by its name or id, or by none. Nothing when it is offered no more. */
  only(id: string): ExportDirectory {
    const name = (): string => this.#nameOf.get(id) ?? ''
    return {
      list: () => this.list().filter((one) => one.name === name()),
      find: (asked) => [name(), id, ''].includes(asked) && name() !== '' ? this.find(id) : undefined,
    }
  }

  /** Which volume an export is, by its name or id. */
  idOf(name: string): string | undefined {
    return this.#byName.get(name)?.id ?? (this.#nameOf.has(name) ? name : undefined)
  }

  /** Whether it can be opened here under that attach generation or a later one: when it can, or after so long. */
  async whenOffered(id: string, mostMs: number, leastGeneration = 0): Promise<boolean> {
    const deadlineMs = performance.now() + mostMs
    const isOffered = () => (this.#generationOf.get(id) ?? -1) >= leastGeneration
    for (let leftMs = mostMs; !isOffered() && leftMs > 0; leftMs = deadlineMs - performance.now()) {
      await this.#nextOffer(id, leftMs)
    }
    return isOffered()
  }

  #nextOffer(id: string, mostMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, mostMs)
      const tell = () => {
        clearTimeout(timer)
        resolve()
      }
      this.#waiting.set(id, [...(this.#waiting.get(id) ?? []), tell])
    })
  }

  withdraw(name: string): void {
    const known = this.#byName.get(name)
    if (known !== undefined) this.withdrawVolume(known.id)
  }

  /** By its id: another volume that has its name by now stays. */
  withdrawVolume(id: string): void {
    const name = this.#nameOf.get(id)
    this.#nameOf.delete(id)
    this.#generationOf.delete(id)
    this.#specs.delete(id)
    if (name !== undefined && this.#byName.get(name)?.id === id) this.#byName.delete(name)
  }
}
