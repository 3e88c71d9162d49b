/**
 * The inward half of a connection: bytes -> frames -> messages, each held against the window, the rules of the owner
 * and its codec (PROTOCOL.md sections 3, 4). Pure: no socket.
 *
 * Invariant: of a frame that breaks a rule nothing is delivered, and nothing behind it.
 */
import type { Slab, SlabPool } from '../slab-pool.ts'
import { VolumeIds } from './byte-fields.ts'
import { Delivery } from './delivery.ts'
import type { PeerIdentity } from './delivery.ts'
import { frameBytes, isLaneFrame } from './frame-header.ts'
import type { FrameHeader, HeaderRules } from './frame-header.ts'
import { FrameParser } from './frame-parser.ts'
import { decodeMessage, familyOf, typeName } from './message-codec.ts'
import type { MessageFamily, WireMessage } from './message-codec.ts'
import { MessageJoin } from './message-join.ts'
import { ZERO_ID } from './preface.ts'
import { LANE_FRAME, WINDOW_BYTES } from './protocol.ts'
import type { SendQueue } from './send-queue.ts'

/** What is known of a frame before its body is taken. */
export interface IncomingFrame {
  family: MessageFamily
  type: string
  volumeId: string
  epoch: number
}

/** close: end the connection. skip: read over this one; told in the log where it does not come by itself. */
export type FrameRefusal = { action: 'close'; why: string } | { action: 'skip'; why: string; isTold?: boolean }

export interface IntakeOwner {
  /** A header was sealed for this connection: whoever sent it is there. @returns whether it goes on */
  heard(): boolean
  admit(frame: IncomingFrame): FrameRefusal | undefined
  /** `admit` said to close. */
  refused(why: string): void
  deliver(delivery: Delivery): void
  bye(): void
  /** More of ours may leave, or there is something to report. */
  windowMoved(): void
  readonly isClosed: boolean
}

export class FrameIntake {
  readonly #from: PeerIdentity
  readonly #pool: SlabPool
  readonly #queue: SendQueue
  readonly #owner: IntakeOwner
  readonly #parser: FrameParser
  readonly #join: MessageJoin
  readonly #ids = new VolumeIds()
  #receivedBytes = 0
  /** Of the header that was admitted last. */
  #volumeId = ZERO_ID
  #isSkipped = false

  constructor(options: {
    from: PeerIdentity
    pool: SlabPool
    rules: Omit<HeaderRules, 'number'>
    /** Where what was consumed is reported. */
    queue: SendQueue
    owner: IntakeOwner
  }) {
    this.#from = options.from
    this.#pool = options.pool
    this.#queue = options.queue
    this.#owner = options.owner
    const { pool, rules } = options
    this.#parser = new FrameParser({ pool, rules, admit: (header, view) => this.#admit(header, view) })
    this.#join = new MessageJoin(pool)
  }

  space(): Uint8Array {
    return this.#parser.space()
  }

  /** @returns what breaks the protocol; nothing more is to be given then */
  received(count: number): string | undefined {
    this.#parser.received(count)
    while (!this.#owner.isClosed) {
      const progress = this.#parser.next()
      if (progress === 'more') return undefined
      const problem = progress === 'broken' ? this.#parser.problem : this.#takeFrame()
      if (problem !== undefined) return problem
    }
    return undefined
  }

  close(): void {
    this.#parser.close()
    this.#join.close()
  }

  /** Before memory is taken for a body. @returns why it is not */
  #admit(header: FrameHeader, view: DataView): string | undefined {
    const { type, epoch } = header
    if (header.consumedBytes < this.#queue.peerConsumedBytes || header.consumedBytes > this.#queue.sentBytes)
      return 'it consumed what was not sent'
    this.#volumeId = this.#ids.textAt(view, header.volumeAt)
    this.#isSkipped = false
    if (!this.#owner.heard()) return 'another connection stands'
    if (isLaneFrame(type)) {
      const isBare = header.controlBytes + header.payloadBytes + epoch === 0 && this.#volumeId === ZERO_ID
      return isBare ? undefined : 'a frame of the lane has no content'
    }
    // What was not reported yet the sender cannot know of.
    if (this.#receivedBytes + frameBytes(header) - this.#queue.reportedBytes > WINDOW_BYTES)
      return 'it sent beyond the window'
    const family = familyOf(type)
    if ((family === 'link') !== (this.#volumeId === ZERO_ID)) return 'a message of no volume, or of one too many'
    const frame = { family, type: typeName(type), volumeId: this.#volumeId, epoch }
    const refusal = this.#owner.admit(frame)
    if (refusal === undefined) return undefined
    if (refusal.action === 'skip') {
      this.#isSkipped = true
      return undefined
    }
    this.#owner.refused(`${frame.type}: ${refusal.why}`)
    return refusal.why
  }

  #takeFrame(): string | undefined {
    const { header } = this.#parser
    const taken = this.#parser.take()
    if (taken === undefined) return this.#parser.problem
    const { body, slab } = taken
    const { type, epoch } = header
    this.#queue.peerConsumedBytes = header.consumedBytes
    if (isLaneFrame(type)) {
      this.#pool.release(slab)
      if (type === LANE_FRAME.bye) this.#owner.bye()
      else this.#owner.windowMoved()
      return undefined
    }
    const bytes = frameBytes(header)
    this.#receivedBytes += bytes
    const message = this.#isSkipped ? undefined : decodeMessage(type, epoch, body)
    let problem: string | undefined
    if (typeof message === 'object') problem = this.#deliver(message, { header, slab, bytes })
    else {
      this.#pool.release(slab)
      this.#consumed(bytes)
      problem = message
    }
    this.#owner.windowMoved()
    return problem === undefined ? undefined : `${typeName(type)}: ${problem}`
  }

  /** @returns what is wrong with a piece of a message */
  #deliver(message: WireMessage, of: { header: FrameHeader; slab: Slab; bytes: number }): string | undefined {
    const { header, slab, bytes } = of
    const volumeId = this.#volumeId
    const joined = this.#join.add({ message, volumeId, slab, bytes, header })
    if (joined === undefined || 'refused' in joined) {
      this.#consumed(bytes)
      return joined?.refused
    }
    const from = this.#from
    const pool = this.#pool
    const family = familyOf(header.type)
    const onDone = (): void => this.#consumed(bytes)
    this.#owner.deliver(new Delivery({ from, family, volumeId, pool, onDone, ...joined }))
    return undefined
  }

  #consumed(bytes: number): void {
    this.#queue.consumedBytes += bytes
    this.#owner.windowMoved()
  }
}
