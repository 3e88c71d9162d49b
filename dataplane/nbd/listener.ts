/**
 * Accepts NBD connections on the main thread, runs their handshake, and gives each connection away to the worker that
 * owns the volume. Knows exports and counts, never a volume.
 *
 *   accept -> Handshake -> stop reading -> last reply written -> dup(fd) -> close our handle -> onSession(fd, leftover)
 *
 * Reading stops inside the data event that completes the handshake, so no byte of the transmission phase can arrive
 * anywhere but in the leftover or at the worker. Our own handle is closed, never shut down: the duplicate keeps the
 * connection. `sessionEnded(id)` must be called once for every session, else its place stays taken.
 *
 * Limits: a handshake ends within its deadline, whatever the client does; connections in total, per export, and of
 * strangers before TLS; bytes of replies a client leaves unread. Over a limit: the connection is closed, or refused in
 * words where NBD has room.
 */
import net from 'node:net'
import { listenForOwner, peerUserOf } from '../../cluster/owner-socket.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { peerUid } from '../../cluster/libc.ts'
import { dup } from '../libc.ts'
import { GREETING, Handshake } from './handshake.ts'
import type {
  Entry, ExportDirectory, ExportInfo, HandshakeEvent, HandshakeStep, Looked,
} from './handshake.ts'
import type { Negotiated } from './protocol.ts'
import { TlsGate } from './tls-gate.ts'
import { prepareSocketPath } from './unix-socket-path.ts'

export type { ExportDirectory, ExportInfo, Looked } from './handshake.ts'

export const LISTENER_LIMITS = {
  handshakeMs: 10_000,
  connectionsMax: 1024,
  /** Of `listenSecurely`, before TLS: whoever reaches the port may be one, and local clients keep their places. */
  beforeTlsMax: 128,
  connectionsPerExportMax: 128,
  unreadReplyBytesMax: 1024 * 1024,
}

/** A connection that has asked for TLS and was told to begin it. */
export interface SecureArrival {
  /** Of the session that it may become; told with `sessionEnded` in any case. */
  id: number
  /** Owned by the receiver. */
  fd: number
  /** What the client's flags said. */
  noZeroes: boolean
}

export interface NbdSession {
  /** Unique for the life of the listener. */
  id: number
  /** Owned by the receiver. */
  fd: number
  /** Of a client whose TLS another worker has (relayed-session.ts). Owned by the receiver too. */
  clientFd?: number
  exportName: string
  /** Of a snapshot: opened for this session. */
  reader?: number
  /** That of the socket it came by; under another one it is not served. Unset: whichever there is. */
  generation?: number
  worker: number
  negotiated: Negotiated
  /** What arrived behind the handshake. */
  leftover: Uint8Array
}

/** What one socket shows, in place of every export. */
export interface OnlyOne {
  exports: ExportDirectory
  generation: number
}

/** The part of a socket's handle that is needed to hand the socket over. */
interface SocketHandle {
  readonly fd: number
  reading: boolean
  readStop(): number
}

/** Others come to their turn in between, also when the socket takes all of it at once. */
export function whenTaken(socket: net.Socket, send: readonly Buffer[], goOn: () => void): void {
  socket.write(Buffer.concat(send), () => setImmediate(() => {
    if (!socket.destroyed) goOn()
  }))
}

export class NbdListener {
  readonly #exports: ExportDirectory
  readonly #onSession: (session: NbdSession) => void
  readonly #onSecure: ((arrival: SecureArrival) => void) | undefined
  readonly #onRefused: (reason: string) => void
  readonly #limits: typeof LISTENER_LIMITS
  readonly #peerUid: (fd: number) => number
  readonly #servers = new Set<net.Server>()
  readonly #handshakes = new Set<net.Socket>()
  /** Of the handshakes. */
  #beforeTls = 0
  /** Session id -> export name. */
  readonly #sessions = new Map<number, string>()
  readonly #perExport = new Map<string, number>()
  #nextId = 1
  #stopping = false

  constructor(options: {
    exports: ExportDirectory
    onSession: (session: NbdSession) => void
    /** Of `listenSecurely`. */
    onSecure?: (arrival: SecureArrival) => void
    /** A handshake that did not become a session; for a quiet log line. */
    onRefused?: (reason: string) => void
    limits?: Partial<typeof LISTENER_LIMITS>
    /** Which user is at the other end of a unix socket; unset: as the kernel says. */
    peerUid?: (fd: number) => number
  }) {
    this.#exports = options.exports
    this.#onSession = options.onSession
    this.#onSecure = options.onSecure
    this.#onRefused = options.onRefused ?? (() => {})
    this.#limits = { ...LISTENER_LIMITS, ...options.limits }
    this.#peerUid = options.peerUid ?? peerUid
  }

  get connections(): number {
    return this.#handshakes.size + this.#sessions.size
  }

  /** @throws HoldfastError when the path cannot be used */
  async listenUnix(socketPath: string, only?: OnlyOne): Promise<net.Server> {
    await prepareSocketPath(socketPath)
    return this.#listen({ path: socketPath }, socketPath, undefined, (socket) => this.#acceptLocal(socket, only))
  }

  /** Nobody enters there any more; its file is gone. Who has entered stays. */
  stopListening(server: net.Server): void {
    if (this.#servers.delete(server)) server.close()
  }

  /** Loopback unless asked otherwise. @returns the port, which matters when 0 was asked for */
  async listenTcp({ host = '127.0.0.1', port }: { host?: string; port: number }): Promise<number> {
    const server = await this.#listen({ host, port }, `${host}:${port}`, port)
    return (server.address() as net.AddressInfo).port
  }

  /** TLS and nothing else. @returns the port */
  async listenSecurely({ host, port }: { host: string; port: number }): Promise<number> {
    const server = await this.#listen({ host, port }, `${host}:${port}`, port, (socket) => this.#acceptSecure(socket))
    return (server.address() as net.AddressInfo).port
  }

  /** The receiver of a session has closed its descriptor. */
  sessionEnded(id: number): void {
    const name = this.#sessions.get(id)
    if (name === undefined) return
    this.#sessions.delete(id)
    const left = (this.#perExport.get(name) ?? 1) - 1
    if (left === 0) this.#perExport.delete(name)
    else this.#perExport.set(name, left)
  }

  /** From now on exports are refused with NBD_REP_ERR_SHUTDOWN. */
  refuseNew(): void {
    this.#stopping = true
  }

  /** Stop listening, end handshakes, remove socket files. Sessions are not ours any more. */
  async close(): Promise<void> {
    this.#stopping = true
    const closed = [...this.#servers].map((server) => new Promise<void>((resolve) => server.close(() => resolve())))
    for (const socket of this.#handshakes) socket.destroy()
    await Promise.all(closed)
  }

  #listen(
    where: net.ListenOptions, endpoint: string, port?: number, accept = (socket: net.Socket) => this.#accept(socket),
  ): Promise<net.Server> {
    return new Promise((resolve, reject) => {
      const server = net.createServer({ allowHalfOpen: true, noDelay: true }, accept)
      server.once('error', (error: NodeJS.ErrnoException) => {
        if (error.code === 'EADDRINUSE') {
          reject(port === undefined
            ? new HoldfastError('socket-busy', { path: endpoint })
            : new HoldfastError('port-busy', { port }))
        } else reject(new HoldfastError('listen', { endpoint, reason: error.code ?? error.message }))
      })
      listenForOwner(server, where, () => {
        // Out of descriptors is the world's: the backlog waits, nothing ends.
        server.removeAllListeners('error').on('error', (error) => this.#onRefused(error.message))
        this.#servers.add(server)
        resolve(server)
      })
    })
  }

  /** @returns whether there is room for another one */
  #arrived(socket: net.Socket): boolean {
    socket.on('error', () => socket.destroy())
    if (this.connections >= this.#limits.connectionsMax) {
      this.#onRefused('too many connections')
      socket.destroy()
      return false
    }
    this.#handshakes.add(socket)
    const deadline = setTimeout(() => {
      this.#onRefused('handshake took too long')
      socket.destroy()
    }, this.#limits.handshakeMs)
    socket.on('close', () => {
      clearTimeout(deadline)
      this.#handshakes.delete(socket)
    })
    socket.on('end', () => socket.destroy())
    return true
  }

  #acceptSecure(socket: net.Socket): void {
    if (this.#beforeTls >= this.#limits.beforeTlsMax) {
      this.#onRefused('too many connections before TLS')
      socket.on('error', () => undefined).destroy()
      return
    }
    if (!this.#arrived(socket)) return
    this.#beforeTls++
    socket.on('close', () => this.#beforeTls--)
    const gate = new TlsGate()
    socket.write(GREETING)
    const onData = (bytes: Buffer): void => {
      const { send, event } = gate.feed(bytes)
      if (event?.type !== 'start-tls') {
        if (send.length > 0) socket.write(Buffer.concat(send))
        if (socket.writableLength > this.#limits.unreadReplyBytesMax) socket.destroy()
        if (event === undefined) return
        socket.off('data', onData)
        this.#onRefused(event.reason)
        socket.destroySoon()
        return
      }
      socket.off('data', onData)
      this.#startTls(socket, Buffer.concat(send), event.noZeroes)
    }
    socket.on('data', onData)
  }

  /** What is read next is the worker's; the client says nothing before it has our answer. */
  #startTls(socket: net.Socket, acknowledgement: Buffer, noZeroes: boolean): void {
    const handle = (socket as unknown as { _handle: SocketHandle | null })._handle
    if (handle === null) return
    handle.reading = false
    handle.readStop()
    socket.pause()
    const fd = this.#stopping ? -1 : dup(handle.fd)
    if (fd < 0) {
      this.#onRefused(this.#stopping ? 'stopping' : 'out of file descriptors')
      socket.destroy()
      return
    }
    socket.write(acknowledgement, () => {
      socket.destroy()
      const id = this.#nextId++
      this.#sessions.set(id, '')
      this.#onSecure!({ id, fd, noZeroes })
    })
  }

  /** Only its owner may open the file; who was handed it open is asked for too. */
  #acceptLocal(socket: net.Socket, only?: OnlyOne): void {
    const { uid, isOwner } = peerUserOf(socket, this.#peerUid)
    if (isOwner) return this.#accept(socket, only)
    this.#onRefused(`user ${uid} of this host is not its owner`)
    socket.on('error', () => undefined).destroy()
  }

  #accept(socket: net.Socket, only?: OnlyOne): void {
    if (!this.#arrived(socket)) return
    const exports = only?.exports ?? this.#exports
    const looks = new Map<string, Promise<Looked>>()
    const mayLook = (name: string): boolean => {
      const look = exports.look?.(name)
      if (look !== undefined) looks.set(name, look)
      return look !== undefined
    }
    const handshake = new Handshake(exports, (name) => this.#mayEnter(name), mayLook)
    /** What was found by looking is given back, but for what the session entered. */
    const dropFound = (entered?: ExportInfo): void => {
      for (const look of looks.values()) {
        void look.then((found) => {
          if (found !== undefined && !('refused' in found) && found !== entered) exports.drop?.(found)
        })
      }
    }
    let isEntered = false
    socket.on('close', () => {
      if (!isEntered) dropFound()
    })
    socket.write(GREETING)
    const onStep = ({ send, event, look, hasMore }: HandshakeStep): void => {
      if (event === undefined) {
        if (hasMore) return whenTaken(socket, send, () => onStep(handshake.goOn()))
        if (send.length > 0) socket.write(Buffer.concat(send))
        if (socket.writableLength > this.#limits.unreadReplyBytesMax) socket.destroy()
        if (look === undefined) return
        void looks.get(look)!.then((found) => {
          if (!socket.destroyed) onStep(handshake.looked(found))
        })
        return
      }
      socket.off('data', onData)
      if (event.type === 'closed') return this.#finish(socket, Buffer.concat(send), event)
      this.#finish(socket, Buffer.concat(send), event, only?.generation, () => {
        isEntered = true
        exports.entered?.(event.export)
        dropFound(event.export)
      })
    }
    const onData = (bytes: Buffer): void => {
      if (!handshake.isWaiting) onStep(handshake.feed(bytes))
      else if (!handshake.keep(bytes)) socket.destroy()
    }
    socket.on('data', onData)
  }

  #mayEnter(name: string): Entry {
    if (this.#stopping) return 'stopping'
    return (this.#perExport.get(name) ?? 0) < this.#limits.connectionsPerExportMax ? 'enter' : 'too-many'
  }

  /** @param entered  the session has what it opened */
  #finish(
    socket: net.Socket, lastReply: Buffer, event: HandshakeEvent, generation?: number, entered: () => void = () => {},
  ): void {
    const handle = (socket as unknown as { _handle: SocketHandle | null })._handle
    if (handle === null) return
    handle.reading = false
    handle.readStop()
    socket.pause()
    if (event.type === 'closed') {
      this.#onRefused(event.reason)
      if (lastReply.length > 0) socket.write(lastReply)
      socket.destroySoon()
      return
    }
    const session = this.#claim(event.export)
    // Counted from here, so that handshakes that end together cannot pass the limit together.
    let claimed = true
    socket.on('close', () => {
      if (claimed) this.sessionEnded(session)
    })
    socket.write(lastReply, (error) => {
      if (error !== undefined && error !== null) return
      const fd = dup(handle.fd)
      if (fd < 0) {
        this.#onRefused('out of file descriptors')
        socket.destroy()
        return
      }
      claimed = false
      entered()
      socket.destroy()
      const { export: { name, worker, reader }, negotiated, leftover } = event
      const of = { ...(reader === undefined ? {} : { reader }), ...(generation === undefined ? {} : { generation }) }
      this.#onSession({ id: session, fd, exportName: name, ...of, worker, negotiated, leftover })
    })
  }

  #claim({ name }: ExportInfo): number {
    const id = this.#nextId++
    this.#sessions.set(id, name)
    this.#perExport.set(name, (this.#perExport.get(name) ?? 0) + 1)
    return id
  }
}
