/**
 * Bytes of the transmission phase -> requests, whatever the chunks the bytes arrive in. Pure: no socket, no device.
 *
 *   slab   [ parsed ... | position ... unparsed ... fill | free ........ ]
 *                                                          ^ space(): the next bytes of the socket land here
 *
 * The caller reads the socket into `space()`, says so with `received()`, then calls `next()` until it wants more.
 * A payload that lies whole in the slab is handed out where it is, and the slab counts it as a user until the caller
 * calls `pool.release(slab)`; a payload that does not fit the rest of its slab gets memory of its own, into which
 * the rest is then received directly. So every payload byte is copied at most once, and most never.
 *
 * Nothing is taken for a payload before `admit` has agreed, and `admit` is called once per header (again only after
 * it said 'wait'). Lengths and offsets are 64 bit on the wire; those above 2^53 - 1 become 2^53, which no volume
 * reaches, and are echoed by their words.
 *
 * Source: doc/proto.md "Request message", with extended headers.
 */
import { assert } from '../../engine/assert.ts'
import {
  EXTENDED_REQUEST_BYTES, NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_WRITE, NBD_EXTENDED_REQUEST_MAGIC, NBD_REQUEST_MAGIC,
  REQUEST_BYTES,
} from './protocol.ts'
import type { Slab, SlabPool } from '../slab-pool.ts'
import { LARGE_SLAB_BYTES, SLAB_BYTES } from '../slab-pool.ts'

/** Beyond every volume; stands for all numbers a double does not hold exactly. */
export const OUT_OF_RANGE = 2 ** 53

/** A request as on the wire. Reused: valid until the next call of the parser. */
export interface RequestHeader {
  flags: number
  type: number
  cookieHigh: number
  cookieLow: number
  offsetBytes: number
  /** The words of the offset, to be echoed by extended replies. */
  offsetHigh: number
  offsetLow: number
  /** Payload or effect length. */
  lengthBytes: number
}

export function emptyHeader(): RequestHeader {
  return {
    flags: 0, type: 0, cookieHigh: 0, cookieLow: 0, offsetBytes: 0, offsetHigh: 0, offsetLow: 0, lengthBytes: 0,
  }
}

function u64(high: number, low: number): number {
  return high < 0x200000 ? high * 0x1_0000_0000 + low : OUT_OF_RANGE
}

/** @returns false when the magic is not that of a request: the stream cannot be followed any further */
export function decodeRequest(view: DataView, at: number, extended: boolean, into: RequestHeader): boolean {
  if (view.getUint32(at) !== (extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC)) return false
  into.flags = view.getUint16(at + 4)
  into.type = view.getUint16(at + 6)
  into.cookieHigh = view.getUint32(at + 8)
  into.cookieLow = view.getUint32(at + 12)
  into.offsetHigh = view.getUint32(at + 16)
  into.offsetLow = view.getUint32(at + 20)
  into.offsetBytes = u64(into.offsetHigh, into.offsetLow)
  into.lengthBytes = extended ? u64(view.getUint32(at + 24), view.getUint32(at + 28)) : view.getUint32(at + 24)
  return true
}

/** The header a client would send. `offsetHigh` and `offsetLow` carry the offset; payload follows separately. */
export function encodeRequest(header: RequestHeader, extended: boolean): Buffer {
  const bytes = Buffer.alloc(extended ? EXTENDED_REQUEST_BYTES : REQUEST_BYTES)
  bytes.writeUInt32BE(extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC, 0)
  bytes.writeUInt16BE(header.flags, 4)
  bytes.writeUInt16BE(header.type, 6)
  bytes.writeUInt32BE(header.cookieHigh, 8)
  bytes.writeUInt32BE(header.cookieLow, 12)
  bytes.writeUInt32BE(header.offsetHigh, 16)
  bytes.writeUInt32BE(header.offsetLow, 20)
  if (extended) bytes.writeUInt32BE(Math.floor(header.lengthBytes / 0x1_0000_0000), 24)
  bytes.writeUInt32BE(header.lengthBytes % 0x1_0000_0000, extended ? 28 : 24)
  return bytes
}

/** Whether payload follows the header, and so what `lengthBytes` means. */
export function hasPayload(header: RequestHeader, extended: boolean): boolean {
  return extended ? (header.flags & NBD_CMD_FLAG_PAYLOAD_LEN) !== 0 : header.type === NBD_CMD_WRITE
}

/** take: hand the payload out. skip: read over it. wait: ask again later. close: this client is not served. */
export type Admission = 'take' | 'skip' | 'wait' | 'close'

/** request: `header` (and `payload`) hold one. more: feed bytes. wait: as `admit` said. broken: end the connection. */
export type Progress = 'request' | 'more' | 'wait' | 'broken'

/** With less room than this at the end of a slab a fresh one is cheaper than another small read. */
const READ_BYTES_MIN = 32 * 1024
/** From this payload size on large slabs keep most payloads in place. */
const LARGE_PAYLOAD_BYTES = 32 * 1024

const EMPTY = new Uint8Array(0)
/** A socket that is being closed still asks where to read to. */
const NOWHERE = new Uint8Array(1)

export class RequestParser {
  readonly header: RequestHeader = emptyHeader()
  /** Of the request just returned; empty without payload. Its bytes lie in `payloadSlab`, which counts it as a user. */
  payload: Uint8Array = EMPTY
  payloadSlab: Slab | undefined
  /** Bytes still missing of a payload that was admitted: the client owes them. */
  owedBytes = 0

  readonly #extended: boolean
  readonly #headerBytes: number
  readonly #pool: SlabPool
  readonly #admit: (header: RequestHeader, payloadBytes: number) => Admission
  #state: 'header' | 'take' | 'skip' = 'header'
  #slab: Slab
  #position = 0
  #fill = 0
  /** End of a payload received into memory of its own: nothing behind it may land there. */
  #limit: number
  #payloadBytes = 0
  #largePayloads = false
  #closed = false
  /** What `space()` gave out last; it stays valid, and in use, until the next call. */
  #armed: Slab | undefined
  #armedAt = 0
  #armedSpace: Uint8Array = EMPTY

  constructor(options: {
    extended: boolean
    pool: SlabPool
    admit: (header: RequestHeader, payloadBytes: number) => Admission
  }) {
    this.#extended = options.extended
    this.#headerBytes = options.extended ? EXTENDED_REQUEST_BYTES : REQUEST_BYTES
    this.#pool = options.pool
    this.#admit = options.admit
    this.#slab = this.#pool.acquire(SLAB_BYTES)
    this.#limit = this.#slab.bytes.length
  }

  /** Bytes received and not parsed yet. */
  get unparsedBytes(): number {
    return this.#fill - this.#position
  }

  /** Where the next bytes go; never empty. Only after `next()` answered 'more' or 'wait' (or at the start). */
  space(): Uint8Array {
    if (this.#closed) return NOWHERE
    this.#makeRoom()
    if (this.#armed === this.#slab && this.#armedAt === this.#fill
      && this.#armedSpace.length === this.#limit - this.#fill) return this.#armedSpace
    if (this.#armed !== this.#slab) {
      if (this.#armed !== undefined) this.#pool.release(this.#armed)
      this.#armed = this.#slab
      this.#slab.users++
    }
    this.#armedAt = this.#fill
    this.#armedSpace = this.#slab.bytes.subarray(this.#fill, this.#limit)
    return this.#armedSpace
  }

  /**
   * The first `count` bytes of the last `space()` were filled.
   * @returns what the caller must `append`: nothing, unless parsing has moved on since `space()` was called (a
   * connection that was held and went on), so that the bytes landed in the wrong place
   */
  received(count: number): Uint8Array {
    if (this.#armed === this.#slab && this.#armedAt === this.#fill && this.#fill + count <= this.#limit) {
      this.#fill += count
      return EMPTY
    }
    return this.#armedSpace.subarray(0, count)
  }

  /**
   * Add bytes that were received elsewhere.
   * @returns how many were taken; fewer than all when a payload ends in memory of its own, then call `next()` first
   */
  append(bytes: Uint8Array): number {
    if (this.#state !== 'take') {
      this.#makeRoom()
      this.#reserveTail(bytes.length)
    }
    const count = Math.min(bytes.length, this.#limit - this.#fill)
    this.#slab.bytes.set(count < bytes.length ? bytes.subarray(0, count) : bytes, this.#fill)
    this.#fill += count
    return count
  }

  next(): Progress {
    if (this.#state === 'header') {
      if (this.#fill - this.#position < this.#headerBytes) return 'more'
      const header = this.header
      if (!decodeRequest(this.#slab.view, this.#position, this.#extended, header)) return 'broken'
      const payloadBytes = hasPayload(header, this.#extended) ? header.lengthBytes : 0
      const admission = this.#admit(header, payloadBytes)
      if (admission === 'wait') return 'wait'
      if (admission === 'close') return 'broken'
      this.#position += this.#headerBytes
      this.payload = EMPTY
      this.payloadSlab = undefined
      if (payloadBytes === 0) return this.#ended()
      this.#payloadBytes = payloadBytes
      this.#state = admission
      this.#largePayloads = payloadBytes > LARGE_PAYLOAD_BYTES
    }
    const available = Math.min(this.#fill - this.#position, this.#payloadBytes)
    if (this.#state === 'skip') {
      this.#position += available
      this.#payloadBytes -= available
      this.owedBytes = this.#payloadBytes
      return this.#payloadBytes > 0 ? 'more' : this.#ended()
    }
    if (available < this.#payloadBytes) {
      this.owedBytes = this.#payloadBytes - available
      if (this.#position + this.#payloadBytes > this.#limit) this.#movePayload(available)
      return 'more'
    }
    const end = this.#position + this.#payloadBytes
    this.payload = this.#slab.bytes.subarray(this.#position, end)
    this.payloadSlab = this.#slab
    this.#slab.users++
    this.#position = end
    return this.#ended()
  }

  /** Give everything back. Payloads handed out stay valid until they are released. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#pool.release(this.#slab)
    if (this.#armed !== undefined) this.#pool.release(this.#armed)
    this.#armed = undefined
    this.#position = this.#fill = this.#limit = 0
    this.owedBytes = 0
  }

  #ended(): 'request' {
    this.#state = 'header'
    this.#payloadBytes = 0
    this.owedBytes = 0
    return 'request'
  }

  /** Room for at least one byte more; from the start again when nothing in the slab is in use. */
  #makeRoom(): void {
    if (this.#state === 'take') {
      assert(this.#fill < this.#limit, 'a payload that does not fit was moved')
      return
    }
    const own = this.#armed === this.#slab ? 2 : 1
    if (this.#position === this.#fill && this.#slab.users === own && this.#slab.bytes.length <= LARGE_SLAB_BYTES) {
      this.#position = this.#fill = 0
    }
    this.#reserveTail(READ_BYTES_MIN)
  }

  /** Go on in a slab that has room for `bytes` behind what is unparsed. */
  #reserveTail(bytes: number): void {
    if (this.#limit - this.#fill >= bytes) return
    const wantedBytes = this.#fill - this.#position + bytes
    this.#changeSlab(Math.max(wantedBytes, this.#largePayloads ? LARGE_SLAB_BYTES : SLAB_BYTES))
    this.#limit = this.#slab.bytes.length
  }

  /** The payload under way does not fit: memory for all of it, and what is here of it at its front. */
  #movePayload(available: number): void {
    const pooled = this.#payloadBytes <= LARGE_SLAB_BYTES
    assert(available === this.#fill - this.#position, 'an incomplete payload is the last thing received')
    this.#changeSlab(pooled && this.#largePayloads ? LARGE_SLAB_BYTES : this.#payloadBytes)
    this.#limit = pooled ? this.#slab.bytes.length : this.#payloadBytes
  }

  #changeSlab(bytes: number): void {
    const fresh = this.#pool.acquire(bytes)
    fresh.bytes.set(this.#slab.bytes.subarray(this.#position, this.#fill))
    this.#pool.release(this.#slab)
    this.#slab = fresh
    this.#fill -= this.#position
    this.#position = 0
  }
}

