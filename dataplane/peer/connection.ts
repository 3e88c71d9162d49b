/**
 * One live connection of one lane, from the last byte of the prefaces to its end: socket -> intake -> deliveries, and
 * messages -> queue -> one write a turn.
 *
 * - The socket is always read: the window bounds what can arrive (PROTOCOL.md section 4), so a receiver that is slow
 *   still hears `alive` and `credit`, and is not taken for a dead one.
 * - What breaks the protocol ends the connection.
 * - `isProven`: the side that accepted has seen a frame, sealed with the nonce that it drew for this connection. Only
 *   a process that is alive can send one; until then this connection takes nobody's place.
 * - `closed` is told once.
 */
import type { ClockPort } from '../../engine/ports.ts'
import type { SlabPool } from '../slab-pool.ts'
import { VolumeIds } from './byte-fields.ts'
import type { Delivery, PeerIdentity } from './delivery.ts'
import { FrameIntake } from './frame-intake.ts'
import type { FrameRefusal, IncomingFrame, IntakeOwner } from './frame-intake.ts'
import { forVersion, isSayable } from './message-codec.ts'
import type { WireMessage } from './message-codec.ts'
import { directionSeed } from './preface.ts'
import type { Preface } from './preface.ts'
import type { PeerSocket } from './peer-socket.ts'
import { LANE_FRAME, WINDOW_BYTES } from './protocol.ts'
import type { Lane } from './protocol.ts'
import { SendQueue } from './send-queue.ts'
import type { Batch } from './send-queue.ts'

/** protocol: the peer broke it; refused: it may not do what it asked for. */
export type CloseReason =
  'ended' | 'socket' | 'protocol' | 'refused' | 'silent' | 'bye' | 'replaced' | 'stopped' | 'drained'

export interface ConnectionOwner {
  admit(connection: Connection, frame: IncomingFrame): FrameRefusal | undefined
  proven(connection: Connection): void
  deliver(connection: Connection, delivery: Delivery): void
  closed(connection: Connection, reason: CloseReason, why: string): void
  /** `send` answered 'full', and would not any more. */
  drained(connection: Connection): void
  /** The other end would take it for no message, and end the connection. */
  unsayable(connection: Connection, volumeId: string | undefined, type: WireMessage['type']): void
}

export interface ConnectionOptions {
  socket: PeerSocket
  own: Preface
  peer: Preface
  address: string
  version: number
  owner: ConnectionOwner
  pool: SlabPool
  clock: ClockPort
  queuedBytesMax: number
}

export class Connection implements IntakeOwner {
  readonly lane: Lane
  readonly peer: PeerIdentity
  /** Whether our side dialled. */
  readonly isOurs: boolean
  isProven: boolean
  lastReceivedMs: number
  readonly #o: ConnectionOptions
  readonly #intake: FrameIntake
  readonly #queue: SendQueue
  readonly #ids = new VolumeIds()
  /** ended: goodbye was said; what the peer still says is read. */
  #state: 'open' | 'draining' | 'ended' | 'closed' = 'open'
  #lastSentMs: number
  #writing: Batch | undefined
  #isFlushDue = false
  #isAliveDue = false
  #wasFull = false

  constructor(options: ConnectionOptions) {
    this.#o = options
    const { own, peer, version, pool, clock, socket: { socket } } = options
    this.lane = own.lane
    this.isOurs = own.answer === 'asked'
    this.isProven = this.isOurs
    const { node, instance, worker, role } = peer
    const from = { node, instance, worker, role, address: options.address }
    this.peer = from
    const outward = { version, seed: directionSeed(own, peer) }
    const queue = new SendQueue({ pool, rules: outward, windowBytes: peer.windowBytes })
    this.#queue = queue
    const inward = { version, lane: this.lane, seed: directionSeed(peer, own) }
    this.#intake = new FrameIntake({ from, pool, queue, rules: inward, owner: this })
    this.lastReceivedMs = this.#lastSentMs = clock.nowMs()
    socket.on('end', () => this.close('ended', 'the peer ended it'))
    socket.on('error', (error) => this.close('socket', error.message))
    socket.on('close', () => this.close('socket', 'the connection broke'))
    // The first frame proves us to the other side.
    if (this.isOurs) this.#sayAlive()
  }

  /** Of the protocol, as both ends agreed. */
  get version(): number {
    return this.#o.version
  }

  get isClosed(): boolean {
    return this.#state === 'closed'
  }

  /** Of messages that have not reached the socket. */
  get queuedBytes(): number {
    return this.#queue.waitingBytes + (this.#writing?.bytes ?? 0)
  }

  /**
   * full: not taken; `drained` will tell. down: this connection has ended, its version has no such message, or the
   * other end would not take it for one.
   */
  send(volumeId: string | undefined, message: WireMessage): 'queued' | 'full' | 'down' {
    const said = this.#state === 'open' ? forVersion(message, this.#o.version) : undefined
    if (said === undefined) return 'down'
    if (!isSayable(said)) {
      this.#o.owner.unsayable(this, volumeId, said.type)
      return 'down'
    }
    if (this.queuedBytes >= this.#o.queuedBytesMax) {
      this.#wasFull = true
      return 'full'
    }
    this.#queue.push(volumeId === undefined ? undefined : this.#ids.bytesOf(volumeId), said)
    this.#flushSoon()
    return 'queued'
  }

  // --- inward ------------------------------------------------------------------------------------------------------

  space(): Uint8Array {
    return this.#intake.space()
  }

  received(count: number): void {
    this.lastReceivedMs = this.#o.clock.nowMs()
    const problem = this.#intake.received(count)
    if (problem !== undefined) this.close('protocol', problem)
  }

  heard(): boolean {
    if (!this.isProven) {
      this.isProven = true
      this.#o.owner.proven(this)
    }
    return this.#state !== 'closed'
  }

  admit(frame: IncomingFrame): FrameRefusal | undefined {
    return this.#o.owner.admit(this, frame)
  }

  refused(why: string): void {
    this.close('refused', why)
  }

  deliver(delivery: Delivery): void {
    this.#o.owner.deliver(this, delivery)
  }

  bye(): void {
    this.close('bye', 'the peer stops')
  }

  windowMoved(): void {
    if (this.#state !== 'closed' && (this.#isCreditDue || this.#queue.canTake)) this.#flushSoon()
  }

  get #isCreditDue(): boolean {
    return this.#queue.consumedBytes - this.#queue.reportedBytes >= WINDOW_BYTES / 4
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
    this.#writing = this.#queue.take(laneFrames)
    if (isEnd) this.#state = 'ended'
    this.#write(this.#writing)
    if (isEnd) this.#o.socket.socket.end()
  }

  #write(batch: Batch): void {
    const pieces = this.#o.socket.writeNow(batch.pieces)
    if (pieces.length === 0) return this.#sent()
    const { socket } = this.#o.socket
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
    this.#o.socket.socket.destroy()
    this.#intake.close()
    this.#queue.close()
    this.#o.owner.closed(this, wasDraining && reason !== 'stopped' ? 'drained' : reason, why)
  }
}
