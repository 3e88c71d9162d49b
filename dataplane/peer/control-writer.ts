/**
 * Where codecs lay the control part of a frame: directly in the slab that the socket will be given, behind the room of
 * its header. Payload is only listed, never copied; pieces that touch each other in memory become one. A slab that
 * payload lies in counts the frame as a user, until it left or never will.
 *
 *   slab   [ frames that are queued | header | control ... at | free ]
 */
import { assert } from '../../engine/assert.ts'
import { SLAB_BYTES, slabOf } from '../slab-pool.ts'
import type { Slab, SlabPool } from '../slab-pool.ts'
import { HEADER_BYTES } from './protocol.ts'

/** A frame without its header. Its slab counts it as a user. */
export interface LaidFrame {
  slab: Slab
  /** Of the header. */
  at: number
  controlBytes: number
  pieces: readonly Uint8Array[]
  payloadBytes: number
  /** Where payload lies; each counts the frame as a user, too. */
  payloadSlabs: readonly Slab[]
}

const NO_PIECES: Uint8Array[] = []
const NO_SLABS: Slab[] = []

export class ControlWriter {
  /** Of the slab in use. Read anew after `room`. */
  bytes: Uint8Array
  view: DataView
  readonly #pool: SlabPool
  #slab: Slab
  #headerAt = 0
  #at = 0
  #pieces: Uint8Array[] = NO_PIECES
  #payloadBytes = 0
  #payloadSlabs: Slab[] = NO_SLABS

  constructor(pool: SlabPool) {
    this.#pool = pool
    this.#slab = pool.acquire(SLAB_BYTES)
    this.bytes = this.#slab.bytes
    this.view = this.#slab.view
  }

  get payloadBytes(): number {
    return this.#payloadBytes
  }

  get controlBytes(): number {
    return this.#at - this.#headerAt - HEADER_BYTES
  }

  /** Where the control part of this frame begins in `bytes`. */
  get headAt(): number {
    return this.#headerAt + HEADER_BYTES
  }

  begin(): void {
    // Everything that lay here was sent: from the front again, while it is warm.
    if (this.#slab.users === 1) this.#headerAt = 0
    this.#at = this.#headerAt
    this.room(HEADER_BYTES)
    this.#pieces = NO_PIECES
    this.#payloadBytes = 0
    this.#payloadSlabs = NO_SLABS
  }

  /** `count` bytes more of control part. @returns where they begin in `bytes`; their content is arbitrary */
  room(count: number): number {
    if (this.#slab.bytes.length - this.#at < count) this.#move(count)
    const at = this.#at
    this.#at += count
    return at
  }

  put(bytes: Uint8Array): void {
    const at = this.room(bytes.length)
    this.bytes.set(bytes, at)
  }

  payload(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.#payloadBytes += bytes.length
    this.#use(slabOf(bytes))
    const pieces = this.#pieces
    const last = pieces[pieces.length - 1]
    if (last === undefined) this.#pieces = [bytes]
    else if (last.buffer === bytes.buffer && last.byteOffset + last.length === bytes.byteOffset) {
      pieces[pieces.length - 1] = new Uint8Array(last.buffer, last.byteOffset, last.length + bytes.length)
    } else pieces.push(bytes)
  }

  #use(slab: Slab | undefined): void {
    const slabs = this.#payloadSlabs
    if (slab === undefined || slab === slabs[slabs.length - 1]) return
    slab.users++
    if (slabs.length === 0) this.#payloadSlabs = [slab]
    else slabs.push(slab)
  }

  /** The frame begun last is complete. */
  end(): LaidFrame {
    const slab = this.#slab
    slab.users++
    const at = this.#headerAt
    const frame = {
      slab, at, controlBytes: this.controlBytes, pieces: this.#pieces, payloadBytes: this.#payloadBytes,
      payloadSlabs: this.#payloadSlabs,
    }
    this.#headerAt = this.#at
    return frame
  }

  close(): void {
    this.#pool.release(this.#slab)
  }

  #move(count: number): void {
    const begun = this.#at - this.#headerAt
    assert(begun >= 0, 'a frame is begun before it is laid')
    const fresh = this.#pool.acquire(Math.max(SLAB_BYTES, 2 * (begun + count)))
    fresh.bytes.set(this.#slab.bytes.subarray(this.#headerAt, this.#at))
    this.#pool.release(this.#slab)
    this.#slab = fresh
    this.bytes = fresh.bytes
    this.view = fresh.view
    this.#headerAt = 0
    this.#at = begun
  }
}
