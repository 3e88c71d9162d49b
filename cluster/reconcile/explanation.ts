/**
 * What `holdfast explain` says of a volume: why each copy lies where it lies, and why the other nodes have none. Pure,
 * from what the controller knows now. No rule is repeated here: for each copy placement itself
 * (engine/control/placement.ts) is asked where it would go if it were placed now, and beside the answer stand the zones
 * and amounts that placement looks at. How a copy came to its place is remembered nowhere; one that would go elsewhere
 * now is said to.
 */
import { percent, someOf } from '../../engine/control/amounts.ts'
import type { Cluster, NodeView, VolumeView } from '../../engine/control/cluster.ts'
import { copyFacts } from '../../engine/control/copy-facts.ts'
import type { CopyFact } from '../../engine/control/copy-facts.ts'
import { whyNotErase } from '../../engine/control/copy-safety.ts'
import { fullness, spaceFor, spread } from '../../engine/control/disk-class.ts'
import { placeCopies, zoneOf } from '../../engine/control/placement.ts'
import type { Placement } from '../../engine/control/placement.ts'
import type { RebuildWhy } from '../../engine/control/rebuild-table.ts'
import { explain } from '../../engine/control/status-page.ts'
import { wantedCopies } from '../../engine/control/volume-record.ts'
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import type { NodeId } from '../../engine/replication/configuration.ts'
import type { Explanation } from '../api/volume-messages.ts'

/** A volume that is wished. */
interface Sight {
  cluster: Cluster
  volume: VolumeView
  record: VolumeRecord
  facts: readonly CopyFact[]
  nowMs: number
}

/** A place for a copy: which copies stay whatever becomes of it, and which nodes are out because they have one. */
interface Place {
  staying: NodeId[]
  taken: NodeId[]
}

/** They do not come back by themselves. */
const GONE: ReadonlySet<CopyFact['presence']> = new Set(['failed', 'absent', 'given-up'])

const REBUILD_WORDS: Record<RebuildWhy, string> = {
  replace: 'in place of one that is lost',
  add: 'because more copies are wished',
  drain: 'in place of one that has to leave',
  move: 'because it was moved here',
  rebalance: 'in place of one on a fuller node',
}

export function explanationOf(cluster: Cluster, volume: VolumeView, nowMs: number): Explanation {
  const { copies, others, ...verdict } = explain(cluster, volume, nowMs)
  const { config, record } = volume
  const facts = config === undefined ? [] : copyFacts(cluster, volume, nowMs)
  const roleOf = ({ isPrimary }: CopyFact) => (isPrimary ? 'primary' : 'replica')
  const told = copies.map((copy, index) => ({ ...copy, role: roleOf(facts[index]!), reasons: [] as string[] }) as const)
  if (record === undefined) return { ...verdict, wished: 0, placed: 0, copies: told, others }
  const sight: Sight = { cluster, volume, record, facts, nowMs }
  const place = placeBeside(facts)
  const next = placedNow(sight, place)
  for (const [index, { reasons }] of told.entries()) {
    reasons.push(...reasonsOf(sight, facts[index]!), ...diskWords(cluster, facts[index]!))
  }
  return {
    ...verdict,
    wished: wantedCopies(record),
    placed: place.staying.length,
    copies: told,
    others: others.map(({ node, why }) => ({ node, why: otherWords(sight, place, next, node) ?? why })),
  }
}

const isStaying = ({ presence, leaving }: CopyFact): boolean => leaving === '' && !GONE.has(presence)

const placeBeside = (facts: readonly CopyFact[]): Place => ({
  staying: facts.filter(isStaying).map(({ node }) => node),
  taken: facts.map(({ node }) => node),
})

// --- where there is a copy -------------------------------------------------------------------------------------------

function reasonsOf({ cluster, ...rest }: Sight, fact: CopyFact): string[] {
  const { volume, record, facts } = rest
  const { node } = fact
  const words: string[] = []
  if (volume.move?.what === 'copy' && volume.move.to === node) words.push('an operator moves it here')
  const entry = cluster.rebuildsOf.get(volume.id)?.find(({ to }) => to === node)
  if (entry !== undefined && entry.why !== 'move') words.push(`it is made here ${REBUILD_WORDS[entry.why]}`)
  if (record.firstNode === node) words.push('it was asked for on this node')
  if (!isStaying(fact)) return words
  const alone = { cluster: withoutCopyOn(cluster, volume, node), ...rest }
  return [...words, rankWords(alone, placeBeside(facts.filter((other) => other !== fact)), node)]
}

/** What placement says of this node, were the copy there placed now. */
function rankWords(sight: Sight, place: Place, node: NodeId): string {
  const { nodes, excluded } = placedNow(sight, place)
  if (!nodes.includes(node)) {
    return `it stays; a new one would not come here: ${node} ${excluded.get(node) ?? 'is no node of this cluster'}`
  }
  const best = nodes[0]!
  if (best !== node) return `it stays; placed now it would go to ${best}: ${compared(sight, place, best, node)}`
  const [next] = placedNow(sight, { ...place, taken: [...place.taken, best] }).nodes
  if (next !== undefined) {
    return `the best of ${nodes.length} nodes for it, then ${next}: ${compared(sight, place, best, next)}`
  }
  // Those that are barred say why in a line of their own.
  if ([...excluded.keys()].some((name) => !place.taken.includes(name))) return 'no other node may have it'
  return place.taken.length > 0 ? 'every other node has a copy, and each has one at most' : 'there is no other node'
}

/** What placement looks at (P2), of the one that it prefers and of another one. */
function compared({ cluster, volume, record }: Sight, { staying }: Place, better: NodeId, worse: NodeId): string {
  const views = [cluster.nodes.get(better)!, cluster.nodes.get(worse)!] as const
  const words: string[] = []
  if (record.firstNode === better && staying.length === 0) words.push(`it was asked for on ${better}`)
  const [here, there] = views.map((view) => copiesInZone(cluster, staying, view)) as [number, number]
  if (here !== there) words.push(`${copiesWord(here)} in ${zoneWord(views[0])}, ${there} in ${zoneWord(views[1])}`)
  const more = { sizeBytes: record.spec.sizeBytes, usedBytes: volume.usedBytes }
  const shares = views.map(({ classes }) =>
    percent(fullness(spaceFor(classes, record.spec)!, cluster.options.overCommit, more)))
  if (shares[0] !== shares[1]) words.push(`${better} would be ${shares[0]} full, ${worse} ${shares[1]}`)
  return words.length === 0 ? 'they are alike, and one has to be first' : words.join('; ')
}

const copiesInZone = ({ nodes }: Cluster, staying: readonly NodeId[], view: NodeView): number =>
  staying.filter((name) => nodes.has(name) && zoneOf(nodes.get(name)!) === zoneOf(view)).length

const copiesWord = (count: number): string =>
  count === 0 ? 'no other copy is' : count === 1 ? '1 other copy is' : `${count} other copies are`

const zoneWord = (view: NodeView): string => (view.record?.zone ? `zone ${view.record.zone}` : zoneOf(view))

/** Disks that it lies on, and what is wrong with them. */
function diskWords({ nodes, evictedDisks }: Cluster, { node, status }: CopyFact): string[] {
  const known = nodes.get(node)?.said?.disks ?? []
  const disks = known.filter(({ uuid }) => status?.diskUuids.includes(uuid) === true)
  if (disks.length === 0) return []
  const classWord = ({ pool, tags }: (typeof disks)[number]) =>
    [`pool ${pool}`, ...tags.map((tag) => `tag ${tag}`)].join(', ')
  const classes = [...new Set(disks.map(classWord))].join('; ')
  const words = [`it lies on ${someOf(disks.map(({ path }) => path))} (${classes})`]
  for (const { uuid, path, state, reason } of disks) {
    if (state === 'failed') words.push(`disk ${path} failed: ${reason}; replace it`)
    else if (state === 'suspect') words.push(`disk ${path} is suspect: ${reason}; replace it`)
    else if (evictedDisks.has(uuid)) words.push(`disk ${path} is being evicted`)
  }
  return words
}

// --- where there is none ---------------------------------------------------------------------------------------------

/** @param next  where one more copy could go; undefined: nothing more than why it could not */
function otherWords(sight: Sight, place: Place, next: Placement, node: NodeId): string | undefined {
  const { cluster, volume, facts, record, nowMs } = sight
  const copy = cluster.nodes.get(node)?.copies.get(volume.id)
  const entry = cluster.rebuildsOf.get(volume.id)?.find(({ to }) => to === node)
  if (copy !== undefined && (copy.failure !== '' || (entry === undefined && volume.config !== undefined))) {
    const why = whyNotErase(cluster, volume, facts, copy.copyId, nowMs)
    const failed = copy.failure === '' ? '' : ` and failed (${copy.failure})`
    return `has a copy that is no member${failed}; ${why === undefined ? 'it is being erased' : `it stays: ${why}`}`
  }
  if (entry !== undefined) return `a copy is to be made here ${REBUILD_WORDS[entry.why]}`
  if (volume.creating.has(node)) return copy === undefined ? 'was asked for a copy' : 'has its copy ready'
  if (!next.nodes.includes(node)) return undefined
  if (place.staying.length >= wantedCopies(record)) return 'could take a copy; all that are wished have a place'
  const best = next.nodes[0]!
  if (best === node) return 'would get the next copy'
  return `could take a copy, after ${best}: ${compared(sight, place, best, node)}`
}

// --- placement is asked ----------------------------------------------------------------------------------------------

/** All nodes that could have it, the best first. */
function placedNow({ cluster, volume, record, nowMs }: Sight, { staying, taken }: Place): Placement {
  const { usedBytes } = volume
  return placeCopies(cluster, { record, usedBytes, count: cluster.nodes.size, staying, taken: new Set(taken) }, nowMs)
}

/** The same cluster in which the copy on that node does not count, so that it is not counted twice. */
function withoutCopyOn(cluster: Cluster, { record, placed }: VolumeView, name: NodeId): Cluster {
  const node = cluster.nodes.get(name)
  const counted = placed.get(name)
  if (node === undefined || counted === undefined || record === undefined) return cluster
  const classes = node.classes.map((one) => ({ ...one }))
  spread(classes, record.spec, { sizeBytes: -counted.sizeBytes, usedBytes: -counted.usedBytes })
  for (const [index, one] of classes.entries()) one.freeBytes += node.classes[index]!.usedBytes - one.usedBytes
  return { ...cluster, nodes: new Map(cluster.nodes).set(name, { ...node, classes }) }
}
