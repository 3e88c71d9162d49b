/**
 * Volumes that are deleted (SPEC.md section 9): when their time is over, and the way to nothing: every copy erased by
 * its node, then the configuration, then the record.
 */
import type { NodeId } from '../replication/configuration.ts'
import { bytes, seconds } from './amounts.ts'
import type { Action } from './actions.ts'
import type { Cluster, VolumeView } from './cluster.ts'
import type { CopyFact } from './copy-facts.ts'
import type { Step } from './creation.ts'
import { livenessOf } from './node-state.ts'
import { AGE_STEP_MS, keptForMs, purged } from './volume-record.ts'

/**
 * The age of the cluster as this controller may write it now (T2). One step at most: after a long pause a deletion has
 * been stamped with the old age, and what passed before it does not count for it.
 */
export const ageNow = ({ ageMs, ageSeenAtMs }: Cluster, nowMs: number): number =>
  ageMs + Math.min(nowMs - ageSeenAtMs, AGE_STEP_MS)

/** T3: the purge begins when its time is over and nobody holds it; undefined: it rests. */
export function beginPurge({ ageMs }: Cluster, volume: VolumeView): Action | undefined {
  const { record, config } = volume
  if (record === undefined || record.trash === null || record.trash.isPurging) return undefined
  if (keptForMs(record.trash, ageMs) > 0 || Object.keys(config?.attach.holders ?? {}).length > 0) return undefined
  const { id: volumeId, recordVersion: version } = volume
  return { type: 'change-volume', volumeId, version, record: purged(record)!, why: 'its time in the trash is over' }
}

/** What a volume in the trash waits for. */
export function trashNext(cluster: Cluster, volume: VolumeView): string {
  const leftMs = keptForMs(volume.record!.trash!, cluster.ageMs)
  const holders = Object.keys(volume.config?.attach.holders ?? {})
  if (leftMs <= 0 && holders.length > 0) return `it is in the trash, and purged when ${holders.join(', ')} let it go`
  return `it is in the trash, and purged in ${seconds(leftMs)}; \`holdfast volume restore\` brings it back`
}

/** There is no way back: erase, then forget. */
export function purgeStep(cluster: Cluster, volume: VolumeView, nowMs: number): Step {
  const { id: volumeId, config } = volume
  const actions: Action[] = []
  const away: NodeId[] = []
  for (const name of new Set([...Object.keys(config?.members ?? {}), ...volume.reportedOn])) {
    const node = cluster.nodes.get(name)
    if (node?.record === undefined) continue
    const isThere = livenessOf(node, cluster.options, nowMs) !== 'down' && node.said?.isOpen === true
    const copy = node.copies.get(volumeId)
    if (!isThere) away.push(name)
    else if (copy !== undefined) {
      actions.push({ type: 'erase-copy', volumeId, node: name, copyId: copy.copyId, epoch: 0, why: 'it is purged' })
    }
  }
  if (actions.length > 0) return { actions, next: `${actions.length} copies are erased` }
  if (away.length > 0) return { actions, next: `${away.join(', ')} may still have a copy, and is away` }
  const why = 'no node has a copy of it any more'
  if (config !== undefined) actions.push({ type: 'delete-config', volumeId, version: volume.configVersion, why })
  else actions.push({ type: 'delete-volume', volumeId, version: volume.recordVersion, why })
  return { actions, next: why }
}

/** T5: a configuration that came late, of a volume that is gone, with no copy behind it. */
export function strayStep(cluster: Cluster, volume: VolumeView, facts: readonly CopyFact[], nowMs: number): Step {
  const { id: volumeId, config, configVersion: version, reportedOn } = volume
  const { freshMs } = cluster.options
  const isGone = ({ node, presence, saidAtMs }: CopyFact) =>
    presence === 'absent' && (cluster.nodes.get(node)?.record === undefined || nowMs - saidAtMs <= freshMs)
  if (config === undefined || reportedOn.size > 0 || !facts.every(isGone)) return { actions: [], next: '' }
  const why = 'there is no such volume, and no copy of it'
  return { actions: [{ type: 'delete-config', volumeId, version, why }], next: why }
}

interface TrashOfPool {
  volumes: number
  /** What all their copies use, and what they were promised. */
  usedBytes: number
  sizeBytes: number
}

/** T4: what copies of volumes in the trash take of a pool. */
export function trashOf(cluster: Cluster, pool: string): TrashOfPool {
  let volumes = 0
  let usedBytes = 0
  let sizeBytes = 0
  for (const { record, config, usedBytes: each } of cluster.volumes.values()) {
    if (record === undefined || record.trash === null || record.spec.pool !== pool) continue
    volumes++
    const copies = Object.keys(config?.members ?? {}).length
    usedBytes += each * copies
    sizeBytes += record.spec.sizeBytes * copies
  }
  return { volumes, usedBytes, sizeBytes }
}

/**
 * T4: what gives room to a volume of which a copy waits for it. Empty: none does, or it is being copied elsewhere.
 * What placement says of it, another node, is not what helps: a pool that is full is emptied where it is.
 */
export function roomNext(cluster: Cluster, { id, record, config }: VolumeView): string {
  if (record === undefined || record.trash !== null || (cluster.rebuildsOf.get(id)?.length ?? 0) > 0) return ''
  const isFull = (node: NodeId) => cluster.nodes.get(node)?.copies.get(id)?.isPoolFull === true
  const full = Object.keys(config?.members ?? {}).filter(isFull).sort()
  if (full.length === 0) return ''
  const { pool } = record.spec
  const hint = trashHint(cluster, pool)
  const there = `${full.join(', ')} ${full.length === 1 ? 'has' : 'have'} no room in pool ${pool}`
  return `${there}: delete or trim data, or add a disk there (\`holdfast disk add\`)${hint === '' ? '' : `; ${hint}`}`
}

/** For the message that a pool is full; empty when the trash has nothing of it. */
export function trashHint(cluster: Cluster, pool: string): string {
  const { volumes, usedBytes } = trashOf(cluster, pool)
  if (volumes === 0) return ''
  return `the trash holds ${bytes(usedBytes)} of it in ${volumes} volume(s): \`holdfast volume purge\` frees them now`
}
