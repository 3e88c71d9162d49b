/**
 * A map entry: six u32 words that say where one block of a volume lies (FORMAT.md section 5).
 *
 *   word 0  segment + 1 (0 = no entry: a hole)      word 3  epoch
 *   word 1  place in units from the segment start   word 4  crc as stored (identity included)
 *   word 2  seq, low 32 bits
 *   word 5  seq high 16 | storedUnits << 16 | kind << 23 | transform << 25 | META << 31
 *
 * Entries live in flat `Uint32Array`s (pages of the cache, pending lists, index values), so an entry is always a pair
 * (words, at). The words are copied to disk as they are: the machine has to be little-endian (checked at load).
 */
import { assert } from '../assert.ts'

export const ENTRY_WORDS = 6
export const ENTRY_BYTES = ENTRY_WORDS * 4
export const ENTRY_KIND = { none: 0, data: 1, zero: 2, trim: 3 } as const
export type EntryKind = (typeof ENTRY_KIND)[keyof typeof ENTRY_KIND]

assert(
  new Uint8Array(new Uint32Array([1]).buffer)[0] === 1,
  'the map copies u32 words to disk: little-endian machines only',
)

export const hasEntry = (words: Uint32Array, at: number): boolean => words[at] !== 0
export const segmentOf = (words: Uint32Array, at: number): number => words[at]! - 1
export const unitsOf = (words: Uint32Array, at: number): number => words[at + 1]!
export const epochOf = (words: Uint32Array, at: number): number => words[at + 3]!
export const crcOf = (words: Uint32Array, at: number): number => words[at + 4]!
export const seqOf = (words: Uint32Array, at: number): number => words[at + 2]! + (words[at + 5]! & 0xffff) * 2 ** 32
export const storedUnitsOf = (words: Uint32Array, at: number): number => (words[at + 5]! >>> 16) & 0x7f
/** Of the record; FORMAT.md 2.3 says what it means for a blob of so many units. */
export const transformOf = (words: Uint32Array, at: number): number => (words[at + 5]! >>> 25) & 0x3f
export const kindOf = (words: Uint32Array, at: number): EntryKind =>
  words[at] === 0 ? ENTRY_KIND.none : (((words[at + 5]! >>> 23) & 3) as EntryKind)

/** Word 5 of an entry of this seq; the other parts are constants of a record. */
export const lastWord = (seqHigh: number, storedUnits: number, kind: EntryKind, transform: number): number =>
  (seqHigh | (storedUnits << 16) | (kind << 23) | (transform << 25)) >>> 0

/** Word 5 with another transform. */
export const withTransform = (word: number, transform: number): number =>
  ((word & ~(0x3f << 25)) | (transform << 25)) >>> 0

export interface EntryFields {
  segment: number
  units: number
  epoch: number
  seq: number
  crc: number
  storedUnits: number
  kind: EntryKind
  transform: number
}

export function putEntry(words: Uint32Array, at: number, e: EntryFields): void {
  const seqHigh = Math.floor(e.seq / 2 ** 32)
  words[at] = e.segment + 1
  words[at + 1] = e.units
  words[at + 2] = e.seq - seqHigh * 2 ** 32
  words[at + 3] = e.epoch
  words[at + 4] = e.crc
  words[at + 5] = lastWord(seqHigh, e.storedUnits, e.kind, e.transform)
}

export function copyEntry(from: Uint32Array, fromAt: number, to: Uint32Array, toAt: number): void {
  for (let i = 0; i < ENTRY_WORDS; i++) to[toAt + i] = from[fromAt + i]!
}

export function clearEntry(words: Uint32Array, at: number): void {
  for (let i = 0; i < ENTRY_WORDS; i++) words[at + i] = 0
}

/** Order of two versions of one block: negative when a is older. Equal ids are the same data at two places. */
export function compareVersions(a: Uint32Array, aAt: number, b: Uint32Array, bAt: number): number {
  return epochOf(a, aAt) - epochOf(b, bAt) || seqOf(a, aAt) - seqOf(b, bAt)
}

/** Same version at the same place. */
export function sameEntry(a: Uint32Array, aAt: number, b: Uint32Array, bAt: number): boolean {
  for (let i = 0; i < ENTRY_WORDS; i++) if (a[aAt + i] !== b[bAt + i]) return false
  return true
}

/** How many blobs from that of the entry at `w` on lie one behind the other in one segment. */
export function runLength(words: Uint32Array, w: number, most: number): number {
  const segment = words[w]!
  let units = words[w + 1]!
  let run = 1
  for (; run < most; run++) {
    const next = w + run * ENTRY_WORDS
    units += storedUnitsOf(words, next - ENTRY_WORDS)
    if (words[next] !== segment || words[next + 1] !== units || kindOf(words, next) !== ENTRY_KIND.data) break
  }
  return run
}

/** Units of the first `count` entries of `words`. */
export function unitsOfRun(words: Uint32Array, count: number): number {
  let units = 0
  for (let i = 0; i < count; i++) units += storedUnitsOf(words, i * ENTRY_WORDS)
  return units
}

/** The entry of a zero or trim. */
export function zeroEntry(zero: { kind: EntryKind; epoch: number; seq: number; segment: number }): Uint32Array {
  const seqHigh = Math.floor(zero.seq / 2 ** 32)
  return Uint32Array.of(
    zero.segment + 1,
    0,
    zero.seq - seqHigh * 2 ** 32,
    zero.epoch,
    0,
    lastWord(seqHigh, 0, zero.kind, 0),
  )
}
