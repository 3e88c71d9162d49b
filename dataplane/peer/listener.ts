/**
 * Where peers arrive: reads the preface, and gives the descriptor away to the worker that it names. Knows no peers and
 * no volumes.
 *
 *   accept -> preface (224 bytes, within a deadline) -> stop reading -> dup(fd) -> close our handle -> onArrival
 *
 * The dialling side says nothing behind its preface before it was answered, so nothing is left over; whoever does is
 * no peer. Limits: a deadline, and how many may be at this stage at once. Over it: closed, logged.
 */
import net from 'node:net'
import { listenForOwner } from '../../cluster/owner-socket.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { ClockPort } from '../../engine/ports.ts'
import { dup } from '../libc.ts'
import { prepareSocketPath } from '../nbd/unix-socket-path.ts'
import type { Arrival } from './arrival.ts'
import { decodePreface } from './preface.ts'
import type { Preface } from './preface.ts'
import { PREFACE_BYTES } from './protocol.ts'
import type { RefusalLog } from './refusal-log.ts'

interface SocketHandle {
  readonly fd: number
  reading: boolean
  readStop(): number
}

export const ARRIVAL_LIMITS = { handshakeMs: 2000, arrivingMax: 256 }

export interface ListenerOptions {
  clock: ClockPort
  log: RefusalLog
  onArrival(arrival: Arrival): void
  limits?: Partial<typeof ARRIVAL_LIMITS>
}

export class PeerListener {
  readonly #o: ListenerOptions
  readonly #limits: typeof ARRIVAL_LIMITS
  readonly #servers: net.Server[] = []
  readonly #arriving = new Set<net.Socket>()

  constructor(options: ListenerOptions) {
    this.#o = options
    this.#limits = { ...ARRIVAL_LIMITS, ...options.limits }
  }

  get arriving(): number {
    return this.#arriving.size
  }

  /** @throws HoldfastError when the path cannot be used */
  async listenUnix(path: string): Promise<void> {
    await prepareSocketPath(path)
    await this.#listen({ path }, path)
  }

  /** @returns the port, which matters when 0 was asked for */
  async listenTcp({ host, port }: { host: string; port: number }): Promise<number> {
    const server = await this.#listen({ host, port }, `${host}:${port}`)
    return (server.address() as net.AddressInfo).port
  }

  async close(): Promise<void> {
    const closed = this.#servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())))
    for (const socket of this.#arriving) socket.destroy()
    await Promise.all(closed)
  }

  #listen(where: net.ListenOptions, endpoint: string): Promise<net.Server> {
    return new Promise((resolve, reject) => {
      const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket))
      server.once('error', (error: NodeJS.ErrnoException) => {
        reject(new HoldfastError('listen', { endpoint, reason: error.code ?? error.message }))
      })
      listenForOwner(server, where, () => {
        // Out of descriptors is the world's: the backlog waits, nothing ends.
        server.removeAllListeners('error').on('error', (error) => this.#refuse(endpoint, error.message))
        this.#servers.push(server)
        resolve(server)
      })
    })
  }

  #refuse(address: string, reason: string): void {
    // A port changes with every attempt: who it is says the host.
    const host = address.replace(/:\d+$/, '')
    this.#o.log.refused('connection refused', `${host} ${reason}`, { address, reason })
  }

  #accept(socket: net.Socket): void {
    const address = socket.remoteAddress === undefined ? 'unix' : `${socket.remoteAddress}:${socket.remotePort}`
    socket.on('error', () => socket.destroy())
    if (this.#arriving.size >= this.#limits.arrivingMax) {
      this.#refuse(address, 'too many at once')
      socket.destroy()
      return
    }
    this.#arriving.add(socket)
    const refuse = (reason: string): void => {
      this.#refuse(address, reason)
      socket.destroy()
    }
    const deadline = this.#o.clock.after(this.#limits.handshakeMs, () => refuse('no preface in time'))
    socket.on('close', () => {
      deadline.cancel()
      this.#arriving.delete(socket)
    })
    socket.on('end', () => socket.destroy())
    let bytes: Buffer = Buffer.alloc(0)
    socket.on('data', (chunk: Buffer) => {
      if (socket.destroyed) return
      if (bytes.length + chunk.length > PREFACE_BYTES) return refuse('it says more than a preface')
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk])
      if (bytes.length < PREFACE_BYTES) return
      const preface = decodePreface(bytes)
      if (typeof preface === 'string') return refuse(preface)
      if (preface.answer !== 'asked') return refuse('an answer to nothing')
      this.#give(socket, preface, address)
    })
  }

  #give(socket: net.Socket, preface: Preface, address: string): void {
    const handle = (socket as unknown as { _handle: SocketHandle | null })._handle
    if (handle === null) return
    handle.reading = false
    handle.readStop()
    const fd = dup(handle.fd)
    socket.destroy()
    if (fd < 0) return this.#refuse(address, 'out of file descriptors')
    this.#o.onArrival({ fd, preface, address })
  }
}
