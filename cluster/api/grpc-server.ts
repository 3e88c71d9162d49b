/**
 * A gRPC server of ours: on a unix socket that only its owner may open, on a TCP address over TLS with certificates of
 * both sides, or of ours and bearer tokens, or in plain text on loopback. Idle cost: a ping in 30 s a connection. A
 * refusal is a HoldfastError; an unexpected rejection of a handler is a bug: the caller hears INTERNAL, `onBug` decides
 * what becomes of the process.
 *
 * Invariant: no request is read of a caller who has no right to that RPC, and none begins after that right has ended
 * (call-guard.ts).
 */
import { rmSync } from 'node:fs'
import net from 'node:net'
import { Server, ServerCredentials, logVerbosity, setLogVerbosity } from '@grpc/grpc-js'
import type { ServerOptions, ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js'
import { HoldfastError } from '../../engine/errors.ts'
import { listenForOwner, peerUserOf } from '../owner-socket.ts'
import { stopServer } from '../stop-server.ts'
import { hostAndPort } from '../tls/loopback.ts'
import { listenSecurely } from '../tls/secure-listener.ts'
import type { SecureListenOptions } from '../tls/secure-listener.ts'
import { addressOf } from '../tls/tls-accept.ts'
import type { Caller } from './access.ts'
import type { AuditTrail } from './audit-trail.ts'
import { CallGuard, addressOfUid } from './call-guard.ts'
import { CALLER_LIMITS, CallerBounds } from './caller-bounds.ts'
import { streaming, unary } from './call-handlers.ts'
import type { RemovedList } from './removed-list.ts'
import type { TokenBook } from './token-book.ts'
import { UNPROVED_LIMITS, UnprovedConnections } from './unproved-connections.ts'

/** Failures reach us as values; the library's own lines on stderr would be a second voice. */
setLogVerbosity(logVerbosity.NONE)

interface Bounds {
  requestBytesMax: number
  /** Those that a client asks for beyond wait at him. */
  streamsMax: number
}

/** A node that has thousands of copies reports them all in one request. */
const NODE_BOUNDS: Bounds = { requestBytesMax: 16 * 1024 * 1024, streamsMax: 1000 }
/** Of everybody else over the network: no record has more than 64 KiB, and so many may wait for the rest of theirs. */
const USER_BOUNDS: Bounds = { requestBytesMax: 256 * 1024, streamsMax: 100 }
/** Who may open the socket is the owner of the daemon, or root. */
const OWNER: Caller = { role: 'admin', name: 'local', by: 'socket' }
/** Plain text is for loopback, where other nodes are. */
const ANY_NODE: Caller = { role: 'node', name: 'loopback', by: 'loopback' }

export const API_LIMITS = {
  ...UNPROVED_LIMITS,
  ...CALLER_LIMITS,
  /** From the headers of a call until its request is whole. */
  requestMs: 10_000,
  /** A connection on which nothing came for so long is asked, and closed when no answer comes in a third of it. */
  keepaliveMs: 30_000,
}

export interface ApiServer {
  /** The TCP port; 0 of a unix socket. */
  port: number
  /** Stop accepting, let running calls end for `graceMs`, then drop them. A socket is gone afterwards. */
  close(graceMs: number): Promise<void>
}

export interface ServedService {
  definition: ServiceDefinition
  /** By the name of the RPC. */
  calls: Record<string, (request: never, caller: Caller) => Promise<unknown>>
  /** The same of those that answer many times; it is ended when nobody listens any more. */
  streams?: Record<string, (request: never, caller: Caller) => AsyncIterable<unknown>>
}

export interface ServedOverTls extends Pick<SecureListenOptions, 'folder' | 'onRefused'> {
  /** Unset: nobody comes in without a certificate. */
  tokens?: TokenBook | undefined
  removed?: RemovedList | undefined
  limits?: Partial<typeof API_LIMITS> | undefined
}

export interface ServedToOwner {
  socketPath: string
  /** Which user is at the other end, by descriptor; unset: not asked. Others than the owner and root are refused. */
  peerUid?: ((fd: number) => number) | undefined
}

/** `tls`: unset, plain text. */
export type ServedAt =
  | ServedToOwner
  | { host: string; port: number; tls?: ServedOverTls | undefined }

/** @param at  a socket that is there was left by a dead process (the caller holds the folder's lock) */
export async function serveGrpc(
  at: ServedAt, services: readonly ServedService[], onBug: (error: unknown) => void, audit?: AuditTrail,
): Promise<ApiServer> {
  const tls = 'tls' in at ? at.tls : undefined
  const plainCaller = 'socketPath' in at ? OWNER : ANY_NODE
  const limits = { ...API_LIMITS, ...tls?.limits }
  const unproved = tls?.tokens && new UnprovedConnections((socket) =>
    tls.onRefused(addressOf(socket), 'it shows neither a certificate nor a good token'), limits)
  const everybody = tls === undefined ? plainCaller : undefined
  const { requestMs, keepaliveMs } = limits
  const bounds = tls === undefined ? undefined : new CallerBounds(limits)
  const guard = new CallGuard({
    everybody, tokens: tls?.tokens, removed: tls?.removed, unproved, bounds, audit, requestMs,
  })
  // The kernel says when the other end of a socket of this host is gone; one that was stopped there is not.
  const keepalive = 'socketPath' in at ? {} : {
    'grpc.keepalive_time_ms': keepaliveMs, 'grpc.keepalive_timeout_ms': keepaliveMs / 3,
  }
  const make = ({ requestBytesMax, streamsMax }: Bounds, more: ServerOptions = {}): Server => {
    const server = new Server({
      'grpc.max_receive_message_length': requestBytesMax,
      'grpc.max_send_message_length': -1,
      'grpc.max_concurrent_streams': streamsMax,
      ...keepalive,
      ...more,
      'grpc.enable_channelz': 0,
      interceptors: [guard.interceptor],
    })
    for (const { definition, calls, streams = {} } of services) {
      const implementation: UntypedServiceImplementation = {}
      for (const [rpc, run] of Object.entries(calls)) implementation[rpc] = unary(run, guard, onBug)
      for (const [rpc, run] of Object.entries(streams)) implementation[rpc] = streaming(run, guard, onBug)
      server.addService(definition, implementation)
    }
    return server
  }
  const server = make(NODE_BOUNDS)
  if ('socketPath' in at) {
    const { socketPath, peerUid } = at
    rmSync(socketPath, { force: true })
    const { injectConnection } = server.createConnectionInjector(ServerCredentials.createInsecure())
    const listener = await listenUnix(socketPath, (socket) => {
      if (peerUid === undefined || isOwner(socket, peerUid)) injectConnection(socket)
      else socket.destroy()
    })
    return {
      port: 0,
      close: async (graceMs) => {
        const closed = new Promise<void>((resolve) => listener.close(() => resolve()))
        await stopServer(server, graceMs)
        await closed
      },
    }
  }
  const { host, port } = at
  if (tls === undefined) {
    const address = hostAndPort(host, port)
    return { port: await bind(server, address, address), close: (graceMs) => stopServer(server, graceMs) }
  }
  // With GOAWAY, so that no call is lost that is on its way; unproved-connections.ts cuts who holds on all the same.
  const forUsers = make(USER_BOUNDS, { 'grpc.max_connection_idle_ms': limits.idleMs })
  const [nodes, users] = [server, forUsers].map((one) =>
    one.createConnectionInjector(ServerCredentials.createInsecure()))
  const { folder, onRefused, tokens } = tls
  const listener = await listenSecurely({
    host, port, folder, protocol: 'h2', onRefused,
    onSecure: (socket, { role }) => (role === 'node' ? nodes! : users!).injectConnection(socket),
    onUnnamed: unproved && ((socket) => {
      const why = tokens!.isEmpty ? 'it showed no certificate' : 'too many connections without a certificate'
      if (!tokens!.isEmpty && unproved.add(socket)) return users!.injectConnection(socket)
      onRefused(addressOf(socket), why)
      socket.destroy()
    }),
  })
  return {
    port: listener.port,
    close: async (graceMs) => {
      const closed = listener.close()
      await Promise.all([stopServer(server, graceMs), stopServer(forUsers, graceMs)])
      await closed
    },
  }
}

/** That user becomes the address of the socket, which has none of its own. */
function isOwner(socket: net.Socket, peerUid: (fd: number) => number): boolean {
  const { uid, isOwner } = peerUserOf(socket, peerUid)
  if (!isOwner) return false
  Object.defineProperty(socket, 'remoteAddress', { value: addressOfUid(uid) })
  return true
}

function bind(server: Server, address: string, endpoint: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(new HoldfastError('listen', { endpoint, reason: error.message }))
      else resolve(bound)
    })
  })
}

/** Not with the library, which binds later than it is told to: see owner-socket.ts. @throws HoldfastError `listen` */
export function listenUnix(socketPath: string, accept: (socket: net.Socket) => void): Promise<net.Server> {
  return new Promise((resolve, reject) => {
    const server = net.createServer(accept)
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(new HoldfastError('listen', { endpoint: socketPath, reason: error.code ?? error.message })))
    listenForOwner(server, { path: socketPath }, () => {
      // Out of descriptors is the world's: the backlog waits, nothing ends.
      server.removeAllListeners('error').on('error', () => undefined)
      resolve(server)
    })
  })
}
