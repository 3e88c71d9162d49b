/**
 * Where copies of a volume go (SPEC.md section 5), or why not, node by node. Nothing is remembered: the same cluster
 * gives the same answer, and `holdfast explain` asks the same question.
 */
import type { NodeId } from '../replication/configuration.ts'
import { bytes, percent, someOf } from './amounts.ts'
import type { Cluster, NodeView, VolumeView } from './cluster.ts'
import { fullness, roomBytes, spaceFor } from './disk-class.ts'
import { whyNoNewCopy } from './node-state.ts'
import type { VolumeSpec } from '../volume/volume-spec.ts'
import type { VolumeRecord } from './volume-record.ts'

/** R6: every node has spoken, or had the time to: earlier, it would be chosen among those who happened to be first. */
export function isSettled({ nodes, startedAtMs, options }: Cluster, nowMs: number): boolean {
  if (nowMs - startedAtMs > options.downAfterMs) return true
  for (const { record, said } of nodes.values()) if (record !== undefined && said === undefined) return false
  return true
}

export interface PlacementRequest {
  record: VolumeRecord
  usedBytes: number
  /** Copies that are to be placed. */
  count: number
  /** Nodes of the copies that stay: their zones count. */
  staying: readonly NodeId[]
  /** Nodes that have a copy, or may have one. */
  taken: ReadonlySet<NodeId>
  /** Unset: any node. */
  only?: ReadonlySet<NodeId>
  /** Before others of the same zone rank. */
  near?: NodeId | undefined
  /** Chosen only when nobody else of the same zone rank is there; never instead of another zone. */
  isBusy?: (node: NodeId) => boolean
}

export interface Placement {
  /** Best first, at most `count`. */
  nodes: NodeId[]
  /** Empty when all were placed; else a sentence. */
  why: string
  /** Of each node that may not: why not, as a sentence without a subject. */
  excluded: Map<NodeId, string>
}

interface Candidate {
  node: NodeView
  zone: string
  isFirst: boolean
  isNear: boolean
  isBusy: boolean
  fullness: number
}

export function placeCopies(cluster: Cluster, request: PlacementRequest, nowMs: number): Placement {
  const { record, count, staying, near, isBusy } = request
  const excluded = new Map<NodeId, string>()
  const candidates: Candidate[] = []
  const { overCommit } = cluster.options
  const more = { sizeBytes: record.spec.sizeBytes, usedBytes: request.usedBytes }
  for (const node of cluster.nodes.values()) {
    const why = whyNotAsked(request, node.name) ?? whyNotOn(cluster, node, record, request.usedBytes, nowMs)
    if (why !== undefined) {
      excluded.set(node.name, why)
      continue
    }
    candidates.push({
      node,
      zone: zoneOf(node),
      isFirst: node.name === record.firstNode && staying.length === 0,
      isNear: node.name === near,
      isBusy: isBusy?.(node.name) ?? false,
      fullness: fullness(spaceFor(node.classes, record.spec)!, overCommit, more),
    })
  }
  const nodes = choose(cluster, candidates, staying, count)
  return { nodes, excluded, why: nodes.length === count ? '' : whyTooFew(cluster, nodes.length, count, excluded) }
}

function whyNotAsked({ taken, only }: PlacementRequest, node: NodeId): string | undefined {
  if (taken.has(node)) return 'has a copy of it'
  return only?.has(node) === false ? 'has no copy in sync of the volume that it is a clone of' : undefined
}

/** P2, P3: one after the other, each into the zones that have the fewest. */
function choose(cluster: Cluster, candidates: Candidate[], staying: readonly NodeId[], count: number): NodeId[] {
  const copiesIn = new Map<string, number>()
  const add = (zone: string) => copiesIn.set(zone, (copiesIn.get(zone) ?? 0) + 1)
  for (const name of staying) {
    const node = cluster.nodes.get(name)
    if (node !== undefined) add(zoneOf(node))
  }
  const nodes: NodeId[] = []
  while (nodes.length < count) {
    let best: Candidate | undefined
    for (const one of candidates) if (best === undefined || isBetter(one, best, copiesIn)) best = one
    if (best === undefined) break
    nodes.push(best.node.name)
    add(best.zone)
    candidates.splice(candidates.indexOf(best), 1)
  }
  return nodes
}

function isBetter(a: Candidate, b: Candidate, copiesIn: ReadonlyMap<string, number>): boolean {
  if (a.isFirst !== b.isFirst) return a.isFirst
  const inZone = (copiesIn.get(a.zone) ?? 0) - (copiesIn.get(b.zone) ?? 0)
  if (inZone !== 0) return inZone < 0
  if (a.isNear !== b.isNear) return a.isNear
  if (a.isBusy !== b.isBusy) return b.isBusy
  return a.fullness === b.fullness ? a.node.name < b.node.name : a.fullness < b.fullness
}

/** P1, as a sentence without a subject. */
export function whyNotOn(
  cluster: Cluster,
  node: NodeView,
  record: VolumeRecord,
  usedBytes: number,
  nowMs: number,
): string | undefined {
  return whyNoNewCopy(node, cluster, nowMs) ?? whyNotAllowed(node, record)
    ?? whyNoRoomOn(cluster, node, record.spec, usedBytes)
}

/** P7, as a sentence without a subject. */
export function whyNotAllowed({ name, record }: NodeView, { allowed }: VolumeRecord): string | undefined {
  if (allowed === undefined || allowed.nodes.includes(name)) return undefined
  const zone = record?.zone ?? ''
  if (zone !== '' && allowed.zones.includes(zone)) return undefined
  const where = [...allowed.zones.map((one) => `zone ${one}`), ...allowed.nodes.map((one) => `node ${one}`)]
  return `is not in ${someOf(where)}, where its copies may be`
}

/** The part of P1 that is about disks, as the node told of them last. */
export function whyNoRoomOn(
  cluster: Cluster,
  node: NodeView,
  spec: VolumeSpec,
  usedBytes: number,
): string | undefined {
  const space = spaceFor(node.classes, spec)
  const { overCommit, lowSpaceShare } = cluster.options
  if (space === undefined) {
    const tags = spec.diskTags.length === 0 ? '' : ` with tags ${spec.diskTags.join('+')}`
    return `has no usable disk in pool ${spec.pool}${tags}`
  }
  if (space.committedBytes + spec.sizeBytes > space.capacityBytes * overCommit) {
    const limit = `${percent(overCommit)} of ${bytes(space.capacityBytes)}`
    return `has promised ${bytes(space.committedBytes)} already, with it more than ${limit}`
  }
  const left = roomBytes(space) - usedBytes
  if (left < space.capacityBytes * lowSpaceShare) {
    const least = `${percent(lowSpaceShare)} of ${bytes(space.capacityBytes)}`
    return `would have ${bytes(Math.max(0, left))} free, less than ${least}`
  }
  return undefined
}

export function whyTooFew(
  { nodes }: Cluster,
  found: number,
  count: number,
  excluded: ReadonlyMap<NodeId, string>,
): string {
  const lacking = `${count - found} more ${count - found === 1 ? 'node is' : 'nodes are'} needed`
  const reasons = [...excluded].sort(([a], [b]) => (a < b ? -1 : 1)).map(([node, why]) => `${node} ${why}`)
  if (reasons.length === 0) return `${lacking}, and there is no other`
  const shown = reasons.slice(0, SHOWN_MAX).join('; ')
  const rest = reasons.length - SHOWN_MAX
  return `${lacking}: ${shown}${rest > 0 ? `; and ${rest} more of ${nodes.size} nodes` : ''}`
}

const SHOWN_MAX = 6

/** A node without a zone is a zone of its own. */
export const zoneOf = (node: NodeView): string => node.record?.zone || `node ${node.name}`

/** P3: of the nodes of a new volume the one that leads. */
export function leaderAmong(cluster: Cluster, { record }: VolumeView, nodes: readonly NodeId[]): NodeId {
  const first = record?.firstNode ?? ''
  if (nodes.includes(first)) return first
  const leads = (node: NodeId) => cluster.nodes.get(node)?.leads ?? 0
  return nodes.reduce((best, node) => (leads(node) < leads(best) ? node : best))
}
