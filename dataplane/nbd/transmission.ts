/**
 * The transmission phase of one connection, in the worker that owns the volume: a thin shell around the parser, the
 * checks and the reply writer (D1, D2 and D8 of the data path).
 *
 *   socket --received--> RequestParser --validate, admit--> BlockDevice --done--> ReplyWriter --one write--> socket
 *
 * - Requests are submitted in arrival order and answered in the order in which they end.
 * - One write to the socket at a time. Replies that end inside a data event leave at its end; those that end later
 *   are gathered until the end of the turn (setImmediate), so a group commit of many writes is one system call.
 * - Memory is bounded, and so is what a client may ask (request-admission.ts). Whatever is reached, the socket is not
 *   read until it has eased; nothing is dropped.
 * - DISC, or the client's end of stream: what was submitted is finished and answered, then the connection closes.
 *   A request that did not arrive whole is dropped, and so are requests not submitted yet when the stream ends. A
 *   volume that holds requests for long is told of the end of the stream, so that it ends those that nobody waits for.
 * - What had to wait, here or in the socket, is dropped when the client is gone meanwhile: a kernel's client has sent
 *   it again on another socket by then, and what it wrote there since must not be written over.
 * - A client that cannot be followed (bad magic, a payload above the limit) loses its connection, nothing else.
 * - `onClose` runs once, when the volume holds nothing of this connection any more.
 */
import net from 'node:net'
import type { TLSSocket } from 'node:tls'
import { assert } from '../../engine/assert.ts'
import type { BlockDevice, Extent } from '../../engine/volume/block-device.ts'
import type { QosGate } from '../../engine/volume/qos-gate.ts'
import { TurnShares } from '../../engine/volume/turn-shares.ts'
import { encodeBlockStatus } from './block-status.ts'
import { InFlightRequest } from './in-flight-request.ts'
import type { RequestOwner } from './in-flight-request.ts'
import { MemoryBudget } from './memory-budget.ts'
import {
  BASE_ALLOCATION_ID, NBD_CMD_DISC, NBD_CMD_FLUSH, NBD_CMD_READ, NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_BLOCK_STATUS_EXT, PAYLOAD_BYTES_MAX,
} from './protocol.ts'
import type { Negotiated } from './protocol.ts'
import { ReplySender } from './reply-sender.ts'
import { ReplyWriter } from './reply-writer.ts'
import { RequestAdmission, TRANSMISSION_LIMITS } from './request-admission.ts'
import type { AdmittedConnection } from './request-admission.ts'
import { RequestParser } from './request-parser.ts'
import type { Admission, RequestHeader } from './request-parser.ts'
import type { RequestMeter } from '../meters/request-meter.ts'
import { SlabPool } from '../slab-pool.ts'
import { validate, volumeRefusal } from './validate.ts'
import type { Refusal, SessionFacts } from './validate.ts'
import { VolumeCalls } from './volume-calls.ts'
import { closeFd, hasHungUp } from '../../cluster/libc.ts'
import { setSendBuffer } from '../libc.ts'

/** Memory shared by the connections of a worker. */
export interface SessionMemory {
  pool: SlabPool
  budget: MemoryBudget
}

export type CloseReason = 'disconnected' | 'client-closed' | 'protocol' | 'socket' | 'drained' | 'stalled' | 'destroyed'

/**
 * Of a unix socket, where the kernel's 208 KiB are less than two replies of 128 KiB: who writes more waits until three
 * quarters of what is there were read.
 */
const SEND_BUFFER_BYTES = 256 * 1024

const workerMemory: SessionMemory = { pool: new SlabPool(), budget: new MemoryBudget() }
const workerShares = new TurnShares()

export class Transmission implements RequestOwner, AdmittedConnection {
  readonly #device: BlockDevice
  readonly #memory: SessionMemory
  readonly #session: SessionFacts
  readonly #onClose: (reason: CloseReason) => void
  readonly #meter: RequestMeter | undefined
  readonly #admission: RequestAdmission
  readonly #parser: RequestParser
  readonly #writer: ReplyWriter
  readonly #calls: VolumeCalls
  readonly #socket: net.Socket
  readonly #isSecure: boolean
  readonly #fd: number
  readonly #clientFd: number | undefined
  readonly #sender: ReplySender
  readonly #free: InFlightRequest[] = []
  /** open: requests are taken. ending: no more are; close when idle. closed: the socket is gone. */
  #state: 'open' | 'ending' | 'closed' = 'open'
  #reason: CloseReason = 'client-closed'
  #draining = false
  #drained: (() => void)[] = []
  #announced = false
  /** Of the header that was admitted last. */
  #refusal: Refusal | undefined
  /** When requests ended whose replies are ready, and whose replies are being written; with a meter only. */
  #endedMs: number[] = []
  #leavingMs: number[] = []
  #pumping = false
  /** The parser waits for something to ease. */
  #blocked = false
  /** The socket is not being read. */
  #paused = false
  /** It was not, and what it held then may not have been read yet. */
  #isLate = false
  #spaceBytes = 0
  #turnPlanned = false
  #progressMs = performance.now()

  constructor(options: {
    fd: number
    /** TLS over that descriptor, which stays its own; unset: plain text, and the descriptor is ours. */
    secured?: TLSSocket
    /** The client's connection, where `fd` leads to who relays it; ours too. */
    clientFd?: number | undefined
    negotiated: Negotiated
    /** Bytes that arrived behind the handshake. */
    leftover: Uint8Array
    device: BlockDevice
    limits?: Partial<typeof TRANSMISSION_LIMITS>
    memory?: SessionMemory
    /** Of the volume. */
    meter?: RequestMeter | undefined
    /** The volume's limits, shared by all its connections here. */
    gate?: QosGate | undefined
    shares?: TurnShares | undefined
    onClose: (reason: CloseReason) => void
  }) {
    const { negotiated } = options
    this.#device = options.device
    this.#memory = options.memory ?? workerMemory
    this.#onClose = options.onClose
    this.#meter = options.meter
    this.#admission = new RequestAdmission(this, {
      limits: { ...TRANSMISSION_LIMITS, ...options.limits },
      budget: this.#memory.budget,
      gate: options.gate,
      shares: options.shares ?? workerShares,
      // A reader of a snapshot counts as a volume by itself.
      volume: options.gate ?? options.device,
    })
    this.#session = {
      chunkedReplies: negotiated.structuredReplies || negotiated.extendedHeaders,
      extendedHeaders: negotiated.extendedHeaders,
      blockStatus: negotiated.metaContexts.includes(BASE_ALLOCATION_ID),
    }
    const { pool } = this.#memory
    this.#parser = new RequestParser({
      extended: negotiated.extendedHeaders,
      pool,
      admit: (header, payloadBytes) => this.#admit(header, payloadBytes),
    })
    this.#writer = new ReplyWriter({
      style: negotiated.extendedHeaders ? 'extended' : negotiated.structuredReplies ? 'structured' : 'simple',
      pool,
    })
    this.#calls = new VolumeCalls({
      device: this.#device, writer: this.#writer, chunkedReplies: this.#session.chunkedReplies,
    })
    const taken = this.#parser.append(options.leftover)
    assert(taken === options.leftover.length, 'a fresh parser takes everything')
    this.#fd = options.fd
    this.#clientFd = options.clientFd
    const { secured } = options
    this.#isSecure = secured !== undefined
    this.#socket = secured ?? new net.Socket({
      fd: options.fd,
      allowHalfOpen: true,
      onread: {
        buffer: () => this.#space(),
        callback: (count) => this.#received(count),
      },
    })
    this.#socket.setNoDelay(true)
    // Nothing depends on it: a socket that refuses goes on with what it has.
    if (this.#socket.remoteAddress === undefined) setSendBuffer(options.fd, SEND_BUFFER_BYTES)
    // Bytes wait in TLS without our knowing: how long, cannot be told.
    this.#isLate = this.#isSecure
    const to = { socket: this.#socket, isSecure: this.#isSecure, writer: this.#writer }
    this.#sender = new ReplySender(to, (heldBytes, failed) => this.#sent(heldBytes, failed))
    this.#socket.on('end', () => {
      this.#end('client-closed')
      this.#device.disconnected?.()
    })
    this.#socket.on('error', () => this.#close('socket'))
    this.#socket.on('close', () => this.#close('socket'))
    this.#serve()
    if (!this.#mayRead) this.#pause()
    else if (secured !== undefined) secured.resume()
    secured?.on('data', (bytes: Uint8Array) => this.#decrypted(bytes))
  }

  get inFlightRequests(): number {
    return this.#admission.inFlight
  }

  get heldBytes(): number {
    return this.#admission.heldBytes
  }

  get stalledSinceMs(): number | undefined {
    return this.#parser.owedBytes > 0 || this.#sender.busy ? this.#progressMs : undefined
  }

  /**
   * Answer what was submitted, leave what comes now unanswered, close; `done` runs after that. A client that connects
   * again sends it again; told ESHUTDOWN a kernel's client would make EIO of it for whoever uses the device.
   */
  drain(done: () => void): void {
    if (this.#announced) return done()
    this.#drained.push(done)
    this.#draining = true
    this.#reason = 'drained'
    this.#serve()
  }

  /** Close at once; what the volume still does for this connection stays unanswered. */
  destroy(): void {
    this.#close('destroyed')
  }

  evict(): void {
    this.#close('stalled')
  }

  wake(): void {
    this.#plan()
  }

  get isWaiting(): boolean {
    return this.#blocked && this.#state !== 'closed'
  }

  #space(): Uint8Array {
    const space = this.#parser.space()
    this.#spaceBytes = space.length
    return space
  }

  /** @returns false to stop reading */
  #received(count: number): boolean {
    this.#progressMs = performance.now()
    this.#admission.beginTurn()
    let foreign = this.#parser.received(count)
    while (foreign.length > 0 && this.#state === 'open') {
      foreign = foreign.subarray(this.#parser.append(foreign))
      if (foreign.length > 0) this.#pump()
    }
    this.#serve()
    this.#paused = !this.#mayRead
    this.#isLate = this.#paused || (this.#isLate && count === this.#spaceBytes)
    return !this.#paused
  }

  /** Bytes that are there already: they are copied to where the parser has them. */
  #decrypted(bytes: Uint8Array): void {
    this.#progressMs = performance.now()
    this.#admission.beginTurn()
    let rest = bytes
    while (rest.length > 0 && this.#state === 'open') {
      rest = rest.subarray(this.#parser.append(rest))
      if (rest.length > 0) this.#pump()
    }
    this.#serve()
    if (this.#paused || this.#mayRead) return
    this.#pause()
  }

  get #mayRead(): boolean {
    return this.#state === 'open' && !this.#blocked
  }

  /** A client of a unix socket may send no more and still wait for answers; of one over TCP that cannot be told. */
  get #isGone(): boolean {
    if (this.#state !== 'open') return false
    if (this.#clientFd !== undefined && hasHungUp(this.#clientFd, true)) return true
    return hasHungUp(this.#fd, this.#socket.remoteAddress !== undefined)
  }

  /** Its client is gone: what is left of it is what it had asked. */
  get isLeft(): boolean {
    return this.#state !== 'open' || this.#isGone
  }

  #pause(): void {
    this.#paused = this.#isLate = true
    this.#socket.pause()
  }

  /** Take what has arrived, send what is ready, go on reading or close: at the end of every event. */
  #serve(): void {
    this.#pump()
    this.#flush()
    if (this.#state === 'closed') return
    const idle = this.#admission.inFlight === 0 && !this.#sender.busy && this.#writer.readyBytes === 0
    if (idle && (this.#state === 'ending' || this.#draining)) this.#close(this.#reason)
    else if (this.#paused && this.#mayRead) {
      this.#paused = false
      this.#socket.resume()
    }
  }

  #pump(): void {
    if (this.#pumping) return
    if ((this.#blocked || this.#isLate) && this.#isGone) {
      this.#device.disconnected?.()
      return this.#end('client-closed')
    }
    this.#pumping = true
    this.#meter?.look()
    this.#blocked = this.#admission.isAtGate = false
    while (this.#state === 'open') {
      const progress = this.#parser.next()
      if (progress === 'request') {
        this.#submit()
        continue
      }
      if (progress === 'wait') this.#blocked = true
      else if (progress === 'broken') this.#end('protocol')
      break
    }
    this.#pumping = false
    if (!this.#admission.isAtGate) this.#admission.leaveGate()
  }

  #admit(header: RequestHeader, payloadBytes: number): Admission {
    if (payloadBytes > PAYLOAD_BYTES_MAX) return 'close'
    const isEnd = header.type === NBD_CMD_DISC
    if (!this.#admission.hasPlace(this.#sender.queuedBytes) || (this.#draining && !isEnd)) {
      this.#admission.stopWaiting()
      return 'wait'
    }
    this.#refusal = validate(header, this.#device, this.#session)
    if (this.#refusal !== undefined) return 'skip'
    if (isEnd) return 'take'
    const bytes = payloadBytes > 0 || header.type === NBD_CMD_READ ? header.lengthBytes : 0
    return this.#admission.take(bytes, payloadBytes > 0) ? 'take' : 'wait'
  }

  #submit(): void {
    const { header } = this.#parser
    this.#admission.arrived()
    const request = this.#free.pop() ?? new InFlightRequest(this)
    request.take(header)
    if (this.#refusal !== undefined) this.#writer.error(request, this.#refusal.errno, this.#refusal.message)
    else if (request.type === NBD_CMD_DISC) this.#end('disconnected')
    else if (request.lengthBytes === 0 && request.type !== NBD_CMD_FLUSH) {
      if (request.type === NBD_CMD_READ) this.#writer.emptyRead(request)
      else this.#writer.success(request)
    } else {
      this.#admission.inFlight++
      this.#meter?.begin(request)
      request.payloadSlab = this.#parser.payloadSlab
      return this.#calls.submit(request, this.#parser.payload)
    }
    this.#free.push(request)
  }

  statusKnown(request: InFlightRequest, errno: number, extents: readonly Extent[]): void {
    if (request.type === NBD_CMD_READ) {
      if (this.#state === 'closed') return this.#dropRead(request)
      // A volume that cannot say what is allocated may still be able to read.
      return this.#calls.readKnowing(request, errno === 0 ? extents : [])
    }
    this.#admission.inFlight--
    this.#metered(request, errno)
    if (this.#state !== 'closed') {
      const extended = this.#writer.style === 'extended'
      if (errno !== 0) this.#refuse(request, errno)
      else {
        const type = extended ? NBD_REPLY_TYPE_BLOCK_STATUS_EXT : NBD_REPLY_TYPE_BLOCK_STATUS
        this.#writer.chunk(request, type, encodeBlockStatus(extents, request.lengthBytes, extended))
      }
    }
    this.#retire(request)
  }

  #dropRead(request: InFlightRequest): void {
    this.#admission.inFlight--
    this.#metered(request, 0)
    this.#admission.release(request.lengthBytes)
    this.#retire(request)
  }

  /** What nobody waits for any more is no error. */
  #metered(request: InFlightRequest, errno: number): void {
    if (this.#meter === undefined) return
    const isClosed = this.#state === 'closed'
    const endedMs = this.#meter.end(request, errno !== 0 && !isClosed)
    if (!isClosed) this.#endedMs.push(endedMs)
  }

  requestEnded(request: InFlightRequest, errno: number): void {
    this.#admission.inFlight--
    this.#metered(request, errno)
    if (request.type === NBD_CMD_READ) this.#readEnded(request, errno)
    else {
      if (request.payloadSlab !== undefined) {
        if (errno === 0 || this.#device.keepsPayload !== true) this.#memory.pool.release(request.payloadSlab)
        this.#admission.release(request.lengthBytes)
      }
      if (this.#state !== 'closed') {
        if (errno === 0) this.#writer.success(request)
        else this.#refuse(request, errno)
      }
    }
    this.#retire(request)
  }

  #readEnded(request: InFlightRequest, errno: number): void {
    const slab = request.replySlab!
    const { replyAt } = request
    if (errno === 0 && this.#state !== 'closed') {
      if (!request.inParts) this.#writer.readHeader(slab, replyAt, request, request.lengthBytes)
      this.#writer.commit(slab, replyAt, replyAt + request.replyBytes)
      this.#sender.readyHeldBytes += request.lengthBytes
      return
    }
    this.#writer.abandon(slab)
    this.#admission.release(request.lengthBytes)
    if (this.#state !== 'closed') this.#refuse(request, errno)
  }

  #refuse(request: InFlightRequest, errno: number): void {
    const refusal = volumeRefusal(errno)
    this.#writer.error(request, refusal.errno, refusal.message)
  }

  #retire(request: InFlightRequest): void {
    request.payloadSlab = undefined
    request.replySlab = undefined
    this.#free.push(request)
    if (this.#state === 'closed') this.#announce()
    else if (!this.#pumping) this.#plan()
  }

  /** Go on at the end of this turn, together with whatever else becomes ready in it. */
  #plan(): void {
    if (this.#turnPlanned || this.#state === 'closed') return
    this.#turnPlanned = true
    setImmediate(this.#turn)
  }

  readonly #turn = (): void => {
    this.#turnPlanned = false
    if (this.#state === 'closed') return
    this.#admission.beginTurn()
    // Before taking more: what waits in the socket's queue counts against the client.
    this.#flush()
    this.#serve()
  }

  #flush(): void {
    if (this.#state === 'closed' || !this.#sender.isDue) return
    this.#progressMs = performance.now()
    const left = this.#leavingMs
    this.#leavingMs = this.#endedMs
    left.length = 0
    this.#endedMs = left
    this.#sender.flush()
  }

  #sent(heldBytes: number, failed: boolean): void {
    this.#admission.release(heldBytes)
    if (this.#state === 'closed') return this.#announce()
    if (failed) return this.#close('socket')
    if (this.#leavingMs.length > 0) this.#meter!.left(this.#leavingMs)
    if (this.#blocked || this.#writer.readyBytes > 0 || this.#state === 'ending' || this.#draining) this.#plan()
  }

  #end(reason: CloseReason): void {
    if (this.#state !== 'open') return
    this.#state = 'ending'
    this.#reason = reason
    this.#plan()
  }

  #close(reason: CloseReason): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#reason = reason
    this.#admission.close()
    this.#admission.release(this.#sender.readyHeldBytes)
    this.#sender.readyHeldBytes = 0
    this.#parser.close()
    this.#writer.close()
    this.#socket.destroy()
    this.#device.disconnected?.()
    this.#announce()
  }

  /** A write under way keeps its buffers until the socket's callback, which also comes after destroy(). */
  #announce(): void {
    if (this.#announced || this.#admission.inFlight > 0 || this.#sender.busy) return
    this.#announced = true
    if (this.#clientFd !== undefined) closeFd(this.#clientFd)
    assert(this.#admission.heldBytes === 0, 'a closed connection holds nothing')
    setImmediate(() => {
      this.#onClose(this.#reason)
      for (const done of this.#drained) done()
    })
  }
}
