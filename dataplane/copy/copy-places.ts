/**
 * Which data worker of another node has the copy of a volume. Only that node knows (its copies lie where they were
 * made, also when it was started with another number of workers since), so it is learned: a copy is where it spoke
 * from. Until then, and again when a new instance of its node is here, what is said to it is said to every worker of
 * the node; those that have no copy of the volume read over it (PROTOCOL.md section 3).
 *
 *   unknown   --it speaks-->   at worker w of instance i   --another instance of the node connects-->   unknown
 *
 * While one instance runs, the copies of a volume that it has, one after the other, are all at one worker.
 */
import type { NodeId } from '../../engine/replication/configuration.ts'
import type { WorkerAddress } from './worker-links.ts'

export interface Speaker extends WorkerAddress {
  /** Of its process. */
  instance: string
}

interface Place {
  /** That worker, alone. */
  workers: readonly [number]
  instance: string
}

export class CopyPlaces {
  /** Where copies may be has changed. */
  onChanged = (): void => undefined
  /** Of each node, all of its workers. */
  readonly #workers = new Map<NodeId, readonly number[]>()
  /** The instance that connected last. */
  readonly #instances = new Map<NodeId, string>()
  /** By volume, by node. */
  readonly #places = new Map<string, Map<NodeId, Place>>()

  /** All workers of all other nodes, as far as they have told. */
  setPeers(peers: readonly WorkerAddress[]): void {
    const now = new Map<NodeId, number[]>()
    for (const { node, worker } of peers) now.set(node, [...(now.get(node) ?? []), worker])
    const isSame = [...now].every(([node, workers]) => String(this.#workers.get(node)) === String(workers))
    for (const [node, workers] of now) this.#workers.set(node, workers)
    if (!isSame) this.onChanged()
  }

  /** A worker of that instance is connected with us. Nothing more comes from a former one. */
  connected(node: NodeId, instance: string): void {
    if (this.#instances.get(node) === instance) return
    this.#instances.set(node, instance)
    this.onChanged()
  }

  /** The copy of that volume speaks. */
  heard(volumeId: string, { node, worker, instance }: Speaker): void {
    const known = this.#places.get(volumeId)?.get(node)
    if (known !== undefined && known.workers[0] === worker && known.instance === instance) return
    const places = this.#places.get(volumeId) ?? new Map<NodeId, Place>()
    this.#places.set(volumeId, places.set(node, { workers: [worker], instance }))
    this.onChanged()
  }

  /** Workers of a node of which one has the copy, if it has one. */
  workersOf(node: NodeId, volumeId: string): readonly number[] {
    const place = this.#places.get(volumeId)?.get(node)
    if (place !== undefined && place.instance === (this.#instances.get(node) ?? place.instance)) return place.workers
    return this.#workers.get(node) ?? ONLY
  }

  /** All workers of a node, and the one from which that copy spoke. */
  everyWorkerOf(node: NodeId, volumeId: string): ReadonlySet<number> {
    const place = this.#places.get(volumeId)?.get(node)
    return new Set([...(this.#workers.get(node) ?? ONLY), ...(place?.workers ?? [])])
  }

  /** From that worker it spoke last, of whichever instance. */
  isAt(volumeId: string, { node, worker }: WorkerAddress): boolean {
    return this.#places.get(volumeId)?.get(node)?.workers[0] === worker
  }

  /** That worker does not have it: another one of the same instance has. */
  isElsewhere(volumeId: string, { node, worker, instance }: Speaker): boolean {
    const place = this.#places.get(volumeId)?.get(node)
    return place !== undefined && place.instance === instance && place.workers[0] !== worker
  }

  forget(volumeId: string): void {
    this.#places.delete(volumeId)
  }
}

/** Of a node that has told nothing yet: the least that it has. */
const ONLY: readonly number[] = [0]
