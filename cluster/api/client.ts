/**
 * The control API from outside: every method of ControlApi as a promise that rejects with a HoldfastError, the
 * daemon's own refusal or `unreachable` with the endpoint and where its name came from.
 */
import { Client, credentials, logVerbosity, setLogVerbosity, status } from '@grpc/grpc-js'
import type { ServiceError } from '@grpc/grpc-js'
import { HoldfastError } from '../../engine/errors.ts'
import { METHODS, METHOD_NAMES, services } from './definition.ts'
import type { ControlApi, Method } from './definition.ts'
import { refusalFromStatus, transportReason } from './refusal.ts'

/** Failures reach the user as sentences of ours. */
setLogVerbosity(logVerbosity.NONE)

/** Generous: a disk being prepared may take a while. */
const CALL_DEADLINE_MS = 60_000

export interface Endpoint {
  socketPath: string
  /** How the socket was found, for the sentence of a failure: `--endpoint`, `HOLDFAST_ENDPOINT`, `./.holdfast`. */
  source: string
}

export type ControlClient = ControlApi & { close(): void }

function transportFailure(error: ServiceError, { socketPath, source }: Endpoint): HoldfastError {
  if (error.code === status.INTERNAL) return new HoldfastError('internal', { endpoint: socketPath })
  return new HoldfastError('unreachable', { endpoint: socketPath, source, reason: transportReason(error) })
}

export function connectControlApi(endpoint: Endpoint, deadlineMs = CALL_DEADLINE_MS): ControlClient {
  const channel = new Client(`unix:${endpoint.socketPath}`, credentials.createInsecure(), {
    'grpc.enable_http_proxy': 0,
    'grpc.enable_channelz': 0,
    'grpc.max_receive_message_length': -1,
  })
  const call = (method: Method, request: unknown) => new Promise((resolve, reject) => {
    const [service, rpc] = METHODS[method]
    const { path, requestSerialize, responseDeserialize } = services()[service]![rpc]!
    const deadline = Date.now() + deadlineMs
    channel.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, { deadline }, (error, response) => {
      if (error === null) return resolve(response)
      reject(refusalFromStatus(error) ?? transportFailure(error, endpoint))
    })
  })
  const client: Record<string, unknown> = { close: () => channel.close() }
  for (const method of METHOD_NAMES) client[method] = (request: unknown = {}) => call(method, request)
  return client as unknown as ControlClient
}
