/**
 * What is wrong, why, and what happens next (SPEC.md S2), and what `holdfast explain` says of one volume. Pure, from
 * what the controller knows; the verdicts are those of the last pass.
 */
import type { NodeId } from '../replication/configuration.ts'
import type { VolumeHealth } from '../volume/volume-spec.ts'
import { percent, seconds, someOf } from './amounts.ts'
import type { Cluster, NodeView, VolumeView } from './cluster.ts'
import { conditionOf, copyFacts } from './copy-facts.ts'
import { spaceFor } from './disk-class.ts'
import { HEALTH_ORDER } from './health.ts'
import { isQuiet, livenessOf, nodeState } from './node-state.ts'
import type { NodeState } from './node-state.ts'
import { placeCopies } from './placement.ts'
import { nameOf, safeToReboot } from './reboot.ts'
import type { Reboot } from './reboot.ts'
import { scrubProblems } from './scrub-problems.ts'
import { trashHint } from './trash.ts'

export interface Problem {
  what: string
  why: string
  next: string
}

export interface StatusPage {
  health: VolumeHealth
  nodes: Array<{ name: NodeId; state: NodeState } & Reboot>
  volumes: number
  volumesHealthy: number
  rebuilds: number
  rebuildsMax: number
  problems: Problem[]
}

/** Volumes that are named one by one; more with the same state are one line. */
const VOLUMES_NAMED = 8

export function statusPage(cluster: Cluster, nowMs: number): StatusPage {
  const nodes = [...cluster.nodes.values()].filter(({ record }) => record !== undefined).sort(byName)
  const byHealth = new Map<VolumeHealth, VolumeView[]>(HEALTH_ORDER.map((health) => [health, []]))
  for (const volume of cluster.volumes.values()) {
    if (volume.verdict !== undefined) byHealth.get(volume.verdict.health)!.push(volume)
  }
  const worstFirst = [...HEALTH_ORDER].reverse()
  const problems: Problem[] = []
  for (const health of worstFirst) problems.push(...volumeProblems(health, byHealth.get(health)!))
  problems.push(...scrubProblems(cluster, nowMs))
  for (const node of nodes) problems.push(...nodeProblems(cluster, node, nowMs), ...diskProblems(cluster, node))
  return {
    health: worstFirst.find((health) => byHealth.get(health)!.length > 0) ?? 'healthy',
    nodes: nodes.map((node) => ({
      name: node.name,
      state: nodeState(node, cluster, nowMs),
      ...safeToReboot(cluster, node.name, nowMs),
    })),
    volumes: cluster.volumes.size,
    volumesHealthy: byHealth.get('healthy')!.length,
    rebuilds: cluster.rebuilds.length,
    rebuildsMax: cluster.options.rebuildsMax,
    problems,
  }
}

const byName = (a: NodeView, b: NodeView): number => (a.name < b.name ? -1 : 1)

function volumeProblems(health: VolumeHealth, volumes: VolumeView[]): Problem[] {
  if (health === 'healthy') return []
  const sorted = volumes.sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))
  const problems = sorted.slice(0, VOLUMES_NAMED).map((volume): Problem => {
    const { healthReason, next } = volume.verdict!
    return { what: `volume ${nameOf(volume)}`, why: `${health}: ${healthReason}`, next: next || NOTHING[health] }
  })
  const rest = sorted.slice(VOLUMES_NAMED)
  if (rest.length > 0) {
    const what = `${rest.length} more volume(s): ${someOf(rest.map(nameOf))}`
    problems.push({ what, why: health, next: '`holdfast explain VOLUME` says it of each' })
  }
  return problems
}

/** When the control plane has nothing to do about it. */
const NOTHING: Record<VolumeHealth, string> = {
  healthy: '',
  degraded: 'it waits for a copy that is away',
  'at-risk': 'one copy is left: do not stop its node',
  suspended: 'its I/O is held, and goes on by itself once the reason is gone',
  faulted: 'bring a disk or node of its copies back; if they are gone for good: `holdfast volume promote --force`',
}

function nodeProblems(cluster: Cluster, node: NodeView, nowMs: number): Problem[] {
  const what = `node ${node.name}`
  const liveness = livenessOf(node, cluster.options, nowMs)
  const copies = node.volumes.size
  const silent = `silent for ${seconds(nowMs - node.heardAtMs)}`
  if (liveness === 'down') {
    const held = heldBy(cluster, node)
    const { replaceAfterMs } = cluster.options
    const when = `${seconds(replaceAfterMs)} after it went, at once where only one is left`
    const replaced = copies === 0 ? 'nothing waits for it' : `its ${copies} copies are replaced ${when}`
    const taken = '`holdfast volume attach NAME --to NODE --force` gives it to another node'
    const next = held.length === 0 ? replaced : `${replaced}; it holds ${someOf(held)}: ${taken}`
    return [{ what, why: `down: ${silent}`, next }]
  }
  if (isQuiet(node, cluster.options, nowMs)) {
    const next = `it counts as down after ${seconds(cluster.options.downAfterMs)}`
    return [{ what, why: silent, next }]
  }
  if (!node.wish.isDraining) return []
  if (copies === 0) {
    const held = heldBy(cluster, node)
    const next = held.length === 0 ? 'it may be switched off' : `its users still hold ${someOf(held)}: stop them first`
    return [{ what, why: 'drained', next }]
  }
  const waiting = waitsOf(cluster, node)
  const next = `${copies} copies are still there${waiting === '' ? '' : `: ${waiting}`}`
  return [{ what, why: 'it is being drained', next }]
}

/** Volumes that are attached to it; looks at all there are. */
function heldBy(cluster: Cluster, node: NodeView): string[] {
  const held: string[] = []
  for (const volume of cluster.volumes.values()) {
    if (volume.config?.attach.holders[node.name] !== undefined) held.push(nameOf(volume))
  }
  return held.sort()
}

/** Why the first of its volumes do not go on. */
function waitsOf(cluster: Cluster, node: NodeView): string {
  const waits: string[] = []
  for (const id of node.volumes) {
    const volume = cluster.volumes.get(id)!
    const next = volume.verdict?.next ?? ''
    if (next !== '') waits.push(`${nameOf(volume)}: ${next}`)
    if (waits.length === VOLUMES_NAMED) break
  }
  return someOf(waits)
}

function diskProblems(cluster: Cluster, node: NodeView): Problem[] {
  const problems: Problem[] = []
  const disks = node.said?.disks ?? []
  for (const { path, uuid, state, reason, checksumErrors } of disks) {
    const what = `disk ${path} of node ${node.name}`
    if (state === 'failed') {
      problems.push({ what, why: `failed: ${reason}`, next: 'its copies are placed elsewhere; replace it' })
    } else if (cluster.evictedDisks.has(uuid) || state === 'suspect') {
      const copies = [...node.copies.values()].filter(({ diskUuids }) => diskUuids.includes(uuid)).length
      const next = copies === 0 ? 'nothing is on it any more, it may be taken out' : `${copies} copies are still on it`
      problems.push({ what, why: state === 'suspect' ? `suspect: ${reason}` : 'it is being evicted', next })
    }
    if (checksumErrors > 0) {
      const why = `${checksumErrors} stored block(s) failed their checksum`
      problems.push({ what, why, next: 'they are repaired from other copies; plan to replace it' })
    }
  }
  for (const pool of new Set(disks.map((disk) => disk.pool))) {
    const space = spaceFor(node.classes, { pool, diskTags: [] })
    if (space === undefined || space.freeBytes >= space.capacityBytes * cluster.options.lowSpaceShare) continue
    const hint = trashHint(cluster, pool)
    const next = `delete or trim data, or add a disk with \`holdfast disk add\`${hint === '' ? '' : `; ${hint}`}`
    const why = `${percent(space.freeBytes / space.capacityBytes)} is free`
    problems.push({ what: `pool ${pool} on node ${node.name}`, why, next })
  }
  return problems
}

export interface Explanation {
  health: VolumeHealth
  healthReason: string
  next: string
  /** Of each member, what it does or lacks. */
  copies: Array<{ node: NodeId; condition: string; leaving: string }>
  /** Of each other node, why it could take a copy now, or why not. */
  others: Array<{ node: NodeId; why: string }>
}

/** Where each copy is, why there, and what it waits for. */
export function explain(cluster: Cluster, volume: VolumeView, nowMs: number): Explanation {
  const facts = volume.config === undefined ? [] : copyFacts(cluster, volume, nowMs)
  const { record, usedBytes } = volume
  const taken = new Set(facts.map(({ node }) => node))
  const others: Explanation['others'] = []
  if (record !== undefined) {
    const staying = [...taken]
    const { excluded } = placeCopies(cluster, { record, usedBytes, count: 1, staying, taken }, nowMs)
    for (const { name } of [...cluster.nodes.values()].sort(byName)) {
      if (!taken.has(name)) others.push({ node: name, why: excluded.get(name) ?? 'could take a copy' })
    }
  }
  const verdict = volume.verdict ?? { health: 'suspended', healthReason: 'it was not looked at yet', next: '' }
  const copies = facts.map((fact) => ({ node: fact.node, condition: conditionOf(fact), leaving: fact.leaving }))
  return { ...verdict, copies, others }
}
