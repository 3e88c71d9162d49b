/**
 * A gRPC server of ours, on a unix socket that only its owner may open or on a TCP address. Idle cost: no timers of our
 * own. A refusal is a HoldfastError; an unexpected rejection of a handler is a bug: the caller hears INTERNAL, `onBug`
 * decides what becomes of the process.
 */
import { chmodSync, rmSync } from 'node:fs'
import { Server, ServerCredentials, logVerbosity, setLogVerbosity, status } from '@grpc/grpc-js'
import type {
  ServiceDefinition, ServiceError, UntypedServiceImplementation, handleServerStreamingCall, handleUnaryCall,
} from '@grpc/grpc-js'
import { HoldfastError } from '../../engine/errors.ts'
import { refusalToStatus } from './refusal.ts'

/** Failures reach us as values; the library's own lines on stderr would be a second voice. */
setLogVerbosity(logVerbosity.NONE)

const REQUEST_BYTES_MAX = 16 * 1024 * 1024

export interface ApiServer {
  /** The TCP port; 0 of a unix socket. */
  port: number
  /** Stop accepting, let running calls end for `graceMs`, then drop them. A socket is gone afterwards. */
  close(graceMs: number): Promise<void>
}

export interface ServedService {
  definition: ServiceDefinition
  /** By the name of the RPC. */
  calls: Record<string, (request: never) => Promise<unknown>>
  /** The same of those that answer many times; it is ended when nobody listens any more. */
  streams?: Record<string, (request: never) => AsyncIterable<unknown>>
}

/** @param at  a socket that is there was left by a dead process (the caller holds the folder's lock) */
export async function serveGrpc(
  at: { socketPath: string } | { host: string; port: number },
  services: readonly ServedService[],
  onBug: (error: unknown) => void,
): Promise<ApiServer> {
  const server = new Server({
    'grpc.max_receive_message_length': REQUEST_BYTES_MAX,
    'grpc.max_send_message_length': -1,
    'grpc.enable_channelz': 0,
  })
  for (const { definition, calls, streams = {} } of services) {
    const implementation: UntypedServiceImplementation = {}
    for (const [rpc, run] of Object.entries(calls)) implementation[rpc] = unary(run, onBug)
    for (const [rpc, run] of Object.entries(streams)) implementation[rpc] = streaming(run, onBug)
    server.addService(definition, implementation)
  }
  const socketPath = 'socketPath' in at ? at.socketPath : undefined
  if (socketPath !== undefined) rmSync(socketPath, { force: true })
  const endpoint = 'socketPath' in at ? at.socketPath : `${at.host}:${at.port}`
  const port = await new Promise<number>((resolve, reject) => {
    const address = socketPath === undefined ? endpoint : `unix:${socketPath}`
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(new HoldfastError('listen', { endpoint, reason: error.message }))
      else resolve(bound)
    })
  })
  if (socketPath !== undefined) chmodSync(socketPath, 0o600)
  return {
    port: socketPath === undefined ? port : 0,
    close: (graceMs) => new Promise((resolve) => {
      const deadline = setTimeout(() => {
        server.forceShutdown()
        resolve()
      }, graceMs)
      server.tryShutdown(() => {
        clearTimeout(deadline)
        if (socketPath !== undefined) rmSync(socketPath, { force: true })
        resolve()
      })
    }),
  }
}

function unary(
  run: (request: never) => Promise<unknown>,
  onBug: (error: unknown) => void,
): handleUnaryCall<unknown, unknown> {
  return (call, answer) => {
    run(call.request as never).then(
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
  run: (request: never) => AsyncIterable<unknown>,
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
      for await (const one of run(call.request as never)) {
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
