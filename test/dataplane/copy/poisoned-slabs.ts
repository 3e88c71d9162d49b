/** Memory that nobody uses any more is overwritten at once: who still needed it reads what he never wrote. */
import type { Test } from 'tap'
import { SlabPool } from '../../../dataplane/slab-pool.ts'
import type { Slab } from '../../../dataplane/slab-pool.ts'

/** Slabs without users are overwritten until the test ends. @returns how many were */
export function poisonIdleSlabs(t: Test): () => number {
  const { release } = SlabPool.prototype
  let count = 0
  SlabPool.prototype.release = function (slab: Slab) {
    release.call(this, slab)
    if (slab.home !== this || slab.users > 0) return
    slab.bytes.fill(0xdb)
    count++
  }
  t.teardown(() => (SlabPool.prototype.release = release))
  return () => count
}
