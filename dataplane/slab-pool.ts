/**
 * Memory that socket reads land in and replies are built in, shared by the connections of one worker.
 *
 * A slab is counted: its users are the parser or writer that fills it and every request, record, frame or reply whose
 * bytes lie in it. Nobody moves bytes to free a slab; it returns to its pool when its last user is done. The pool is a
 * stack, so that the slab just used, still warm in the processor's cache, is the next one given out. Slabs of other
 * sizes than the two pooled ones (a large payload has one of its own) are left to the garbage collector.
 *
 * A user that does not know when it is done keeps its count for ever: then the slab is not used again, and goes when
 * nobody refers to it. So a count may be too high, never too low. What is left to the collector costs: memory outside
 * of its heap makes it mark all of the heap, every few hundred writes of 4 KiB.
 *
 * Invariants: a slab in the pool has no users; `bytes` never changes; the pool keeps at most `idleBytesMax`.
 */
import { assert } from '../engine/assert.ts'
import { IDLE_SLABS_BYTES } from './daemon-memory.ts'

export const SLAB_BYTES = 256 * 1024
/** 1 MiB of payload with what comes before it: a large request, reply, or piece of a filling. */
export const LARGE_SLAB_BYTES = 1024 * 1024 + 64 * 1024

export interface Slab {
  /** No `Buffer`: a part of one takes four times as long to make. */
  readonly bytes: Uint8Array
  /** Big-endian access to the same bytes. */
  readonly view: DataView
  /** Where it returns to, whoever releases it. */
  readonly home: SlabPool
  users: number
}

const slabs = new WeakMap<ArrayBufferLike, Slab>()

/** The slab that these bytes lie in; undefined for memory of another kind. */
export const slabOf = (bytes: Uint8Array): Slab | undefined => slabs.get(bytes.buffer)

export class SlabPool {
  readonly #small: Slab[] = []
  readonly #large: Slab[] = []
  readonly #idleBytesMax: number
  #idleBytes = 0

  constructor(options: { idleBytesMax: number } = { idleBytesMax: IDLE_SLABS_BYTES }) {
    this.#idleBytesMax = options.idleBytesMax
  }

  get idleBytes(): number {
    return this.#idleBytes
  }

  /** A slab of at least `bytes`, with one user: the caller. Its content is arbitrary. */
  acquire(bytes: number): Slab {
    const shelf = bytes <= SLAB_BYTES ? this.#small : bytes <= LARGE_SLAB_BYTES ? this.#large : undefined
    const slab = shelf?.pop()
    if (slab === undefined) {
      return create(bytes <= SLAB_BYTES ? SLAB_BYTES : bytes <= LARGE_SLAB_BYTES ? LARGE_SLAB_BYTES : bytes, this)
    }
    this.#idleBytes -= slab.bytes.length
    assert(slab.users === 0, 'an idle slab has no users')
    slab.users = 1
    return slab
  }

  /** One user fewer. A slab of another pool returns there. */
  release(slab: Slab): void {
    if (slab.home !== this) return slab.home.release(slab)
    assert(slab.users > 0, 'a slab is released once per user')
    slab.users--
    if (slab.users > 0) return
    const size = slab.bytes.length
    const shelf = size === SLAB_BYTES ? this.#small : size === LARGE_SLAB_BYTES ? this.#large : undefined
    if (shelf === undefined || this.#idleBytes + size > this.#idleBytesMax) return
    this.#idleBytes += size
    shelf.push(slab)
  }
}

function create(bytes: number, home: SlabPool): Slab {
  const { buffer } = Buffer.allocUnsafeSlow(bytes)
  const slab = { bytes: new Uint8Array(buffer), view: new DataView(buffer), home, users: 1 }
  slabs.set(buffer, slab)
  return slab
}
