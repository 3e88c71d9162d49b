/**
 * Entries of the map by their place in the log, for a deep scrub (engine/replication/SCRUB.md Q6): as many as there is
 * room for, in typed arrays, 32 B each. What lies in one stretch of a segment is chained, so that nothing is sorted
 * before it is read, and then no more than one read brings.
 *
 *   rows: segment -> its generation, and for each stretch of 255 blocks the newest slot of it + 1
 *   slot: word 0 next slot of the stretch + 1 | words 1 to 5 as in an entry (log/entry.ts) | lba low | lba high
 */
import { ENTRY_WORDS, segmentOf, unitsOf } from '../log/entry.ts'
import type { SegmentTable } from '../log/segment-table.ts'
import { UNITS_PER_BLOCK } from '../units.ts'

/** One less than the longest read has: a blob that begins in a stretch may end behind it. */
export const STRETCH_BLOCKS = 255
const STRETCH_UNITS = STRETCH_BLOCKS * UNITS_PER_BLOCK
const SLOT_WORDS = 8
/** Memory comes in pieces of 2 MiB, as it is needed. */
const PIECE_SLOTS = 2 ** 16
/** Above any slot, for the keys of a sort. */
const SLOTS_MAX = 2 ** 26
const HIGH_UNIT = 2 ** 32

export interface PlaceRow {
  segment: number
  /** When the first entry of it was found: under another one nothing of it is shown any more. */
  generation: number
  /** By stretch. */
  newest: Uint32Array
}

/** What there is room for. */
export interface PlaceLimits {
  entries: number
  segments: number
}

export class PlaceTable {
  count = 0
  private readonly segments: SegmentTable
  private readonly stretches: number
  private readonly limits: PlaceLimits
  private readonly pieces: Uint32Array[] = []
  private readonly rows = new Map<number, PlaceRow>()
  private last: PlaceRow | undefined

  constructor(segments: SegmentTable, segmentBlocks: number, limits: PlaceLimits) {
    this.segments = segments
    this.stretches = Math.ceil((segmentBlocks * UNITS_PER_BLOCK) / STRETCH_UNITS)
    this.limits = limits
  }

  /** Add the entry at `at`. False: there is no room for it. */
  push(lba: number, words: Uint32Array, at: number): boolean {
    const slot = this.count
    if (slot === this.limits.entries) return false
    const row = this.rowOf(segmentOf(words, at))
    if (row === undefined) return false
    this.count++
    const piece = (this.pieces[Math.floor(slot / PIECE_SLOTS)] ??= new Uint32Array(PIECE_SLOTS * SLOT_WORDS))
    const to = this.at(slot)
    const stretch = Math.floor(unitsOf(words, at) / STRETCH_UNITS)
    piece[to] = row.newest[stretch]!
    row.newest[stretch] = slot + 1
    for (let i = 1; i < ENTRY_WORDS; i++) piece[to + i] = words[at + i]!
    const lbaHigh = Math.floor(lba / HIGH_UNIT)
    piece[to + 6] = lba - lbaHigh * HIGH_UNIT
    piece[to + 7] = lbaHigh
    return true
  }

  /** Forget all; the memory stays for the next ones. */
  clear(): void {
    this.count = 0
    this.rows.clear()
    this.last = undefined
  }

  /** In the order of the log. */
  inOrder(): PlaceRow[] {
    return [...this.rows.values()].sort((a, b) => a.segment - b.segment)
  }

  /** Slots of a stretch by place. */
  slots(row: PlaceRow, stretch: number): number[] {
    const keys: number[] = []
    for (let slot = row.newest[stretch]! - 1; slot >= 0; slot = this.words(slot)[this.at(slot)]! - 1)
      keys.push(unitsOf(this.words(slot), this.at(slot)) * SLOTS_MAX + slot)
    return Array.from(Float64Array.from(keys).sort(), (key) => key % SLOTS_MAX)
  }

  /** Where the entry of a slot stands; all but its segment. */
  words(slot: number): Uint32Array {
    return this.pieces[Math.floor(slot / PIECE_SLOTS)]!
  }

  at(slot: number): number {
    return (slot % PIECE_SLOTS) * SLOT_WORDS
  }

  lba(slot: number): number {
    const words = this.words(slot)
    const at = this.at(slot)
    return words[at + 7]! * HIGH_UNIT + words[at + 6]!
  }

  private rowOf(segment: number): PlaceRow | undefined {
    if (this.last?.segment === segment) return this.last
    let row = this.rows.get(segment)
    if (row === undefined) {
      if (this.rows.size === this.limits.segments) return undefined
      row = { segment, generation: this.segments.generation[segment]!, newest: new Uint32Array(this.stretches) }
      this.rows.set(segment, row)
    }
    return (this.last = row)
  }
}
