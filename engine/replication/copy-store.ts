/**
 * What the machine of a copy asks of its local store (SPEC.md section 7). Calls only start something and return at
 * once; what they lead to comes back as an event of a later step. In production and in the simulator the store is
 * `engine/volume` over `engine/log`; the exhaustive model has a small one of its own.
 *
 * Order: facts (`keep`) and records are durable in the order in which they were given.
 * What was accepted (`append`) but not applied survives a restart beside the map, and is not cleaned away.
 */
import type { OpenedSnapshot, SnapshotPlace } from './messages.ts'
import type { BlockVersion, DamagedId, Durability, ReplicatedRecord, VersionId } from './record.ts'
import type { EpochHistory } from './record-id.ts'
import type { SessionFence } from './session-fence.ts'

/** Durable facts of a copy that are no records of the volume. */
export interface CopyFacts {
  promise: { epoch: number; primary: string }
  attach: SessionFence
  consistency: Consistency
  /**
   * Mode `writeback`: in this boot of its machine, and in no later one, this copy has all that it acknowledged. Unset:
   * in none, unless it never promised anything.
   */
  wholeBoot?: string
  /** Unset: it has none. */
  marks?: KeptMarks
}

/** Marks that fills brought, as long as it is not known what became of them (SPEC.md D8). */
export interface KeptMarks {
  ids: VersionId[]
  /** There may be more than are kept: those that the map has from `from` on. */
  isMore: boolean
  /** Unset: from its beginning on. */
  from?: MarkPlace
}

/** A place in the map, by block and then by seq. */
export interface MarkPlace {
  lba: number
  seq: number
}

export type Consistency =
  /** `target`: of its last filling. */
  | { state: 'consistent'; target?: number }
  /**
   * Slices still to be filled, each from a base. All others are whole with the records up to `target`, which are
   * committed and durable here, and with no fewer: what its source had overwritten by then was not to be had.
   */
  | { state: 'filling'; target: number; slices: Array<[slice: number, base: number]> }

/** What a copy finds when its store is open. */
export interface StoredCopy {
  copyId: string
  facts: CopyFacts
  epochs: EpochHistory
  /** Last record without a gap, all of it durable by now. */
  tail: number
  /** Of a clone's copy that was made from one of its origin: what it begins behind. Unset: 0. */
  baseSeq?: number
  /** Everything up to this is in the map. */
  appliedSeq: number
  /** Records above `appliedSeq`, in order of seq up to `tail`. */
  unapplied: ReplicatedRecord[]
  /** As of `appliedSeq` (W10); unset: of the options. */
  durability?: Durability
  /** Of the machine, now. */
  boot: string
  forgottenSeq: number
  /** Encoded session windows as of `appliedSeq` (sessions.ts). */
  windows: unknown
  /** Rollbacks that were applied: [to, at]. */
  rollbacks: ReadonlyArray<readonly [number, number]>
  /** Those that have a place here. */
  sliceCount: number
  /** Of the volume, as of `appliedSeq`; unset: all of `sliceCount`. */
  sizeBytes?: number
  /** Of a slice; unset: 1 GiB. */
  sliceBlocks?: number
  /** Slices whose disk is gone or whose bytes are lost. */
  lostSlices: number[]
}

export interface ScanRange {
  slice: number
  above: number
  upTo: number
  cursor: number
  bytesMax: number
  /** Versions that no member has (D8): one of them that cannot be read here either comes as a mark that says so. */
  lost?: readonly VersionId[]
}

export interface CopyStore {
  /**
   * Accept a record behind the last one. Later: `stored`. An epoch record makes what was accepted at or above its
   * seq under older epochs void. Behind a change to `durable` records become durable without `sync` (W10).
   */
  append(record: ReplicatedRecord): void
  /** Forget what was accepted above this seq and is not applied (the epoch record that follows makes it durable). */
  dropAbove(seq: number): void
  /** Put everything accepted up to this seq into the map, with the windows as of then. It is read from now on. */
  apply(seq: number, windows: unknown): void
  /** Make facts durable, replacing those named. Later: `kept` with this token. */
  keep(token: number, facts: Partial<CopyFacts>): void
  /** Make everything accepted so far durable (`writeback`). Later: `stored` with a durableSeq. */
  sync(): void
  /** Read committed blocks of the head. Later: `read-ended`. */
  read(token: number, lba: number, blockCount: number): void
  /** By name, else by id, as of the applied seq. */
  snapshot(wanted: string): OpenedSnapshot | undefined
  /** Read blocks as a snapshot shows them. Later: `read-ended`, `isGone` when it was not there all the time. */
  readSnapshot(token: number, snapshot: SnapshotPlace, lba: number, blockCount: number): void
  /** What a snapshot holds, or holds other than `since`, as far as one answer goes. Later: `mapped`. */
  mapSnapshot(
    token: number,
    snapshot: SnapshotPlace,
    range: { lba: number; blockCount: number; since: SnapshotPlace | undefined },
  ): void
  /** The id of the newest applied version of these blocks, 0 = none. Later: `looked-up`. */
  lookUp(token: number, lbas: readonly number[]): void
  /**
   * Versions (head and history) of a slice with `above < seq <= upTo`, from a cursor (0 = its start), at most
   * `bytesMax`. Later: `scanned`.
   */
  scan(token: number, range: ScanRange): void
  /**
   * Become a copy that is being filled: wipe the slices of base 0, take over the source's epochs and descriptor,
   * forget what was accepted above `fork`; the log goes on behind `target`. Durable together with the facts. `kept`.
   * What is left up to the fork counts as committed. Fills that were not answered before are not answered any more.
   */
  startFill(
    token: number,
    start: {
      fork: number
      target: number
      wipe: number[]
      descriptor: unknown
      facts: Partial<CopyFacts>
      /** Session windows as of `target`. */
      windows?: unknown
    },
  ): void
  /** Insert versions by (epoch, seq); older than what is there: only where a snapshot sees them. Later: `kept`. */
  fill(token: number, versions: readonly BlockVersion[]): void
  /** Exactly these versions, as far as they are applied, seen by some view, and can be read. Later: `versions-read`. */
  readVersions(token: number, wanted: readonly VersionId[]): void
  /** Write versions anew that are damaged here, each under its id; those that are gone meanwhile are not. `kept`. */
  repair(token: number, versions: readonly BlockVersion[]): void
  /**
   * The next `most` marks of the map in order of block and seq, from a place on (unset: its beginning), as far as one
   * answer goes. What is shared with an origin is the origin's. Later: `marks-found`.
   */
  findMarks(token: number, range: { from: MarkPlace | undefined; most: number }): void
  /**
   * Of what is damaged here: no other member has these either, as each said just now (SPEC D4). To be counted and
   * shown; asked again it may be otherwise.
   */
  lost?(versions: readonly VersionId[]): void
  /** More is damaged here than was asked for (SPEC D2): look at all blocks again, and say what is found. */
  scrubSoon?(): void
  /**
   * How many bytes of data the head shows from this block on, as of the applied seq; zeroes and holes are none. Later:
   * `beyond-counted`.
   */
  countBeyond(token: number, lba: number): void
  /** Slices of the head and of every snapshot, as of the applied seq: one may be larger than the volume is now (W9). */
  slicesShown(): number
  /** The volume's descriptor as every copy has it (size, snapshots, rollbacks, epochs), as of the applied seq. */
  descriptor(): unknown
  /**
   * Whether a change would find room in the pool: `wait` = it would be held, `refuse` = it would, and the volume wants
   * an error instead (`on-full`). Trims need next to none. Unset: there always is room.
   */
  roomFor?(change: { type: 'write' | 'zero' | 'trim'; lba: number; blockCount: number }): 'there' | 'wait' | 'refuse'
  /** Trims and zeroes above this seq keep their trace, for members that come back. */
  keepTrimsAbove(seq: number): void
}

/** What the store says. */
export type StoreEvent =
  /** `drops`: calls of `dropAbove` and `startFill` before the report; unset: all of them. */
  | { type: 'stored'; seq: number; durableSeq: number; drops?: number }
  | { type: 'kept'; token: number }
  /** `damaged`: which versions could not be read, when that is why it failed. */
  | {
      type: 'read-ended'
      token: number
      ok: boolean
      versions: BlockVersion[]
      damaged?: DamagedId[]
      isGone?: boolean
    }
  /** Runs as in `snapshot-map` of messages.ts. */
  | { type: 'mapped'; token: number; ok: boolean; runs: number[]; endLba: number; isGone?: boolean }
  | { type: 'looked-up'; token: number; ok: boolean; seqs: number[] }
  /** `unsized`: a snapshot of which it is not known how large the volume was. */
  | { type: 'beyond-counted'; token: number; ok: boolean; bytes: number; unsized?: string }
  | {
      type: 'scanned'
      token: number
      ok: boolean
      versions: BlockVersion[]
      cursor: number | undefined
      damaged?: DamagedId[]
    }
  /** `from`: where it goes on; undefined: there is nothing behind. */
  | { type: 'marks-found'; token: number; ok: boolean; ids: VersionId[]; from: MarkPlace | undefined }
  /** `damaged`: they are here, and cannot be read. `unknown`: whether they are here cannot be told. */
  | {
      type: 'versions-read'
      token: number
      versions: BlockVersion[]
      damaged?: DamagedId[]
      unknown?: VersionId[]
    }
  /** Found while nobody read: by the cleaner. */
  | { type: 'damaged'; versions: DamagedId[] }
  | { type: 'store-failed'; reason: string }
