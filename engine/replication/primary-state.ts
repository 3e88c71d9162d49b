/**
 * What a copy remembers while it leads (roles `reconciling`, `primary`, `handing-over`): its peers, and whom it owes an
 * answer. All of it is forgotten when it is deposed (SPEC C6); frontends send again what was not answered.
 */
import type { NodeId } from './configuration.ts'
import type { ChangeCommand } from './copy-port.ts'
import type { Hold } from './hold.ts'
import type { RecordId } from './record-id.ts'
import type { BlockRun, BlockVersion, RequestId, Session, VersionId } from './record.ts'
import { NO_FENCE } from './session-fence.ts'
import type { SessionFence } from './session-fence.ts'
import type { Shrinking } from './shrink.ts'
import type {
  CopyReport, FrontendOperation, FrontendResult, PeerMessage, SessionRefusal, SnapshotPlace,
} from './messages.ts'

/** Another member, seen by the primary. */
export interface Peer {
  node: NodeId
  instance: string | undefined
  /** Instances of it that ended: a late message of theirs counts for nothing. */
  formerInstances: string[]
  /** What is asked of it, and which unknown instance made us ask: only who is alive since then can answer. */
  probe: { token: number; about: string | undefined } | undefined
  /** What it said of itself under this epoch. */
  report: CopyReport | undefined
  /** Its log is the beginning of ours, up to what it stored. */
  isFollowing: boolean
  /** The fill that made it so, 0 = it was reconciled. */
  fillId: number
  sentSeq: number
  storedSeq: number
  durableSeq: number
  toldCommitSeq: number
  /** Since when we wait for a sign of progress that we are owed. */
  owedSinceMs: number | undefined
  sentAtMs: number
  /** How long records took of late from here to its word that it stored them. */
  answerMs: number
  /** So long it had not answered when records were sent again; 0: since then some were answered that were sent once. */
  waitedMs: number
  /** Records up to here were sent then; above what it stored: their answer is timed, unless some were sent again. */
  timedSeq: number
  timedAtMs: number | undefined
  /** When it was last asked what it has. */
  askedAtMs: number
  /** Since when its fill does not begin because it would wipe what it may have and we cannot read. */
  spareSinceMs: number | undefined
  /** Messages that it is sent in one go at most: one after a gap, then twice as many whenever it has stored more. */
  burst: number
  /** Where the message ended that was sent again last: if it stored no more than that, it lacks what came behind. */
  againSeq: number
  /** Its tail when we last sent again because of a refusal, and when. */
  rewoundSeq: number
  rewoundAtMs: number
  /** It said that it can not follow: to be evicted at once. */
  failure: string | undefined
  lease: Lease
  /** Sessions below this are refused there, durably. */
  attach: SessionFence
  fill: FillSource | undefined
}

/** What it promised us about reads, as far as we know. */
export interface Lease {
  untilMs: number
  instance: string | undefined
}

/** A copy that is being filled, seen by the primary. */
export interface FillSource {
  id: number
  /** The copy on that node may be replaced by another one while this one is filled. */
  copyId: string
  phase: 'starting' | 'filling' | 'ending' | 'following' | 'joining'
  /** Sent until it is answered: what it says of the volume is as of the target. */
  start: Extract<PeerMessage, { type: 'fill-start' }>
  /** The copy said something of this very fill. */
  isTaken: boolean
  target: number
  /** Still to be filled, each from its base. */
  slices: Array<[slice: number, base: number]>
  /** Where the first of them is read on; undefined: it was read to its end. */
  cursor: number | undefined
  scanToken: number | undefined
  /** What could not be read there and is asked for; what nobody has, of that. */
  awaited: VersionId[]
  /** When it met them. */
  awaitedAtMs: number
  lost: VersionId[]
  /** Members that said nothing of what was asked for, and are not waited for until they do. */
  silent: NodeId[]
  /** Of a node of before the copy gets none. */
  takesMarks: boolean
  /** Of the last `fill`, and those that are not answered yet, in the order of their numbers. */
  number: number
  unanswered: FillPiece[]
  /** It followed from too far when the window was full: since then less is ordered than it stores (F4). */
  slowed: { tail: number; storedSeq: number } | undefined
  /** Committed when it began to be required: to be durable there before it joins. */
  joinSeq: number
  sentAtMs: number
  /** Of what was sent last, without an answer. */
  resends: number
  beganAtMs: number
  progressAtMs: number
}

export interface FillPiece {
  number: number
  versions: BlockVersion[]
  slicesDone: number[]
  appliedSeq?: number
}

/** Why a change is refused for good. One with other edges is another one. */
export type RefusalCode = Exclude<Extract<FrontendResult, { ok: false }>['code'], 'edge-changed' | SessionRefusal>

/** A frontend's session that was opened at this primary. */
export interface OpenSession extends Session {
  node: NodeId
  mayWrite: boolean
  answeredBelow: number
  /** Changes refused for good, and why: number -> part -> code. Only those that may not be answered yet. */
  refused: Map<number, Map<number, RefusalCode>>
}

/** A frontend that wants to be served (SPEC S2). */
export interface Opening extends Session {
  node: NodeId
  mode: 'read' | 'write'
  /** Everything ordered of older sessions: up to here. */
  waitSeq: number
  sentAtMs: number
}

export interface HeldRequest {
  from: NodeId
  id: RequestId
  operation: FrontendOperation
}

/** Of a snapshot: by whom, and under which number it is answered (SPEC section 11). */
export interface SnapshotAsked {
  reader: number
  number: number
  snapshot: SnapshotPlace
}

/** A snapshot in use, as its reader said last. */
export interface SnapshotUse {
  snapshotId: string
  untilMs: number
}

export interface PendingRead extends BlockRun {
  from: NodeId
  id: RequestId | SnapshotAsked
  /** Damaged versions it met that no other member has. */
  lost?: VersionId[]
  /** It is a flush, which reads nothing, of everything up to here. */
  flushSeq?: number
  /** Of a snapshot: only where it holds something, or something else than this one shows. */
  map?: { since: SnapshotPlace | undefined }
}

/** One question to all whether we are still their primary, for all reads that came before it. */
export interface ConfirmRound {
  token: number
  askedAtMs: number
  sentAtMs: number
  missing: NodeId[]
  reads: PendingRead[]
}

/** Of a narrow write: the newest ordered seq of its edges so far. */
export interface EdgeCheck {
  from: NodeId
  id: RequestId
  operation: Extract<FrontendOperation, { type: 'write' }>
  newest: number[]
}

/** A change of the volume that is committed, and is to be durable everywhere before its end is told. */
export interface CommandWait {
  seq: number
  token: number
  /** It is ordered only when everything up to the seq is durable everywhere (W10). */
  order?: ChangeCommand
}

export interface FlushWait {
  seq: number
  from: NodeId
  id: RequestId
}

/** SPEC C4. */
export interface Reconciling {
  phase: 'grace' | 'promising' | 'collecting' | 'fetching' | 'syncing'
  sinceMs: number
  sentAtMs: number
  /** Whose log is fetched. */
  from: NodeId | undefined
  fork: number
  /** Of the epoch record. */
  epochSeq: number
}

export interface HandingOver {
  to: NodeId
  token: number
  sinceMs: number
  isReleased: boolean
  /** The operator was told how it ended. */
  isTold: boolean
}

export interface PrimaryState {
  epoch: number
  /** The first epoch of this term: what was said under an older one is of another term. */
  sinceEpoch: number
  peers: Map<NodeId, Peer>
  /** The others whose answer every record needs (SPEC W4). */
  required: NodeId[]
  /** Something was ordered since a peer was sent anything, and more of the same comes (`step`). */
  isSendDue: boolean
  reconciling: Reconciling | undefined
  handingOver: HandingOver | undefined
  sessions: OpenSession[]
  openings: Opening[]
  /** Requests that wait for room, in order of arrival. */
  held: HeldRequest[]
  heldHead: number
  /** Requests are ordered up to here, for a copy that follows from too far; Infinity: there is none. */
  orderedMax: number
  /** The last one, also when it is over. */
  hold: Hold | undefined
  edges: Map<number, EdgeCheck>
  reads: Map<number, PendingRead>
  waitingReads: PendingRead[]
  /** They met damage, which is being repaired. */
  damagedReads: Array<{ read: PendingRead; damaged: VersionId[] }>
  round: ConfirmRound | undefined
  flushes: FlushWait[]
  changes: CommandWait[]
  commands: Map<number, number>
  /** Of the last change of the volume that was ordered, or of the epoch record with which this term began (W7). */
  changed: RecordId
  /** Of the last order for another size, applied or not; undefined: none in this term. */
  resized: { seq: number; sizeBytes: number } | undefined
  /** A shrink that is being judged (W9). */
  shrinking: Shrinking | undefined
  /** Everything up to here was asked to be synced everywhere. */
  syncAskedSeq: number
  /** Since when our own store owes something, without any progress. */
  owedSinceMs: number | undefined
  /** FUA writes under way that were ordered in `writeback`, by seq. */
  fua: Map<number, FlushWait>
  /**
   * Of snapshots: of each node by reader, in the order in which they were said last. Before `usesKnownAtMs` there may
   * be others that are in use (N4).
   */
  uses: Map<NodeId, Map<number, SnapshotUse>>
  usesKnownAtMs: number
  /** Of snapshots from here on all uses were heard. */
  usesSinceSeq: number
  /**
   * Reads of snapshots that are not answered, of each node by reader and number; the store is asked for a few of them
   * at a time.
   */
  snapshotReads: Map<NodeId, Map<string, PendingRead>>
  snapshotsWaiting: PendingRead[]
  snapshotsRunning: number
}

export function newPeer(node: NodeId): Peer {
  return {
    node,
    instance: undefined,
    formerInstances: [],
    probe: undefined,
    report: undefined,
    isFollowing: false,
    fillId: 0,
    sentSeq: 0,
    storedSeq: 0,
    durableSeq: 0,
    toldCommitSeq: 0,
    owedSinceMs: undefined,
    sentAtMs: -Infinity,
    answerMs: 0,
    waitedMs: 0,
    timedSeq: 0,
    timedAtMs: undefined,
    askedAtMs: -Infinity,
    spareSinceMs: undefined,
    burst: Infinity,
    againSeq: -1,
    rewoundSeq: -1,
    rewoundAtMs: -Infinity,
    failure: undefined,
    lease: { untilMs: -Infinity, instance: undefined },
    attach: NO_FENCE,
    fill: undefined,
  }
}

export function newPrimary(epoch: number): PrimaryState {
  return {
    epoch,
    sinceEpoch: epoch,
    peers: new Map(),
    required: [],
    isSendDue: false,
    reconciling: undefined,
    handingOver: undefined,
    sessions: [],
    openings: [],
    held: [],
    heldHead: 0,
    orderedMax: Infinity,
    hold: undefined,
    edges: new Map(),
    reads: new Map(),
    waitingReads: [],
    damagedReads: [],
    round: undefined,
    flushes: [],
    changes: [],
    commands: new Map(),
    changed: { epoch, seq: 0 },
    resized: undefined,
    shrinking: undefined,
    owedSinceMs: undefined,
    syncAskedSeq: 0,
    fua: new Map(),
    uses: new Map(),
    usesKnownAtMs: Infinity,
    usesSinceSeq: Infinity,
    snapshotReads: new Map(),
    snapshotsWaiting: [],
    snapshotsRunning: 0,
  }
}
