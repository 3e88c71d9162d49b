/**
 * Snapshots of a volume as its copies have them (cluster/reconcile/SNAPSHOTS.md section 2), and what a primary is asked
 * about them.
 */
import type { RecordId } from '../replication/record-id.ts'
import type { Snapshot } from '../volume/descriptor.ts'
import { scheduledAtMs } from './snapshot-schedule.ts'

export interface VolumeSnapshot {
  id: string
  name: string
  /** Where it stands in the volume's history. */
  seq: number
  /** Of the volume then; 0: not known. */
  sizeBytes: number
  /** Wall clock; 0: not known. */
  createdAtMs: number
  labels: Record<string, string>
  /** Name of the group snapshot that it was taken for; empty: none. */
  group: string
}

/** Those with one of these ids or names; when there are none: a page in order of seq. */
export interface SnapshotQuery {
  volumeId: string
  ids: string[]
  names: string[]
  /** Behind this one; a snapshot and what a rollback right after it kept have the same seq. */
  after: { seq: number; id: string }
  limit: number
}

export interface SnapshotAnswer {
  /** Under which the primary leads. */
  epoch: number
  /** What an order that is judged on this has to name (T1). */
  changed: RecordId
  /** Of the volume. */
  sizeBytes: number
  /** All there are, and what they take as JSON. */
  count: number
  bytes: number
  snapshots: VolumeSnapshot[]
}

const isShown = ({ pinnedBy }: Snapshot): boolean => pinnedBy === null

/** Those that users see; one without a title is called by its id. */
export const shownSnapshots = (snapshots: readonly Snapshot[]): VolumeSnapshot[] =>
  snapshots.filter(isShown).map(({ id, seq, sizeBytes = 0, title }) => {
    const { name = id, createdAtMs = 0, labels = {}, group = '' } = title ?? {}
    return { id, name, seq, sizeBytes, createdAtMs, labels, group }
  })

export function selected(shown: readonly VolumeSnapshot[], query: SnapshotQuery): VolumeSnapshot[] {
  const { ids, names, after, limit } = query
  if (ids.length + names.length > 0) return shown.filter(({ id, name }) => ids.includes(id) || names.includes(name))
  return shown.filter((one) => inOrder(one, after) > 0).sort(inOrder).slice(0, limit)
}

/** What is told of a volume's snapshots without a question. */
export interface SnapshotSummary {
  count: number
  /** The one that was made last; empty and 0: there is none, or its time is not known. */
  newest: string
  newestAtMs: number
  /** The last time of which a schedule made one; 0: none. */
  newestScheduledAtMs: number
}

/** Lists are replaced, never changed, and most are asked for every second. */
const summaries = new WeakMap<readonly Snapshot[], SnapshotSummary>()

export function summaryOf(snapshots: readonly Snapshot[]): SnapshotSummary {
  const known = summaries.get(snapshots)
  if (known !== undefined) return known
  const shown = shownSnapshots(snapshots)
  const last = shown.toSorted(inOrder).at(-1)
  const summary = {
    count: shown.length,
    newest: last?.name ?? '',
    newestAtMs: last?.createdAtMs ?? 0,
    newestScheduledAtMs: Math.max(0, ...shown.map(({ labels }) => scheduledAtMs(labels) ?? 0)),
  }
  summaries.set(snapshots, summary)
  return summary
}

type Place = Pick<VolumeSnapshot, 'seq' | 'id'>

function inOrder(a: Place, b: Place): number {
  if (a.seq !== b.seq) return a.seq - b.seq
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0
}
