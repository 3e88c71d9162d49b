/**
 * What the descriptor of a copy of a replicated volume has besides (FORMAT.md section 7), and how two of them are
 * brought together: facts by revision, what was applied by the applied seq, a later filling before everything.
 */
import type { Consistency, CopyFacts } from '../replication/copy-store.ts'
import type { ControlChange, NewSnapshot } from '../replication/record.ts'
import { NO_FENCE } from '../replication/session-fence.ts'
import type { Snapshot, VolumeDescriptor } from './descriptor.ts'
import { withListOf } from './snapshot-leaves.ts'

export interface CopyPart {
  copyId: string
  /** It was taken away: nothing of it is left but this word, until the cleaner may drop that too. */
  isRemoved?: true
  facts: CopyFacts
  /** Everything up to this is in the map; `windows`, size, snapshots and rollbacks are as of it. */
  appliedSeq: number
  windows: unknown
  forgottenSeq: number
  /** How often filling began; the last one forgot what was accepted above `fork`. */
  fills: number
  fork: number
  /** By disk: no record of the last filling lies before this batch. */
  fillBorn: Record<string, number>
  /** By disk: `fillBorn` of the first filling since the copy was consistent. Absent: from before it was kept. */
  firstFillBorn?: Record<string, number>
  /**
   * By disk: up to this batch it was durable when this was said. What is applied may lie there, and the other disks are
   * its only witnesses. Absent: from before it was kept.
   */
  durable?: Record<string, number>
  /** Of a replicated control record: what it does when it is applied. */
  change?: ControlChange
  /** What the cluster store said of the volume when this node read it last; nothing here looks into it. */
  noted?: unknown
  /** Clones beside it that read what it showed at a seq. */
  pins?: Pin[]
  /** Of a clone's copy that was made from one of its origin: where its own history begins. */
  baseSeq?: number
}

export type Pin = readonly [cloneId: string, seq: number]

/** A descriptor of which it is known that it is a copy's. */
export type CopyDescriptor = VolumeDescriptor & { copy: CopyPart }

const CONSISTENT: Consistency = { state: 'consistent' }

export const newCopyPart = (copyId: string): CopyPart => ({
  copyId,
  facts: {
    promise: { epoch: 0, primary: '' },
    attach: NO_FENCE,
    consistency: CONSISTENT,
  },
  appliedSeq: 0,
  windows: undefined,
  forgottenSeq: 0,
  fills: 0,
  fork: 0,
  fillBorn: {},
})

/**
 * What is known when both were found (`b` in the log behind `a`): facts, epochs and places by revision, what was
 * applied by the applied seq, a later filling before everything: a disk that was away when it began may have said more
 * since, by itself, and says nothing of what there is now.
 */
export function mergedCopy(a: CopyDescriptor, b: CopyDescriptor): CopyDescriptor {
  // An index may have the revision of a body of which not everything was in force yet: the body counts, then.
  const isOneFill = a.copy.fills === b.copy.fills
  const newer = (isOneFill ? b.revision >= a.revision : b.copy.fills > a.copy.fills) ? b : a
  const isLater = isOneFill ? b.copy.appliedSeq > a.copy.appliedSeq : newer === b
  const { spec, rollbacks, deleted, copy } = isLater ? b : a
  // The same list may be cut into other leaves since, and only those of the later body are surely there.
  const isAsLate = isOneFill && b.copy.appliedSeq === a.copy.appliedSeq
  const list = isAsLate ? newer : isLater ? b : a
  const { change: _, noted: __, pins: ___, ...applied } = copy
  const forgottenSeq = Math.max(a.copy.forgottenSeq, b.copy.forgottenSeq)
  const durable = laterBatches(a.copy.durable, b.copy.durable)
  // Promises only grow, whatever the copy did on some of its disks while it was without others.
  const { promise } = a.copy.facts.promise.epoch > b.copy.facts.promise.epoch ? a.copy.facts : b.copy.facts
  const isOne = a.copy.copyId === b.copy.copyId
  const facts = isOne ? { ...newer.copy.facts, promise } : newer.copy.facts
  // An index may have the revision of a body that brought the note, and not the note.
  const noted = newer.copy.noted ?? (isOne ? (newer === a ? b : a).copy.noted : undefined)
  const merged = {
    ...newer,
    spec,
    rollbacks,
    deleted,
    copy: withLocal({ ...applied, facts, forgottenSeq, durable }, { noted, pins: newer.copy.pins ?? [] }),
  }
  return withListOf(merged, list)
}

/** Both are true. */
export function laterBatches(a: Record<string, number> = {}, b: Record<string, number> = {}): Record<string, number> {
  const later = { ...a }
  for (const [disk, batch] of Object.entries(b)) later[disk] = Math.max(later[disk] ?? 0, batch)
  return later
}

/** What is said of the copy on this node alone, in place of what was. */
export function withLocal(
  { noted: _, pins: __, ...copy }: CopyPart,
  { noted, pins }: { noted: unknown; pins: readonly Pin[] },
): CopyPart {
  return { ...copy, ...(noted === undefined ? {} : { noted }), ...(pins.length === 0 ? {} : { pins: [...pins] }) }
}

/** The volume after a replicated change that stands at `seq`. Epochs and places count from when it is accepted. */
export function withChange(now: CopyDescriptor, change: ControlChange, seq: number): CopyDescriptor {
  if (change.operation === 'resize' || change.operation === 'shrink')
    return { ...now, spec: { ...now.spec, sizeBytes: change.sizeBytes } }
  if (change.operation === 'durability') return { ...now, spec: { ...now.spec, durability: change.to } }
  if (change.operation === 'snapshot') return { ...now, snapshots: [...now.snapshots, snapshotOf(now, change, seq)] }
  if (change.operation === 'snapshot-delete')
    return { ...now, snapshots: now.snapshots.filter(({ id }) => id !== change.id) }
  if (change.operation === 'delete') return { ...now, deleted: true, snapshots: [] }
  if (change.operation === 'rollback') {
    const to = now.snapshots.find(({ id }) => id === change.to)
    if (to === undefined) return now
    const kept = change.kept === undefined ? [] : [snapshotOf(now, change.kept, seq - 1)]
    return { ...now, snapshots: [...now.snapshots, ...kept], rollbacks: [...now.rollbacks, [to.seq, seq]] }
  }
  return now
}

const snapshotOf = ({ spec }: CopyDescriptor, { id, title }: NewSnapshot, seq: number): Snapshot => ({
  id,
  seq,
  pinnedBy: null,
  sizeBytes: spec.sizeBytes,
  ...(title === undefined ? {} : { title }),
})
