/**
 * A new volume (SPEC.md V1): nodes are chosen, each makes a copy, and one compare-and-swap to absent makes them a
 * configuration. Never beside a copy that was a member of something. Copies are empty; those of a clone begin with what
 * a copy of its origin beside them has, so they are made where such a copy is in sync, and as many as there are are
 * enough (cluster/reconcile/CLONES.md K2).
 */
import type { NodeId } from '../replication/configuration.ts'
import type { Action } from './actions.ts'
import { setCreating } from './cluster.ts'
import type { Cluster, VolumeView } from './cluster.ts'
import { firstConfig } from './member-change.ts'
import { whyNoNewCopy } from './node-state.ts'
import { LEVELS_MOST, PINS_MOST } from '../volume/sharing-limits.ts'
import { isSettled, leaderAmong, placeCopies, whyNotOn } from './placement.ts'
import { wantedCopies, wishedMinInSync } from './volume-record.ts'
import type { VolumeRecord } from './volume-record.ts'

export interface Step {
  actions: Action[]
  /** What is waited for; empty: nothing. */
  next: string
}

export function createStep(cluster: Cluster, volume: VolumeView, nowMs: number, nonce: string): Step {
  const record = volume.record!
  const made = madeCopies(cluster, volume, nowMs)
  if (made === undefined) {
    // Also for a moment after it was made: a copy that serves may be heard of before the configuration is.
    const how = 'if that stays so the cluster store has lost it: an empty store, and ' +
      '`holdfast store rebuild --from-nodes`'
    return { actions: [], next: `a node has a copy of it that was in use, and no configuration is known; ${how}` }
  }
  const broken = brokenCopies(cluster, volume)
  if (broken.length > 0) return { actions: broken, next: 'copies that failed before they were used are erased' }
  if (!isSettled(cluster, nowMs)) return { actions: [], next: 'nodes have not told yet what they have' }
  const wanted = wantedCopies(record)
  const placement = choose(cluster, volume, made, wanted, nowMs)
  const chosen = [...volume.creating.keys()]
  const mayBeFewer = record.allowDegraded || record.origin !== undefined
  if (chosen.length < wanted && (!mayBeFewer || chosen.length === 0)) {
    return { actions: [], next: placement }
  }
  const missing = chosen.filter((node) => !made.has(node))
  if (missing.length > 0) {
    const actions = missing.map((node): Action => ({
      type: 'make-copy',
      volumeId: volume.id,
      node,
      why: record.origin === undefined ? 'a new volume' : 'a clone',
    }))
    return { actions, next: whyCrowded(cluster, volume, missing) ?? `${missing.join(', ')} make a copy` }
  }
  const copies = new Map(chosen.map((node) => [node, made.get(node)!]))
  const config = firstConfig({
    volumeId: volume.id,
    primary: leaderAmong(cluster, volume, chosen),
    copies,
    minInSync: wishedMinInSync(record),
    attachMode: record.attachMode,
    nonce,
    epoch: (record.origin?.epoch ?? 0) + 1,
  })
  const action: Action = { type: 'create-config', volumeId: volume.id, config, why: 'all its copies are made' }
  return { actions: [action], next: 'its configuration is written' }
}

/**
 * P3: which of these nodes takes the first copy of a new volume, and leads it: the first that may have one now.
 * @param preferred  in that order; of some there may be no such node  @returns empty: none, so whoever is best does
 */
export function firstNodeOf(
  cluster: Cluster, record: VolumeRecord, preferred: readonly NodeId[], nowMs: number,
): NodeId | '' {
  const only = originNodes(cluster, record)
  const isAble = (name: NodeId): boolean => {
    const node = cluster.nodes.get(name)
    if (node === undefined || only?.has(name) === false) return false
    return whyNotOn(cluster, node, record, 0, nowMs) === undefined
  }
  return preferred.find(isAble) ?? ''
}

/** By node the virgin copies that are there; undefined when one is there that is none. */
function madeCopies(cluster: Cluster, volume: VolumeView, nowMs: number): Map<NodeId, string> | undefined {
  const made = new Map<NodeId, string>()
  for (const name of [...volume.reportedOn].sort()) {
    const node = cluster.nodes.get(name)!
    const copy = node.copies.get(volume.id)!
    if (!copy.isVirgin) return undefined
    // One that was made empty, although it should begin with something, is none of the first set.
    if (copy.seq !== (volume.record?.origin?.seq ?? 0)) continue
    if (copy.failure === '' && whyNoNewCopy(node, cluster, nowMs) === undefined) made.set(name, copy.copyId)
  }
  return made
}

/** E3: of what never was used nothing is lost. */
function brokenCopies(cluster: Cluster, { id: volumeId, reportedOn }: VolumeView): Action[] {
  const actions: Action[] = []
  for (const node of reportedOn) {
    const { copyId, failure } = cluster.nodes.get(node)!.copies.get(volumeId)!
    if (failure !== '') actions.push({ type: 'erase-copy', volumeId, node, copyId, epoch: 0, why: 'it failed unused' })
  }
  return actions
}

/** Keep what was chosen and answers, take what is made, and fill up. Says why it is too few. */
function choose(
  cluster: Cluster,
  volume: VolumeView,
  made: ReadonlyMap<NodeId, string>,
  wanted: number,
  nowMs: number,
): string {
  const { createWaitMs } = cluster.options
  const isSlow = ([node, sinceMs]: [NodeId, number]) => !made.has(node) && nowMs - sinceMs > createWaitMs
  const slow = [...volume.creating].filter(isSlow).map(([node]) => node)
  const isFit = (node: NodeId) => whyNoNewCopy(cluster.nodes.get(node)!, cluster, nowMs) === undefined
  const kept = [...volume.creating].filter(([node]) => made.has(node) || (!slow.includes(node) && isFit(node)))
  const chosen = new Map(kept)
  for (const node of made.keys()) if (chosen.size < wanted && !chosen.has(node)) chosen.set(node, nowMs)
  let why = ''
  const only = originNodes(cluster, volume.record)
  if (chosen.size < wanted) {
    const placement = placeCopies(
      cluster,
      {
        record: volume.record!,
        usedBytes: 0,
        count: wanted - chosen.size,
        staying: [...chosen.keys()],
        taken: new Set([...chosen.keys(), ...slow]),
        ...(only === undefined ? {} : { only }),
      },
      nowMs,
    )
    for (const node of placement.nodes) chosen.set(node, nowMs)
    why = placement.why
  }
  const { creating } = volume
  const isChanged = chosen.size !== creating.size || [...chosen.keys()].some((node) => !creating.has(node))
  if (isChanged) setCreating(cluster, volume, chosen)
  return why
}

/** O4: why copies of a clone are not made for now, where nodes have those of its origin. */
function whyCrowded(cluster: Cluster, { record }: VolumeView, nodes: readonly NodeId[]): string | undefined {
  if (record?.origin === undefined) return undefined
  const { volumeId } = record.origin
  const origins = nodes.map((node) => cluster.nodes.get(node)!.copies.get(volumeId))
  if (origins.every((copy) => copy !== undefined && copy.levels >= LEVELS_MOST - 1))
    return `${LEVELS_MOST - 1} clones lie below one another: it waits until one of them has blocks of its own`
  if (origins.every((copy) => copy !== undefined && copy.readers >= PINS_MOST))
    return `${PINS_MOST} clones share with its origin: it waits until one of them has blocks of its own`
  return undefined
}

/** Nodes with a copy of what a clone begins as; undefined: it begins empty, anywhere. */
function originNodes(cluster: Cluster, record: VolumeRecord | undefined): ReadonlySet<NodeId> | undefined {
  if (record?.origin === undefined) return undefined
  return new Set(cluster.volumes.get(record.origin.volumeId)?.config?.inSync)
}
