/** NodeCalls over the network (proto/holdfast/v1/cluster.proto): the service of a node, and a client of others. */
import type { ServiceDefinition } from '@grpc/grpc-js'
import { HoldfastError } from '../../engine/errors.ts'
import { GrpcClient } from '../api/grpc-client.ts'
import type { ServedService } from '../api/grpc-server.ts'
import { loadServices } from '../api/proto.ts'
import type { NodeCalls } from './node-calls.ts'

/** The next report or pass comes soon. */
const CALL_DEADLINE_MS = 3_000

const RPCS = {
  report: 'Report',
  makeCopy: 'MakeCopy',
  eraseCopy: 'EraseCopy',
  handOver: 'HandOver',
  change: 'Change',
  hold: 'Hold',
  release: 'Release',
  snapshots: 'Snapshots',
  awaitOffer: 'AwaitOffer',
  clients: 'Clients',
  scrub: 'Scrub',
  hydrate: 'Hydrate',
  digest: 'Digest',
} as const satisfies Record<keyof NodeCalls, string>

export const NODE_CALLS = Object.keys(RPCS) as Array<keyof NodeCalls>

let loaded: ServiceDefinition | undefined

/** Read from the .proto file once. */
export function clusterService(): ServiceDefinition {
  loaded ??= loadServices(['cluster'], ['ClusterService']).ClusterService!
  return loaded
}

export function nodeService(calls: NodeCalls): ServedService {
  const served: ServedService['calls'] = {}
  for (const call of NODE_CALLS) served[RPCS[call]] = calls[call].bind(calls) as (request: never) => Promise<unknown>
  return { definition: clusterService(), calls: served }
}

/** Connections to other nodes, each made when it is needed and kept until it fails. */
export class NodeConnections {
  private readonly clients = new Map<string, GrpcClient>()

  /** @param api  `HOST:PORT`, as the node tells it with its heartbeat */
  to(api: string): NodeCalls {
    const calls: Record<string, unknown> = {}
    for (const call of NODE_CALLS) calls[call] = (request: unknown) => this.call(api, RPCS[call], request)
    return calls as unknown as NodeCalls
  }

  close(): void {
    for (const client of this.clients.values()) client.close()
    this.clients.clear()
  }

  private async call(api: string, rpc: string, request: unknown): Promise<unknown> {
    const client = this.clients.get(api) ?? new GrpcClient({ address: api, endpoint: api, source: 'its heartbeat' })
    this.clients.set(api, client)
    try {
      return await client.call(clusterService(), rpc, request, CALL_DEADLINE_MS)
    } catch (error) {
      // A connection of which the other end is gone looks alive for minutes: the next call makes another one.
      if (error instanceof HoldfastError && error.code === 'unreachable' && this.clients.get(api) === client) {
        this.clients.delete(api)
        client.close()
      }
      throw error
    }
  }
}
