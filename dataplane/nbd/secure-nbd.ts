/**
 * NBD over TLS in a data worker, from STARTTLS on: handshake of TLS, options, and the session, of which TLS stays in
 * this thread, since it cannot be handed over. What exports there are only the main thread knows: it is asked.
 *
 *   main: flags, STARTTLS --descriptor--> TLS, both certificates -> role -> options -> NbdSessions
 *                                                                              `-> another worker's: relayed-session.ts
 *
 * Invariant: no option is read of who has not shown a certificate of this cluster that may use volumes. `onEnded` is
 * told once of each that does not become a session; of those that do NbdSessions tells, here or there.
 */
import net from 'node:net'
import type { TLSSocket } from 'node:tls'
import { identityName } from '../../cluster/tls/identity.ts'
import type { Role, TlsIdentity } from '../../cluster/tls/identity.ts'
import { TlsAcceptor, addressOf } from '../../cluster/tls/tls-accept.ts'
import type { TlsFolder } from '../../cluster/tls/tls-folder.ts'
import type { NbdSessions } from '../session-table.ts'
import type { AskingNode } from './export-calls.ts'
import { Handshake } from './handshake.ts'
import type { ExportInfo, HandshakeStep, Looked } from './handshake.ts'
import { LISTENER_LIMITS, whenTaken } from './listener.ts'
import type { NbdSession, SecureArrival } from './listener.ts'
import { relay } from './relayed-session.ts'

/** Who looks only, and a cluster store, has nothing to do with the data of volumes. */
const MAY_USE: readonly Role[] = ['admin', 'csi', 'node']
const HANDSHAKES_MAX = 128

/** What is asked of the main thread. `entered`, `drop`: of what was found by looking, no answer. */
export interface ExportCalls {
  /** @param node  who it is, of a node. @returns why a node that was removed may use none */
  list(node: AskingNode | undefined): Promise<ExportInfo[] | { refused: string }>
  look(name: string): Promise<Looked>
  entered(found: ExportInfo): void
  drop(found: ExportInfo): void
}

export interface SecureNbdOptions {
  folder: TlsFolder
  worker: number
  exports: ExportCalls
  sessions: Pick<NbdSessions, 'addSecure' | 'count'>
  /** Of a volume that another worker has: the session is its own from now on. */
  onElsewhere(session: NbdSession): void
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
  /** Of sessions that are relayed: how many, by the name of the export. */
  readonly #elsewhere = new Map<string, number>()
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
    const { role, name } = identity
    const issuedAtMs = Date.parse(socket.getPeerX509Certificate()!.validFrom)
    const list = await exports.list(role === 'node' ? { name, issuedAtMs } : undefined)
    if (socket.destroyed) return
    if ('refused' in list) return refuse(list.refused)
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
    const onStep = ({ send, event, look, hasMore }: HandshakeStep): void => {
      if (hasMore) return whenTaken(socket, send, () => onStep(handshake.goOn()))
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
      const { export: { name, reader, worker }, negotiated, leftover } = event
      const of = reader === undefined ? {} : { reader }
      const { id, fd } = connection
      const session = { id, exportName: name, ...of, negotiated, leftover }
      if (worker === this.#o.worker) this.#o.sessions.addSecure({ ...session, fd, socket })
      else this.#passOn(socket, connection, { ...session, worker })
    }
    const onData = (bytes: Buffer): void => {
      if (!handshake.isWaiting) onStep(handshake.feed(bytes))
      else if (!handshake.keep(bytes)) socket.destroy()
    }
    socket.on('data', onData)
  }

  #passOn(socket: TLSSocket, { id, fd }: Connection, session: Omit<NbdSession, 'fd' | 'clientFd'>): void {
    const ends = relay(socket, fd)
    if (ends === undefined) {
      this.#o.onRefused('out of file descriptors')
      socket.destroy()
      return this.#o.onEnded(id)
    }
    const { exportName } = session
    this.#elsewhere.set(exportName, (this.#elsewhere.get(exportName) ?? 0) + 1)
    socket.once('close', () => {
      const left = this.#elsewhere.get(exportName)! - 1
      if (left > 0) this.#elsewhere.set(exportName, left)
      else this.#elsewhere.delete(exportName)
    })
    this.#o.onElsewhere({ ...session, ...ends })
  }

  #look(name: string, looks: Map<string, Promise<Looked>>): Promise<Looked> {
    const look = this.#o.exports.look(name)
    looks.set(name, look)
    return look
  }

  #mayEnter(name: string): 'enter' | 'too-many' | 'stopping' {
    if (this.#isStopping) return 'stopping'
    const open = this.#o.sessions.count(name) + (this.#elsewhere.get(name) ?? 0)
    return open < LISTENER_LIMITS.connectionsPerExportMax ? 'enter' : 'too-many'
  }
}
