/**
 * Snapshots of a volume as its copies have them (cluster/reconcile/SNAPSHOTS.md section 2), and what a primary is asked
 * about them.
 */
import type { RecordId } from '../replication/record-id.ts'
import type { Durability } from '../replication/record.ts'

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
  /** What only it shows, as it is stored: what its deletion gives back at the least. */
  exclusiveBytes: number
  /** Of the scrub that found that, wall clock; 0: it is not known. */
  exclusiveAtMs: number
}

/** What its record says of it. */
export type RecordedSnapshot = Omit<VolumeSnapshot, 'exclusiveBytes' | 'exclusiveAtMs'>

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
  /** In force, durably on the whole set; empty: a node of a former version does not say. */
  durability: Durability | ''
  /** All there are, and what they take as JSON. */
  count: number
  bytes: number
  snapshots: VolumeSnapshot[]
  /** Who reads the first of those that were asked for by id, as a part of a sentence; empty: nobody. */
  inUse: string
  /** Who may use the volume, as the primary knows it; null: a node of a former version does not say. */
  attach: { generation: number; holders: Record<string, number> } | null
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
