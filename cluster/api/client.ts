/**
 * The control API from outside: every method of ControlApi as a promise that rejects with a HoldfastError, the
 * daemon's own refusal or `unreachable` with the endpoint and where its name came from.
 */
import { METHODS, METHOD_NAMES, services } from './definition.ts'
import type { ControlApi, Method } from './definition.ts'
import type { BearerToken } from '../tls/bearer-token.ts'
import { wishForCluster, wishForNode } from '../tls/tls-connect.ts'
import { authorityContext } from '../tls/tls-folder.ts'
import type { TlsFolder } from '../tls/tls-folder.ts'
import { GrpcClient } from './grpc-client.ts'
import type { GrpcEndpoint } from './grpc-client.ts'

/** Generous: a disk being prepared may take a while. */
const CALL_DEADLINE_MS = 60_000

interface Found {
  /** How it was found, for the sentence of a failure: `--endpoint`, `HOLDFAST_ENDPOINT`, `./.holdfast`. */
  source: string
}

export type SocketEndpoint = Found & { socketPath: string }
/** `HOST:PORT` where a node listens for others, over TLS, and who we are there. */
export type SecureEndpoint = Found & { address: string; folder: TlsFolder }
/** The same, with a bearer token instead. `authority`: the folder of the CA's certificate. */
export type TokenEndpoint = Found & { address: string; authority: string; token: BearerToken }
export type Endpoint = SocketEndpoint | SecureEndpoint | TokenEndpoint

export type ControlClient = ControlApi & { close(): void }

export function connectControlApi(endpoint: Endpoint, deadlineMs = CALL_DEADLINE_MS): ControlClient {
  return controlCalls(grpcEndpoint(endpoint), deadlineMs)
}

/** Which node answers a user does not say: any of the cluster. */
export function grpcEndpoint(at: Endpoint): GrpcEndpoint {
  const { source } = at
  if ('socketPath' in at) return { address: `unix:${at.socketPath}`, endpoint: at.socketPath, source }
  const { address } = at
  // The certificate may be that of the node on this host, whose daemon need not live.
  if ('folder' in at) return { address, endpoint: address, source, tls: wishForNode(at.folder), isPassedOn: true }
  const { authority, token } = at
  const tls = wishForCluster(authorityContext(authority), token.clusterId)
  return { address, endpoint: address, source, tls, token }
}

/** The control API of another node of the cluster. @param api  `HOST:PORT` */
export function connectControlNode(
  node: string, api: string, tls: TlsFolder | undefined, deadlineMs = CALL_DEADLINE_MS,
): ControlClient {
  return controlCalls(
    { address: api, endpoint: api, source: 'the elected node', tls: tls && wishForNode(tls, node) }, deadlineMs,
  )
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
