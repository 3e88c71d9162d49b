/**
 * Replies -> bytes, gathered so that one system call takes all that became ready in a turn. Pure: no socket.
 *
 *   slab   [ piece (being sent) | piece (ready) | reserved (a read under way) | piece (ready) | free .... ]
 *                                                                                              ^ tail
 *
 * A reply's bytes are written at the tail; `commit` makes them a piece, or lengthens the last piece when they touch
 * it. The payload of a read is reserved before the volume is asked, so that the volume fills its final place; it
 * becomes a piece when the volume is done, in whatever order. Ready pieces that touch are one piece: a run of
 * requests answered in order is one contiguous buffer however many they are.
 *
 * Invariants: a slab has one user per piece and per reservation, and one while it is current; a writer with nothing
 * under way has no slab. Pieces are sent in the order of their commit. A committed reply is whole: replies never
 * interleave.
 *
 * Source: doc/proto.md "Simple reply message", "Structured reply chunk message", "Extended reply chunk message".
 */
import { assert } from '../../engine/assert.ts'
import {
  EXTENDED_REPLY_BYTES, NBD_EXTENDED_REPLY_MAGIC, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA, NBD_REPLY_TYPE_OFFSET_HOLE, NBD_SIMPLE_REPLY_MAGIC, NBD_STRUCTURED_REPLY_MAGIC,
  OFFSET_DATA_BYTES, OFFSET_HOLE_BYTES, SIMPLE_REPLY_BYTES, STRUCTURED_REPLY_BYTES,
} from './protocol.ts'
import type { Slab, SlabPool } from '../slab-pool.ts'
import { LARGE_SLAB_BYTES, SLAB_BYTES } from '../slab-pool.ts'

/** What a reply repeats of its request. */
export interface ReplyTo {
  cookieHigh: number
  cookieLow: number
  offsetHigh: number
  offsetLow: number
}

export type ReplyStyle = 'simple' | 'structured' | 'extended'

export interface Piece {
  slab: Slab
  from: number
  to: number
}

/** Reservations above this take a large slab, above a large slab memory of their own. */
const LARGE_REPLY_BYTES = 32 * 1024

export class ReplyWriter {
  readonly style: ReplyStyle
  /** Bytes in front of the data of a read that is answered by one piece of data. */
  readonly readHeaderBytes: number
  /** Where the last `reserve` lies. */
  slab: Slab | undefined
  #tail = 0
  #ready: Piece[] = []
  #readyBytes = 0
  readonly #chunkBytes: number
  readonly #pool: SlabPool

  constructor(options: { style: ReplyStyle; pool: SlabPool }) {
    this.style = options.style
    this.#pool = options.pool
    this.#chunkBytes = chunkHeaderBytes(this.style)
    this.readHeaderBytes = this.style === 'simple' ? SIMPLE_REPLY_BYTES : this.#chunkBytes + OFFSET_DATA_BYTES
  }

  /** Committed and not taken. */
  get readyBytes(): number {
    return this.#readyBytes
  }

  /** `count` bytes in one place, in `this.slab`; ends with `commit` or `abandon`. */
  reserve(count: number): number {
    if (this.slab === undefined || this.slab.bytes.length - this.#tail < count) this.#nextSlab(count)
    const at = this.#tail
    this.#tail += count
    this.slab!.users++
    return at
  }

  /** Bytes `[from, to)` of a reservation are a whole reply (or several), ready to be sent. */
  commit(slab: Slab, from: number, to: number): void {
    const last = this.#ready.length > 0 ? this.#ready[this.#ready.length - 1] : undefined
    this.#readyBytes += to - from
    if (last !== undefined && last.slab === slab && last.to === from) {
      last.to = to
      slab.users--
    } else this.#ready.push({ slab, from, to })
  }

  /** A reservation that will not be sent. */
  abandon(slab: Slab): void {
    this.#pool.release(slab)
  }

  /** All that is ready, in order. Each piece is to be given to `sent` once the socket does not need it any more. */
  take(): Piece[] {
    const pieces = this.#ready
    this.#ready = []
    this.#readyBytes = 0
    if (this.slab !== undefined && !this.#keepSlab(this.slab, pieces)) {
      this.#pool.release(this.slab)
      this.slab = undefined
    }
    return pieces
  }

  sent(pieces: readonly Piece[]): void {
    for (const piece of pieces) this.#pool.release(piece.slab)
  }

  /** Success without data. A simple reply also where structured ones were negotiated: it is the shortest. */
  success(to: ReplyTo): void {
    if (this.style === 'extended') {
      const at = this.reserve(EXTENDED_REPLY_BYTES)
      this.#chunk(this.slab!.view, at, to, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 0)
      this.commit(this.slab!, at, at + EXTENDED_REPLY_BYTES)
    } else {
      const at = this.reserve(SIMPLE_REPLY_BYTES)
      this.#simple(this.slab!.view, at, to, 0)
      this.commit(this.slab!, at, at + SIMPLE_REPLY_BYTES)
    }
  }

  /** A read of nothing: no chunk may describe zero bytes, and a structured session gets no simple reply to a read. */
  emptyRead(to: ReplyTo): void {
    if (this.style !== 'structured') return this.success(to)
    const at = this.reserve(STRUCTURED_REPLY_BYTES)
    this.#chunk(this.slab!.view, at, to, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 0)
    this.commit(this.slab!, at, at + STRUCTURED_REPLY_BYTES)
  }

  error(to: ReplyTo, errno: number, message: Uint8Array): void {
    assert(errno > 0, 'an error has a number')
    if (this.style === 'simple') {
      const at = this.reserve(SIMPLE_REPLY_BYTES)
      this.#simple(this.slab!.view, at, to, errno)
      return this.commit(this.slab!, at, at + SIMPLE_REPLY_BYTES)
    }
    const payloadBytes = 6 + message.length
    const at = this.reserve(this.#chunkBytes + payloadBytes)
    const payloadAt = this.#chunk(this.slab!.view, at, to, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, payloadBytes)
    const slab = this.slab!
    slab.view.setUint32(payloadAt, errno)
    slab.view.setUint16(payloadAt + 4, message.length)
    slab.bytes.set(message, payloadAt + 6)
    this.commit(slab, at, payloadAt + payloadBytes)
  }

  /** Header of a read answered as a whole; its data starts `readHeaderBytes` behind `at`. */
  readHeader(slab: Slab, at: number, to: ReplyTo, lengthBytes: number): void {
    const { view } = slab
    if (this.style === 'simple') {
      this.#simple(view, at, to, 0)
      return
    }
    const payloadAt = this.#chunk(
      view, at, to, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_OFFSET_DATA, lengthBytes + OFFSET_DATA_BYTES,
    )
    view.setUint32(payloadAt, to.offsetHigh)
    view.setUint32(payloadAt + 4, to.offsetLow)
  }

  /** Bytes of one chunk of a read that is answered in pieces. */
  partBytes(hole: boolean, lengthBytes: number): number {
    return this.#chunkBytes + (hole ? OFFSET_HOLE_BYTES : OFFSET_DATA_BYTES + lengthBytes)
  }

  /** One chunk of a read that is answered in pieces. @returns where its data goes (for a hole: where it ends) */
  readPart(
    slab: Slab,
    at: number,
    to: ReplyTo,
    part: { hole: boolean; last: boolean; offsetBytes: number; lengthBytes: number },
  ): number {
    const type = part.hole ? NBD_REPLY_TYPE_OFFSET_HOLE : NBD_REPLY_TYPE_OFFSET_DATA
    const payloadBytes = part.hole ? OFFSET_HOLE_BYTES : OFFSET_DATA_BYTES + part.lengthBytes
    const payloadAt = this.#chunk(slab.view, at, to, part.last ? NBD_REPLY_FLAG_DONE : 0, type, payloadBytes)
    setU64(slab.view, payloadAt, part.offsetBytes)
    if (!part.hole) return payloadAt + OFFSET_DATA_BYTES
    slab.view.setUint32(payloadAt + 8, part.lengthBytes)
    return payloadAt + OFFSET_HOLE_BYTES
  }

  /** A chunk whose payload is small and built elsewhere. */
  chunk(to: ReplyTo, type: number, payload: Uint8Array): void {
    const at = this.reserve(this.#chunkBytes + payload.length)
    const payloadAt = this.#chunk(this.slab!.view, at, to, NBD_REPLY_FLAG_DONE, type, payload.length)
    this.slab!.bytes.set(payload, payloadAt)
    this.commit(this.slab!, at, payloadAt + payload.length)
  }

  /** Give the current slab back; pieces not taken are lost. */
  close(): void {
    this.sent(this.take())
    if (this.slab !== undefined) this.#pool.release(this.slab)
    this.slab = undefined
  }

  #simple(view: DataView, at: number, to: ReplyTo, errno: number): void {
    view.setUint32(at, NBD_SIMPLE_REPLY_MAGIC)
    view.setUint32(at + 4, errno)
    view.setUint32(at + 8, to.cookieHigh)
    view.setUint32(at + 12, to.cookieLow)
  }

  #chunk(view: DataView, at: number, to: ReplyTo, flags: number, type: number, payloadBytes: number): number {
    const extended = this.style === 'extended'
    view.setUint32(at, extended ? NBD_EXTENDED_REPLY_MAGIC : NBD_STRUCTURED_REPLY_MAGIC)
    view.setUint16(at + 4, flags)
    view.setUint16(at + 6, type)
    view.setUint32(at + 8, to.cookieHigh)
    view.setUint32(at + 12, to.cookieLow)
    if (!extended) {
      view.setUint32(at + 16, payloadBytes)
      return at + STRUCTURED_REPLY_BYTES
    }
    view.setUint32(at + 16, to.offsetHigh)
    view.setUint32(at + 20, to.offsetLow)
    view.setUint32(at + 24, 0)
    view.setUint32(at + 28, payloadBytes)
    return at + EXTENDED_REPLY_BYTES
  }

  /** While reads into a slab are under way it stays in memory anyhow: fill it up. */
  #keepSlab(slab: Slab, pieces: readonly Piece[]): boolean {
    let users = 1
    for (const piece of pieces) if (piece.slab === slab) users++
    return slab.users > users && slab.bytes.length - this.#tail >= slab.bytes.length / 4
  }

  #nextSlab(count: number): void {
    if (this.slab !== undefined) this.#pool.release(this.slab)
    const bytes = count <= LARGE_REPLY_BYTES ? SLAB_BYTES : Math.max(count, LARGE_SLAB_BYTES)
    this.slab = this.#pool.acquire(bytes)
    this.#tail = 0
  }
}

export function chunkHeaderBytes(style: ReplyStyle): number {
  return style === 'extended' ? EXTENDED_REPLY_BYTES : STRUCTURED_REPLY_BYTES
}

export function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 0x1_0000_0000))
  view.setUint32(at + 4, value % 0x1_0000_0000)
}
