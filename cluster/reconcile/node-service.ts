/** NodeCalls over the network (proto/holdfast/v1/cluster.proto): the service of a node, and a client of others. */
import type { ServiceDefinition } from '@grpc/grpc-js'
import { HoldfastError } from '../../engine/errors.ts'
import { wishForNode } from '../tls/tls-connect.ts'
import type { TlsFolder } from '../tls/tls-folder.ts'
import { GrpcClient } from '../api/grpc-client.ts'
import type { ServedService } from '../api/grpc-server.ts'
import { isId, shown } from '../api/names.ts'
import { loadServices } from '../api/proto.ts'
import { isVolumeId } from '../store/json-value.ts'
import type { NodeCalls, NodeReport } from './node-calls.ts'

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
  rekey: 'Rekey',
  digest: 'Digest',
} as const satisfies Record<keyof NodeCalls, string>

export const NODE_CALLS = Object.keys(RPCS) as Array<keyof NodeCalls>

let loaded: ServiceDefinition | undefined

/** Read from the .proto file once. */
export function clusterService(): ServiceDefinition {
  loaded ??= loadServices(['cluster'], ['ClusterService']).ClusterService!
  return loaded
}

/** @param isLoopback  in plain text: nobody proves which node he is */
export function nodeService(calls: NodeCalls, isLoopback = true): ServedService {
  const served: ServedService['calls'] = {}
  for (const call of NODE_CALLS) {
    served[RPCS[call]] = async (request: Request) => {
      checkWhole(call, request)
      return calls[call](request as never)
    }
  }
  if (!isLoopback) {
    served[RPCS.report] = async (report: NodeReport & Request, { role, name }) => {
      checkWhole('report', report)
      const { node } = report.status
      if (node === name) return calls.report(report)
      const [rpc, reason] = ['ClusterService/Report', `it reports as node ${node}`]
      throw new HoldfastError('tls-denied', { who: `${role} ${name}`, rpc, reason, roles: `node ${node}` })
    }
  }
  return { definition: clusterService(), calls: served }
}

type Request = Record<string, unknown>

/** Messages within a request, without which it says nothing: whoever sends it may leave each of them out. */
const NEEDED: Partial<Record<keyof NodeCalls, readonly string[]>> = {
  report: ['status', 'facts'], hold: ['expected'], snapshots: ['after'],
}

/** A node may be anybody's by now: what it sends is looked at once for all calls. @throws HoldfastError */
function checkWhole(call: keyof NodeCalls, request: Request): void {
  for (const parameter of NEEDED[call] ?? []) {
    if (request[parameter] === null) throw new HoldfastError('parameter', { parameter, value: 'none', allowed: 'one' })
  }
  const { volumeId } = request
  if (call === 'report') return checkNamed((request as unknown as NodeReport).status)
  if (isVolumeId(volumeId)) return
  throw new HoldfastError('volume-not-found', { name: shown(String(volumeId)) })
}

/** What a node says that it has may be wished something of, and so become part of a key. @throws HoldfastError */
function checkNamed({ disks, copies }: NodeReport['status']): void {
  const named = [
    ...disks.map(({ uuid }) => ['disk', uuid] as const).filter(([, uuid]) => uuid !== ''),
    ...copies.map(({ volumeId }) => ['copy of volume', volumeId] as const),
  ]
  const strange = named.find(([, id]) => !isId(id))
  if (strange === undefined) return
  const [parameter, id] = strange
  throw new HoldfastError('parameter', { parameter, value: shown(id), allowed: '32 lower-case hex digits' })
}

/** Connections to other nodes, each made when it is needed and kept until it fails. */
export class NodeConnections {
  private readonly clients = new Map<string, GrpcClient>()
  private readonly tls: TlsFolder | undefined

  /** @param tls  unset: plain text */
  constructor(tls?: TlsFolder | undefined) {
    this.tls = tls
  }

  /** @param api  `HOST:PORT`, as the node tells it with its heartbeat */
  to(node: string, api: string): NodeCalls {
    const calls: Record<string, unknown> = {}
    for (const call of NODE_CALLS) calls[call] = (request: unknown) => this.call(node, api, RPCS[call], request)
    return calls as unknown as NodeCalls
  }

  close(): void {
    for (const client of this.clients.values()) client.close()
    this.clients.clear()
  }

  private async call(node: string, api: string, rpc: string, request: unknown): Promise<unknown> {
    const key = `${node} ${api}`
    const client = this.clients.get(key) ?? this.connect(node, api)
    this.clients.set(key, client)
    try {
      return await client.call(clusterService(), rpc, request, CALL_DEADLINE_MS)
    } catch (error) {
      // A connection of which the other end is gone looks alive for minutes: the next call makes another one.
      if (error instanceof HoldfastError && error.code === 'unreachable' && this.clients.get(key) === client) {
        this.clients.delete(key)
        client.close()
      }
      throw error
    }
  }

  private connect(node: string, api: string): GrpcClient {
    const tls = this.tls && wishForNode(this.tls, node)
    return new GrpcClient({ address: api, endpoint: api, source: 'its heartbeat', tls })
  }
}
