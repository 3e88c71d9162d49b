/**
 * The memory of what copies are filled with, which is large and short-lived: left to the garbage collector, which marks
 * all of its heap for every few MiB that lie outside of it, it cost half of the processor time of a filling.
 *
 *   source   a scan reads into slabs of the pool. Each has one user more until the piece that was made of it is
 *            answered, or no piece is; frames on their way count for themselves.
 *   target   the slabs of a message stay those of its delivery until the store has its versions on the disk. A message
 *            that was not taken (it came twice, or too late) is left to the collector.
 */
import type { CopyState } from '../../engine/replication/copy.ts'
import type { BlockVersion } from '../../engine/replication/record.ts'
import { blobsOf } from '../../engine/volume/copy-headers.ts'
import type { LocalCopyStore } from '../../engine/volume/copy-store.ts'
import { slabOf } from '../slab-pool.ts'
import type { Slab, SlabPool } from '../slab-pool.ts'

interface Scanned {
  versions: readonly BlockVersion[]
  slabs: Set<Slab>
}

export class FillMemory {
  #scanned: Scanned[] = []
  readonly #arrived = new WeakMap<readonly BlockVersion[], { release(): void }>()

  constructor(store: LocalCopyStore, pool: SlabPool) {
    store.reading.scanMemory = (bytes) => pool.acquire(bytes).bytes.subarray(0, bytes)
    store.onFilled = (versions) => this.#arrived.get(versions)?.release()
  }

  /** Something that was read is not known to be needed no more. */
  get isKeeping(): boolean {
    return this.#scanned.length > 0
  }

  /** The machine took what a scan found. */
  scanned(versions: readonly BlockVersion[]): void {
    const slabs = new Set<Slab>()
    for (const { payload } of versions) {
      const slab = payload === undefined ? undefined : slabOf(blobsOf(payload).bytes)
      if (slab !== undefined) slabs.add(slab)
    }
    if (slabs.size > 0) this.#scanned.push({ versions, slabs })
  }

  /** All that was said in this turn has become frames. */
  letGo({ primary }: CopyState): void {
    if (this.#scanned.length === 0) return
    const needed = new Set<readonly BlockVersion[]>()
    for (const { fill } of primary?.peers.values() ?? [])
      for (const { versions } of fill?.unanswered ?? []) needed.add(versions)
    this.#scanned = this.#scanned.filter(({ versions, slabs }) => {
      if (needed.has(versions)) return true
      for (const slab of slabs) slab.home.release(slab)
      return false
    })
  }

  /** A message brought them; `release` when nobody needs its memory. */
  arrived(versions: readonly BlockVersion[], delivery: { release(): void }): void {
    this.#arrived.set(versions, delivery)
  }
}
