/**
 * Whether a volume that has fewer copies than it is to have is going to get one: somebody may wait for it, and in vain
 * where no node can take one. Nothing is decided by it here.
 */
import type { Cluster, NodeView, VolumeView } from './cluster.ts'
import { livenessOf, whyNoNewCopy } from './node-state.ts'
import { placeCopies, whyNotAllowed } from './placement.ts'
import { wantedCopies } from './volume-record.ts'

/** A node could take a copy now (P1), or soon: it is there, and recovers its disks, or came back just now. */
export function awaitsCopy(cluster: Cluster, { record, config, usedBytes }: VolumeView, nowMs: number): boolean {
  if (record === undefined || config === undefined) return false
  const members = Object.keys(config.members)
  if (members.length >= wantedCopies(record)) return false
  const taken = new Set(members)
  const { nodes } = placeCopies(cluster, { record, usedBytes, count: 1, staying: members, taken }, nowMs)
  if (nodes.length > 0) return true
  return [...cluster.nodes.values()].some((node) =>
    !taken.has(node.name) && whyNotAllowed(node, record) === undefined && isComing(cluster, node, nowMs))
}

/** What keeps it from taking copies passes by itself. */
function isComing(cluster: Cluster, node: NodeView, nowMs: number): boolean {
  const { record, wish } = node
  if (record === undefined || wish.isCordoned || wish.isDraining) return false
  if (livenessOf(node, cluster.options, nowMs) === 'down') return false
  return whyNoNewCopy(node, cluster, nowMs) !== undefined
}
