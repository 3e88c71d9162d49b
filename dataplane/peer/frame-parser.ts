/**
 * Bytes of one direction of a connection -> frames, whatever the chunks the bytes arrive in. Pure: no socket.
 *
 *   slab   [ frames given out ... | position ... unparsed ... fill | free ........ ]
 *                                                                    ^ space(): the next bytes of the socket land here
 *
 * A header is held against its checksum and the limits, then `admit` is asked, and only then is memory taken for the
 * body: at most a frame's. The body comes out where it lies; its slab counts it as a user until `pool.release(slab)`.
 * Who does not release it leaves it to the garbage collector, which then frees the slab instead of its reuse.
 */
import { assert } from '../../engine/assert.ts'
import { LARGE_SLAB_BYTES, SLAB_BYTES } from '../slab-pool.ts'
import type { Slab, SlabPool } from '../slab-pool.ts'
import { crc32c } from '../checksum.ts'
import type { FrameBody } from './block-payload.ts'
import { decodeHeader, emptyHeader } from './frame-header.ts'
import type { FrameHeader, HeaderRules } from './frame-header.ts'
import { HEADER_BYTES } from './protocol.ts'

/** With less room than this at the end of a slab a fresh one is cheaper than another small read. */
const READ_BYTES_MIN = 32 * 1024
/** A connection that is being closed still asks where to read to. */
const NOWHERE = new Uint8Array(1)

/** frame: `header` and `body` hold one. more: feed bytes. broken: `problem` says why; end the connection. */
export type Progress = 'frame' | 'more' | 'broken'

export class FrameParser {
  readonly header: FrameHeader = emptyHeader()
  problem = ''
  readonly #pool: SlabPool
  readonly #rules: HeaderRules
  readonly #admit: (header: FrameHeader, view: DataView) => string | undefined
  #slab: Slab
  #position = 0
  #fill = 0
  #hasHeader = false
  /** Of the frame before: the next one is probably as large, and is moved unless all of it finds room. */
  #formerBytes = 0
  #closed = false

  constructor(options: {
    pool: SlabPool
    rules: Omit<HeaderRules, 'number'>
    /** Of a header that is believed: why its body is not taken. */
    admit: (header: FrameHeader, view: DataView) => string | undefined
  }) {
    this.#pool = options.pool
    this.#rules = { ...options.rules, number: 0 }
    this.#admit = options.admit
    this.#slab = this.#pool.acquire(SLAB_BYTES)
  }

  /** Memory that is held for what has not come out yet. */
  get heldBytes(): number {
    return this.#closed ? 0 : this.#slab.bytes.length
  }

  /** Where the next bytes go; never empty. Valid until the next call. */
  space(): Uint8Array {
    if (this.#closed) return NOWHERE
    const slab = this.#slab
    if (this.#position === this.#fill && slab.users === 1) this.#position = this.#fill = 0
    const { length } = slab.bytes
    const fits = length - this.#position >= this.#wantedBytes
    const leastBytes = this.#position === this.#fill ? Math.max(READ_BYTES_MIN, this.#formerBytes) : READ_BYTES_MIN
    if (!fits || (!this.#hasHeader && length - this.#fill < leastBytes)) this.#changeSlab()
    return this.#slab.bytes.subarray(this.#fill)
  }

  /** The first `count` bytes of the last `space()` were filled. */
  received(count: number): void {
    this.#fill += count
    assert(this.#closed || this.#fill <= this.#slab.bytes.length, 'no more than there was space for')
  }

  next(): Progress {
    if (this.#closed) return 'more'
    if (!this.#hasHeader) {
      if (this.#fill - this.#position < HEADER_BYTES) return 'more'
      const { bytes, view } = this.#slab
      const wrong = decodeHeader(bytes, view, this.#position, this.#rules, this.header)
      const problem = wrong ?? this.#admit(this.header, view)
      if (problem !== undefined) return this.#broken(problem)
      this.#hasHeader = true
    }
    return this.#fill - this.#position < this.#wantedBytes ? 'more' : 'frame'
  }

  /** After 'frame': its body, verified, with one user of its slab; undefined when it is damaged. */
  take(): { body: FrameBody; slab: Slab } | undefined {
    const { controlBytes, payloadBytes, bodyCrc } = this.header
    const slab = this.#slab
    const at = this.#position + HEADER_BYTES
    const end = at + controlBytes
    if (crc32c(slab.bytes.subarray(at, end), this.#rules.seed) >>> 0 !== bodyCrc) {
      this.#broken('the control part is damaged')
      return undefined
    }
    this.#formerBytes = Math.min(HEADER_BYTES + controlBytes + payloadBytes, LARGE_SLAB_BYTES)
    this.#position = end + payloadBytes
    this.#hasHeader = false
    this.#rules.number++
    slab.users++
    const body = { bytes: slab.bytes, view: slab.view, at, end, payloadAt: end, payloadEnd: end + payloadBytes }
    return { body, slab }
  }

  /** Give everything back. Bodies given out stay valid until they are released. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#pool.release(this.#slab)
  }

  /** Of the frame that is being received. */
  get #wantedBytes(): number {
    return this.#hasHeader ? HEADER_BYTES + this.header.controlBytes + this.header.payloadBytes : HEADER_BYTES
  }

  #broken(problem: string): 'broken' {
    this.problem = problem
    return 'broken'
  }

  /** Go on in a slab that has room for the whole frame. Its offset in the slab changes, the header does not. */
  #changeSlab(): void {
    const unparsed = this.#fill - this.#position
    // Where two like the former one do not fit, the second would be moved.
    const usualBytes = this.#formerBytes > SLAB_BYTES / 2 ? LARGE_SLAB_BYTES : SLAB_BYTES
    const fresh = this.#pool.acquire(Math.max(usualBytes, this.#wantedBytes))
    fresh.bytes.set(this.#slab.bytes.subarray(this.#position, this.#fill))
    this.#pool.release(this.#slab)
    this.#slab = fresh
    this.#position = 0
    this.#fill = unparsed
  }
}
