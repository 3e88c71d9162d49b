/**
 * The control API from outside: every method of ControlApi as a promise that rejects with a HoldfastError, the
 * daemon's own refusal or `unreachable` with the endpoint and where its name came from.
 */
import { METHODS, METHOD_NAMES, services } from './definition.ts'
import type { ControlApi, Method } from './definition.ts'
import { GrpcClient } from './grpc-client.ts'
import type { GrpcEndpoint } from './grpc-client.ts'

/** Generous: a disk being prepared may take a while. */
const CALL_DEADLINE_MS = 60_000

export interface Endpoint {
  socketPath: string
  /** How the socket was found, for the sentence of a failure: `--endpoint`, `HOLDFAST_ENDPOINT`, `./.holdfast`. */
  source: string
}

export type ControlClient = ControlApi & { close(): void }

export function connectControlApi({ socketPath, source }: Endpoint, deadlineMs = CALL_DEADLINE_MS): ControlClient {
  return controlCalls({ address: `unix:${socketPath}`, endpoint: socketPath, source }, deadlineMs)
}

/** The control API of another node of the cluster. @param api  `HOST:PORT` */
export function connectControlNode(api: string, deadlineMs = CALL_DEADLINE_MS): ControlClient {
  return controlCalls({ address: api, endpoint: api, source: 'the elected node' }, deadlineMs)
}

function controlCalls(at: GrpcEndpoint, deadlineMs: number): ControlClient {
  const channel = new GrpcClient(at)
  const call = (method: Method, request: unknown) => {
    const [service, rpc] = METHODS[method]
    return channel.call(services()[service]!, rpc, request, deadlineMs)
  }
  const client: Record<string, unknown> = { close: () => channel.close() }
  for (const method of METHOD_NAMES) client[method] = (request: unknown = {}) => call(method, request)
  return client as unknown as ControlClient
}
