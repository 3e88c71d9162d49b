/** What the API shows of a cluster, as its controller knows it: wishes, configurations and what nodes said, joined. */
import { awaitsCopy } from '../../engine/control/awaited-copy.ts'
import { copyFacts, standsAlone } from '../../engine/control/copy-facts.ts'
import type { CopyFact } from '../../engine/control/copy-facts.ts'
import type { NodeView, VolumeView } from '../../engine/control/cluster.ts'
import { NEVER_SCRUBBED, NOTHING_SHARED } from '../../engine/control/node-status.ts'
import type { CopyStatus } from '../../engine/control/node-status.ts'
import { livenessOf, nodeState } from '../../engine/control/node-state.ts'
import { nameOf } from '../../engine/control/reboot.ts'
import { statusPage } from '../../engine/control/status-page.ts'
import { ageNow } from '../../engine/control/trash.ts'
import { wrappedKeyOf } from '../../engine/volume/volume-encryption.ts'
import { keptForMs, wishedMinInSync } from '../../engine/control/volume-record.ts'
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import type { Attach, VolumeConfig } from '../../engine/replication/configuration.ts'
import type { Durability } from '../../engine/replication/record.ts'
import { NO_LIMITS } from '../../engine/volume/qos-limits.ts'
import { limitsOf } from '../api/cluster-limits.ts'
import { scheduleText } from '../api/schedule-request.ts'
import type { Disk, Node, Status } from '../api/node-messages.ts'
import type { Copy, Volume, VolumeAttach } from '../api/volume-messages.ts'
import type { Term } from './controller.ts'

/** @param record  the wish, which may be newer than what the controller has read yet */
export function volumeOf(term: Term, record: VolumeRecord, nowMs: number): Volume {
  const { spec } = record
  const view = term.cluster.volumes.get(spec.id)
  const config = view?.config
  const primary = view === undefined ? undefined : primaryCopy(term, view)
  const facts = config === undefined ? [] : copyFacts(term.cluster, view!, nowMs)
  const verdict = view?.verdict
  const reason = [verdict?.healthReason ?? 'it was not looked at yet', verdict?.next ?? '']
  return {
    name: spec.name,
    id: spec.id,
    sizeBytes: spec.sizeBytes,
    replicas: spec.replicas,
    // Never more than what is in force: of two changes at once the record may be written last by the former.
    durability: primary?.durability === 'writeback' ? 'writeback' : spec.durability,
    durabilityNext: durabilityNext(spec.durability, primary),
    encryption: spec.encryption !== undefined,
    cipher: spec.encryption?.cipher ?? '',
    keyId: spec.encryption === undefined ? '' : wrappedKeyOf(spec.encryption).wrappedBy,
    epoch: config?.epoch ?? 0,
    health: verdict?.health ?? 'suspended',
    healthReason: reason.filter((text) => text !== '').join('; '),
    minInSync: config?.minInSync ?? wishedMinInSync(record),
    blockSizeBytes: spec.blockSizeBytes,
    copies: facts.map(copyOf),
    frontends: term.intake.sessionsOf(spec.id).filter(({ snapshot }) => snapshot === '')
      .map(({ node, session, generation }) => ({ node, session, generation })),
    // Each node has its own sockets.
    nbd: [],
    usedBytes: view?.usedBytes ?? 0,
    logicalBytes: primary?.logicalBytes ?? 0,
    holds: config === undefined ? '' : heldBy(config, primary),
    pool: spec.pool,
    diskTags: spec.diskTags,
    onFull: spec.onFull,
    ioTimeoutMs: spec.ioTimeoutMs,
    seq: primary?.seq ?? 0,
    commitSeq: primary?.commitSeq ?? 0,
    heldRequests: heldRequests(term, config),
    snapshots: primary?.snapshots ?? 0,
    newestSnapshot: primary?.newestSnapshot ?? '',
    newestSnapshotAtMs: primary?.newestSnapshotAtMs ?? 0,
    snapshotSchedule: scheduleText(record.snapshotSchedule),
    qos: spec.qos ?? NO_LIMITS,
    compression: spec.compression ?? 'none',
    hydration: record.hydration ?? '',
    labels: record.labels ?? {},
    allowedNodes: [...record.allowed?.nodes ?? []],
    allowedZones: [...record.allowed?.zones ?? []],
    dataLocality: record.dataLocality ?? 'disabled',
    failureMode: String(record.failureMode ?? ''),
    readCheck: spec.readCheck ?? 'lease',
    awaitsCopy: view !== undefined && awaitsCopy(term.cluster, view, nowMs),
    attach: attachOf(config?.attach ?? { mode: record.attachMode, generation: 0, holders: {} }),
    keptMs: record.trash === null ? 0 : Math.max(0, Math.ceil(keptForMs(record.trash, ageNow(term.cluster, nowMs)))),
  }
}

/** What its node said last of the copy that leads, or is to. */
export const primaryCopy = ({ cluster }: Term, { id, config }: VolumeView): CopyStatus | undefined =>
  config === undefined ? undefined : cluster.nodes.get(config.primary)?.copies.get(id)

/**
 * Known only of who leads by what is agreed, with all its slices, as it said in that epoch: what another copy has
 * stored may not be in its map yet, and an election forgets what was told. A hole of a clone shows its origin.
 */
function heldBy({ epoch, primary: leader, members }: VolumeConfig, told: CopyStatus | undefined): Volume['holds'] {
  if (told === undefined || told.copyId !== members[leader]?.copyId) return ''
  if (told.logicalBytes > 0) return 'data'
  if (told.role !== 'primary' || told.epoch < epoch || !told.isConsistent || told.lostSlices > 0) return ''
  return told.sharedSlices > 0 && told.sharedBytes > 0 ? 'shared' : 'nothing'
}

/** A write waits for the copy of the set that holds most. */
function heldRequests({ cluster }: Term, config: VolumeConfig | undefined): number {
  const held = config?.inSync.map((node) => cluster.nodes.get(node)?.copies.get(config.volumeId)?.heldRequests ?? 0)
  return Math.max(0, ...held ?? [])
}

export function attachOf({ mode, generation, holders }: Attach): VolumeAttach {
  const nodes = Object.keys(holders).sort()
  return { mode, generation, holders: nodes.map((node) => ({ node, generation: holders[node]! })) }
}

/** It has what it needs to be read and written. */
export function isServed({ config, verdict }: VolumeView): boolean {
  return config !== undefined && verdict !== undefined && ['healthy', 'degraded', 'at-risk'].includes(verdict.health)
}

/** Why it is not, as a sentence. */
export function whyNotServed(view: VolumeView | undefined): string {
  const verdict = view?.verdict
  if (verdict === undefined) return 'it was not looked at yet'
  return verdict.next === '' ? verdict.healthReason : verdict.next
}

function copyOf(fact: CopyFact): Copy {
  const { node, isPrimary, status } = fact
  const { scrubbedAtMs, checkedAtMs, isScrubbing, scrubPercent, damagedBlocks, unrepairedBlocks, lostBlocks,
    mapProblems, comparedAtMs, differences } = status ?? NEVER_SCRUBBED
  const { sharedSlices, isHydrating } = status ?? NOTHING_SHARED
  return {
    node, role: isPrimary ? 'primary' : 'replica', state: copyState(fact), lagBytes: status?.lagBytes ?? 0,
    scrubbedAtMs, checkedAtMs, isScrubbing, scrubPercent, damagedBlocks, unrepairedBlocks, lostBlocks, mapProblems,
    comparedAtMs, differences, sharedSlices, isHydrating, joining: status?.joining ?? '',
    isComplete: standsAlone(fact),
  }
}

function copyState({ presence, isInSync, status }: CopyFact): Copy['state'] {
  if (presence === 'failed' || presence === 'absent' || presence === 'given-up') return 'failed'
  if (isInSync) return 'in-sync'
  return status?.isConsistent === false ? 'rebuilding' : 'catching-up'
}

/** @param elected  this node, whose term it is */
export function nodesOf(term: Term, elected: string, nowMs: number): Node[] {
  const views = [...term.cluster.nodes.values()].filter(({ record }) => record !== undefined)
  return views.sort((a, b) => (a.name < b.name ? -1 : 1)).map((view) => nodeOf(term, view, elected, nowMs))
}

function nodeOf(term: Term, view: NodeView, elected: string, nowMs: number): Node {
  const facts = term.intake.details(view.name)?.facts
  const beat = term.beats.get(view.name)
  return {
    name: view.name,
    state: nodeState(view, term.cluster, nowMs),
    zone: view.record?.zone ?? '',
    pid: facts?.pid ?? 0,
    disks: disksOf(view),
    id: facts?.nodeId ?? beat?.nodeId ?? '',
    clusterId: facts?.clusterId ?? beat?.clusterId ?? '',
    instanceId: view.said?.instance ?? beat?.instance ?? '',
    version: facts?.version ?? beat?.version ?? '',
    nodeVersion: facts?.nodeVersion ?? '',
    uptimeMs: facts?.uptimeMs ?? 0,
    workers: facts?.workers ?? 0,
    rssBytes: facts?.rssBytes ?? 0,
    ioFlusher: facts?.ioFlusher ?? 'refused',
    listening: facts?.listening ?? [],
    folder: facts?.folder ?? '',
    protocol: beat?.protocol ?? 0,
    isElected: view.name === elected,
  }
}

function disksOf({ name, said }: NodeView): Disk[] {
  return (said?.disks ?? []).map((disk) => ({ ...disk, node: name }))
}

export function allDisks(term: Term): Disk[] {
  const views = [...term.cluster.nodes.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
  return views.flatMap(disksOf)
}

/** As each node says that has it; what a node that is down said counts while nobody else says so. */
export function disksOfUuid(term: Term, uuid: string, nowMs: number): Disk[] {
  const { nodes, options } = term.cluster
  const said = allDisks(term).filter((disk) => disk.uuid === uuid)
  const present = said.filter(({ node }) => livenessOf(nodes.get(node)!, options, nowMs) !== 'down')
  return present.length > 0 ? present : said.slice(0, 1)
}

function snapshotsOf(term: Term): Pick<Status, 'snapshots' | 'newestSnapshotAtMs'> {
  let [snapshots, newestSnapshotAtMs] = [0, 0]
  for (const volume of term.cluster.volumes.values()) {
    const copy = primaryCopy(term, volume)
    snapshots += copy?.snapshots ?? 0
    newestSnapshotAtMs = Math.max(newestSnapshotAtMs, copy?.newestSnapshotAtMs ?? 0)
  }
  return { snapshots, newestSnapshotAtMs }
}

type StatusScrubs = Pick<
  Status,
  | 'copiesNeverScrubbed' | 'oldestScrubAtMs' | 'oldestScrubVolume' | 'oldestScrubNode' | 'copiesScrubbing'
  | 'scrubPercent'
>

/** As the node of each copy said last. */
function scrubsOf({ cluster }: Term): StatusScrubs {
  const scrubs: StatusScrubs = {
    copiesNeverScrubbed: 0, oldestScrubAtMs: 0, oldestScrubVolume: '', oldestScrubNode: '', copiesScrubbing: 0,
    scrubPercent: 0,
  }
  let percents = 0
  for (const volume of cluster.volumes.values()) {
    for (const [node, { copyId }] of Object.entries(volume.config?.members ?? {})) {
      const copy = cluster.nodes.get(node)?.copies.get(volume.id)
      if (copy?.copyId !== copyId) continue
      if (copy.isScrubbing) {
        scrubs.copiesScrubbing++
        percents += copy.scrubPercent
      }
      if (copy.scrubbedAtMs === 0) scrubs.copiesNeverScrubbed++
      else if (scrubs.oldestScrubAtMs === 0 || copy.scrubbedAtMs < scrubs.oldestScrubAtMs) {
        scrubs.oldestScrubAtMs = copy.scrubbedAtMs
        scrubs.oldestScrubVolume = nameOf(volume)
        scrubs.oldestScrubNode = node
      }
    }
  }
  if (scrubs.copiesScrubbing > 0) scrubs.scrubPercent = Math.floor(percents / scrubs.copiesScrubbing)
  return scrubs
}

/** As the node of each copy said last. */
function hydrationsOf({ cluster }: Term): Pick<Status, 'hydrating' | 'sharedSlices'> {
  let sharedSlices = 0
  for (const id of cluster.hydrating)
    for (const node of cluster.volumes.get(id)?.reportedOn ?? [])
      sharedSlices += cluster.nodes.get(node)?.copies.get(id)?.sharedSlices ?? 0
  return { hydrating: cluster.hydrating.size, sharedSlices }
}

/** @param store  where the cluster store is, as this node was told */
export function statusOf(
  term: Term, { clusterId, store }: { clusterId: string; store: string }, nowMs: number,
): Status {
  const page = statusPage(term.cluster, nowMs)
  const disks = allDisks(term)
  const sum = (pick: (disk: Disk) => number) => disks.reduce((total, disk) => total + pick(disk), 0)
  const problems = [...page.problems]
  if (term.storeProblem !== undefined) {
    const next = 'volumes go on; nothing is made, moved or taken over until it answers'
    problems.unshift({ what: 'the cluster store', why: term.storeProblem.message, next })
  }
  if (disks.length === 0) {
    problems.push({ what: 'the cluster', why: 'no node has told of a disk', next: 'start nodes with `--disk`' })
  }
  return {
    clusterId,
    health: page.health,
    nodes: page.nodes,
    volumes: page.volumes,
    volumesHealthy: page.volumesHealthy,
    capacityBytes: sum(({ capacityBytes }) => capacityBytes),
    freeBytes: sum(({ freeBytes }) => freeBytes),
    usedBytes: sum(({ capacityBytes, freeBytes }) => capacityBytes - freeBytes),
    ...snapshotsOf(term),
    ...scrubsOf(term),
    ...hydrationsOf(term),
    sessions: term.intake.sessions().length,
    problems,
    limits: limitsOf(page.nodes.map(({ name }) => ({ name, address: term.beats.get(name)?.api ?? '' })), store),
  }
}

/** What a volume is being changed to: it is ordered, or its record and what is in force are not the same yet. */
function durabilityNext(wished: Durability, primary: CopyStatus | undefined): Durability | '' {
  if (primary === undefined || primary.durability === '') return ''
  if (primary.durabilityNext !== '') return primary.durabilityNext
  return primary.durability === wished ? '' : wished
}
