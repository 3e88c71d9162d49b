/**
 * What one controller knows: records as they were read, and what nodes said, with the time at which they said it. The
 * functions here take in one change each and note which volumes it concerns, so that a pass looks at those only.
 * State is plain data. Versions of the cluster store are handed back, never looked into.
 */
import type { NodeId, VolumeConfig } from '../replication/configuration.ts'
import { assertOptions, CONTROL_DEFAULTS } from './control-options.ts'
import type { ControlOptions } from './control-options.ts'
import { classesOf, spread } from './disk-class.ts'
import type { DiskClass } from './disk-class.ts'
import type { CopyStatus, DiskWish, NodeRecord, NodeStatus, NodeWish } from './node-status.ts'
import type { RebuildTable } from './rebuild-table.ts'
import type { Move, VolumeRecord } from './volume-record.ts'

export type Version = string

export interface NodeView {
  name: NodeId
  /** Undefined: not registered, or removed. */
  record: NodeRecord | undefined
  wish: NodeWish
  /** Its heartbeat, or an answer; before the first one, when this controller began to look at it. */
  heardAtMs: number
  /** When it came back after a silence that was noticed. */
  backAtMs: number
  /** Undefined until it has spoken to this controller. */
  said: { instance: string; isOpen: boolean; disks: NodeStatus['disks']; atMs: number } | undefined
  /** The very list of copies that it named last. */
  named: readonly CopyStatus[] | undefined
  copies: Map<string, CopyStatus>
  classes: DiskClass[]
  /** Volumes that count here: members, and what is about to be. */
  volumes: Set<string>
  /** How many of them it leads. */
  leads: number
}

export interface VolumeView {
  id: string
  record: VolumeRecord | undefined
  recordVersion: Version
  config: VolumeConfig | undefined
  configVersion: Version
  move: Move | undefined
  moveVersion: Version
  /** Nodes that are asked for a copy of a new volume, since when. */
  creating: Map<NodeId, number>
  /** Nodes that say they have a copy. */
  reportedOn: Set<NodeId>
  /** What counts for it on each node (disk-class.ts). */
  placed: Map<NodeId, { sizeBytes: number; usedBytes: number }>
  usedBytes: number
  /** Since when something is lacking. */
  lackingSinceMs: number | undefined
  /** When a copy was given up that was to be filled where it is used (SPEC.md U5). */
  nearFailedAtMs: number
  /** Actions given out, and when. */
  asked: Map<string, number>
  /** The last verdict (assess.ts). */
  verdict: Verdict | undefined
}

export interface Verdict {
  health: 'healthy' | 'degraded' | 'at-risk' | 'suspended' | 'faulted'
  /** Empty when healthy; else a sentence. */
  healthReason: string
  /** What is being done or waited for; empty: nothing. */
  next: string
}

export interface Cluster {
  options: ControlOptions
  /** When this controller began to look. */
  startedAtMs: number
  nodes: Map<NodeId, NodeView>
  volumes: Map<string, VolumeView>
  evictedDisks: Set<string>
  rebuilds: RebuildTable
  rebuildsVersion: Version
  /** Entries of the table by volume. */
  rebuildsOf: Map<string, RebuildTable>
  ageMs: number
  ageVersion: Version
  /** When this controller saw the present value. */
  ageSeenAtMs: number
  /** Clones by the volume that they are clones of, and those of which a record wishes blocks of their own. */
  clonesOf: Map<string, Set<string>>
  hydrating: Set<string>
  /** To be looked at in the next pass; and those to be looked at in every pass, because time may change them. */
  changed: Set<string>
  open: Set<string>
}

export function newCluster(nowMs: number, options: Partial<ControlOptions> = {}): Cluster {
  const all = { ...CONTROL_DEFAULTS, ...options }
  assertOptions(all)
  return {
    options: all,
    startedAtMs: nowMs,
    nodes: new Map(),
    volumes: new Map(),
    evictedDisks: new Set(),
    rebuilds: [],
    rebuildsVersion: '',
    rebuildsOf: new Map(),
    ageMs: 0,
    ageVersion: '',
    ageSeenAtMs: nowMs,
    clonesOf: new Map(),
    hydrating: new Set(),
    changed: new Set(),
    open: new Set(),
  }
}

/** @param nowMs  when it was read: a node that is new then was not silent before */
export function setNode(cluster: Cluster, name: NodeId, record: NodeRecord | undefined, nowMs: number): void {
  nodeOf(cluster, name, nowMs).record = record
  markNode(cluster, name)
}

export function setNodeWish(cluster: Cluster, name: NodeId, wish: NodeWish): void {
  nodeOf(cluster, name).wish = wish
  markNode(cluster, name)
}

export function setDiskWish(cluster: Cluster, uuid: string, { isEvicted }: DiskWish): void {
  if (isEvicted) cluster.evictedDisks.add(uuid)
  else cluster.evictedDisks.delete(uuid)
  for (const node of cluster.nodes.values()) {
    if (node.said?.disks.some((disk) => disk.uuid === uuid) !== true) continue
    countNode(cluster, node)
    markNode(cluster, node.name)
  }
}

/** Its heartbeat moved, or it answered. */
export function heard(cluster: Cluster, name: NodeId, nowMs: number): void {
  const node = nodeOf(cluster, name, nowMs)
  const { suspectAfterMs } = cluster.options
  if (nowMs - node.heardAtMs > suspectAfterMs) {
    node.backAtMs = nowMs
    markNode(cluster, name)
  }
  node.heardAtMs = nowMs
}

/**
 * All that a node says of itself. Of its copies those that changed are looked at again; what is the very object that it
 * was before did not, a copy or the list of all.
 * @param askedAtMs  when the question was sent that it answers: what was long on its way is as old as that
 */
export function setNodeStatus(cluster: Cluster, status: NodeStatus, askedAtMs: number): void {
  const node = nodeOf(cluster, status.node, askedAtMs)
  heard(cluster, status.node, Math.max(askedAtMs, node.heardAtMs))
  const former = node.said
  const { instance, isOpen, disks } = status
  node.said = { instance, isOpen, disks, atMs: askedAtMs }
  if (former?.isOpen !== isOpen || former.instance !== instance) markNode(cluster, node.name)
  if (former === undefined || !areSameDisks(former.disks, disks)) countNode(cluster, node)
  else countFree(cluster, node)
  if (former !== undefined && suspectsOf(former.disks) !== suspectsOf(disks)) markNode(cluster, node.name)
  if (node.named === status.copies) return
  node.named = status.copies
  for (const copy of status.copies) {
    const before = node.copies.get(copy.volumeId)
    if (before === copy) continue
    node.copies.set(copy.volumeId, copy)
    if (before === undefined) volumeOf(cluster, copy.volumeId).reportedOn.add(node.name)
    if (before === undefined || !isSameCopy(before, copy)) cluster.changed.add(copy.volumeId)
    if (before === undefined || before.usedBytes !== copy.usedBytes) noteUsed(cluster, node.name, copy)
  }
  if (node.copies.size === status.copies.length) return
  const there = new Set(status.copies.map(({ volumeId }) => volumeId))
  for (const volumeId of node.copies.keys()) {
    if (there.has(volumeId)) continue
    node.copies.delete(volumeId)
    cluster.volumes.get(volumeId)?.reportedOn.delete(node.name)
    cluster.changed.add(volumeId)
  }
}

export function setVolume(
  cluster: Cluster,
  id: string,
  record: VolumeRecord | undefined,
  version: Version,
): void {
  const volume = volumeOf(cluster, id)
  noteOrigin(cluster, id, record ?? volume.record, record)
  volume.record = record
  volume.recordVersion = version
  recount(cluster, volume)
}

/** Of which it is a clone never changes. Who waits for what is wished of one is looked at again. */
function noteOrigin(
  { clonesOf, hydrating, volumes, changed }: Cluster, id: string, known: VolumeRecord | undefined,
  record: VolumeRecord | undefined,
): void {
  if (record?.hydration === undefined || record.trash !== null) hydrating.delete(id)
  else hydrating.add(id)
  for (const clone of clonesOf.get(id) ?? []) changed.add(clone)
  const originId = known?.origin?.volumeId
  if (originId === undefined) return
  const clones = clonesOf.get(originId) ?? new Set<string>()
  if (record === undefined) clones.delete(id)
  else clones.add(id)
  if (clones.size === 0) clonesOf.delete(originId)
  else clonesOf.set(originId, clones)
  if (volumes.has(originId)) changed.add(originId)
}

export function setConfig(cluster: Cluster, id: string, config: VolumeConfig | undefined, version: Version): void {
  const volume = volumeOf(cluster, id)
  if (volume.config !== undefined) nodeOf(cluster, volume.config.primary).leads--
  volume.config = config
  volume.configVersion = version
  if (config !== undefined) {
    nodeOf(cluster, config.primary).leads++
    volume.creating.clear()
    const copy = cluster.nodes.get(config.primary)?.copies.get(id)
    if (copy !== undefined) volume.usedBytes = copy.usedBytes
  }
  recount(cluster, volume)
}

export function setMove(cluster: Cluster, id: string, move: Move | undefined, version: Version): void {
  const volume = volumeOf(cluster, id)
  volume.move = move
  volume.moveVersion = version
  volume.asked.clear()
  cluster.changed.add(id)
}

export function setRebuilds(cluster: Cluster, table: RebuildTable, version: Version): void {
  const concerned = new Set([...cluster.rebuilds, ...table].map(({ volumeId }) => volumeId))
  cluster.rebuilds = table
  cluster.rebuildsVersion = version
  cluster.rebuildsOf.clear()
  for (const entry of table) {
    const entries = cluster.rebuildsOf.get(entry.volumeId)
    if (entries === undefined) cluster.rebuildsOf.set(entry.volumeId, [entry])
    else entries.push(entry)
  }
  for (const id of concerned) recount(cluster, volumeOf(cluster, id))
}

export function setAge(cluster: Cluster, ageMs: number, version: Version, nowMs: number): void {
  if (version === cluster.ageVersion) return
  cluster.ageMs = ageMs
  cluster.ageVersion = version
  cluster.ageSeenAtMs = nowMs
}

/** A node is asked for a copy of a new volume: it counts there. */
export function setCreating(cluster: Cluster, volume: VolumeView, creating: Map<NodeId, number>): void {
  volume.creating = creating
  recount(cluster, volume)
}

/** @param sinceMs  from when on silence counts of one that is new here */
export function nodeOf(cluster: Cluster, name: NodeId, sinceMs = cluster.startedAtMs): NodeView {
  let node = cluster.nodes.get(name)
  if (node === undefined) {
    node = {
      name,
      record: undefined,
      wish: { isCordoned: false, isDraining: false },
      heardAtMs: sinceMs,
      backAtMs: -Infinity,
      said: undefined,
      named: undefined,
      copies: new Map(),
      classes: [],
      volumes: new Set(),
      leads: 0,
    }
    cluster.nodes.set(name, node)
  }
  return node
}

export function volumeOf(cluster: Cluster, id: string): VolumeView {
  let volume = cluster.volumes.get(id)
  if (volume === undefined) {
    volume = {
      id,
      record: undefined,
      recordVersion: '',
      config: undefined,
      configVersion: '',
      move: undefined,
      moveVersion: '',
      creating: new Map(),
      reportedOn: new Set(),
      placed: new Map(),
      usedBytes: 0,
      lackingSinceMs: undefined,
      nearFailedAtMs: -Infinity,
      asked: new Map(),
      verdict: undefined,
    }
    cluster.volumes.set(id, volume)
    cluster.changed.add(id)
  }
  return volume
}

/** Everything on a node is to be looked at again. */
export function markNode(cluster: Cluster, name: NodeId): void {
  const node = nodeOf(cluster, name)
  for (const id of node.volumes) cluster.changed.add(id)
  for (const id of node.copies.keys()) cluster.changed.add(id)
}

/** It is looked at again, and counts where its members are and where a copy is to be. */
function recount(cluster: Cluster, volume: VolumeView): void {
  cluster.changed.add(volume.id)
  volume.asked.clear()
  const targets = cluster.rebuildsOf.get(volume.id) ?? []
  const members = Object.keys(volume.config?.members ?? {})
  const nodes = [...members, ...volume.creating.keys(), ...targets.map(({ to }) => to)]
  const { record } = volume
  const counts = record === undefined ? new Set<NodeId>() : new Set(nodes)
  const now = { sizeBytes: record?.spec.sizeBytes ?? 0, usedBytes: volume.usedBytes }
  for (const [name, former] of volume.placed) {
    if (counts.has(name) && former.sizeBytes === now.sizeBytes && former.usedBytes === now.usedBytes) continue
    const node = nodeOf(cluster, name)
    const less = { sizeBytes: -former.sizeBytes, usedBytes: -former.usedBytes }
    if (record !== undefined) spread(node.classes, record.spec, less)
    volume.placed.delete(name)
    node.volumes.delete(volume.id)
    if (record === undefined) countNode(cluster, node)
  }
  for (const name of counts) {
    if (volume.placed.has(name)) continue
    const node = nodeOf(cluster, name)
    spread(node.classes, record!.spec, now)
    volume.placed.set(name, now)
    node.volumes.add(volume.id)
  }
}

/** The disks changed: what counts on each is counted anew. */
function countNode(cluster: Cluster, node: NodeView): void {
  node.classes = classesOf(node.said?.disks ?? [], cluster.evictedDisks)
  for (const id of node.volumes) {
    const volume = cluster.volumes.get(id)!
    const placed = volume.placed.get(node.name)
    if (placed !== undefined && volume.record !== undefined) spread(node.classes, volume.record.spec, placed)
  }
}

/** The same disks have another amount free, as in each report while something is written. */
function countFree({ evictedDisks }: Cluster, { said, classes }: NodeView): void {
  for (const [index, { freeBytes }] of classesOf(said!.disks, evictedDisks).entries()) {
    classes[index]!.freeBytes = freeBytes
  }
}

/** What a volume uses is what its primary says. */
function noteUsed(cluster: Cluster, node: NodeId, copy: CopyStatus): void {
  const volume = volumeOf(cluster, copy.volumeId)
  if (volume.config?.primary !== node || volume.usedBytes === copy.usedBytes) return
  volume.usedBytes = copy.usedBytes
  const { changed } = cluster
  const wasChanged = changed.has(volume.id)
  const { asked } = volume
  const kept = new Map(asked)
  recount(cluster, volume)
  volume.asked = kept
  // That it uses more is no reason to look at it.
  if (!wasChanged) changed.delete(volume.id)
}

const suspectsOf = (disks: NodeStatus['disks']): string =>
  disks.filter(({ state }) => state === 'suspect').map(({ uuid }) => uuid).join()

/** In all but what is free. */
const areSameDisks = (a: NodeStatus['disks'], b: NodeStatus['disks']): boolean =>
  a.length === b.length &&
  a.every((disk, index) => {
    const other = b[index]!
    const { uuid, pool, state, capacityBytes } = other
    const isSameTags = disk.tags.length === other.tags.length && disk.tags.every((tag, i) => tag === other.tags[i])
    return (
      disk.uuid === uuid &&
      disk.pool === pool &&
      disk.state === state &&
      disk.capacityBytes === capacityBytes &&
      isSameTags
    )
  })

/** In all that a decision asks about. */
const isSameCopy = (a: CopyStatus, b: CopyStatus): boolean =>
  a.copyId === b.copyId &&
  a.role === b.role &&
  a.epoch === b.epoch &&
  a.isConsistent === b.isConsistent &&
  a.isWhole === b.isWhole &&
  a.durability === b.durability &&
  a.durabilityNext === b.durabilityNext &&
  a.isVirgin === b.isVirgin &&
  a.lostSlices === b.lostSlices &&
  a.hearsPrimary === b.hearsPrimary &&
  a.held === b.held &&
  a.isPoolFull === b.isPoolFull &&
  a.awaits.length === b.awaits.length &&
  a.awaits.every((node, index) => node === b.awaits[index]) &&
  a.failure === b.failure &&
  a.sharedSlices === b.sharedSlices &&
  a.isHydrating === b.isHydrating &&
  a.lostBlocks === b.lostBlocks &&
  a.levels === b.levels &&
  a.readers === b.readers &&
  a.isLastReader === b.isLastReader &&
  a.diskUuids.length === b.diskUuids.length &&
  a.diskUuids.every((uuid, index) => uuid === b.diskUuids[index])
