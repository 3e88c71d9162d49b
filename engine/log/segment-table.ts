/**
 * What one stream knows of its segments: state, generation, how many units are live, which batches they hold.
 *
 * Invariants: a segment is `open` (one at most), `sealed`, `cleaned` (nothing refers to it, waits for a checkpoint),
 * `givenBack` (its frame is being marked free), `unreadable` (a live block of it is damaged, and nobody has another
 * one: left alone), or not ours. `live` = sum of storedUnits over all map and history entries that point there, except
 * that an entry whose page has an unresolved delta still counts its superseded versions (L3 holds once all pages are
 * folded).
 */
import { assert } from '../assert.ts'
import type { SegmentGrants } from '../ports.ts'

export const SEGMENT_STATE = { none: 0, open: 1, sealed: 2, cleaned: 3, unreadable: 4, givenBack: 5 } as const

export class SegmentTable {
  readonly count: number
  readonly state: Uint8Array
  readonly generation: Uint32Array
  readonly live: Uint32Array
  readonly firstBatch: Float64Array
  readonly lastBatch: Float64Array
  /** Least bornBatch of its records (FORMAT.md section 6). */
  readonly oldestBorn: Float64Array
  /** Reads under way that do not hold the event loop; a segment with readers is not given back. */
  readonly readers: Uint16Array
  /** Sealed ones of which the cleaner could not read something, and when it may try again. */
  readonly readAgainAtMs = new Map<number, number>()
  /** Records of copies that wait to be applied and are listed in the index: such a segment is not cleaned. */
  readonly held: Uint32Array
  /**
   * 0: every record in it is a write that nothing but the map speaks of, so without live blocks it holds nothing. 1: it
   * may hold zeroes, control records or records of copies; always of segments that an earlier process filled.
   */
  readonly mixed: Uint8Array
  /** Changed since the last checkpoint took them. */
  private changed: number[] = []
  private readonly isChanged: Uint8Array
  private readonly grants: SegmentGrants
  private readonly streamId: number
  ownedCount = 0

  constructor(options: { count: number; streamId: number; grants: SegmentGrants }) {
    this.count = options.count
    this.streamId = options.streamId
    this.grants = options.grants
    this.state = new Uint8Array(options.count)
    this.isChanged = new Uint8Array(options.count)
    this.generation = new Uint32Array(options.count)
    this.live = new Uint32Array(options.count)
    this.firstBatch = new Float64Array(options.count)
    this.lastBatch = new Float64Array(options.count)
    this.oldestBorn = new Float64Array(options.count)
    this.readers = new Uint16Array(options.count)
    this.held = new Uint32Array(options.count)
    this.mixed = new Uint8Array(options.count)
  }

  /** An empty table of the same disk. */
  renewed(streamId: number, grants: SegmentGrants): SegmentTable {
    return new SegmentTable({ count: this.count, streamId, grants })
  }

  /** A granted segment becomes the open one under its next generation. */
  open(segment: number, firstBatch: number): number {
    assert(this.state[segment] === SEGMENT_STATE.none, 'only a free segment is opened')
    const generation = this.grants.generation(segment) + 1
    this.grants.setGeneration(segment, generation)
    this.adopt(segment, {
      state: SEGMENT_STATE.open,
      generation,
      firstBatch,
      lastBatch: firstBatch - 1,
      live: 0,
      oldestBorn: firstBatch,
    })
    this.mixed[segment] = 0
    return generation
  }

  /** Take over a segment as the index or the log describes it. */
  adopt(
    segment: number,
    as: {
      state: number
      generation: number
      firstBatch: number
      lastBatch: number
      live: number
      oldestBorn: number
    },
  ): void {
    assert(this.state[segment] === SEGMENT_STATE.none, 'a segment is adopted once')
    this.state[segment] = as.state
    this.generation[segment] = as.generation
    this.firstBatch[segment] = as.firstBatch
    this.lastBatch[segment] = as.lastBatch
    this.live[segment] = as.live
    this.oldestBorn[segment] = as.oldestBorn
    this.mixed[segment] = 1
    this.ownedCount++
    this.touch(segment)
  }

  seal(segment: number, lastBatch: number): void {
    this.state[segment] = SEGMENT_STATE.sealed
    this.lastBatch[segment] = lastBatch
    this.touch(segment)
  }

  add(segment: number, units: number): void {
    this.live[segment] = this.live[segment]! + units
    this.touch(segment)
  }

  drop(segment: number, units: number): void {
    assert(this.live[segment]! >= units, 'live units never go below zero')
    this.live[segment] = this.live[segment]! - units
    this.touch(segment)
  }

  hold(segment: number): void {
    this.held[segment] = this.held[segment]! + 1
  }

  unhold(segment: number): void {
    assert(this.held[segment]! > 0, 'a segment is let go as often as it was held')
    this.held[segment] = this.held[segment]! - 1
  }

  setState(segment: number, state: number): void {
    this.state[segment] = state
    this.touch(segment)
  }

  /** Not ours any more; the caller gives it back to the grants after the root is written. */
  forget(segment: number): void {
    this.state[segment] = SEGMENT_STATE.none
    this.readAgainAtMs.delete(segment)
    this.live[segment] = 0
    this.ownedCount--
    this.touch(segment)
  }

  claim(segment: number): void {
    this.grants.claim(segment, this.streamId)
  }

  takeChanged(): number[] {
    const taken = this.changed
    for (const segment of taken) this.isChanged[segment] = 0
    this.changed = []
    return taken
  }

  private touch(segment: number): void {
    if (this.isChanged[segment] === 1) return
    this.isChanged[segment] = 1
    this.changed.push(segment)
  }

  /** Of all segments of this stream. */
  liveUnits(): number {
    let units = 0
    for (let segment = 0; segment < this.count; segment++) units += this.live[segment]!
    return units
  }

  /** A record with this bornBatch lies in the segment. */
  holdsBorn(segment: number, bornBatch: number): void {
    if (bornBatch < this.oldestBorn[segment]!) this.oldestBorn[segment] = bornBatch
  }

  /**
   * A zero born at or before the result may still be needed. Segments that are not durably given back count, but for
   * the one that is being cleaned: it goes together with what it holds.
   */
  oldestBornBatch(except: number): number {
    let oldest = Infinity
    for (let i = 0; i < this.count; i++)
      if (i !== except && this.state[i] !== SEGMENT_STATE.none && this.oldestBorn[i]! < oldest)
        oldest = this.oldestBorn[i]!
    return oldest
  }
}
