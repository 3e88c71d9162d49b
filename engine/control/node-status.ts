/**
 * What is known of a node: what was wished (`node-wishes`, `disk-wishes`), what it registered (`nodes`), and what it
 * says of itself, its disks and its copies. The last is kept in memory by the controller, never stored (SPEC.md 1).
 */
import type { NodeId } from '../replication/configuration.ts'
import type { Role } from '../replication/copy-state.ts'
import type { Durability } from '../replication/record.ts'
import type { DiskStatus } from '../volume/volume-spec.ts'

export interface NodeRecord {
  name: NodeId
  /** Empty: none. */
  zone: string
}

export interface NodeWish {
  isCordoned: boolean
  isDraining: boolean
}

export interface DiskWish {
  isEvicted: boolean
}

/** Of the scrubs of a copy; times are wall clock of its node, milliseconds since 1970, 0: never. */
export interface ScrubStatus {
  /** When the last deep one ended on all its disks, and the last light one. */
  scrubbedAtMs: number
  checkedAtMs: number
  /** One is under way, or was asked for and waits its turn; and how much of its blocks that has looked at. */
  isScrubbing: boolean
  scrubPercent: number
  /** No deep one ended for twice as long as from one to the next. */
  isScrubOverdue: boolean
  /** Blocks that the last deep one found damaged, and those found since that could not be repaired so far. */
  damagedBlocks: number
  unrepairedBlocks: number
  /** Blocks that no member has any more, as each of them said: a read of one fails. */
  lostBlocks: number
  /** Where the last light one found that map and segments do not agree. */
  mapProblems: number
  /** Of a copy that leads: when all copies of the set were compared last, and what one shows and another does not. */
  comparedAtMs: number
  differences: number
}

export const NEVER_SCRUBBED: ScrubStatus = {
  scrubbedAtMs: 0, checkedAtMs: 0, isScrubbing: false, scrubPercent: 0, isScrubOverdue: false, damagedBlocks: 0,
  unrepairedBlocks: 0, lostBlocks: 0, mapProblems: 0, comparedAtMs: 0, differences: 0,
}

/** Of a clone's copy, and of one that clones share with (cluster/reconcile/CLONES.md). */
export interface SharingStatus {
  /** Slices of which it shows blocks of its origin; 0: for ever. What they take at most, as blocks of its own. */
  sharedSlices: number
  sharedBytes: number
  /** It gets blocks of its own now. */
  isHydrating: boolean
  /** Origins that it reads, one below the other. */
  levels: number
  /** Clones that share with it. */
  readers: number
  /** It shares with what is left of a copy that was removed, and no other clone does. */
  isLastReader: boolean
}

export const NOTHING_SHARED: SharingStatus = {
  sharedSlices: 0, sharedBytes: 0, isHydrating: false, levels: 0, readers: 0, isLastReader: false,
}

export interface CopyStatus extends ScrubStatus, SharingStatus {
  volumeId: string
  copyId: string
  role: Role
  /** Of its promise; of a primary, the one it leads. */
  epoch: number
  isConsistent: boolean
  /** It has all that it acknowledged; only in `writeback` a boot takes that away. */
  isWhole: boolean
  /** As it has applied it, and to what it is being changed; empty: not told, and not at all. */
  durability: Durability | ''
  durabilityNext: Durability | ''
  /** Made, empty, and never a member of anything. */
  isVirgin: boolean
  /** Slices that went with a disk and are not filled again. */
  lostSlices: number
  /** Disks its slices lie on. */
  diskUuids: string[]
  /** Bytes of live blocks, as stored; and the same blocks, 4096 bytes each. */
  usedBytes: number
  logicalBytes: number
  /** How many there are, as far as it has applied; the newest one, and the last time of which a schedule made one. */
  snapshots: number
  newestSnapshot: string
  newestSnapshotAtMs: number
  newestScheduledAtMs: number
  /** Highest seq that it has, and that it knows as committed; to be shown. */
  seq: number
  commitSeq: number
  /** What it lacks, of a copy that catches up or is filled. */
  lagBytes: number
  /** What it does and waits for until it is in the set, as a sentence without a subject; empty: it is. */
  joining: string
  /** A replica that has had a beacon of its epoch's primary within its lease. */
  hearsPrimary: boolean
  /** Why I/O is held (a primary) or nothing can be stored (others), as a sentence; empty: it is not. */
  held: string
  /** The pool has no room for what it should store. */
  isPoolFull: boolean
  /** Members that may have a block which cannot be read here: they have not said yet that they have none. */
  awaits: NodeId[]
  heldRequests: number
  /** Why it is fenced; empty: it is not. */
  failure: string
}

export interface NodeStatus {
  node: NodeId
  /** Of its process. */
  instance: string
  /** Its stores are recovered: what is not among `copies` is not there. */
  isOpen: boolean
  disks: DiskStatus[]
  copies: CopyStatus[]
}
