/**
 * The accepting side of TLS, over sockets that somebody else accepted: a handshake within a deadline, a certificate of
 * our CA that names somebody of our cluster, the protocol that is spoken here. Whoever fails is closed before a byte of
 * his is given to anybody.
 *
 *   socket -> handshake (both certificates) -> ALPN -> identity -> onSecure(socket, identity)
 *                 `-> late, refused, another cluster, another protocol: closed, `onRefused` with the reason
 */
import type { Socket } from 'node:net'
import { createServer } from 'node:tls'
import type { Server, TLSSocket } from 'node:tls'
import { identityOf } from './identity.ts'
import type { TlsIdentity } from './identity.ts'
import { notOfCluster } from './tls-folder.ts'
import type { TlsFolder, TlsMaterial } from './tls-folder.ts'

/** `Context`: what the owner gave with the socket. */
export interface TlsAcceptorOptions<Context> {
  folder: TlsFolder
  /** ALPN; undefined: the protocol has none. */
  protocol: string | undefined
  handshakeMs: number
  /** How many may be at this stage at once. */
  handshakesMax: number
  onSecure(socket: TLSSocket, identity: TlsIdentity, context: Context): void
  /** Somebody who showed no certificate; unset: he is refused. */
  onUnnamed?: ((socket: TLSSocket, context: Context) => void) | undefined
  onRefused(address: string, reason: string): void
}

export const addressOf = (socket: Socket): string => `${socket.remoteAddress ?? 'gone'}:${socket.remotePort ?? 0}`

/** Both ends of a TCP connection: no other one has them while it is there. Undefined: it is gone. */
function endsOf({ localAddress, localPort, remoteAddress, remotePort }: Socket): string | undefined {
  if (remotePort === undefined || localPort === undefined) return undefined
  return `${localAddress} ${localPort} ${remoteAddress} ${remotePort}`
}

export class TlsAcceptor<Context = undefined> {
  readonly #o: TlsAcceptorOptions<Context>
  readonly #server: Server
  /** By both ends, which is how a socket with TLS is known by the one that it was. */
  readonly #arriving = new Map<string, { raw: Socket; context: Context }>()
  #used: TlsMaterial

  constructor(options: TlsAcceptorOptions<Context>) {
    this.#o = options
    const { folder, protocol, handshakeMs } = options
    this.#used = folder.current
    this.#server = createServer({
      ...this.#used.options(),
      requestCert: true,
      // Else who shows none is told apart from who shows a bad one in `#judge`.
      rejectUnauthorized: options.onUnnamed === undefined,
      handshakeTimeout: handshakeMs,
      ...(protocol === undefined ? {} : { ALPNProtocols: [protocol] }),
    }, (socket) => this.#judge(socket))
    this.#server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
      // What OpenSSL said of the certificate; the error is that of the connection which Node has ended for it.
      const { authorizationError } = socket
      options.onRefused(addressOf(socket), reasonOf(authorizationError ? { code: String(authorizationError) } : error))
      socket.destroy()
    })
  }

  /** Handshakes under way. */
  get arriving(): number {
    return this.#arriving.size
  }

  /** `socket`, over TCP, is ours from now on; it has nothing behind it that was read already. */
  accept(socket: Socket, context: Context): void {
    const { folder, handshakesMax, onRefused } = this.#o
    socket.on('error', () => socket.destroy())
    if (this.#arriving.size >= handshakesMax) {
      onRefused(addressOf(socket), 'too many handshakes at once')
      socket.destroy()
      return
    }
    const { current } = folder
    if (current !== this.#used) {
      this.#used = current
      this.#server.setSecureContext(current.options())
    }
    const ends = endsOf(socket)
    if (ends === undefined) return void socket.destroy()
    // The kernel has given both ends to a new connection, so the one before is gone; we have not heard it yet.
    this.#arriving.get(ends)?.raw.destroy()
    const arrival = { raw: socket, context }
    this.#arriving.set(ends, arrival)
    socket.on('close', () => {
      if (this.#arriving.get(ends) === arrival) this.#arriving.delete(ends)
    })
    this.#server.emit('connection', socket)
  }

  close(): void {
    for (const { raw } of this.#arriving.values()) raw.destroy()
  }

  #judge(socket: TLSSocket): void {
    const ends = endsOf(socket)
    const arrival = ends === undefined ? undefined : this.#arriving.get(ends)
    if (ends === undefined || arrival === undefined) return void socket.destroy()
    this.#arriving.delete(ends)
    const { folder, protocol, onSecure, onUnnamed, onRefused } = this.#o
    socket.on('error', () => socket.destroy())
    const refuse = (reason: string): void => {
      onRefused(addressOf(socket), reason)
      socket.destroy()
    }
    if (protocol !== undefined && socket.alpnProtocol !== protocol) return refuse(`it does not speak ${protocol}`)
    const certificate = socket.getPeerX509Certificate()
    if (certificate === undefined && onUnnamed !== undefined) return onUnnamed(socket, arrival.context)
    if (!socket.authorized) return refuse(reasonOf({ code: String(socket.authorizationError) }))
    const identity = identityOf(certificate)
    const problem = notOfCluster(folder, identity)
    if (problem !== undefined) return refuse(problem)
    onSecure(socket, identity as TlsIdentity, arrival.context)
  }
}

const REASONS: Record<string, string> = {
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet',
  INVALID_PURPOSE: 'its certificate is for another purpose',
  UNABLE_TO_GET_ISSUER_CERT: 'its certificate is of a CA that is not known here',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is of a CA that is not known here',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is of a CA that is not known here',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is of a CA that is not known here',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is of a CA that is not known here',
  CERT_SIGNATURE_FAILURE: 'its certificate is not signed by our CA',
  ERR_TLS_HANDSHAKE_TIMEOUT: 'the handshake took too long',
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: 'it showed no certificate',
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'it speaks no TLS 1.3',
  ERR_SSL_HTTP_REQUEST: 'it speaks no TLS',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it speaks no TLS',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'it speaks no TLS',
  ERR_SSL_NO_APPLICATION_PROTOCOL: 'it speaks another protocol',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another host',
  ECONNRESET: 'it closed the connection during the handshake',
}

/** In words, of an error of OpenSSL or of a socket. */
export function reasonOf({ code, message }: { code?: string | undefined; message?: string }): string {
  return REASONS[code ?? ''] ?? code ?? message ?? ''
}
