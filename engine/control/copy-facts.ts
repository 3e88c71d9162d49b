/**
 * What is known of each copy of a volume (SPEC.md N4, section 6): the members of its configuration, each with what its
 * node says, whether it is there, and whether it is to go.
 */
import { assert, unreachable } from '../assert.ts'
import type { NodeId, VolumeConfig } from '../replication/configuration.ts'
import type { Cluster, NodeView, VolumeView } from './cluster.ts'
import { isQuiet, livenessOf } from './node-state.ts'
import { bytes, seconds } from './amounts.ts'
import type { CopyStatus } from './node-status.ts'

export type Presence =
  /** There, recovered, and in the set. */
  | 'live'
  /** There, and not in the set. */
  | 'filling'
  /** Its node is down, or has not spoken yet. */
  | 'away'
  /** Fenced by its store. */
  | 'failed'
  /** Its node says that it has no such copy, or is no node any more. */
  | 'absent'
  /** Evicted by the control plane: to be removed. */
  | 'given-up'

export interface CopyFact {
  node: NodeId
  zone: string
  copyId: string
  isInSync: boolean
  isPrimary: boolean
  presence: Presence
  /** How long it has been away. */
  awayMs: number
  /** Why it is to go, as a sentence without a subject; empty: it stays. */
  leaving: string
  /** What its node said last of this very copy, if that counts. */
  status: CopyStatus | undefined
  /** When it was asked what it answered. */
  saidAtMs: number
  /** A member of the set that starts or is not heard here: its primary, or of the primary a replica, hears it (N5). */
  isVouched: boolean
  /** The primary, and its replicas say that it is gone (N6). */
  isMissed: boolean
  /** Its node has been silent for a while (N7). */
  isQuiet: boolean
}

/** In the order of the names of their nodes. */
export function copyFacts(cluster: Cluster, volume: VolumeView, nowMs: number): CopyFact[] {
  const { config } = volume
  assert(config !== undefined, 'copies are told apart by a configuration')
  const facts: CopyFact[] = []
  const names = Object.keys(config.members).sort()
  for (const name of names) facts.push(factOf(cluster, volume, config, name, nowMs))
  vouch(facts, config, nowMs - cluster.options.freshMs)
  miss(facts, config, cluster.options.missedAfterMs)
  return facts
}

/** N5: nobody's word counts against what a node says itself; that it starts says nothing against it. */
function vouch(facts: readonly CopyFact[], { epoch }: VolumeConfig, sinceMs: number): void {
  const primary = facts.find(({ isPrimary }) => isPrimary)!
  const isOfEpoch = ({ status, saidAtMs }: CopyFact) => status?.epoch === epoch && saidAtMs >= sinceMs
  if (primary.presence === 'away') {
    const isHeard = facts.some((fact) => isOfEpoch(fact) && fact.status!.hearsPrimary)
    primary.isVouched = primary.status === undefined && isHeard
  } else if (isOfEpoch(primary) && primary.status!.role === 'primary' && primary.status!.held === '') {
    for (const fact of facts) fact.isVouched = fact.isInSync && fact.presence === 'away'
  }
}

/** N6: what is said later counts more. */
function miss(facts: readonly CopyFact[], { epoch }: VolumeConfig, missedAfterMs: number): void {
  const primary = facts.find(({ isPrimary }) => isPrimary)!
  if (primary.presence !== 'live') return
  const others = facts.filter(({ isPrimary, status }) => !isPrimary && status?.role === 'replica')
  const later = others.filter(({ status, saidAtMs }) =>
    status!.epoch === epoch && saidAtMs >= primary.saidAtMs + missedAfterMs)
  primary.isMissed = later.length > 0 && !later.some(({ status }) => status!.hearsPrimary)
}

function factOf(
  cluster: Cluster,
  volume: VolumeView,
  config: VolumeConfig,
  name: NodeId,
  nowMs: number,
): CopyFact {
  const { copyId, state } = config.members[name]!
  const node = cluster.nodes.get(name)
  const isInSync = config.inSync.includes(name)
  const isDown = node === undefined || livenessOf(node, cluster.options, nowMs) === 'down'
  const said = node?.copies.get(volume.id)
  const status = !isDown && said?.copyId === copyId ? said : undefined
  return {
    node: name,
    zone: node?.record?.zone ?? '',
    copyId,
    isInSync,
    isPrimary: config.primary === name,
    presence: presenceOf(node, isDown, isInSync, state === 'failed', status),
    awayMs: node === undefined ? 0 : nowMs - node.heardAtMs,
    leaving: node === undefined ? '' : leavingOf(cluster, volume, node, status),
    status,
    saidAtMs: node?.said?.atMs ?? -Infinity,
    isVouched: false,
    isMissed: false,
    isQuiet: node !== undefined && isQuiet(node, cluster.options, nowMs),
  }
}

function presenceOf(
  node: NodeView | undefined,
  isDown: boolean,
  isInSync: boolean,
  isGivenUp: boolean,
  status: CopyStatus | undefined,
): Presence {
  if (isGivenUp && !isInSync) return 'given-up'
  if (node === undefined) return 'absent'
  if (isDown || node.said === undefined) return node.record === undefined ? 'absent' : 'away'
  if (status === undefined) return node.said.isOpen ? 'absent' : 'away'
  // Fenced without a failure is one that was no member: its node opens it again when it sees that it is one.
  if (status.failure !== '') return 'failed'
  if (!isInSync) return 'filling'
  return status.role === 'starting' ? 'away' : 'live'
}

function leavingOf(cluster: Cluster, volume: VolumeView, node: NodeView, status: CopyStatus | undefined): string {
  const { move } = volume
  if (node.record === undefined) return `${node.name} is no node of this cluster any more`
  if (node.wish.isDraining) return `node ${node.name} is being drained`
  if (status?.diskUuids.some((uuid) => cluster.evictedDisks.has(uuid)) === true) return 'a disk of it is being evicted'
  if (liesOnSuspect(node, status)) return 'a disk of it is suspect'
  if (move?.what === 'copy' && move.from === node.name) return `it is moved to ${move.to}`
  const entry = cluster.rebuildsOf.get(volume.id)?.find(({ from }) => from === node.name)
  return entry === undefined ? '' : `it is moved to ${entry.to}`
}

const liesOnSuspect = ({ said }: NodeView, status: CopyStatus | undefined): boolean =>
  said?.disks.some(({ uuid, state }) => state === 'suspect' && status?.diskUuids.includes(uuid) === true) === true

/** A member of the set that is there, with all of its copy. */
export const isComplete = ({ presence, status }: CopyFact): boolean =>
  presence === 'live' && status!.isConsistent && status!.lostSlices === 0

/** The volume could go on with it alone, as its node says, and not long ago. In `durable` all are whole (E1). */
export const standsAlone = (fact: CopyFact): boolean => isComplete(fact) && !fact.isQuiet && fact.status!.isWhole

/** It gets what it lacks, as far as is known: it said so after it was taken out of the set, and not long ago. */
export const isBeingFilled = ({ presence, isQuiet, status }: CopyFact): boolean =>
  presence === 'filling' && !isQuiet && status!.role === 'out'

/** It can be counted upon, by its own word or by that of the primary. */
export const isCounted = (fact: CopyFact): boolean => isComplete(fact) || fact.isVouched

/** What it does or lacks, as a sentence whose subject is its node. */
export function conditionOf({ node, presence, awayMs, saidAtMs, status, isVouched, isQuiet }: CopyFact): string {
  const silent = `${node} has been silent for ${seconds(awayMs)}`
  switch (presence) {
    case 'live':
      if (status!.lostSlices > 0) return `${node} lost ${status!.lostSlices} slice(s) with a disk`
      return status!.isConsistent ? `${node} is in sync` : `${node} is filled in place`
    case 'filling':
      if (isQuiet) return silent
      if (status!.role === 'starting') return `${node} is starting its copy`
      if (status!.role !== 'out') return `${node} was taken out of the set, and has not spoken since`
      if (status!.isPoolFull) return `${node} has no room to be filled`
      if (status!.joining !== '') return `${node} ${status!.joining}`
      if (status!.lagBytes === 0) return `${node} catches up`
      return `${node} is being filled, at most ${bytes(status!.lagBytes)} are left`
    case 'away':
      if (saidAtMs === -Infinity) return `${node} has not told yet what it has`
      if (status?.role !== 'starting') return silent
      return isVouched ? `${node} is in sync, and may not lead yet` : `${node} is starting its copy`
    case 'failed':
      return `${node} failed: ${status!.failure}`
    case 'absent':
      return `${node} does not have its copy any more`
    case 'given-up':
      return `${node} gives its copy up`
    default:
      return unreachable(presence)
  }
}
