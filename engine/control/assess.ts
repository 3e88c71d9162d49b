/**
 * What one volume gets now (SPEC.md sections 6 and 7): the actions that cost no budget, and the copy it lacks, which
 * does. One compare-and-swap of its configuration at most.
 */
import type { NodeId, VolumeConfig } from '../replication/configuration.ts'
import type { Action } from './actions.ts'
import { seconds } from './amounts.ts'
import type { Cluster, NodeView, VolumeView } from './cluster.ts'
import { copyFacts, isBeingFilled, isComplete, isCounted } from './copy-facts.ts'
import type { CopyFact } from './copy-facts.ts'
import { whyAwaited, whyNoActivePrimary, whyNotErase, whyNotEvict, whyNotRemove } from './copy-safety.ts'
import { createStep } from './creation.ts'
import { hydrationStep } from './hydration.ts'
import type { HydrationNeed } from './hydration.ts'
import { healthOf, lonePrimary } from './health.ts'
import type { Health } from './health.ts'
import { lacksCopyAt, usedAt, whyNotNear } from './locality.ts'
import { withEvicted, withMinInSync, withNewMember, withoutMember } from './member-change.ts'
import { livenessOf } from './node-state.ts'
import type { Rebuild, RebuildWhy } from './rebuild-table.ts'
import { zoneOf } from './placement.ts'
import { beginPurge, purgeStep, strayStep, trashNext } from './trash.ts'
import { moved, wantedCopies, wishedMinInSync } from './volume-record.ts'
import type { Move } from './volume-record.ts'

/** B2, the first comes first. */
export const RANK = {
  held: 0, 'at-risk': 1, degraded: 2, add: 3, drain: 4, move: 5, follow: 6, trash: 7, rebalance: 8,
} as const

/** A copy that has to be filled: it waits for a place in the rebuild table. */
export interface CopyNeed {
  volume: VolumeView
  why: RebuildWhy
  rank: number
  count: number
  /** Of the set, complete. */
  liveCopies: number
  /** Where it has to go; empty: wherever is best. */
  to: NodeId | ''
  /** Preferred among equals: where it is used. */
  near: NodeId | undefined
  staying: NodeId[]
  taken: Set<NodeId>
}

export interface Assessment extends Health {
  actions: Action[]
  need: CopyNeed | undefined
  /** A clone that should get blocks of its own: this one, or one of it. */
  hydration: HydrationNeed | undefined
  /** Entries of the rebuild table that are over (B3). */
  over: Rebuild[]
  next: string
  /** Time alone may change it. */
  isOpen: boolean
}

/** A volume, taken apart. */
interface Sight {
  cluster: Cluster
  volume: VolumeView
  config: VolumeConfig
  nowMs: number
  nonce: string
  facts: CopyFact[]
  wanted: number
  keepers: CopyFact[]
  /** Keepers in the set that have everything. */
  complete: CopyFact[]
  entries: Rebuild[]
}

export function assess(cluster: Cluster, volume: VolumeView, nowMs: number, nonce: string): Assessment {
  const { record, config } = volume
  const entries = cluster.rebuildsOf.get(volume.id) ?? []
  const facts = config === undefined ? [] : copyFacts(cluster, volume, nowMs)
  const health = healthOf(volume, facts)
  const idle = { ...health, actions: [], need: undefined, hydration: undefined, over: entries, next: '', isOpen: true }
  if (record === undefined) return { ...idle, ...strayStep(cluster, volume, facts, nowMs) }
  if (record.trash?.isPurging === true) return { ...idle, ...purgeStep(cluster, volume, nowMs) }
  const purge = beginPurge(cluster, volume)
  if (purge !== undefined) return { ...idle, actions: [purge], next: 'it is purged' }
  if (config === undefined) {
    if (record.trash !== null) return { ...idle, next: trashNext(cluster, volume) }
    return { ...idle, ...createStep(cluster, volume, nowMs, nonce) }
  }
  const own = hydrationStep(cluster, volume, facts, health)
  if (isAtRest(volume, facts, health, entries)) {
    return own === undefined ? { ...idle, isOpen: false } : { ...idle, ...own, need: undefined, hydration: own.need }
  }
  const keepers = facts.filter((fact) => isKeeper(cluster, fact))
  const sight: Sight = {
    cluster,
    volume,
    config,
    nowMs,
    nonce,
    facts,
    wanted: wantedCopies(record),
    keepers,
    complete: keepers.filter(isComplete),
    entries,
  }
  const judged = judge(sight, health)
  if (own === undefined) return judged
  const { actions, next } = judged
  return { ...judged, actions: [...actions, ...own.actions], next: next === '' ? own.next : next, hydration: own.need }
}

/** As it was wished, and nothing is to be done about it: so it is with nearly all. */
function isAtRest(volume: VolumeView, facts: readonly CopyFact[], { health }: Health, entries: Rebuild[]): boolean {
  const { record, config, move, reportedOn } = volume
  if (health !== 'healthy' || record!.trash !== null || move !== undefined || entries.length > 0) return false
  if (facts.length !== wantedCopies(record!) || reportedOn.size !== facts.length) return false
  if (lacksCopyAt(volume) !== undefined) return false
  if (config!.minInSync !== wishedMinInSync(record!)) return false
  return facts.every((fact) => fact.leaving === '' && isComplete(fact) && (fact.isPrimary || fact.status!.hearsPrimary))
}

function judge(sight: Sight, health: Health): Assessment {
  const { volume, entries } = sight
  const over = entries.filter((entry) => isOver(sight, entry))
  noteNear(sight, over)
  const need = needOf(sight, health, over)
  const change = changeOf(sight)
  const orders = [...copyOrders(sight, over), ...eraseOrders(sight), ...handOver(sight)]
  const actions = change === undefined ? orders : [change, ...orders]
  const done = moveDone(sight)
  if (done !== undefined) actions.push(done)
  const isTrash = volume.record!.trash !== null
  return {
    ...health,
    actions,
    need,
    hydration: undefined,
    over,
    next: isTrash ? trashNext(sight.cluster, volume) : nextOf(sight, actions, need),
    isOpen: true,
  }
}

/** U5: a copy that could not be filled there is not begun again at once. */
function noteNear({ volume, config, nowMs }: Sight, over: readonly Rebuild[]): void {
  const near = usedAt(volume)
  if (near === undefined || config.inSync.includes(near)) return
  if (over.some(({ to, from }) => to === near && from === '')) volume.nearFailedAtMs = nowMs
}

function isKeeper({ options }: Cluster, { presence, leaving, status, awayMs, isVouched }: CopyFact): boolean {
  if (leaving !== '') return false
  if (isVouched) return true
  if (presence === 'away') return awayMs < options.replaceAfterMs
  return presence === 'live' || (presence === 'filling' && !status!.isPoolFull)
}

/** B3. */
function isOver(sight: Sight, { to, from }: Rebuild): boolean {
  const { cluster, volume, facts, config, nowMs, complete, wanted } = sight
  const { options } = cluster
  const { move } = volume
  const target = facts.find(({ node }) => node === to)
  if (target?.isInSync === true) return from === '' || config.members[from] === undefined
  const node = cluster.nodes.get(to)
  if (node?.record === undefined || node.wish.isDraining) return true
  if (target === undefined && (node.wish.isCordoned || isBroken(node, volume))) return true
  if (nowMs - node.heardAtMs > options.downAfterMs + options.lingerMs) return true
  if (target !== undefined && ['failed', 'absent', 'given-up'].includes(target.presence)) return true
  if (target?.status?.isPoolFull === true) return true
  const isWished = from !== '' || (move?.what === 'copy' && move.to === to) || usedAt(volume) === to
  return isSourceGone(sight) || (!isWished && complete.length >= wanted)
}

/** Nobody can fill a copy now. */
function isSourceGone({ cluster: { options }, facts }: Sight): boolean {
  const { presence, awayMs, isVouched } = facts.find(({ isPrimary }) => isPrimary)!
  return presence === 'away' && !isVouched && awayMs > options.downAfterMs + options.lingerMs
}

/** V2, V3, V7, U2: what is lacking, less what is on its way. */
function needOf(sight: Sight, { health }: Health, over: readonly Rebuild[]): CopyNeed | undefined {
  const { volume, facts, wanted, keepers, entries, config } = sight
  const record = volume.record!
  const { move } = volume
  const coming = entries.filter((entry) => !over.includes(entry) && config.members[entry.to] === undefined)
  let count = wanted - keepers.length - coming.length
  const live = facts.filter(isCounted)
  const isFilling = keepers.some((fact) => fact.presence !== 'away' && !isComplete(fact))
  const isAtRisk = wanted > 1 && live.length <= 1
  if (count <= 0 && isAtRisk && keepers.length < wanted + 1 && coming.length === 0 && !isFilling) count = 1
  const hasTarget = move?.what === 'copy' && config.members[move.to] === undefined
  if (hasTarget && !coming.some(({ to }) => to === move.to) && count <= 0 && keepers.length <= wanted) count = 1
  const follows = count <= 0 && move?.what !== 'copy' && mayFollow(sight, health)
  if (follows) count = 1
  if (count <= 0 || live.length === 0 || isSourceGone(sight)) {
    volume.lackingSinceMs = undefined
    return undefined
  }
  volume.lackingSinceMs ??= sight.nowMs
  const isLost = live.length < wanted
  const why: RebuildWhy = isLost
    ? facts.length < wanted ? 'add' : 'replace'
    : hasTarget || follows ? 'move' : 'drain'
  const isHeld = health === 'suspended' && live.length < config.minInSync
  const rank = isHeld ? 'held' : isAtRisk ? 'at-risk' : why === 'replace' ? 'degraded' : follows ? 'follow' : why
  return {
    volume,
    why,
    rank: record.trash === null ? RANK[rank] : RANK.trash,
    count,
    liveCopies: live.length,
    to: hasTarget ? move.to : follows ? lacksCopyAt(volume)! : '',
    near: lacksCopyAt(volume),
    staying: [...keepers.map(({ node }) => node), ...coming.map(({ to }) => to)],
    taken: new Set([...Object.keys(config.members), ...brokenOn(sight), ...entries.map(({ to }) => to)]),
  }
}

/** U2: nothing else of it is under way, and the node takes a copy. */
function mayFollow(sight: Sight, health: Health['health']): boolean {
  const { cluster, volume, keepers, complete, entries, wanted, facts, nowMs } = sight
  const near = lacksCopyAt(volume)
  // The only copy leads, and an operator wants the lead elsewhere.
  if (wanted === 1 && volume.move !== undefined && volume.move.to !== near) return false
  if (near === undefined || health !== 'healthy' || entries.length > 0 || facts.length > wanted) return false
  if (complete.length < wanted || keepers.length > wanted || volume.reportedOn.has(near)) return false
  return whyNotNear(cluster, volume, near, nowMs) === undefined
}

/** U3: the lead comes before one of the others goes. */
function leadGoesTo({ volume, complete, wanted }: Sight): NodeId | undefined {
  const near = usedAt(volume)
  const { move } = volume
  if (near === undefined || complete.length <= wanted) return undefined
  if (move?.what === 'primary' && move.to !== near) return undefined
  if (move?.what === 'copy' && (move.from === near || wanted === 1)) return undefined
  return complete.find(({ node, isPrimary }) => node === near && !isPrimary)?.node
}

const isBroken = ({ copies }: NodeView, { id }: VolumeView): boolean => (copies.get(id)?.failure ?? '') !== ''

/** Nodes with a copy that is no member and cannot be one. */
function brokenOn({ cluster, volume }: Sight): NodeId[] {
  return [...volume.reportedOn].filter((node) => isBroken(cluster.nodes.get(node)!, volume))
}

/** The one change of the configuration that is due. */
function changeOf(sight: Sight): Action | undefined {
  const { volume } = sight
  const [config, why] = minInSyncChange(sight) ?? removal(sight) ?? addition(sight) ?? eviction(sight) ?? []
  if (config === undefined) return undefined
  return { type: 'change-config', volumeId: volume.id, version: volume.configVersion, config, why: why! }
}

type Change = [config: VolumeConfig | undefined, why: string]

/** V5. After a raise one more may fail than before it was there. */
function minInSyncChange({ volume, config, complete, wanted, nonce }: Sight): Change | undefined {
  const wished = wishedMinInSync(volume.record!)
  if (config.minInSync > wished) return [withMinInSync(config, wished, nonce), `${wished} is wished as minInSync`]
  if (config.minInSync === wished || complete.length < Math.min(wanted, wished + 1)) return undefined
  return [withMinInSync(config, wished, nonce), `${complete.length} copies are in sync`]
}

/** E2: those that do not come back, and, when all is there, those that are too many. */
function removal(sight: Sight): Change | undefined {
  const { cluster, volume, config, facts, complete, wanted, nowMs, nonce } = sight
  for (const fact of facts) {
    if (fact.isInSync) continue
    const isLost = ['failed', 'absent', 'given-up'].includes(fact.presence)
    if (!isLost && (complete.length < wanted || isTarget(sight, fact))) continue
    if (whyNotRemove(cluster, volume, facts, fact.node, nowMs) !== undefined) continue
    return [withoutMember(config, fact.node, nonce), isLost ? `its copy is ${fact.presence}` : 'it is one too many']
  }
  return undefined
}

/** It is filled because somebody else is to go. */
function isTarget({ entries, volume }: Sight, { node, presence, status }: CopyFact): boolean {
  const { move } = volume
  if (move?.what === 'copy' && move.to === node) return true
  const entry = entries.find(({ to }) => to === node)
  if (usedAt(volume) !== node) return entry !== undefined && entry.from !== ''
  return entry !== undefined || (presence === 'filling' && !status!.isPoolFull)
}

/** V2: the copy that an entry of the table asked for, or one that was there. */
function addition({ cluster, volume, config, entries, nonce, nowMs }: Sight): Change | undefined {
  for (const { to, why } of entries) {
    if (config.members[to] !== undefined) continue
    const node = cluster.nodes.get(to)
    const copy = node?.copies.get(volume.id)
    if (copy === undefined || copy.failure !== '' || livenessOf(node!, cluster.options, nowMs) !== 'up') continue
    return [withNewMember(config, to, copy, nonce), `a copy to ${why}`]
  }
  return undefined
}

/** V3, E1: one member of the set that is to go. */
function eviction(sight: Sight): Change | undefined {
  const { cluster, volume, config, facts, complete, wanted, nowMs, nonce } = sight
  if (complete.length < wanted) return undefined
  const going = facts.filter((fact) => fact.isInSync && !fact.isPrimary && fact.leaving !== '')
  const isOneTooMany = complete.length > wanted && leadGoesTo(sight) === undefined
  const tooMany = isOneTooMany ? mostDispensable(sight) : undefined
  const fact = going[0] ?? tooMany
  if (fact === undefined || whyNotEvict(cluster, volume, facts, fact.node, nowMs) !== undefined) return undefined
  return [withEvicted(config, fact.node, nonce), fact.leaving === '' ? 'it is one too many' : fact.leaving]
}

/** Of the complete ones: who shares its zone with most, then who is far from the user (U4), then on a full node. */
function mostDispensable({ cluster, volume, complete }: Sight): CopyFact | undefined {
  const { move } = volume
  const { firstNode, moved } = volume.record!
  const near = usedAt(volume)
  const others = complete.filter((fact) => !fact.isPrimary && move?.to !== fact.node)
  const unwished = others.filter(({ node }) => node !== (near ?? firstNode))
  // The user's own goes only for an operator who moves one.
  const isNobodys = near === undefined || move?.what === 'copy'
  const candidates = unwished.length > 0 ? unwished : isNobodys ? others : []
  const zone = ({ node }: CopyFact) => zoneOf(cluster.nodes.get(node)!)
  const sharing = (fact: CopyFact) => complete.filter((other) => zone(other) === zone(fact)).length
  const user = near === undefined ? undefined : cluster.nodes.get(near)
  const isFar = (fact: CopyFact) => Number(user !== undefined && zone(fact) !== zoneOf(user))
  const isPut = ({ node }: CopyFact) => Number(near !== undefined && moved?.to === node)
  const copies = ({ node }: CopyFact) => cluster.nodes.get(node)!.volumes.size
  let worst: CopyFact | undefined
  for (const fact of candidates) {
    const by = worst === undefined ? 1 : sharing(fact) - sharing(worst) || isPut(worst) - isPut(fact)
      || isFar(fact) - isFar(worst) || copies(fact) - copies(worst)
    if (by > 0) worst = fact
  }
  return worst
}

/** V2: nodes of the table that have nothing yet. */
function copyOrders({ volume, config, entries, cluster, nowMs }: Sight, over: readonly Rebuild[]): Action[] {
  const actions: Action[] = []
  for (const entry of entries) {
    const { to: node, why } = entry
    const view = cluster.nodes.get(node)
    if (over.includes(entry) || config.members[node] !== undefined || volume.reportedOn.has(node)) continue
    if (view === undefined || livenessOf(view, cluster.options, nowMs) !== 'up') continue
    actions.push({ type: 'make-copy', volumeId: volume.id, node, why: `a copy to ${why}` })
  }
  return actions
}

/** E3: copies that are no members. */
function eraseOrders({ cluster, volume, config, facts, entries, nowMs }: Sight): Action[] {
  const actions: Action[] = []
  for (const name of volume.reportedOn) {
    const node = cluster.nodes.get(name)!
    const copy = node.copies.get(volume.id)!
    if (config.members[name]?.copyId === copy.copyId) continue
    if (copy.failure === '' && entries.some(({ to }) => to === name)) continue
    if (livenessOf(node, cluster.options, nowMs) === 'down') continue
    if (whyNotErase(cluster, volume, facts, copy.copyId, nowMs) !== undefined) continue
    const { copyId } = copy
    const { epoch } = config
    actions.push({ type: 'erase-copy', volumeId: volume.id, node: name, copyId, epoch, why: 'it is no member' })
  }
  return actions
}

/** V4, U3. */
function handOver(sight: Sight): Action[] {
  const { cluster, volume, facts, keepers, complete, wanted, nowMs } = sight
  const { move } = volume
  const primary = facts.find(({ isPrimary }) => isPrimary)!
  // A copy that is moved in place of the only one takes the lead first.
  const isOnly = complete.length > wanted && complete.every((fact) => fact.isPrimary || fact.node === move?.to)
  const isMoved = move?.to !== primary.node && (move?.what === 'primary' || isOnly)
  const wish = isMoved ? move?.to : leadGoesTo(sight)
  if (primary.leaving === '' && wish === undefined) return []
  if (whyNoActivePrimary(cluster, volume, facts, nowMs) !== undefined) return []
  const fit = keepers.filter((fact) => !fact.isPrimary && isComplete(fact))
  const leads = ({ node }: CopyFact) => cluster.nodes.get(node)!.leads
  const wished = fit.find(({ node }) => node === wish)
  if (primary.leaving === '' && wished === undefined) return []
  const [first] = fit
  const least = fit.reduce((best, fact) => (leads(fact) < leads(best!) ? fact : best), first)
  const to = wished ?? least
  if (to === undefined) return []
  const why = primary.leaving === '' ? 'the lead is moved' : primary.leaving
  return [{ type: 'hand-over', volumeId: volume.id, node: primary.node, to: to.node, why }]
}

/** V7, A6. */
function moveDone(sight: Sight): Action | undefined {
  const { volume, config, facts, wanted } = sight
  const { move } = volume
  if (move === undefined) return undefined
  if (move.isFollowing === true && config.attach.holders[move.to] === undefined) {
    return { type: 'delete-move', volumeId: volume.id, version: volume.moveVersion, why: 'whom it follows has gone' }
  }
  const isThere = config.inSync.includes(move.to)
  const isDone =
    move.what === 'primary'
      ? config.primary === move.to
      : isThere && (move.from === '' || config.members[move.from] === undefined) && facts.length <= wanted
  if (!isDone) return undefined
  const { id: volumeId, record, recordVersion: version } = volume
  const kept = move.what === 'copy' && record !== undefined ? moved(record, asDone(sight, move)) : undefined
  if (kept !== undefined) return { type: 'change-volume', volumeId, version, record: kept, why: 'a copy was moved' }
  return { type: 'delete-move', volumeId: volume.id, version: volume.moveVersion, why: 'it is done' }
}

/** Of the only copy from its user, though that was not said (U1); also when it is noted already. */
function asDone({ volume, wanted }: Sight, move: Move): Move {
  if (move.from !== '' || wanted > 1) return move
  const noted = volume.record!.moved
  return { ...move, from: noted?.to === move.to ? noted.from : lacksCopyAt(volume) ?? '' }
}

/** Of a node that is down, and may have what nobody else has. */
export const bringBack = (node: NodeId): string =>
  `bring ${node} back; if it is gone for good, and they with it: \`holdfast node rm ${node}\``

function nextOf(sight: Sight, actions: readonly Action[], need: CopyNeed | undefined): string {
  const { facts, complete, wanted, cluster, volume, nowMs } = sight
  const lone = lonePrimary(facts)
  if (lone !== undefined) return `bring ${lone} back; if it is gone for good: \`holdfast volume promote --force\``
  if (need !== undefined) return 'a copy waits for its turn'
  const filling = facts.filter(isBeingFilled).map(({ node }) => node)
  if (filling.length > 0 && complete.length < wanted) return `${filling.join(', ')} is being filled`
  if (actions.length > 0) return actions[0]!.why
  const kept = facts.find((fact) => fact.presence === 'away' && whyAwaited(facts, fact.node) !== undefined)
  if (kept !== undefined) return `${whyAwaited(facts, kept.node)}: ${bringBack(kept.node)}`
  const away = facts.find((fact) =>
    !fact.isVouched && (fact.presence === 'away' || (fact.presence === 'filling' && !isBeingFilled(fact))))
  if (away !== undefined) {
    const waitMs = cluster.options.replaceAfterMs - away.awayMs
    return `${away.node} is waited for${waitMs > 0 ? `, for ${seconds(waitMs)} more` : ''}`
  }
  const leaving = facts.find((fact) => fact.leaving !== '')
  const near = lacksCopyAt(volume)
  if (leaving === undefined) return (near && whyNotNear(cluster, volume, near, nowMs)) ?? ''
  return whyNotEvict(cluster, volume, facts, leaving.node, nowMs) ?? leaving.leaving
}
