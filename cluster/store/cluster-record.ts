/**
 * Which cluster a store belongs to: the key `cluster`. Once made it does not change, but that nodes are added to
 * `rebuilt` (REBUILD.md section 4).
 */
import type { NodeId } from '../../engine/replication/configuration.ts'
import { isCount, isRecord, isText } from '../../engine/value-shape.ts'
import { encodeJson, parseRecord } from './json-value.ts'

export const CLUSTER_KEY = 'cluster'
const ID = /^[0-9a-f]{32}$/

export interface ClusterRecord {
  id: string
  /** How often a lost store was rebuilt. */
  era: number
  /** Who was described when that was done, each with the digest of what its disks said. */
  rebuilt: Record<NodeId, string>
}

export const encodeCluster = ({ id, era, rebuilt }: ClusterRecord): Uint8Array =>
  encodeJson(era === 0 ? { id } : { id, era, rebuilt })

export function decodeCluster(value: Uint8Array): ClusterRecord | undefined {
  const found = parseRecord(value)
  if (found === undefined) return undefined
  const { id, era = 0, rebuilt = {} } = found
  if (!isText(id) || !ID.test(id) || !isCount(era)) return undefined
  if (!isRecord(rebuilt) || !Object.values(rebuilt).every(isText)) return undefined
  return { id, era, rebuilt: rebuilt as Record<NodeId, string> }
}
