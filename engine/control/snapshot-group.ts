/**
 * Group snapshots: one instant of several volumes (cluster/reconcile/GROUPS.md). The record of one, and what a volume
 * shows of its part in it.
 */
import type { RecordId } from '../replication/record-id.ts'
import type { SnapshotAnswer, VolumeSnapshot } from './volume-snapshots.ts'

export type GroupState = 'taking' | 'made' | 'undoing'

export interface GroupRecord {
  name: string
  /** Of the request. */
  id: string
  state: GroupState
  /** Drawn for this attempt: of the snapshot of each member. */
  snapshotId: string
  labels: Record<string, string>
  /** Wall clock of whoever decided. */
  createdAtMs: number
  members: MemberRecord[]
}

export interface MemberRecord {
  volumeId: string
  /** Its last change, as it was read before the record was written: all that this attempt orders names it. */
  expected: RecordId
  /** Of its snapshot, when the group is made; else 0. */
  seq: number
  sizeBytes: number
}

/** `open`: a snapshot may be on its way; `never`: none is there, and none will be. */
export type MemberPart = { part: 'taken'; snapshot: VolumeSnapshot } | { part: 'open' } | { part: 'never' }

/** @param answer  of the member's primary, to a question for that snapshot (G3, G4) */
export function partOf(snapshotId: string, { expected }: MemberRecord, answer: SnapshotAnswer): MemberPart {
  const snapshot = answer.snapshots.find(({ id }) => id === snapshotId)
  if (snapshot !== undefined) return { part: 'taken', snapshot }
  const { epoch, seq } = answer.changed
  return { part: epoch === expected.epoch && seq === expected.seq ? 'open' : 'never' }
}

/** The group exists, with what was taken of each member, in their order. */
export function made(group: GroupRecord, taken: ReadonlyArray<{ seq: number; sizeBytes: number }>): GroupRecord {
  const members = group.members.map((member, i) => ({ ...member, seq: taken[i]!.seq, sizeBytes: taken[i]!.sizeBytes }))
  return { ...group, state: 'made', members }
}
