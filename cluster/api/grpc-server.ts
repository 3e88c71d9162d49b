/**
 * A gRPC server of ours: on a unix socket that only its owner may open, on a TCP address over TLS with certificates of
 * both sides, or in plain text on loopback. Idle cost: no timers of our own. A refusal is a HoldfastError; an
 * unexpected rejection of a handler is a bug: the caller hears INTERNAL, `onBug` decides what becomes of the process.
 *
 * Invariant: no request is read of a caller who has no right to that RPC (access.ts).
 */
import { rmSync } from 'node:fs'
import net from 'node:net'
import { Server, ServerCredentials, ServerInterceptingCall, logVerbosity, setLogVerbosity, status } from '@grpc/grpc-js'
import type {
  ServerInterceptor, ServiceDefinition, ServiceError, UntypedServiceImplementation, handleServerStreamingCall,
  handleUnaryCall,
} from '@grpc/grpc-js'
import { HoldfastError } from '../../engine/errors.ts'
import { listenForOwner } from '../owner-socket.ts'
import { hostAndPort } from '../tls/loopback.ts'
import { listenSecurely } from '../tls/secure-listener.ts'
import type { SecureListenOptions } from '../tls/secure-listener.ts'
import { callerOf, denied } from './access.ts'
import type { Caller } from './access.ts'
import { refusalToStatus } from './refusal.ts'

/** Failures reach us as values; the library's own lines on stderr would be a second voice. */
setLogVerbosity(logVerbosity.NONE)

const REQUEST_BYTES_MAX = 16 * 1024 * 1024
/** Who may open the socket is the owner of the daemon, or root. */
const OWNER: Caller = { role: 'admin', name: 'local' }
/** Plain text is for loopback, where other nodes are. */
const ANY_NODE: Caller = { role: 'node', name: 'loopback' }

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

/** `tls`: unset, plain text. */
export type ServedAt =
  | { socketPath: string }
  | { host: string; port: number; tls?: Pick<SecureListenOptions, 'folder' | 'onRefused'> | undefined }

/** @param at  a socket that is there was left by a dead process (the caller holds the folder's lock) */
export async function serveGrpc(
  at: ServedAt, services: readonly ServedService[], onBug: (error: unknown) => void,
): Promise<ApiServer> {
  const tls = 'tls' in at ? at.tls : undefined
  const plainCaller = 'socketPath' in at ? OWNER : ANY_NODE
  const caller: CallerOf = tls === undefined ? () => plainCaller : callerOf
  const server = new Server({
    'grpc.max_receive_message_length': REQUEST_BYTES_MAX,
    'grpc.max_send_message_length': -1,
    'grpc.enable_channelz': 0,
    interceptors: [guard(caller)],
  })
  for (const { definition, calls, streams = {} } of services) {
    const implementation: UntypedServiceImplementation = {}
    for (const [rpc, run] of Object.entries(calls)) implementation[rpc] = unary(run, caller, onBug)
    for (const [rpc, run] of Object.entries(streams)) implementation[rpc] = streaming(run, caller, onBug)
    server.addService(definition, implementation)
  }
  const stop = (graceMs: number): Promise<void> => new Promise((resolve) => {
    const deadline = setTimeout(() => {
      server.forceShutdown()
      resolve()
    }, graceMs)
    server.tryShutdown(() => {
      clearTimeout(deadline)
      resolve()
    })
  })
  if ('socketPath' in at) {
    const { socketPath } = at
    rmSync(socketPath, { force: true })
    const { injectConnection } = server.createConnectionInjector(ServerCredentials.createInsecure())
    const listener = await listenUnix(socketPath, injectConnection)
    return {
      port: 0,
      close: async (graceMs) => {
        const closed = new Promise<void>((resolve) => listener.close(() => resolve()))
        await stop(graceMs)
        await closed
      },
    }
  }
  const { host, port } = at
  if (tls === undefined) {
    const address = hostAndPort(host, port)
    return { port: await bind(server, address, address), close: stop }
  }
  const { injectConnection } = server.createConnectionInjector(ServerCredentials.createInsecure())
  const listener = await listenSecurely({ host, port, ...tls, protocol: 'h2', onSecure: injectConnection })
  return {
    port: listener.port,
    close: async (graceMs) => {
      const closed = listener.close()
      await stop(graceMs)
      await closed
    },
  }
}

function bind(server: Server, address: string, endpoint: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(new HoldfastError('listen', { endpoint, reason: error.message }))
      else resolve(bound)
    })
  })
}

/** Not with the library, which binds later than it is told to: see owner-socket.ts. */
function listenUnix(socketPath: string, accept: (socket: net.Socket) => void): Promise<net.Server> {
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

type CallerOf = (call: Parameters<typeof callerOf>[0]) => Caller | undefined

/** Before any message is read; also where an RPC has no row, or no handler of ours. */
function guard(caller: CallerOf): ServerInterceptor {
  return ({ path }, call) => new ServerInterceptingCall(call, {
    start: (next) => {
      const refusal = denied(path, caller(call))
      if (refusal === undefined) return next()
      call.sendStatus({ code: status.PERMISSION_DENIED, details: refusal.message, ...refusalToStatus(refusal) })
    },
  })
}

function unary(
  run: (request: never, caller: Caller) => Promise<unknown>,
  caller: CallerOf,
  onBug: (error: unknown) => void,
): handleUnaryCall<unknown, unknown> {
  return (call, answer) => {
    run(call.request as never, caller(call)!).then(
      (response) => answer(null, response),
      (error: unknown) => {
        answer(failure(error))
        if (!(error instanceof HoldfastError)) onBug(error)
      },
    )
  }
}

const failure = (error: unknown): Partial<ServiceError> =>
  error instanceof HoldfastError ? refusalToStatus(error)
    : { code: status.INTERNAL, details: 'the daemon hit a bug of its own; daemon.log has it' }

function streaming(
  run: (request: never, caller: Caller) => AsyncIterable<unknown>,
  caller: CallerOf,
  onBug: (error: unknown) => void,
): handleServerStreamingCall<unknown, unknown> {
  return (call) => {
    const drained = (): Promise<void> => new Promise((resolve) => {
      const done = (): void => {
        call.off('drain', done).off('cancelled', done)
        resolve()
      }
      call.on('drain', done).on('cancelled', done)
    })
    const answer = async (): Promise<void> => {
      for await (const one of run(call.request as never, caller(call)!)) {
        if (!call.cancelled && !call.write(one)) await drained()
        if (call.cancelled) return
      }
      call.end()
    }
    answer().catch((error: unknown) => {
      call.emit('error', failure(error))
      if (!(error instanceof HoldfastError)) onBug(error)
    })
  }
}
