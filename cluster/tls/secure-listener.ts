/** A TCP address where TLS is spoken and nothing else: what is accepted there comes out with its identity, or not. */
import net from 'node:net'
import type { TLSSocket } from 'node:tls'
import { HoldfastError } from '../../engine/errors.ts'
import type { TlsIdentity } from './identity.ts'
import { TlsAcceptor } from './tls-accept.ts'
import type { TlsFolder } from './tls-folder.ts'

export const SECURE_LISTEN_LIMITS = { handshakeMs: 5_000, handshakesMax: 64, connectionsMax: 1024 }

export interface SecureListenOptions {
  host: string
  /** 0: any that is free. */
  port: number
  folder: TlsFolder
  /** ALPN. */
  protocol: string
  onSecure(socket: TLSSocket, identity: TlsIdentity): void
  /** Somebody who showed no certificate; unset: he is refused. */
  onUnnamed?: ((socket: TLSSocket) => void) | undefined
  onRefused(address: string, reason: string): void
}

export interface SecureListener {
  port: number
  /** Connections that came out stay. */
  close(): Promise<void>
}

/** @throws HoldfastError `port-busy`, `listen` */
export async function listenSecurely(options: SecureListenOptions): Promise<SecureListener> {
  const { host, port, folder, protocol, onSecure, onUnnamed, onRefused } = options
  const { handshakeMs, handshakesMax, connectionsMax } = SECURE_LISTEN_LIMITS
  const acceptor = new TlsAcceptor({ folder, protocol, handshakeMs, handshakesMax, onSecure, onUnnamed, onRefused })
  const server = net.createServer({ noDelay: true }, (socket) => acceptor.accept(socket, undefined))
  server.maxConnections = connectionsMax
  server.on('drop', (dropped) => onRefused(`${dropped?.remoteAddress}:${dropped?.remotePort}`, 'too many connections'))
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') return reject(new HoldfastError('port-busy', { port }))
      reject(new HoldfastError('listen', { endpoint: `${host}:${port}`, reason: error.code ?? error.message }))
    })
    server.listen({ host, port }, resolve)
  })
  // Out of descriptors is the world's: the backlog waits, nothing ends.
  server.removeAllListeners('error').on('error', (error) => onRefused(`${host}:${port}`, error.message))
  return {
    port: (server.address() as net.AddressInfo).port,
    close: () => {
      acceptor.close()
      return new Promise((resolve) => {
        server.close(() => resolve())
      })
    },
  }
}
