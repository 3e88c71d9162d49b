/** What a node tells with its heartbeat under `beats/<name>` (cluster/store/heartbeats.ts): where it is reached. */
import { isText } from '../../engine/value-shape.ts'
import { isNodeName } from '../api/names.ts'
import type { Entry } from '../store/cluster-store.ts'
import { decodeHeartbeat } from '../store/heartbeats.ts'
import { afterPrefix, encodeJson, parseRecord } from '../store/json-value.ts'
import { isAddress } from '../tls/loopback.ts'

export const BEAT_PREFIX = 'beats/'

export const beatKey = (node: string): string => `${BEAT_PREFIX}${node}`

export interface BeatBody {
  /** `HOST:PORT` for data workers of other nodes. */
  peer: string
  /** `HOST:PORT` of its control API for other nodes. */
  api: string
  nodeId: string
  clusterId: string
  /** Of its daemon: random, one per start. */
  instance: string
  /** Of Holdfast. */
  version: string
  /** Data workers, when there are several. */
  workers?: number
  /** The greatest version of the protocol between data workers that it speaks. Absent: of before this was told. */
  protocol?: number
}

/** More threads than this have nothing to do: peers keep a connection for each pair of them. */
export const CLUSTER_WORKERS_MAX = 16

export const encodeBeatBody = (body: BeatBody): string => Buffer.from(encodeJson(body)).toString()

/** Undefined when it is not what a node tells. */
export function decodeBeatBody(text: string): BeatBody | undefined {
  const found = parseRecord(Buffer.from(text))
  if (found === undefined) return undefined
  const { peer, api, nodeId, clusterId, instance, version, workers, protocol } = found
  if (!isText(peer) || !isText(api) || !isText(nodeId)) return undefined
  // Who writes the store may put anything there: what is no address cannot be dialled, and is not tried.
  if (!isAddress(peer) || !isAddress(api)) return undefined
  if (!isText(clusterId) || !isText(instance) || !isText(version)) return undefined
  if (protocol !== undefined && !isCount(protocol)) return undefined
  const body = { peer, api, nodeId, clusterId, instance, version, ...(protocol === undefined ? {} : { protocol }) }
  if (workers === undefined) return body
  return isCount(workers) && workers <= CLUSTER_WORKERS_MAX ? { ...body, workers } : undefined
}

const isCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 1

/** Undefined: no node can beat under that key, or it is not what a node tells. */
export function decodeBeat({ key, value }: Pick<Entry, 'key' | 'value'>): { node: string; body: BeatBody } | undefined {
  const node = afterPrefix(key, BEAT_PREFIX)
  if (node === undefined || !isNodeName(node)) return undefined
  const body = decodeBeatBody(decodeHeartbeat(value)?.body ?? '')
  return body && { node, body }
}
