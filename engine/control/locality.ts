/**
 * A copy where a volume is used (SPEC.md section 15). All of it follows from record and configuration as they are: no
 * wish is kept that could outlive its reason, and every controller concludes the same.
 *
 *   used at n4, no copy there -> a copy is made -> the lead goes there -> the farthest of the others goes
 */
import type { NodeId } from '../replication/configuration.ts'
import type { Cluster, VolumeView } from './cluster.ts'
import { whyNotOn } from './placement.ts'

/** U1: where its only user is, if a copy is to be there; undefined: nowhere. */
export function usedAt({ record, config }: VolumeView): NodeId | undefined {
  if (record?.dataLocality === undefined || record.trash !== null || config?.attach.mode !== 'single') return undefined
  const [holder, ...others] = Object.keys(config.attach.holders)
  return others.length > 0 || record.moved?.from === holder ? undefined : holder
}

/** The same, while no member is there. */
export function lacksCopyAt(volume: VolumeView): NodeId | undefined {
  const node = usedAt(volume)
  return node === undefined || volume.config!.members[node] !== undefined ? undefined : node
}

/** U2: why no copy is made there, as a sentence; undefined: it may be. */
export function whyNotNear(cluster: Cluster, volume: VolumeView, node: NodeId, nowMs: number): string | undefined {
  const { record, usedBytes, nearFailedAtMs } = volume
  const view = cluster.nodes.get(node)
  const why = view === undefined ? 'is no node of this cluster' : whyNotOn(cluster, view, record!, usedBytes, nowMs)
  if (why !== undefined) return `no copy goes to where it is used: ${node} ${why}`
  if (nowMs - nearFailedAtMs >= cluster.options.replaceAfterMs) return undefined
  return `a copy could not be filled where it is used, on ${node}; it is tried again later`
}
