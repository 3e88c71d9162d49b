/** What the primary of this worker says of its volume's snapshots (cluster/reconcile/SNAPSHOTS.md T2). */
import type { SnapshotAnswer, SnapshotQuery } from '../../engine/control/volume-snapshots.ts'
import { whoReads } from '../../engine/replication/snapshot-uses.ts'
import { failure } from '../../engine/volume/store-api.ts'
import type { Result } from '../../engine/volume/store-api.ts'
import type { HostedCopy } from './hosted-copy.ts'
import type { Scrubber } from './scrubber.ts'

/** @param copy  of the volume that is asked for; undefined: none is here */
export function snapshotAnswer(
  node: string, copy: HostedCopy | undefined, query: SnapshotQuery, scrubs: Pick<Scrubber, 'exclusive'>,
  nowMs: number,
): Result<SnapshotAnswer> {
  const { volumeId: volume } = query
  const refuse = (reason: string) => failure('copy-refused', { node, volume, reason })
  if (copy?.store === undefined) return failure('copy-not-found', { node, volume })
  const { primary } = copy.state
  if (!copy.isPrimary || primary === undefined) return refuse('it does not lead')
  const { epoch, changed } = primary
  if (copy.store.appliedSeq < changed.seq) return refuse('its last change is not stored everywhere yet')
  const { sizeBytes, durability } = copy.store.descriptor().spec
  const inUse = whoReads(primary, query.ids[0] ?? '', nowMs)
  const { snapshots, ...all } = copy.snapshots.answer(query)
  const { store } = copy
  const told = snapshots.map((one) => {
    const { bytes: exclusiveBytes, atMs: exclusiveAtMs } = scrubs.exclusive(store, one.seq)
    return { ...one, exclusiveBytes, exclusiveAtMs }
  })
  const { generation, holders } = copy.state.config!.config.attach
  const attach = { generation, holders }
  return { ok: true, value: { epoch, changed, sizeBytes, durability, ...all, snapshots: told, inUse, attach } }
}
