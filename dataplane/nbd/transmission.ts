/**
 * The transmission phase of one connection, in the worker that owns the volume: a thin shell around the parser, the
 * checks and the reply writer (D1, D2 and D8 of the data path).
 *
 *   socket --received--> RequestParser --admit, validate--> BlockDevice --done--> ReplyWriter --one write--> socket
 *
 * - Requests are submitted in arrival order and answered in the order in which they end.
 * - One write to the socket at a time. Replies that end inside a data event leave at its end; those that end later
 *   are gathered until the end of the turn (setImmediate), so a group commit of many writes is one system call.
 * - Memory is bounded: requests and bytes in flight, replies not taken by the client, and the worker's budget over all
 *   connections. Whatever is reached, the socket is not read until it has eased; nothing is dropped.
 * - DISC, or the client's end of stream: what was submitted is finished and answered, then the connection closes.
 *   A request that did not arrive whole is dropped, and so are requests not submitted yet when the stream ends.
 * - A client that cannot be followed (bad magic, a payload above the limit) loses its connection, nothing else.
 * - `onClose` runs once, when the volume holds nothing of this connection any more.
 */
import net from 'node:net'
import { assert, unreachable } from '../../engine/assert.ts'
import type { BlockDevice, Extent } from '../../engine/volume/block-device.ts'
import { EXTENTS_MAX, encodeBlockStatus, planSparseRead } from './block-status.ts'
import type { ReadPart } from './block-status.ts'
import { InFlightRequest } from './in-flight-request.ts'
import type { RequestOwner } from './in-flight-request.ts'
import { MemoryBudget } from './memory-budget.ts'
import type { BudgetMember } from './memory-budget.ts'
import {
  BASE_ALLOCATION_ID, NBD_CMD_BLOCK_STATUS, NBD_CMD_CACHE, NBD_CMD_DISC, NBD_CMD_FLAG_DF, NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE, NBD_CMD_FLAG_REQ_ONE, NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_TRIM, NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES, NBD_REPLY_TYPE_BLOCK_STATUS, NBD_REPLY_TYPE_BLOCK_STATUS_EXT, PAYLOAD_BYTES_MAX,
} from './protocol.ts'
import type { Negotiated } from './protocol.ts'
import { ReplyWriter } from './reply-writer.ts'
import type { Piece } from './reply-writer.ts'
import { RequestParser } from './request-parser.ts'
import type { Admission, RequestHeader } from './request-parser.ts'
import { SlabPool } from './slab-pool.ts'
import { REFUSED, validate, volumeRefusal } from './validate.ts'
import type { Refusal, SessionFacts } from './validate.ts'

export const TRANSMISSION_LIMITS = {
  inFlightRequestsMax: 1024,
  /** A single request may be longer; it is then alone. */
  inFlightBytesMax: 32 * 1024 * 1024,
  queuedReplyBytesMax: 4 * 1024 * 1024,
}

/** Memory shared by the connections of a worker. */
export interface SessionMemory {
  pool: SlabPool
  budget: MemoryBudget
}

export type CloseReason = 'disconnected' | 'client-closed' | 'protocol' | 'socket' | 'drained' | 'stalled' | 'destroyed'

/** Reads from this length on are looked up for zeroes that need not be sent. */
const SPARSE_READ_BYTES_MIN = 64 * 1024
/** More pieces than this in one read are not worth their headers. */
const SPARSE_READ_EXTENTS_MAX = 64

const ZERO_OPTIONS = [
  { noHole: false, fua: false },
  { noHole: true, fua: false },
  { noHole: false, fua: true },
  { noHole: true, fua: true },
] as const

const workerMemory: SessionMemory = { pool: new SlabPool(), budget: new MemoryBudget() }

export class Transmission implements RequestOwner, BudgetMember {
  readonly #device: BlockDevice
  readonly #limits: typeof TRANSMISSION_LIMITS
  readonly #memory: SessionMemory
  readonly #session: SessionFacts
  readonly #onClose: (reason: CloseReason) => void
  readonly #parser: RequestParser
  readonly #writer: ReplyWriter
  readonly #socket: net.Socket
  readonly #free: InFlightRequest[] = []
  /** open: requests are taken. ending: no more are; close when idle. closed: the socket is gone. */
  #state: 'open' | 'ending' | 'closed' = 'open'
  #reason: CloseReason = 'client-closed'
  #draining = false
  #drained: (() => void)[] = []
  #announced = false
  /** Of the header that was admitted last. */
  #refusal: Refusal | undefined
  #inFlight = 0
  #heldBytes = 0
  /** Part of `#heldBytes` for a payload that is still arriving. */
  #arrivingBytes = 0
  #pumping = false
  /** The parser waits for something to ease. */
  #blocked = false
  /** The socket is not being read. */
  #paused = false
  #turnPlanned = false
  #sending: Piece[] | undefined
  #sendingBytes = 0
  /** Read bytes inside what is being sent, and inside what is ready. */
  #sendingHeldBytes = 0
  #readyHeldBytes = 0
  #progressMs = performance.now()
  #stallTimer: NodeJS.Timeout | undefined

  constructor(options: {
    fd: number
    negotiated: Negotiated
    /** Bytes that arrived behind the handshake. */
    leftover: Uint8Array
    device: BlockDevice
    limits?: Partial<typeof TRANSMISSION_LIMITS>
    memory?: SessionMemory
    onClose: (reason: CloseReason) => void
  }) {
    const { negotiated } = options
    this.#device = options.device
    this.#limits = { ...TRANSMISSION_LIMITS, ...options.limits }
    this.#memory = options.memory ?? workerMemory
    this.#onClose = options.onClose
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
    this.#memory.budget.join(this)
    const taken = this.#parser.append(options.leftover)
    assert(taken === options.leftover.length, 'a fresh parser takes everything')
    this.#socket = new net.Socket({
      fd: options.fd,
      allowHalfOpen: true,
      onread: {
        buffer: () => this.#parser.space(),
        callback: (count) => this.#received(count),
      },
    })
    this.#socket.setNoDelay(true)
    this.#socket.on('end', () => this.#end('client-closed'))
    this.#socket.on('error', () => this.#close('socket'))
    this.#socket.on('close', () => this.#close('socket'))
    this.#serve()
    if (!this.#mayRead) this.#pause()
  }

  get inFlightRequests(): number {
    return this.#inFlight
  }

  get heldBytes(): number {
    return this.#heldBytes
  }

  get stalledSinceMs(): number | undefined {
    return this.#parser.owedBytes > 0 || this.#sending !== undefined ? this.#progressMs : undefined
  }

  /** Answer what was submitted, refuse what comes now (ESHUTDOWN), close; `done` runs after that. */
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

  budgetFreed(): void {
    this.#plan()
  }

  /** @returns false to stop reading */
  #received(count: number): boolean {
    this.#progressMs = performance.now()
    let foreign = this.#parser.received(count)
    while (foreign.length > 0 && this.#state === 'open') {
      foreign = foreign.subarray(this.#parser.append(foreign))
      if (foreign.length > 0) this.#pump()
    }
    this.#serve()
    this.#paused = !this.#mayRead
    return !this.#paused
  }

  get #mayRead(): boolean {
    return this.#state === 'open' && !this.#blocked
  }

  #pause(): void {
    this.#paused = true
    this.#socket.pause()
  }

  /** Take what has arrived, send what is ready, go on reading or close: at the end of every event. */
  #serve(): void {
    this.#pump()
    this.#flush()
    if (this.#state === 'closed') return
    const idle = this.#inFlight === 0 && this.#sending === undefined && this.#writer.readyBytes === 0
    if (idle && (this.#state === 'ending' || this.#draining)) this.#close(this.#reason)
    else if (this.#paused && this.#mayRead) {
      this.#paused = false
      this.#socket.resume()
    }
  }

  #pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    this.#blocked = false
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
  }

  #admit(header: RequestHeader, payloadBytes: number): Admission {
    if (payloadBytes > PAYLOAD_BYTES_MAX) return 'close'
    const { budget } = this.#memory
    const queuedReplyBytes = this.#writer.readyBytes + this.#sendingBytes
    if (this.#inFlight >= this.#limits.inFlightRequestsMax || queuedReplyBytes > this.#limits.queuedReplyBytesMax) {
      budget.stopWaiting(this)
      return 'wait'
    }
    this.#refusal = this.#draining && header.type !== NBD_CMD_DISC
      ? REFUSED.shutdown
      : validate(header, this.#device, this.#session)
    if (this.#refusal !== undefined) return 'skip'
    const bytes = payloadBytes > 0 || header.type === NBD_CMD_READ ? header.lengthBytes : 0
    if (bytes > 0) {
      if (this.#heldBytes > 0 && this.#heldBytes + bytes > this.#limits.inFlightBytesMax) {
        budget.stopWaiting(this)
        return 'wait'
      }
      if (!budget.reserve(bytes, this)) {
        this.#watchStalls()
        return 'wait'
      }
      this.#heldBytes += bytes
      if (payloadBytes > 0) this.#arrivingBytes = bytes
    }
    return 'take'
  }

  #submit(): void {
    const { header } = this.#parser
    this.#arrivingBytes = 0
    const request = this.#free.pop() ?? new InFlightRequest(this)
    request.take(header)
    if (this.#refusal !== undefined) {
      this.#writer.error(request, this.#refusal.errno, this.#refusal.message)
      this.#free.push(request)
      return
    }
    const device = this.#device
    const { offsetBytes, lengthBytes, flags } = request
    const fua = (flags & NBD_CMD_FLAG_FUA) !== 0
    if (lengthBytes === 0 && header.type !== NBD_CMD_FLUSH && header.type !== NBD_CMD_DISC) {
      if (header.type === NBD_CMD_READ) this.#writer.emptyRead(request)
      else this.#writer.success(request)
      this.#free.push(request)
      return
    }
    if (header.type === NBD_CMD_DISC) {
      this.#free.push(request)
      return this.#end('disconnected')
    }
    this.#inFlight++
    request.submitted(1)
    switch (header.type) {
      case NBD_CMD_READ: {
        const sparse = lengthBytes >= SPARSE_READ_BYTES_MIN && this.#session.chunkedReplies
        if (!sparse || (flags & NBD_CMD_FLAG_DF) !== 0) return this.#read(request)
        return device.blockStatus(offsetBytes, lengthBytes, SPARSE_READ_EXTENTS_MAX, request.statusDone)
      }
      case NBD_CMD_WRITE: {
        const { payload } = this.#parser
        request.payloadSlab = this.#parser.payloadSlab
        return device.write(offsetBytes, payload, fua, request.done)
      }
      case NBD_CMD_FLUSH: return device.flush(request.done)
      case NBD_CMD_TRIM: return device.trim(offsetBytes, lengthBytes, fua, request.done)
      case NBD_CMD_WRITE_ZEROES: {
        const options = ZERO_OPTIONS[((flags & NBD_CMD_FLAG_NO_HOLE) !== 0 ? 1 : 0) + (fua ? 2 : 0)]!
        return device.writeZeroes(offsetBytes, lengthBytes, options, request.done)
      }
      case NBD_CMD_CACHE: return device.cache(offsetBytes, lengthBytes, request.done)
      case NBD_CMD_BLOCK_STATUS: {
        const extentsMax = (flags & NBD_CMD_FLAG_REQ_ONE) !== 0 ? 1 : EXTENTS_MAX
        return device.blockStatus(offsetBytes, lengthBytes, extentsMax, request.statusDone)
      }
      default: return unreachable(header.type as never)
    }
  }

  /** The volume fills the reply where it will be sent from. */
  #read(request: InFlightRequest): void {
    const writer = this.#writer
    request.replyBytes = writer.readHeaderBytes + request.lengthBytes
    request.replyAt = writer.reserve(request.replyBytes)
    const slab = writer.slab!
    request.replySlab = slab
    const dataAt = request.replyAt + writer.readHeaderBytes
    const into = slab.bytes.subarray(dataAt, dataAt + request.lengthBytes)
    this.#device.read(request.offsetBytes, into, request.done)
  }

  /** All chunks in one reservation, so that a failed part can still turn the reply into an error. */
  #readParts(request: InFlightRequest, parts: readonly ReadPart[]): void {
    const writer = this.#writer
    request.inParts = true
    request.replyBytes = 0
    let dataParts = 0
    for (const part of parts) {
      request.replyBytes += writer.partBytes(part.hole, part.lengthBytes)
      if (!part.hole) dataParts++
    }
    request.replyAt = writer.reserve(request.replyBytes)
    const slab = writer.slab!
    request.replySlab = slab
    // One more than the data parts: the request must not end while its later parts are not asked for.
    request.submitted(dataParts + 1)
    let at = request.replyAt
    parts.forEach((part, index) => {
      const dataAt = writer.readPart(slab, at, request, { ...part, last: index === parts.length - 1 })
      at = part.hole ? dataAt : dataAt + part.lengthBytes
      if (!part.hole) this.#device.read(part.offsetBytes, slab.bytes.subarray(dataAt, at), request.done)
    })
    request.done(0)
  }

  statusKnown(request: InFlightRequest, errno: number, extents: readonly Extent[]): void {
    if (request.type === NBD_CMD_READ) {
      if (this.#state === 'closed') return this.#dropRead(request)
      // A volume that cannot say what is allocated may still be able to read.
      const parts = errno === 0 ? planSparseRead(extents, request) : undefined
      if (parts !== undefined) return this.#readParts(request, parts)
      request.submitted(1)
      return this.#read(request)
    }
    this.#inFlight--
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
    this.#inFlight--
    this.#unhold(request.lengthBytes)
    this.#retire(request)
  }

  requestEnded(request: InFlightRequest, errno: number): void {
    this.#inFlight--
    if (request.type === NBD_CMD_READ) this.#readEnded(request, errno)
    else {
      if (request.payloadSlab !== undefined) {
        this.#memory.pool.release(request.payloadSlab)
        this.#unhold(request.lengthBytes)
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
      this.#readyHeldBytes += request.lengthBytes
      return
    }
    this.#writer.abandon(slab)
    this.#unhold(request.lengthBytes)
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

  #unhold(bytes: number): void {
    this.#heldBytes -= bytes
    this.#memory.budget.release(bytes)
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
    // Before taking more: what waits in the socket's queue counts against the client.
    this.#flush()
    this.#serve()
  }

  #flush(): void {
    if (this.#sending !== undefined || this.#writer.readyBytes === 0 || this.#state === 'closed') return
    this.#sendingBytes = this.#writer.readyBytes
    this.#sendingHeldBytes = this.#readyHeldBytes
    this.#readyHeldBytes = 0
    const pieces = this.#sending = this.#writer.take()
    this.#progressMs = performance.now()
    if (pieces.length > 1) this.#socket.cork()
    pieces.forEach(({ slab, from, to }, index) => {
      const bytes = slab.bytes.subarray(from, to)
      if (index === pieces.length - 1) this.#socket.write(bytes, this.#sent)
      else this.#socket.write(bytes)
    })
    if (pieces.length > 1) this.#socket.uncork()
  }

  readonly #sent = (error?: Error | null): void => {
    const pieces = this.#sending
    if (pieces === undefined) return
    this.#sending = undefined
    this.#sendingBytes = 0
    this.#writer.sent(pieces)
    const heldBytes = this.#sendingHeldBytes
    this.#sendingHeldBytes = 0
    this.#unhold(heldBytes)
    if (this.#state === 'closed') return this.#announce()
    if (error !== undefined && error !== null) return this.#close('socket')
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
    clearTimeout(this.#stallTimer)
    this.#memory.budget.leave(this)
    this.#unhold(this.#arrivingBytes + this.#readyHeldBytes)
    this.#arrivingBytes = this.#readyHeldBytes = 0
    this.#parser.close()
    this.#writer.close()
    this.#socket.destroy()
    this.#announce()
  }

  /** A write under way keeps its buffers until the socket's callback, which also comes after destroy(). */
  #announce(): void {
    if (this.#announced || this.#inFlight > 0 || this.#sending !== undefined) return
    this.#announced = true
    assert(this.#heldBytes === 0, 'a closed connection holds nothing')
    setImmediate(() => {
      this.#onClose(this.#reason)
      for (const done of this.#drained) done()
    })
  }

  #watchStalls(): void {
    if (this.#stallTimer !== undefined) return
    const { budget } = this.#memory
    this.#stallTimer = setTimeout(() => {
      this.#stallTimer = undefined
      budget.evictStalled(performance.now())
      if (this.#blocked && budget.contended && this.#state !== 'closed') this.#watchStalls()
    }, Math.max(budget.stallMs / 4, 1))
    this.#stallTimer.unref()
  }
}
