/**
 * The control API on a unix socket that only its owner may open. Idle cost: no timers of our own. An unexpected
 * rejection of a handler is a bug: the caller hears INTERNAL, `onBug` decides what becomes of the process.
 */
import { chmodSync, rmSync } from 'node:fs'
import { Server, ServerCredentials, logVerbosity, setLogVerbosity, status } from '@grpc/grpc-js'
import type { ServiceError, UntypedServiceImplementation, handleUnaryCall } from '@grpc/grpc-js'
import { HoldfastError } from '../../engine/errors.ts'
import { METHODS, METHOD_NAMES, services } from './definition.ts'
import type { ControlApi, Method } from './definition.ts'
import { refusalToStatus } from './refusal.ts'

/** Failures reach us as values; the library's own lines on stderr would be a second voice. */
setLogVerbosity(logVerbosity.NONE)

const REQUEST_BYTES_MAX = 1024 * 1024

export interface ApiServer {
  /** Stop accepting, let running calls end for `graceMs`, then drop them. The socket is gone afterwards. */
  close(graceMs: number): Promise<void>
}

function unary(api: ControlApi, method: Method, onBug: (error: unknown) => void): handleUnaryCall<unknown, unknown> {
  const run = api[method].bind(api) as (request: unknown) => Promise<unknown>
  return (call, answer) => {
    run(call.request).then(
      (response) => answer(null, response),
      (error: unknown) => {
        if (error instanceof HoldfastError) return answer(refusalToStatus(error))
        answer({ code: status.INTERNAL, details: 'the daemon hit a bug of its own; daemon.log has it' } as ServiceError)
        onBug(error)
      },
    )
  }
}

/** Serve `api` at `socketPath`, replacing a socket a dead process left there (the caller holds the folder's lock). */
export async function serveControlApi(options: {
  socketPath: string
  api: ControlApi
  onBug: (error: unknown) => void
}): Promise<ApiServer> {
  const { socketPath, api, onBug } = options
  const server = new Server({
    'grpc.max_receive_message_length': REQUEST_BYTES_MAX,
    'grpc.max_send_message_length': -1,
    'grpc.enable_channelz': 0,
  })
  const implementations: Record<string, UntypedServiceImplementation> = {}
  for (const method of METHOD_NAMES) {
    const [service, rpc] = METHODS[method]
    implementations[service] ??= {}
    implementations[service][rpc] = unary(api, method, onBug) as handleUnaryCall<unknown, unknown>
  }
  for (const [service, definition] of Object.entries(services())) {
    server.addService(definition, implementations[service]!)
  }
  rmSync(socketPath, { force: true })
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socketPath}`, ServerCredentials.createInsecure(), (error) => {
      if (error) reject(new HoldfastError('listen', { endpoint: socketPath, reason: error.message }))
      else resolve()
    })
  })
  chmodSync(socketPath, 0o600)
  return {
    close: (graceMs) => new Promise((resolve) => {
      const deadline = setTimeout(() => {
        server.forceShutdown()
        resolve()
      }, graceMs)
      server.tryShutdown(() => {
        clearTimeout(deadline)
        rmSync(socketPath, { force: true })
        resolve()
      })
    }),
  }
}
