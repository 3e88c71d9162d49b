/**
 * What the store may ask of the world. The engine is synchronous and pure: a port call only starts something, and
 * its end comes back through `done` in a later turn of the shell (never before the call returns, so there is no
 * re-entrancy). The calls that answer at once say so by their return value.
 *
 * Failures are the world's: `done(false)` or an undefined value, never a throw.
 */
export type Outcome = (ok: boolean) => void

/** One disk (file or block device), addressed in bytes. A buffer handed over belongs to the port until `done`. */
export interface DiskPort {
  readonly sizeBytes: number
  /**
   * Write `buffers`, each a multiple of 64, one behind the other at `offsetBytes`; this and the length of all are
   * multiples of 4096. A completed write is NOT durable.
   * Returns true when it completed before returning (then `done` is never called), false when `done` will tell.
   * Writes may complete in any order.
   */
  write(offsetBytes: number, buffers: readonly Uint8Array[], done: Outcome): boolean
  /** Make durable every write that had completed when this was called. Several may be under way at once. */
  sync(done: Outcome): void
  /**
   * Forget what memory holds of the disk and a sync left there: what is read from now on is what the medium has. After
   * a failed sync of whoever had the disk before, memory may hold what the medium never got, and not know it any more.
   */
  dropCache(done: Outcome): void
  /**
   * Fill `into` from memory if that needs no waiting for the medium: true when filled. Of both, place and length are
   * multiples of 64.
   */
  tryRead(offsetBytes: number, into: Uint8Array): boolean
  read(offsetBytes: number, into: Uint8Array, done: Outcome): void
  /**
   * Read `lengthBytes` as the medium has them, past what memory holds of them, and leave nothing of them in memory. The
   * bytes are the port's again when `done` returns; undefined: the medium gave an error.
   */
  readMedium(offsetBytes: number, lengthBytes: number, done: (bytes: Uint8Array | undefined) => void): void
}

/** One operation of an index batch. Keys and values are opaque bytes; keys order as unsigned bytes. */
export type IndexOperation =
  | { type: 'put'; key: Uint8Array; value: Uint8Array }
  | { type: 'del'; key: Uint8Array }

/** The rebuildable index of one stream (`level`): an ordered map of bytes. */
export interface IndexPort {
  /**
   * All-or-nothing and durable when `done(true)`. All operations are taken before this returns, each before the next
   * one is asked for: whoever makes them may use its bytes again then.
   */
  batch(operations: Iterable<IndexOperation>, done: Outcome): void
  /** The values of these keys, in their order; undefined: there is none. Quickest when the keys are in order. */
  getMany(
    keys: readonly Uint8Array[],
    done: (ok: boolean, values: ReadonlyArray<Uint8Array | undefined>) => void,
  ): void
  /** Entries with `from <= key < below` in key order, at most `limit`. */
  range(
    options: { from: Uint8Array; below: Uint8Array; limit: number },
    done: (ok: boolean, entries: Array<[key: Uint8Array, value: Uint8Array]>) => void,
  ): void
  /** Remove everything (before a rebuild). */
  clear(done: Outcome): void
}

/** crc32c (Castagnoli) of bytes, optionally continued from a former value. Native in production. */
export type Crc32c = (bytes: Uint8Array, previous?: number) => number

/**
 * Which segments of a disk are taken, shared by all streams of the disk (and so by all workers). `grant` is atomic.
 */
export interface SegmentGrants {
  /** A free segment, now owned by `streamId`, or undefined when the disk has none. Prefers initialised ones. */
  grant(streamId: number): number | undefined
  /** Take a particular segment at recovery; asserts that nobody else has it. */
  claim(segment: number, streamId: number): void
  release(segment: number): void
  /** The stream that holds it, undefined when it is free. */
  owner(segment: number): number | undefined
  freeCount(): number
  /** Last generation under which the segment was used, 0 = never. The next use is this plus one. */
  generation(segment: number): number
  setGeneration(segment: number, generation: number): void
  /** Whether the segment was zero-written (and synced) or filled before, so that its extents are initialised. */
  initialised(segment: number): boolean
  setInitialised(segment: number): void
}

/** Milliseconds of a clock that never goes backwards, and callbacks at or after a time. */
export interface ClockPort {
  nowMs(): number
  after(delayMs: number, run: () => void): { cancel(): void }
  /** Run at the end of this turn, after the events that are already there: this is where batches are formed. */
  defer(run: () => void): void
}

/** What a structured log line says; the shell adds time and node. Quiet: nothing per request. */
export interface LogPort {
  event(level: 'info' | 'warn' | 'error', message: string, fields: Record<string, string | number | boolean>): void
}
