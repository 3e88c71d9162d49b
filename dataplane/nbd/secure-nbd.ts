/**
 * NBD over TLS in the data worker, from STARTTLS on: handshake of TLS, options, and the session, which stays in this
 * thread, since TLS cannot be handed over. What exports there are only the main thread knows: it is asked.
 *
 *   main: flags, STARTTLS --descriptor--> TLS, both certificates -> role -> options -> NbdSessions
 *
 * Invariant: no option is read of who has not shown a certificate of this cluster that may use volumes. `onEnded` is
 * told once of each that does not become a session; of those that do NbdSessions tells.
 */
import net from 'node:net'
import type { TLSSocket } from 'node:tls'
import { identityName } from '../../cluster/tls/identity.ts'
import type { Role, TlsIdentity } from '../../cluster/tls/identity.ts'
import { TlsAcceptor, addressOf } from '../../cluster/tls/tls-accept.ts'
import type { TlsFolder } from '../../cluster/tls/tls-folder.ts'
import type { NbdSessions } from '../session-table.ts'
import { Handshake } from './handshake.ts'
import type { ExportInfo, HandshakeStep, Looked } from './handshake.ts'
import { LISTENER_LIMITS } from './listener.ts'
import type { SecureArrival } from './listener.ts'

/** Who looks only, and a cluster store, has nothing to do with the data of volumes. */
const MAY_USE: readonly Role[] = ['admin', 'csi', 'node']
const HANDSHAKES_MAX = 128

/** What is asked of the main thread. `entered`, `drop`: of what was found by looking, no answer. */
export interface ExportCalls {
  list(): Promise<ExportInfo[]>
  look(name: string): Promise<Looked>
  entered(found: ExportInfo): void
  drop(found: ExportInfo): void
}

export interface SecureNbdOptions {
  folder: TlsFolder
  worker: number
  exports: ExportCalls
  sessions: Pick<NbdSessions, 'addSecure' | 'count'>
  onEnded(session: number): void
  onRefused(reason: string): void
}

interface Connection extends SecureArrival {
  raw: net.Socket
  isSession: boolean
}

export class SecureNbd {
  readonly #o: SecureNbdOptions
  readonly #acceptor: TlsAcceptor<Connection>
  /** Until they are sessions. */
  readonly #open = new Set<Connection>()
  #isStopping = false

  constructor(options: SecureNbdOptions) {
    this.#o = options
    this.#acceptor = new TlsAcceptor({
      folder: options.folder,
      protocol: undefined,
      handshakeMs: LISTENER_LIMITS.handshakeMs,
      handshakesMax: HANDSHAKES_MAX,
      onSecure: (socket, identity, connection) => void this.#begin(socket, identity, connection),
      onRefused: (address, reason) => options.onRefused(`${address} ${reason}`),
    })
  }

  accept(arrival: SecureArrival): void {
    const socket = new net.Socket({ fd: arrival.fd, allowHalfOpen: true })
    socket.setNoDelay(true)
    const connection: Connection = { ...arrival, raw: socket, isSession: false }
    this.#open.add(connection)
    socket.on('close', () => {
      this.#open.delete(connection)
      if (!connection.isSession) this.#o.onEnded(arrival.id)
    })
    if (this.#isStopping) socket.destroy()
    else this.#acceptor.accept(socket, connection)
  }

  /** No more sessions; those that are there are not ours. */
  close(): void {
    this.#isStopping = true
    for (const { raw } of this.#open) raw.destroy()
  }

  async #begin(socket: TLSSocket, identity: TlsIdentity, connection: Connection): Promise<void> {
    const { exports, onRefused } = this.#o
    const refuse = (reason: string): void => {
      onRefused(`${addressOf(socket)} ${identityName(identity)}: ${reason}`)
      socket.destroy()
    }
    if (!MAY_USE.includes(identity.role)) return refuse(`only ${MAY_USE.join(', ')} may use volumes`)
    const deadline = setTimeout(() => refuse('the options took too long'), LISTENER_LIMITS.handshakeMs)
    socket.on('close', () => clearTimeout(deadline))
    const onEnd = (): void => void socket.destroy()
    socket.on('end', onEnd)
    const list = await exports.list()
    if (socket.destroyed) return
    const looks = new Map<string, Promise<Looked>>()
    // Whether one can be opened now (its keys, for one) is found out when it is asked for.
    const directory = { list: () => list, find: () => undefined }
    const handshake = new Handshake(directory, (name) => this.#mayEnter(name), () => true)
    handshake.behindTls(connection.noZeroes)
    const dropFound = async (entered?: ExportInfo): Promise<void> => {
      for (const look of looks.values()) {
        const found = await look
        if (found !== undefined && !('refused' in found) && found !== entered) exports.drop(found)
      }
    }
    const onClose = (): void => void dropFound()
    socket.on('close', onClose)
    const onStep = ({ send, event, look }: HandshakeStep): void => {
      if (send.length > 0) socket.write(Buffer.concat(send))
      if (socket.writableLength > LISTENER_LIMITS.unreadReplyBytesMax) return socket.destroySoon()
      if (event === undefined) {
        if (look === undefined) return
        void this.#look(look, looks).then((found) => {
          if (!socket.destroyed) onStep(handshake.looked(found))
        })
        return
      }
      socket.off('data', onData)
      clearTimeout(deadline)
      if (event.type === 'closed') {
        onRefused(`${identityName(identity)}: ${event.reason}`)
        socket.destroySoon()
        return
      }
      socket.pause()
      socket.off('close', onClose).off('end', onEnd)
      connection.isSession = true
      this.#open.delete(connection)
      exports.entered(event.export)
      void dropFound(event.export)
      const { export: { name, reader }, negotiated, leftover } = event
      const of = reader === undefined ? {} : { reader }
      const { id, fd } = connection
      this.#o.sessions.addSecure({ id, fd, socket, exportName: name, ...of, negotiated, leftover })
    }
    const onData = (bytes: Buffer): void => {
      if (!handshake.isLooking) onStep(handshake.feed(bytes))
      else if (!handshake.keep(bytes)) socket.destroy()
    }
    socket.on('data', onData)
  }

  /** What another worker has cannot be served from here. */
  #look(name: string, looks: Map<string, Promise<Looked>>): Promise<Looked> {
    const { exports, worker } = this.#o
    const look = exports.look(name).then((found): Looked => {
      if (found === undefined || 'refused' in found || found.worker === worker) return found
      exports.drop(found)
      return { refused: 'another data worker of this node has it: NBD over TLS is for nodes with one' }
    })
    looks.set(name, look)
    return look
  }

  #mayEnter(name: string): 'enter' | 'too-many' | 'stopping' {
    if (this.#isStopping) return 'stopping'
    return this.#o.sessions.count(name) < LISTENER_LIMITS.connectionsPerExportMax ? 'enter' : 'too-many'
  }
}
