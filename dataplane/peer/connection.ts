/**
 * One live connection of one lane, from the last byte of the prefaces to its end: socket -> parser -> deliveries, and
 * messages -> queue -> one write a turn.
 *
 * - The socket is always read: the window bounds what can arrive (PROTOCOL.md section 4), so a receiver that is slow
 *   still hears `alive` and `credit`, and is not taken for a dead one.
 * - What breaks the protocol ends the connection before anything of the frame is delivered.
 * - `isProven`: the side that accepted has seen a frame, sealed with the nonce that it drew for this connection. Only
 *   a process that is alive can send one; until then this connection takes nobody's place.
 * - `closed` is told once.
 */
import type net from 'node:net'
import type { ClockPort } from '../../engine/ports.ts'
import type { Slab, SlabPool } from '../nbd/slab-pool.ts'
import { VolumeIds } from './byte-fields.ts'
import type { PeerIdentity } from './delivery.ts'
import { Delivery } from './delivery.ts'
import { frameBytes, isLaneFrame } from './frame-header.ts'
import type { FrameHeader } from './frame-header.ts'
import { FrameParser } from './frame-parser.ts'
import { decodeMessage, familyOf, typeName } from './message-codec.ts'
import type { MessageFamily, WireMessage } from './message-codec.ts'
import { MessageJoin } from './message-join.ts'
import { directionSeed, ZERO_ID } from './preface.ts'
import type { Preface } from './preface.ts'
import { LANE_FRAME, WINDOW_BYTES } from './protocol.ts'
import type { Lane } from './protocol.ts'
import { SendQueue } from './send-queue.ts'
import type { Batch } from './send-queue.ts'

/** protocol: the peer broke it; refused: it may not do what it asked for. */
export type CloseReason =
  'ended' | 'socket' | 'protocol' | 'refused' | 'silent' | 'bye' | 'replaced' | 'stopped' | 'drained'

/** What is known of a frame before its body is taken. */
export interface IncomingFrame {
  family: MessageFamily
  type: string
  volumeId: string
  epoch: number
}

/** close: end the connection. skip: read over this one. */
export type FrameRefusal = { action: 'close' | 'skip'; why: string }

export interface ConnectionOwner {
  admit(connection: Connection, frame: IncomingFrame): FrameRefusal | undefined
  proven(connection: Connection): void
  deliver(connection: Connection, delivery: Delivery): void
  closed(connection: Connection, reason: CloseReason, why: string): void
  /** `send` answered 'full', and would not any more. */
  drained(connection: Connection): void
}

export interface ConnectionOptions {
  socket: net.Socket
  own: Preface
  peer: Preface
  address: string
  version: number
  owner: ConnectionOwner
  pool: SlabPool
  clock: ClockPort
  queuedBytesMax: number
}

export class Connection {
  readonly lane: Lane
  readonly peer: PeerIdentity
  /** Whether our side dialled. */
  readonly isOurs: boolean
  isProven: boolean
  lastReceivedMs: number
  readonly #o: ConnectionOptions
  readonly #parser: FrameParser
  readonly #queue: SendQueue
  readonly #join: MessageJoin
  readonly #ids = new VolumeIds()
  /** ended: goodbye was said; what the peer still says is read. */
  #state: 'open' | 'draining' | 'ended' | 'closed' = 'open'
  #lastSentMs: number
  #receivedBytes = 0
  #writing: Batch | undefined
  #isFlushDue = false
  #isAliveDue = false
  #wasFull = false
  #volumeId = ZERO_ID
  #skips: string | undefined

  constructor(options: ConnectionOptions) {
    this.#o = options
    const { own, peer, version, pool, clock, socket } = options
    this.lane = own.lane
    this.isOurs = own.answer === 'asked'
    this.isProven = this.isOurs
    const { node, instance, worker, role } = peer
    this.peer = { node, instance, worker, role, address: options.address }
    const inward = { version, lane: this.lane, seed: directionSeed(peer, own) }
    const outward = { version, seed: directionSeed(own, peer) }
    this.#parser = new FrameParser({ pool, rules: inward, admit: (header, view) => this.#admit(header, view) })
    this.#queue = new SendQueue({ pool, rules: outward, windowBytes: peer.windowBytes })
    this.#join = new MessageJoin(pool)
    this.lastReceivedMs = this.#lastSentMs = clock.nowMs()
    socket.on('end', () => this.close('ended', 'the peer ended it'))
    socket.on('error', (error) => this.close('socket', error.message))
    socket.on('close', () => this.close('socket', 'the connection broke'))
    // The first frame proves us to the other side.
    if (this.isOurs) this.#sayAlive()
  }

  get isOpen(): boolean {
    return this.#state === 'open'
  }

  /** Of messages that have not reached the socket. */
  get queuedBytes(): number {
    return this.#queue.waitingBytes + (this.#writing?.bytes ?? 0)
  }

  /** Received and not yet done with. */
  get unconsumedBytes(): number {
    return this.#receivedBytes - this.#queue.consumedBytes
  }

  /** full: not taken; `drained` will tell. down: this connection has ended. */
  send(volumeId: string | undefined, message: WireMessage): 'queued' | 'full' | 'down' {
    if (this.#state !== 'open') return 'down'
    if (this.queuedBytes >= this.#o.queuedBytesMax) {
      this.#wasFull = true
      return 'full'
    }
    this.#queue.push(volumeId === undefined ? undefined : this.#ids.bytesOf(volumeId), message)
    this.#flushSoon()
    return 'queued'
  }

  // --- inward ------------------------------------------------------------------------------------------------------

  space(): Uint8Array {
    return this.#parser.space()
  }

  received(count: number): void {
    this.lastReceivedMs = this.#o.clock.nowMs()
    this.#parser.received(count)
    while (this.#state !== 'closed') {
      const progress = this.#parser.next()
      if (progress === 'more') return
      if (progress === 'broken' || !this.#takeFrame()) return this.#violated(this.#parser.problem)
    }
  }

  /** Before memory is taken for a body. @returns why it is not */
  #admit(header: FrameHeader, view: DataView): string | undefined {
    if (header.consumedBytes < this.#queue.peerConsumedBytes || header.consumedBytes > this.#queue.sentBytes)
      return 'it consumed what was not sent'
    this.#volumeId = this.#ids.textAt(view, header.volumeAt)
    this.#skips = undefined
    if (!this.isProven) {
      this.isProven = true
      this.#o.owner.proven(this)
      if (this.#state === 'closed') return 'another one stands'
    }
    const { type, epoch } = header
    if (isLaneFrame(type)) {
      const isBare = header.controlBytes + header.payloadBytes + epoch === 0 && this.#volumeId === ZERO_ID
      return isBare ? undefined : 'a frame of the lane has no content'
    }
    // What was not reported yet the sender cannot know of.
    const unreportedBytes = this.#receivedBytes + frameBytes(header) - this.#queue.reportedBytes
    if (unreportedBytes > WINDOW_BYTES) return 'it sent beyond the window'
    const family = familyOf(type)
    if ((family === 'link') !== (this.#volumeId === ZERO_ID)) return 'a message of no volume, or of one too many'
    const frame = { family, type: typeName(type), volumeId: this.#volumeId, epoch }
    const refusal = this.#o.owner.admit(this, frame)
    if (refusal?.action === 'skip') this.#skips = refusal.why
    else if (refusal !== undefined) {
      this.close('refused', `${frame.type}: ${refusal.why}`)
      return refusal.why
    }
    return undefined
  }

  /** @returns false when it breaks the protocol */
  #takeFrame(): boolean {
    const { header } = this.#parser
    const taken = this.#parser.take()
    if (taken === undefined) return false
    const { body, slab } = taken
    const { type, epoch } = header
    this.#queue.peerConsumedBytes = header.consumedBytes
    const bytes = isLaneFrame(type) ? 0 : frameBytes(header)
    this.#receivedBytes += bytes
    let problem: string | undefined
    if (bytes === 0 || this.#skips !== undefined) {
      this.#o.pool.release(slab)
      this.#consumed(bytes)
      if (type === LANE_FRAME.bye) this.close('bye', 'the peer stops')
    } else {
      const message = decodeMessage(type, epoch, body)
      if (typeof message === 'string') {
        this.#o.pool.release(slab)
        problem = message
      } else problem = this.#deliver(message, { header, slab, bytes })
    }
    if (this.#queue.canTake && this.#state !== 'closed') this.#flushSoon()
    this.#parser.problem = problem === undefined ? '' : `${typeName(type)}: ${problem}`
    return problem === undefined
  }

  /** @returns what is wrong with a piece of a message */
  #deliver(message: WireMessage, of: { header: FrameHeader; slab: Slab; bytes: number }): string | undefined {
    const { header, slab, bytes } = of
    const joined = this.#join.add({ message, volumeId: this.#volumeId, slab, bytes, header })
    if (joined === undefined || 'refused' in joined) {
      this.#consumed(bytes)
      return joined?.refused
    }
    const { pool } = this.#o
    const family = familyOf(header.type)
    const onDone = (): void => this.#consumed(bytes)
    const options = { from: this.peer, family, volumeId: this.#volumeId, message: joined.message, pool, onDone }
    this.#o.owner.deliver(this, new Delivery({ ...options, slabs: joined.slabs }))
    return undefined
  }

  #consumed(bytes: number): void {
    this.#queue.consumedBytes += bytes
    if (this.#isCreditDue && this.#state !== 'closed') this.#flushSoon()
  }

  get #isCreditDue(): boolean {
    return this.#queue.consumedBytes - this.#queue.reportedBytes >= WINDOW_BYTES / 4
  }

  #violated(problem: string): void {
    this.close('protocol', problem)
  }

  // --- outward -----------------------------------------------------------------------------------------------------

  /** Keeps the connection alive and notices that the other end is not. */
  tick(nowMs: number, limits: { keepaliveMs: number; silenceMs: number }): void {
    if (this.#state === 'closed') return
    if (nowMs - this.lastReceivedMs >= limits.silenceMs) {
      return this.close('silent', `nothing came for ${Math.round(nowMs - this.lastReceivedMs)} ms`)
    }
    if (this.isProven && nowMs - this.#lastSentMs >= limits.keepaliveMs) this.#sayAlive()
  }

  #sayAlive(): void {
    this.#isAliveDue = true
    this.#flushSoon()
  }

  #flushSoon(): void {
    if (this.#isFlushDue) return
    this.#isFlushDue = true
    this.#o.clock.defer(this.#flush)
  }

  readonly #flush = (): void => {
    this.#isFlushDue = false
    if (this.#state === 'closed' || this.#state === 'ended' || this.#writing !== undefined) return
    const isEnd = this.#state === 'draining' && this.#queue.waitingBytes === 0
    const laneFrames: number[] = []
    if (isEnd) laneFrames.push(LANE_FRAME.bye)
    else if (!this.#queue.canTake) {
      if (this.#isCreditDue) laneFrames.push(LANE_FRAME.credit)
      else if (this.#isAliveDue) laneFrames.push(LANE_FRAME.alive)
      else return
    }
    this.#isAliveDue = false
    this.#lastSentMs = this.#o.clock.nowMs()
    const batch = this.#queue.take(laneFrames)
    this.#writing = batch
    this.#write(batch)
    if (!isEnd) return
    this.#state = 'ended'
    this.#o.socket.end()
  }

  #write({ pieces }: Batch): void {
    const { socket } = this.#o
    if (pieces.length > 1) socket.cork()
    const last = pieces.length - 1
    for (let i = 0; i < last; i++) socket.write(pieces[i]!)
    socket.write(pieces[last]!, this.#sent)
    if (pieces.length > 1) socket.uncork()
  }

  readonly #sent = (): void => {
    const batch = this.#writing
    if (batch === undefined) return
    this.#writing = undefined
    this.#queue.sent(batch)
    if (this.#state === 'closed') return
    this.#flush()
    if (this.#wasFull && this.queuedBytes < this.#o.queuedBytesMax / 2) {
      this.#wasFull = false
      this.#o.owner.drained(this)
    }
  }

  /** Send what is queued, say goodbye, and end. Messages given from here on are not taken. */
  drain(): void {
    if (this.#state !== 'open') return
    this.#state = 'draining'
    this.#flushSoon()
  }

  close(reason: CloseReason, why: string): void {
    if (this.#state === 'closed') return
    const wasDraining = this.#state === 'draining' || this.#state === 'ended'
    this.#state = 'closed'
    this.#o.socket.destroy()
    this.#parser.close()
    this.#join.close()
    this.#queue.close()
    this.#o.owner.closed(this, wasDraining && reason !== 'stopped' ? 'drained' : reason, why)
  }
}
