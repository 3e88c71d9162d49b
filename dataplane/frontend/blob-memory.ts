/**
 * Where what frontends make of their clients' writes lies: blobs one behind the other in slabs of their worker. Memory
 * of their own, for each write or each 256 KiB, cost the collector more than compressing and encrypting together.
 *
 * A payload is a user of its slab from `keep` on until `letGo`: when its write was answered well. What becomes of other
 * writes nobody knows (a copy may have them, and be asked again): those count for ever, and are the collector's.
 * Copies and frames count for themselves.
 */
import type { Payload } from '../../engine/replication/record.ts'
import { blobsOf } from '../../engine/volume/copy-headers.ts'
import { SLAB_BYTES, slabOf } from '../slab-pool.ts'
import type { Slab, SlabPool } from '../slab-pool.ts'

export class BlobMemory {
  readonly #pool: SlabPool
  #slab: Slab | undefined
  /** Of `slab`, where the next blob goes: everything behind it is free. */
  at = 0

  constructor(pool: SlabPool) {
    this.#pool = pool
  }

  /** A slab with so much room from `at` on. Two such calls give the same room, unless `keep` took some between them. */
  room(lengthBytes: number): Slab {
    const slab = this.#slab
    if (slab !== undefined) {
      // All that lay here is let go: from the front again, while it is warm.
      if (slab.users === 1) this.at = 0
      if (slab.bytes.length - this.at >= lengthBytes) return slab
      this.#pool.release(slab)
    }
    this.at = 0
    return (this.#slab = this.#pool.acquire(Math.max(SLAB_BYTES, lengthBytes)))
  }

  /** The next so many bytes are a payload's, which is one user more of the slab. */
  keep(lengthBytes: number): Uint8Array {
    const slab = this.#slab!
    slab.users++
    const kept = slab.bytes.subarray(this.at, this.at + lengthBytes)
    this.at += lengthBytes
    return kept
  }
}

/** Nobody sends it again. What was not changed on its way lies in its client's memory, and is not ours. */
export function letGo(payload: Payload): void {
  const { bytes, stored } = blobsOf(payload)
  const slab = stored === undefined ? undefined : slabOf(bytes)
  slab?.home.release(slab)
}
