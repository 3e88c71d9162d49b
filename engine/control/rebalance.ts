/**
 * Rebalancing by fullness (SPEC.md V7), when nothing else is to be done: one replica of a healthy volume from the
 * fullest node of a pool to the least full one. Afterwards the giver is still the fuller of the two, so of the nodes
 * sorted by fullness the first one that changes is less full than before: no series of moves comes back to where it
 * was.
 */
import type { NodeId } from '../replication/configuration.ts'
import type { Cluster, NodeView, VolumeView } from './cluster.ts'
import { fullness, spaceFor } from './disk-class.ts'
import { usedAt } from './locality.ts'
import { livenessOf, whyNoNewCopy } from './node-state.ts'
import { whyNotOn, zoneOf } from './placement.ts'
import type { RebuildTable } from './rebuild-table.ts'

/** Of the fullest and the least full so many are tried, the most unequal pair first. */
const ENDS = 3

interface Filled {
  node: NodeView
  fullness: number
}

/** One entry, or none. */
export function rebalancing(cluster: Cluster, nowMs: number): RebuildTable {
  const { options } = cluster
  for (const pool of poolsOf(cluster)) {
    const filled = fill(cluster, pool, nowMs)
    const takers = filled.filter(({ node }) => whyNoNewCopy(node, cluster, nowMs) === undefined)
    for (const giver of filled.slice(-ENDS).reverse()) {
      for (const taker of takers.slice(0, ENDS)) {
        if (giver.fullness - taker.fullness <= options.rebalanceGap) continue
        const volume = bestToMove(cluster, pool, giver.node, taker.node, nowMs)
        if (volume === undefined) continue
        return [{ volumeId: volume.id, to: taker.node.name, from: giver.node.name, why: 'rebalance' }]
      }
    }
  }
  return []
}

function poolsOf({ nodes }: Cluster): string[] {
  const pools = new Set<string>()
  for (const { classes } of nodes.values()) for (const { pool } of classes) pools.add(pool)
  return [...pools].sort()
}

/** Nodes that are up, the least full first. */
function fill(cluster: Cluster, pool: string, nowMs: number): Filled[] {
  const { options } = cluster
  const filled: Filled[] = []
  for (const node of cluster.nodes.values()) {
    const space = spaceFor(node.classes, { pool, diskTags: [] })
    if (space === undefined || livenessOf(node, options, nowMs) !== 'up') continue
    filled.push({ node, fullness: fullness(space, options.overCommit) })
  }
  return filled.sort((a, b) => a.fullness - b.fullness || (a.node.name < b.node.name ? -1 : 1))
}

/** The one that brings both closest together, and leaves the giver fuller. */
function bestToMove(
  cluster: Cluster,
  pool: string,
  giver: NodeView,
  taker: NodeView,
  nowMs: number,
): VolumeView | undefined {
  const { overCommit, rebalanceMargin } = cluster.options
  let best: VolumeView | undefined
  let bestApart = Infinity
  for (const id of giver.volumes) {
    const volume = cluster.volumes.get(id)!
    if (!mayMove(volume, giver.name, pool) || volume.record!.moved?.from === taker.name) continue
    const { record, usedBytes } = volume
    const { spec } = record!
    const from = spaceFor(giver.classes, { pool, diskTags: [] })
    const to = spaceFor(taker.classes, { pool, diskTags: [] })
    if (from === undefined || to === undefined || volume.reportedOn.has(taker.name)) continue
    const more = { sizeBytes: spec.sizeBytes, usedBytes }
    const less = { sizeBytes: -spec.sizeBytes, usedBytes: -usedBytes }
    const apart = fullness(from, overCommit, less) - fullness(to, overCommit, more)
    if (apart < rebalanceMargin || apart > bestApart || (apart === bestApart && id > best!.id)) continue
    if (sharesMore(cluster, volume, giver, taker)) continue
    if (whyNotOn(cluster, taker, record!, usedBytes, nowMs) !== undefined) continue
    best = volume
    bestApart = apart
  }
  return best
}

/** A replica of a healthy volume that nobody waits for, and nobody put there; not the one where it is used (U6). */
function mayMove(volume: VolumeView, giver: NodeId, pool: string): boolean {
  const { record, config, verdict, move } = volume
  if (record === undefined || config === undefined || move !== undefined || record.trash !== null) return false
  if (record.spec.pool !== pool || verdict?.health !== 'healthy' || record.firstNode === giver) return false
  if (record.moved?.to === giver || usedAt(volume) === giver) return false
  return config.primary !== giver && config.inSync.includes(giver)
}

/** Its copies would share zones more than they do. */
function sharesMore(cluster: Cluster, { config }: VolumeView, giver: NodeView, taker: NodeView): boolean {
  const others = Object.keys(config!.members).filter((name) => name !== giver.name)
  const inZoneOf = (node: NodeView) => others.filter((name) => zoneOf(cluster.nodes.get(name)!) === zoneOf(node)).length
  return config!.members[taker.name] !== undefined || inZoneOf(taker) > inZoneOf(giver)
}
