/**
 * Whether a new volume can have its copies at all (SPEC.md P5), asked before anything of it is written. What passes by
 * itself is no reason: a node that is down or came back just now counts by the disks that it told of last, one that has
 * not spoken yet counts as one that could.
 */
import type { NodeId } from '../replication/configuration.ts'
import { MIB } from '../units.ts'
import { bytes, someOf } from './amounts.ts'
import type { Cluster, NodeView } from './cluster.ts'
import { spaceFor } from './disk-class.ts'
import { whyNoRoomOn, whyNotAllowed, whyTooFew } from './placement.ts'
import { trashOf } from './trash.ts'
import { wantedCopies } from './volume-record.ts'
import type { VolumeRecord } from './volume-record.ts'

export interface CreationRefusal {
  /** A sentence: what there is. */
  why: string
  /** A sentence: what to do. */
  next: string
}

/** Undefined: it may be made, and its copies come now or when what they wait for has passed. */
export function whyNeverCreated(cluster: Cluster, record: VolumeRecord): CreationRefusal | undefined {
  const excluded = new Map<NodeId, string>()
  const nodes = [...cluster.nodes.values()].filter((node) => node.record !== undefined)
  for (const node of nodes) {
    const why = whyNeverOn(cluster, node, record)
    if (why !== undefined) excluded.set(node.name, why)
  }
  const found = nodes.length - excluded.size
  const needed = record.allowDegraded ? 1 : wantedCopies(record)
  if (found >= needed) return undefined
  const { spec } = record
  if (nodes.every(({ said, classes }) => said !== undefined && spaceFor(classes, spec) === undefined)) {
    return noSuchDisks(nodes, record)
  }
  const fitting = mostBytes(cluster, nodes, record, needed)
  const less = fitting >= MIB ? `ask for at most ${bytes(fitting)}, ` : ''
  const fewer = found > 0 ? 'ask for fewer copies, ' : ''
  const next = `${less}${fewer}add disks or nodes; \`holdfast disk ls\` shows what there is`
  const trash = trashOf(cluster, spec.pool)
  const held = `the trash holds ${bytes(trash.usedBytes)} of ${bytes(trash.sizeBytes)} in ${trash.volumes} volume(s)`
  const hint = trash.volumes === 0 ? '' : `; ${held}, which count until \`holdfast volume purge\``
  return { why: whyTooFew(cluster, found, needed, excluded), next: `${next}${hint}` }
}

function whyNeverOn(cluster: Cluster, node: NodeView, record: VolumeRecord): string | undefined {
  if (node.wish.isDraining) return 'is being drained'
  if (node.wish.isCordoned) return 'is cordoned'
  const whyNot = whyNotAllowed(node, record)
  if (whyNot !== undefined || node.said === undefined) return whyNot
  return whyNoRoomOn(cluster, node, record.spec, 0)
}

function noSuchDisks(nodes: readonly NodeView[], { spec }: VolumeRecord): CreationRefusal {
  const having = new Map<string, NodeId[]>()
  for (const { name, classes } of [...nodes].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    for (const { pool, tags } of classes) {
      const what = tags.length === 0 ? pool : `${pool} with tags ${tags.join('+')}`
      having.set(what, [...having.get(what) ?? [], name])
    }
  }
  const there = [...having].map(([what, names]) => `${what} (${someOf(names)})`).join(', ')
  const tags = spec.diskTags.length === 0 ? '' : ` with tags ${spec.diskTags.join('+')}`
  const why = `no node has a usable disk in pool ${spec.pool}${tags}; there is ${there === '' ? 'none at all' : there}`
  return { why, next: 'name a pool and tags that are there (`holdfast disk ls`), or add such disks to its nodes' }
}

/** The largest volume that so many nodes have room for, in whole MiB: what the limit leaves on the emptiest of them. */
function mostBytes({ options }: Cluster, nodes: readonly NodeView[], record: VolumeRecord, needed: number): number {
  const { spec } = record
  const mayHave = (node: NodeView) =>
    !node.wish.isDraining && !node.wish.isCordoned && whyNotAllowed(node, record) === undefined
  const left = nodes.filter(mayHave).map(({ classes }) => {
    const space = spaceFor(classes, spec)
    return space === undefined ? 0 : space.capacityBytes * options.overCommit - space.committedBytes
  })
  const most = left.sort((a, b) => b - a)[needed - 1] ?? 0
  return Math.max(0, Math.floor(most / MIB) * MIB)
}
