/** What a node tells with its heartbeat under `beats/<name>` (cluster/store/heartbeats.ts): where it is reached. */
import { encodeJson, isText, parseRecord } from '../store/json-value.ts'

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
}

export const encodeBeatBody = (body: BeatBody): string => Buffer.from(encodeJson(body)).toString()

/** Undefined when it is not what a node tells. */
export function decodeBeatBody(text: string): BeatBody | undefined {
  const found = parseRecord(Buffer.from(text))
  if (found === undefined) return undefined
  const { peer, api, nodeId, clusterId, instance, version } = found
  if (!isText(peer) || !isText(api) || !isText(nodeId)) return undefined
  if (!isText(clusterId) || !isText(instance) || !isText(version)) return undefined
  return { peer, api, nodeId, clusterId, instance, version }
}
