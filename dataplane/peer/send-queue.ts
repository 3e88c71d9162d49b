/**
 * Frames on their way out of a connection: laid at once, numbered and sealed when they leave. Frames of a turn leave
 * in one write; while it is under way more gather, and are the next.
 *
 *   push ->  [ waiting: the peer's window, the write under way ]  -> take -> socket -> sent
 *
 * Flow control: at most `windowBytes` are sent that the peer has not reported as consumed; then frames wait here, up to
 * `queuedBytesMax`, and then the caller is told. Pure: no socket.
 *
 * Invariants: frames leave in the order of `push`; a frame of the lane itself (alive, credit) waits for no window.
 */
import { assert } from '../../engine/assert.ts'
import { crc32c } from '../checksum.ts'
import type { Slab, SlabPool } from '../slab-pool.ts'
import { ControlWriter } from './control-writer.ts'
import type { LaidFrame } from './control-writer.ts'
import { encodeHeader } from './frame-header.ts'
import { epochOf, encodeMessage, FRAME_TYPE } from './message-codec.ts'
import type { WireMessage } from './message-codec.ts'
import { CONTROL_BYTES_MAX, FLAG_MORE, HEADER_BYTES, JOINED_BYTES_MAX, PAYLOAD_BYTES_MAX } from './protocol.ts'

/** What one write takes at most, so that a lot of data does not leave our count for the socket's. */
const WRITE_BYTES_MAX = 4 << 20
const NO_VOLUME = new Uint8Array(16)
const NO_PIECES: readonly Uint8Array[] = []

interface Waiting extends LaidFrame {
  type: number
  flags: number
  epoch: number
  volume: Uint8Array
  /** All of it. */
  bytes: number
}

/** What a socket is to write, in order, and the slabs to release when it did. */
export interface Batch {
  pieces: Uint8Array[]
  slabs: Slab[]
  bytes: number
}

export class SendQueue {
  /** Of ours that the peer has reported as consumed. */
  peerConsumedBytes = 0
  /** Of the peer's, to be reported in every header. */
  consumedBytes = 0
  reportedBytes = 0
  readonly #out: ControlWriter
  readonly #pool: SlabPool
  readonly #rules: { version: number; seed: number }
  readonly #windowBytes: number
  readonly #waiting: Waiting[] = []
  #head = 0
  #waitingBytes = 0
  #number = 0
  #sentBytes = 0

  constructor(options: { pool: SlabPool; rules: { version: number; seed: number }; windowBytes: number }) {
    this.#pool = options.pool
    this.#rules = options.rules
    this.#windowBytes = options.windowBytes
    this.#out = new ControlWriter(options.pool)
  }

  /** Laid and not taken. */
  get waitingBytes(): number {
    return this.#waitingBytes
  }

  /** Counted bytes that left, since the connection began. */
  get sentBytes(): number {
    return this.#sentBytes
  }

  push(volume: Uint8Array | undefined, message: WireMessage): void {
    let joinedBytes = 0
    for (let first: number | undefined = 0; first !== undefined; ) {
      this.#out.begin()
      first = encodeMessage(this.#out, message, first)
      assert(this.#out.controlBytes <= CONTROL_BYTES_MAX, 'the control part fits a frame')
      assert(this.#out.payloadBytes <= PAYLOAD_BYTES_MAX, 'the payload fits a frame')
      const laid = this.#out.end()
      const bytes = HEADER_BYTES + laid.controlBytes + laid.payloadBytes
      joinedBytes += bytes
      assert(first === undefined || joinedBytes <= JOINED_BYTES_MAX, 'a message in pieces is not that large')
      const flags = first === undefined ? 0 : FLAG_MORE
      const type = FRAME_TYPE[message.type]
      this.#waiting.push({ ...laid, type, flags, epoch: epochOf(message), volume: volume ?? NO_VOLUME, bytes })
      this.#waitingBytes += bytes
    }
  }

  /** Whether a frame may leave now. */
  get canTake(): boolean {
    return this.#head < this.#waiting.length && this.#mayLeave(this.#waiting[this.#head]!)
  }

  #mayLeave({ bytes }: Waiting): boolean {
    return this.#sentBytes + bytes - this.peerConsumedBytes <= this.#windowBytes
  }

  /** What may leave now; `laneFrames` (without any content) go first. */
  take(laneFrames: readonly number[]): Batch {
    const batch: Batch = { pieces: [], slabs: [], bytes: 0 }
    for (const type of laneFrames) {
      this.#out.begin()
      const laid = this.#out.end()
      this.#leave(batch, { ...laid, type, flags: 0, epoch: 0, volume: NO_VOLUME, bytes: HEADER_BYTES })
    }
    while (this.canTake && batch.bytes < WRITE_BYTES_MAX) {
      const frame = this.#waiting[this.#head]!
      this.#waiting[this.#head++] = undefined as unknown as Waiting
      this.#waitingBytes -= frame.bytes
      this.#sentBytes += frame.bytes
      this.#leave(batch, frame)
    }
    if (this.#head > 32 && this.#head * 2 >= this.#waiting.length) {
      this.#waiting.splice(0, this.#head)
      this.#head = 0
    }
    return batch
  }

  /** Seal the header at its place and add the frame to what is written. */
  #leave(batch: Batch, frame: Waiting): void {
    const { slab, at, controlBytes, payloadBytes, pieces, payloadSlabs } = frame
    const { bytes, view } = slab
    const end = at + HEADER_BYTES + controlBytes
    const bodyCrc = crc32c(bytes.subarray(at + HEADER_BYTES, end), this.#rules.seed) >>> 0
    const { type, flags, epoch, volume } = frame
    const { consumedBytes } = this
    const number = this.#number++
    const fields = { type, flags, controlBytes, payloadBytes, volume, epoch, number, consumedBytes, bodyCrc }
    encodeHeader(bytes, view, at, fields, this.#rules)
    this.reportedBytes = consumedBytes
    batch.bytes += frame.bytes
    batch.slabs.push(slab)
    for (const payloadSlab of payloadSlabs) batch.slabs.push(payloadSlab)
    const last = batch.pieces[batch.pieces.length - 1]
    if (last !== undefined && last.buffer === bytes.buffer && last.byteOffset + last.length === bytes.byteOffset + at) {
      batch.pieces[batch.pieces.length - 1] = new Uint8Array(last.buffer, last.byteOffset, last.length + end - at)
    } else batch.pieces.push(bytes.subarray(at, end))
    for (const piece of pieces ?? NO_PIECES) batch.pieces.push(piece)
  }

  /** The socket does not need them any more. */
  sent(batch: Batch): void {
    for (const slab of batch.slabs) this.#pool.release(slab)
  }

  /** Nothing more leaves. What was taken is given back by `sent`. */
  close(): void {
    for (let i = this.#head; i < this.#waiting.length; i++) {
      const { slab, payloadSlabs } = this.#waiting[i]!
      this.#pool.release(slab)
      for (const payloadSlab of payloadSlabs) this.#pool.release(payloadSlab)
    }
    this.#waiting.length = this.#head = this.#waitingBytes = 0
    this.#out.close()
  }
}
