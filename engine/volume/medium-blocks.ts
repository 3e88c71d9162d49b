/**
 * Blocks of a copy as they are on the medium, past the page cache (engine/replication/SCRUB.md Q4): read by their place
 * in the log, held against the checksum of their entry of the map, and looked at again where they do not fit.
 */
import { crcOf, epochOf, segmentOf, seqOf, storedUnitsOf, transformOf, unitsOf } from '../log/entry.ts'
import { segmentOffsetBytes } from '../log/geometry.ts'
import { blockIdentity, recordSeed } from '../log/identity.ts'
import type { VersionId } from '../replication/record.ts'
import { until, type Task } from '../task.ts'
import { BLOCK_BYTES, UNIT_BYTES, UNITS_PER_BLOCK } from '../units.ts'
import type { Target } from './block-reader.ts'
import { readingOf, type CopyReading } from './copy-reader.ts'
import { findExact } from './copy-repair.ts'
import { isLostMark } from './lost-mark.ts'

export type LookedAt = 'whole' | 'damaged' | 'marked' | 'gone'

const READS_OF_ONE = 2

export const isOver = ({ stream, map }: Target): boolean => stream.failed || map.isGone

/** Blocks of a segment, counted from its start. */
export interface BlockRun {
  segment: number
  firstBlock: number
  blocks: number
}

/** The blocks in which the blob of an entry lies. */
export const firstBlockOf = (words: Uint32Array, at: number): number =>
  Math.floor(unitsOf(words, at) / UNITS_PER_BLOCK)
export const endBlockOf = (words: Uint32Array, at: number): number =>
  Math.ceil((unitsOf(words, at) + storedUnitsOf(words, at)) / UNITS_PER_BLOCK)

/** Read from the medium; `done` gets bytes for its turn, or undefined. The segment is not given back meanwhile. */
export function readRun(
  { stream }: Target,
  { segment, firstBlock, blocks }: BlockRun,
  done: (bytes: Uint8Array | undefined) => void,
): void {
  const { segments, context } = stream
  const offset = segmentOffsetBytes(context.segmentBytes, segment) + firstBlock * BLOCK_BYTES
  segments.readers[segment] = segments.readers[segment]! + 1
  context.disk.readMedium(offset, blocks * BLOCK_BYTES, (bytes) => {
    segments.readers[segment] = segments.readers[segment]! - 1
    done(bytes)
  })
}

/** Whether the blob of the entry at `at` is in `bytes`, which begin at `firstBlock`, as it was written; no mark is. */
export function isWhole(
  o: CopyReading,
  { lba, words, at }: { lba: number; words: Uint32Array; at: number },
  firstBlock: number,
  bytes: Uint8Array,
): boolean {
  if (isLostMark(transformOf(words, at))) return false
  const from = unitsOf(words, at) * UNIT_BYTES - firstBlock * BLOCK_BYTES
  const crc = o.crc32c(bytes.subarray(from, from + storedUnitsOf(words, at) * UNIT_BYTES))
  const identity = blockIdentity(recordSeed(o.tag, epochOf(words, at), seqOf(words, at)), lba)
  return (crc ^ identity) >>> 0 === crcOf(words, at)
}

/**
 * Whether a version that was found damaged is so now: whole when it can be read (it was repaired, or moved), marked
 * when there is but the mark of what nobody had, gone when no view shows it any more. What the map cannot tell stays
 * damaged: the next scrub looks at it again.
 */
export function* lookAgain(o: CopyReading, target: Target, id: VersionId): Task<LookedAt> {
  for (let reads = 0; reads < READS_OF_ONE; reads++) {
    const found = yield* findExact(target, id)
    if (found === 'none' || isOver(target)) return 'gone'
    if (found === 'unknown') continue
    if (isLostMark(transformOf(found.words, 0))) return 'marked'
    const reading = found.map === target.map ? o : readingOf(o, found.map)
    const fits = yield* readOne(reading, target, id.lba, found.words)
    if (isOver(target)) return 'gone'
    if (fits) return 'whole'
  }
  return 'damaged'
}

function* readOne(o: CopyReading, target: Target, lba: number, words: Uint32Array): Task<boolean> {
  const firstBlock = firstBlockOf(words, 0)
  const run = { segment: segmentOf(words, 0), firstBlock, blocks: endBlockOf(words, 0) - firstBlock }
  const entry = { lba, words, at: 0 }
  return yield* until<boolean>((resume) =>
    readRun(target, run, (bytes) => resume(bytes !== undefined && isWhole(o, entry, firstBlock, bytes))),
  )
}
