/**
 * The network between the nodes of a run and their cluster store: every connection goes through here, and each way
 * between two ends can be cut, delayed, narrowed, reset or damaged. A way that is cut holds what was sent on it, as
 * TCP does, and delivers it late when it is healed; who connects meanwhile gets no answer.
 */
import { once } from 'node:events'
import net from 'node:net'
import { TARGET_BYTES } from './switchboard-words.ts'

/** `peer`: data workers and supervisors. `api`: control planes. */
export type Service = 'peer' | 'api' | 'store'

export interface Way {
  cut: boolean
  delayMs: number
  /** Infinity: as fast as it goes. */
  bytesPerSecond: number
  /** Of the next bytes of a peer that come this way, one bit is flipped. */
  damagesNext: boolean
}

interface Parcel {
  bytes: Buffer | undefined
  dueMs: number
}

/** What may wait on a way before the sender is not read any more: the buffers of a kernel. */
const HELD_BYTES_MAX = 1 << 20
/** Of connections between peers, for whoever plays them again. */
const OVERHEARD_BYTES = 64 << 10
const OVERHEARD_CONNECTIONS = 3
const FRESH: Way = { cut: false, delayMs: 0, bytesPerSecond: Infinity, damagesNext: false }

export class Switchboard {
  readonly #ways = new Map<string, Way>()
  readonly #targets = new Map<string, { end: string; service: Service }>()
  readonly #lanes = new Set<Lane>()
  readonly #overheard = new Map<string, Buffer[]>()
  readonly #peerBytes = new Map<string, number>()
  readonly #servers: net.Server[] = []
  readonly #sockets = new Set<net.Socket>()

  /** Connections to this address are for that end. */
  know(address: string, end: string, service: Service): void {
    this.#targets.set(address, { end, service })
  }

  /** What the processes of an end connect to. */
  async listen(end: string, socketPath: string): Promise<void> {
    const server = net.createServer({ allowHalfOpen: true }, (socket) => this.#accept(end, socket))
    server.listen(socketPath)
    await once(server, 'listening')
    this.#servers.push(server)
  }

  way(from: string, to: string): Way {
    const name = `${from}>${to}`
    let way = this.#ways.get(name)
    if (way === undefined) this.#ways.set(name, (way = { ...FRESH }))
    return way
  }

  /** Of one way; what waits moves on as it may now. */
  set(from: string, to: string, change: Partial<Way>): void {
    Object.assign(this.way(from, to), change)
    for (const lane of this.#lanes) lane.move()
  }

  /** All connections between two ends, as by a router that forgot them. @returns how many */
  reset(a: string, b: string): number {
    let count = 0
    for (const lane of this.#lanes) {
      if (!lane.isBetween(a, b)) continue
      lane.destroy()
      count++
    }
    return count
  }

  heal(): void {
    for (const way of this.#ways.values()) Object.assign(way, FRESH)
    for (const lane of this.#lanes) lane.move()
  }

  /** How connections of peers to this end began, the last few. */
  overheard(end: string): Buffer[] {
    return this.#overheard.get(end) ?? []
  }

  /** That came through on connections of peers, one way, so far. */
  peerBytes(from: string, to: string): number {
    return this.#peerBytes.get(`${from}>${to}`) ?? 0
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await Promise.all(this.#servers.map((server) => once(server.close(), 'close')))
  }

  #accept(from: string, socket: net.Socket): void {
    this.#keep(socket)
    let head = Buffer.alloc(0)
    socket.on('data', (bytes: Buffer) => {
      head = Buffer.concat([head, bytes])
      if (head.length < TARGET_BYTES) return
      socket.removeAllListeners('data')
      const address = head.toString('latin1', 0, TARGET_BYTES).trimEnd()
      this.#connect(from, socket, address, head.subarray(TARGET_BYTES))
    })
  }

  #connect(from: string, socket: net.Socket, address: string, first: Buffer): void {
    const target = this.#targets.get(address)
    if (target === undefined) return void socket.destroy(new Error(`nobody is known at ${address}`))
    const colon = address.lastIndexOf(':')
    const host = address.slice(0, colon)
    const other = net.connect({ host, port: Number(address.slice(colon + 1)), allowHalfOpen: true, noDelay: true })
    this.#keep(other)
    const isPeer = target.service === 'peer'
    const there = new Lane(socket, other, () => this.way(from, target.end), [from, target.end], isPeer)
    const back = new Lane(other, socket, () => this.way(target.end, from), [from, target.end], isPeer)
    if (isPeer) {
      this.#count(other, `${target.end}>${from}`)
      this.#count(socket, `${from}>${target.end}`, first.length)
    }
    for (const lane of [there, back]) {
      this.#lanes.add(lane)
      socket.on('close', () => this.#lanes.delete(lane))
    }
    if (isPeer) this.#overhear(socket, target.end, first)
    if (first.length > 0) there.take(first)
    // Nobody listens there, or the process died: the other end hears it, unless the news is cut off too.
    other.on('close', () => back.close())
    socket.on('close', () => there.close())
  }

  #count(sender: net.Socket, way: string, first = 0): void {
    const add = (bytes: number): void => void this.#peerBytes.set(way, (this.#peerBytes.get(way) ?? 0) + bytes)
    add(first)
    sender.on('data', (bytes: Buffer) => add(bytes.length))
  }

  #overhear(socket: net.Socket, end: string, first: Buffer): void {
    const parts = [first]
    let bytes = first.length
    const listen = (part: Buffer): void => {
      parts.push(part)
      bytes += part.length
      if (bytes > OVERHEARD_BYTES) done()
    }
    const done = (): void => {
      socket.off('data', listen)
      socket.off('close', done)
      const known = this.#overheard.get(end) ?? []
      this.#overheard.set(end, [...known, Buffer.concat(parts)].slice(-OVERHEARD_CONNECTIONS))
    }
    socket.on('data', listen)
    socket.on('close', done)
  }

  #keep(socket: net.Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => this.#sockets.delete(socket))
  }
}

/** One direction of one connection. */
class Lane {
  readonly #from: net.Socket
  readonly #to: net.Socket
  readonly #way: () => Way
  readonly #ends: readonly [string, string]
  readonly #isPeer: boolean
  #parcels: Parcel[] = []
  #heldBytes = 0
  #freeAtMs = 0
  #timer: NodeJS.Timeout | undefined
  #isClosed = false

  constructor(from: net.Socket, to: net.Socket, way: () => Way, ends: readonly [string, string], isPeer: boolean) {
    this.#from = from
    this.#to = to
    this.#way = way
    this.#ends = ends
    this.#isPeer = isPeer
    from.on('data', (bytes: Buffer) => this.take(bytes))
    from.on('end', () => this.#put(undefined))
  }

  isBetween(a: string, b: string): boolean {
    return this.#ends.includes(a) && this.#ends.includes(b)
  }

  take(bytes: Buffer): void {
    const way = this.#way()
    let taken = bytes
    if (way.damagesNext && this.#isPeer) {
      way.damagesNext = false
      taken = Buffer.from(bytes)
      taken[taken.length >> 1]! ^= 0x10
    }
    this.#heldBytes += taken.length
    this.#put(taken)
    if (this.#heldBytes > HELD_BYTES_MAX) this.#from.pause()
  }

  #put(bytes: Buffer | undefined): void {
    this.#parcels.push({ bytes, dueMs: performance.now() + this.#way().delayMs })
    this.move()
  }

  /** Deliver what may be. */
  move(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    for (;;) {
      const { cut, bytesPerSecond } = this.#way()
      const next = this.#parcels[0]
      if (cut || next === undefined) break
      const nowMs = performance.now()
      const waitMs = Math.max(next.dueMs, bytesPerSecond === Infinity ? 0 : this.#freeAtMs) - nowMs
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.move(), waitMs)
        return
      }
      this.#parcels.shift()
      if (next.bytes === undefined) {
        this.#to.end()
        continue
      }
      this.#freeAtMs = Math.max(nowMs, this.#freeAtMs) + (next.bytes.length / bytesPerSecond) * 1000
      this.#heldBytes -= next.bytes.length
      this.#to.write(next.bytes)
    }
    if (this.#heldBytes <= HELD_BYTES_MAX && !this.#from.destroyed) this.#from.resume()
    if (this.#isClosed && this.#parcels.length === 0) this.#to.destroy()
  }

  /** Its sender is gone: the receiver hears it behind what was sent. */
  close(): void {
    this.#isClosed = true
    this.move()
  }

  destroy(): void {
    this.#parcels = []
    clearTimeout(this.#timer)
    // One of both ends is a unix socket, which knows no reset: it closes.
    for (const socket of [this.#from, this.#to]) {
      if (socket.remoteFamily === undefined) socket.destroy()
      else socket.resetAndDestroy()
    }
  }
}
