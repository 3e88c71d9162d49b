/**
 * What nodes say to each other about a volume (SPEC.md sections 3 to 6, 8). Messages may be lost, repeated, delayed
 * and reordered; each carries the epoch it belongs to and its sender's instance (drawn at each start of a process).
 */
import type { Consistency } from './copy-store.ts'
import type { NodeId, VolumeConfig } from './configuration.ts'
import type { EpochHistory, RecordId } from './record-id.ts'
import type { BlockVersion, Durability, ReplicatedRecord, RequestId, Session, VersionId } from './record.ts'
import type { SessionFence } from './session-fence.ts'

export interface Envelope {
  volumeId: string
  from: NodeId
  /** Of the sender's process. */
  instance: string
  to: NodeId
  message: PeerMessage
}

export type PeerMessage =
  // Writes (section 3).
  | { type: 'append'; epoch: number; previous: RecordId; records: ReplicatedRecord[]; commitSeq: number }
  /** `fill`: the one by which it came to follow the sender, unset when it was reconciled. */
  | { type: 'stored'; epoch: number; seq: number; durableSeq: number; fill?: number }
  | {
      type: 'refused'
      epoch: number
      promised: { epoch: number; primary: NodeId }
      tail: RecordId
      why: RefusalReason
    }
  | { type: 'sync'; epoch: number; seq: number }
  // Configuration (section 4).
  /** `since`: first epoch of the sender's term; who followed it under that or a later one follows it still. */
  /** `token`: comes back in `answerTo`, so that it is known which instance is alive now. */
  | { type: 'new-epoch'; epoch: number; config: VolumeConfig; since?: number; token?: number }
  | ({ type: 'promised'; epoch: number; answerTo?: number } & CopyReport)
  | { type: 'fetch-log'; epoch: number; aboveSeq: number }
  | { type: 'log'; epoch: number; records: ReplicatedRecord[] }
  | { type: 'reconcile'; epoch: number; fork: RecordId; records: ReplicatedRecord[]; commitSeq: number }
  | ({ type: 'hello'; epoch: number } & CopyReport)
  /** `token`: drawn as those of `confirm`; what is confirmed with a higher one stays. */
  | { type: 'release'; epoch: number; token?: number }
  | { type: 'confirm'; epoch: number; token: number }
  | { type: 'confirmed'; epoch: number; token: number }
  | { type: 'fence'; epoch: number; fence: SessionFence }
  | { type: 'fenced'; epoch: number; fence: SessionFence }
  // Filling (section 5).
  | ({ type: 'join' } & CopyReport)
  | {
      type: 'fill-start'
      epoch: number
      fill: number
      fork: number
      target: number
      slices: Array<[number, number]>
      wipe: number[]
      descriptor: unknown
      epochs: EpochHistory
      windows: unknown
      /** Unset: those of `sizeBytes`; more when a snapshot is larger than the volume is now. */
      sliceCount?: number
      sizeBytes: number
      /** Of the copy that asked: another process of it did not, and must not be wiped by a late message. */
      forInstance: string
      joinOf: number
      /** Sessions below are refused; trims up to there may have left no trace. */
      attach: SessionFence
      forgottenSeq: number
      /** Of the source: what it lacks the filled one lacks too. */
      isWhole: boolean
      /** As of the target (W10); unset by a node of before: that with which the copy was made. */
      durability?: Durability
    }
  | { type: 'fill-started'; epoch: number; fill: number }
  /** `appliedSeq`: of the source, with slices that are done. What is overwritten up to there it has not sent. */
  | {
      type: 'fill'
      epoch: number
      fill: number
      number: number
      versions: BlockVersion[]
      slicesDone: number[]
      appliedSeq?: number
    }
  /** `number` 0: the begin, or what was sent last, is under way. */
  | { type: 'filled'; epoch: number; fill: number; number: number }
  | { type: 'fill-end'; epoch: number; fill: number }
  | { type: 'fill-ended'; epoch: number; fill: number; tail: number }
  // Damage (section 10); between any two members.
  /** `asked`: comes back with the answer; unset by a node of before. */
  | { type: 'fetch-versions'; epoch: number; wanted: VersionId[]; asked?: number }
  /**
   * `missing`: not here, though everything up to them is applied here. `damaged`: here, and not to be read just now;
   * only with `asked`.
   */
  | {
      type: 'versions'
      epoch: number
      versions: BlockVersion[]
      missing: VersionId[]
      damaged?: VersionId[]
      asked?: number
    }

export type RefusalReason = 'epoch' | 'gap' | 'not-consistent' | 'fenced' | 'not-primary' | 'not-member'

/** What a copy says of itself. */
export interface CopyReport {
  copyId: string
  promised: { epoch: number; primary: NodeId }
  epochs: EpochHistory
  tail: number
  durableSeq: number
  /** What it knows as committed. */
  commitSeq: number
  consistency: Consistency
  attach: SessionFence
  /** False when something it acknowledged may be gone. */
  isWhole: boolean
  forgottenSeq: number
  lostSlices: number[]
  /** Another one after each fill that it took: only the answer to what it said since is obeyed. */
  joinNumber?: number
}

/** What the frontend of a node asks of the primary, and is answered. */
export type FrontendOperation =
  | {
      type: 'write'
      lba: number
      blockCount: number
      payload: { bytes: number; data: unknown }
      fua: boolean
      edges: Array<[lba: number, seq: number]>
    }
  | { type: 'zero' | 'trim'; lba: number; blockCount: number; fua: boolean }
  | { type: 'read'; lba: number; blockCount: number }
  | { type: 'flush' }

/** Which snapshot is meant: an id, and the record at which it stands. */
export interface SnapshotPlace extends RecordId {
  id: string
}

/** What its reader is told of a snapshot. */
export interface OpenedSnapshot extends SnapshotPlace {
  name: string
  /** Of the volume then. */
  sizeBytes: number
}

/** What a reader asks of its snapshot. */
export type SnapshotOperation =
  | { type: 'read'; lba: number; blockCount: number }
  /** Where it holds something; with `since`: where it shows another version than that snapshot. */
  | { type: 'map'; lba: number; blockCount: number; since?: SnapshotPlace }

/** Of a run of blocks in a map: what the snapshot shows there. */
export const SNAPSHOT_RUN_KIND = { data: 1, zero: 2, hole: 3 } as const

/** `gone`: there is no such snapshot (any more). */
export type SnapshotFailure = 'gone' | 'range' | 'damaged'

export type FrontendMessage =
  | { type: 'open'; session: Session; mode: 'read' | 'write' }
  | { type: 'opened'; session: Session; epoch: number; sizeBytes: number }
  | {
      type: 'request'
      id: RequestId
      /** In which the sender's session was opened: a primary of a later term has nothing to do with it. */
      epoch: number
      operation: FrontendOperation
      /** Lower numbers are answered: never to be ordered. */
      answeredBelow: number
    }
  | { type: 'reply'; id: RequestId; epoch: number; result: FrontendResult }
  /** The pool of the primary has no room: what it was asked is in its log, or waits to be, and is not answered yet. */
  | { type: 'held'; session: Session; epoch: number }
  | { type: 'redirect'; id: RequestId | undefined; epoch: number; primary: NodeId | undefined }
  // Of a reader, which has one snapshot and no session (section 11).
  /** Repeated: the snapshot is in use. `wanted`: a name, else an id. */
  | { type: 'snapshot-open'; reader: number; wanted: string }
  /** Without a snapshot: there is none. */
  | { type: 'snapshot-opened'; reader: number; epoch: number; snapshot?: OpenedSnapshot }
  | { type: 'snapshot-close'; reader: number }
  | { type: 'snapshot-ask'; reader: number; number: number; snapshot: SnapshotPlace; operation: SnapshotOperation }
  | { type: 'snapshot-blocks'; reader: number; number: number; epoch: number; versions: BlockVersion[] }
  /** `runs`: three numbers each, first block, how many, SNAPSHOT_RUN_KIND. All before `endLba` is told. */
  | { type: 'snapshot-map'; reader: number; number: number; epoch: number; runs: number[]; endLba: number }
  | { type: 'snapshot-refused'; reader: number; number: number; epoch: number; code: SnapshotFailure }

/** Why a session is refused, or ends, for ever. */
export type SessionRefusal = 'stale-session' | 'session-broken' | 'too-many-sessions'

export type FrontendResult =
  | { ok: true; versions: BlockVersion[] }
  | { ok: false; code: SessionRefusal | 'edge-changed' | 'range' | 'no-space' | 'read-only' | 'damaged' }
