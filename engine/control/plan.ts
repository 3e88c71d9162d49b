/**
 * One pass of the control plane (SPEC.md section 2): looks at the volumes that changed and at those that time may
 * change, gives places in the rebuild table to those that need a copy most (section 8), and returns what is to be done.
 */
import { assert } from '../assert.ts'
import type { NodeId } from '../replication/configuration.ts'
import { keyOf } from './actions.ts'
import type { Action } from './actions.ts'
import { assess } from './assess.ts'
import type { CopyNeed } from './assess.ts'
import { begunHydrations } from './hydration.ts'
import type { HydrationNeed } from './hydration.ts'
import { markNode } from './cluster.ts'
import type { Cluster, VolumeView } from './cluster.ts'
import { spread } from './disk-class.ts'
import { livenessOf } from './node-state.ts'
import type { Liveness } from './node-state.ts'
import { isSettled, placeCopies } from './placement.ts'
import { rebalancing } from './rebalance.ts'
import { assertTable, isSame } from './rebuild-table.ts'
import type { Rebuild, RebuildTable } from './rebuild-table.ts'
import { ageNow, roomNext } from './trash.ts'
import { AGE_STEP_MS } from './volume-record.ts'

/** Placements that found nothing are dear in a large cluster: so many a pass, and each again after `retryMs`. */
const FAILED_PLACEMENTS_MAX = 64

/** So many open volumes are looked at in every pass; of more, each adds to the time until the next one that does. */
const OPEN_FREE = 64
const OPEN_REST_MS = 0.15
/** Passes come by themselves this often. */
const OPEN_REST_MAX_MS = 1000

/** Between passes. */
export interface Planner {
  cluster: Cluster
  /** When the open volumes were looked at. */
  openAtMs: number
  liveness: Map<NodeId, Liveness>
  /** Volumes that could not be placed: when that was tried, and why. */
  tried: Map<string, { atMs: number; why: string }>
}

export const newPlanner = (cluster: Cluster): Planner =>
  ({ cluster, openAtMs: -Infinity, liveness: new Map(), tried: new Map() })

/** @param nonce  drawn for this pass; stands in the configurations it writes */
export function planPass(planner: Planner, nowMs: number, nonce: string): Action[] {
  const { cluster } = planner
  noteLiveness(planner, nowMs)
  const actions: Action[] = []
  const needs: CopyNeed[] = []
  const hydrations: HydrationNeed[] = []
  const over: Rebuild[] = []
  const looked = [...cluster.changed]
  // R7: who needs a copy most is known only when all are looked at.
  const isWhole = nowMs - planner.openAtMs >= openRestMs(cluster.open.size)
  if (isWhole) {
    planner.openAtMs = nowMs
    for (const id of cluster.open) if (!cluster.changed.has(id)) looked.push(id)
  }
  cluster.changed.clear()
  for (const id of looked) {
    const volume = cluster.volumes.get(id)
    if (volume === undefined) continue
    const found = assess(cluster, volume, nowMs, nonce)
    if (isForgotten(volume)) {
      cluster.volumes.delete(id)
      cluster.open.delete(id)
      continue
    }
    const { health, healthReason, next } = found
    volume.verdict = { health, healthReason, next }
    if (found.isOpen) cluster.open.add(id)
    else cluster.open.delete(id)
    over.push(...found.over)
    if (found.need !== undefined) needs.push(found.need)
    if (found.hydration !== undefined) hydrations.push(found.hydration)
    for (const action of found.actions) if (isDue(volume, action, cluster.options.retryMs, nowMs)) actions.push(action)
  }
  for (const action of isWhole && isSettled(cluster, nowMs) ? begunHydrations(cluster, hydrations) : []) {
    if ('volumeId' in action && isDue(cluster.volumes.get(action.volumeId)!, action, cluster.options.retryMs, nowMs)) {
      actions.push(action)
    }
  }
  // What assessing noted, such as the nodes of a new volume, is looked at in the next pass as well.
  const table = isWhole ? nextTable(planner, needs, over, nowMs) : undefined
  for (const id of looked) tellRoom(cluster, cluster.volumes.get(id), table)
  if (table !== undefined) {
    const version = cluster.rebuildsVersion
    actions.push({ type: 'change-rebuilds', version, rebuilds: table, why: 'rebuilds began or ended' })
  }
  const ageMs = ageNow(cluster, nowMs)
  if (ageMs - cluster.ageMs >= AGE_STEP_MS) {
    actions.push({ type: 'change-age', version: cluster.ageVersion, ageMs, why: 'time passed' })
  }
  return actions
}

/** R7. A pass is woken by each change, and one change must not cost what all open volumes do. */
const openRestMs = (open: number): number =>
  Math.min(OPEN_REST_MAX_MS, Math.max(0, open - OPEN_FREE) * OPEN_REST_MS)

/** A copy that waits for room is told so, unless one is about to be made elsewhere. */
function tellRoom(cluster: Cluster, volume: VolumeView | undefined, table: RebuildTable | undefined): void {
  if (volume?.verdict === undefined || table?.some(({ volumeId }) => volumeId === volume.id) === true) return
  const next = roomNext(cluster, volume)
  if (next !== '') volume.verdict.next = next
}

/** What time alone does to a node concerns its volumes. */
function noteLiveness({ cluster, liveness }: Planner, nowMs: number): void {
  for (const node of cluster.nodes.values()) {
    const now = livenessOf(node, cluster.options, nowMs)
    if (liveness.get(node.name) === now) continue
    liveness.set(node.name, now)
    markNode(cluster, node.name)
  }
}

const isForgotten = ({ record, config, move, reportedOn }: VolumeView): boolean =>
  record === undefined && config === undefined && move === undefined && reportedOn.size === 0

/** R5. */
function isDue(volume: VolumeView, action: Action, retryMs: number, nowMs: number): boolean {
  const key = keyOf(action)
  const askedAtMs = volume.asked.get(key)
  if (askedAtMs !== undefined && nowMs - askedAtMs < retryMs) return false
  volume.asked.set(key, nowMs)
  return true
}

/** R5: the shell could not send it, its node is not known yet or its key rests. The next pass plans it anew. */
export function notGivenOut(cluster: Cluster, action: Action): void {
  if ('volumeId' in action) cluster.volumes.get(action.volumeId)?.asked.delete(keyOf(action))
}

/** Undefined when it stays as it is. */
function nextTable(
  planner: Planner,
  needs: CopyNeed[],
  over: readonly Rebuild[],
  nowMs: number,
): RebuildTable | undefined {
  const { cluster } = planner
  const { rebuilds, options } = cluster
  // Of a volume that was forgotten since the last look at all nobody says that an entry is over.
  const goesOn = (entry: Rebuild): boolean => cluster.volumes.has(entry.volumeId)
  const table = rebuilds.filter((entry) => goesOn(entry) && !over.some((gone) => isSame(gone, entry)))
  if (isSettled(cluster, nowMs)) {
    needs.sort(byUrgency)
    table.push(...admit(planner, table, needs, nowMs))
    if (table.length === 0 && needs.length === 0) table.push(...rebalancing(cluster, nowMs))
  }
  assertTable(table, Math.max(options.rebuildsMax, rebuilds.length))
  const isSameTable = table.length === rebuilds.length && table.every((entry, index) => entry === rebuilds[index])
  return isSameTable ? undefined : table
}

/** B2. */
function byUrgency(a: CopyNeed, b: CopyNeed): number {
  return (
    a.rank - b.rank ||
    a.liveCopies - b.liveCopies ||
    a.volume.lackingSinceMs! - b.volume.lackingSinceMs! ||
    (a.volume.id < b.volume.id ? -1 : 1)
  )
}

/** B1: as many as the budget allows, each where it is best. */
function admit(planner: Planner, table: RebuildTable, needs: readonly CopyNeed[], nowMs: number): RebuildTable {
  const { cluster, tried } = planner
  const { rebuildsMax, rebuildsPerNode, retryMs } = cluster.options
  const targets = new Map<NodeId, number>()
  const sources = new Map<NodeId, number>()
  const count = ({ volumeId, to }: Rebuild) => {
    const source = cluster.volumes.get(volumeId)?.config?.primary ?? ''
    targets.set(to, (targets.get(to) ?? 0) + 1)
    sources.set(source, (sources.get(source) ?? 0) + 1)
  }
  table.forEach(count)
  const isBusy = (node: NodeId) => (targets.get(node) ?? 0) >= rebuildsPerNode
  const added: Rebuild[] = []
  let failed = 0
  for (const need of needs) {
    const { volume, why } = need
    const verdict = volume.verdict!
    if (table.length + added.length >= rebuildsMax) {
      verdict.next = `a copy waits for its turn: ${rebuildsMax} are filled at a time`
      continue
    }
    if ((sources.get(volume.config!.primary) ?? 0) >= rebuildsPerNode) {
      verdict.next = `a copy waits for its turn: ${volume.config!.primary} fills ${rebuildsPerNode} others`
      continue
    }
    const before = tried.get(volume.id)
    if (before !== undefined) verdict.next = before.why
    if (failed >= FAILED_PLACEMENTS_MAX || (before !== undefined && nowMs - before.atMs < retryMs)) continue
    const { to, why: whyNot } = chooseTarget(cluster, need, isBusy, nowMs)
    if (to === undefined) {
      failed++
      tried.set(volume.id, { atMs: nowMs, why: whyNot })
      verdict.next = whyNot
      continue
    }
    tried.delete(volume.id)
    if (isBusy(to)) {
      verdict.next = `a copy waits for its turn on ${to}`
      continue
    }
    const entry: Rebuild = { volumeId: volume.id, to, from: '', why }
    added.push(entry)
    count(entry)
    counted(cluster, volume, to, 1)
    verdict.next = `a copy is made on ${to}`
  }
  // The table as it will be read counts them again.
  for (const { volumeId, to } of added) counted(cluster, cluster.volumes.get(volumeId)!, to, -1)
  return added
}

function chooseTarget(
  cluster: Cluster,
  { volume, to, near, staying, taken }: CopyNeed,
  isBusy: (node: NodeId) => boolean,
  nowMs: number,
): { to: NodeId | undefined; why: string } {
  const { usedBytes } = volume
  const record = volume.record!
  const request = { record, usedBytes, count: 1, staying, taken, near, isBusy }
  const { nodes, why, excluded } = placeCopies(cluster, request, nowMs)
  if (to === '') return { to: nodes[0], why }
  const whyNot = excluded.get(to) ?? (cluster.nodes.has(to) ? undefined : 'is no node of this cluster')
  return whyNot === undefined ? { to, why: '' } : { to: undefined, why: `it cannot move: ${to} ${whyNot}` }
}

function counted(cluster: Cluster, volume: VolumeView, node: NodeId, sign: 1 | -1): void {
  const { spec } = volume.record!
  const { classes } = cluster.nodes.get(node)!
  assert(classes.length > 0, 'a copy is placed on disks')
  spread(classes, spec, { sizeBytes: sign * spec.sizeBytes, usedBytes: sign * volume.usedBytes })
}
