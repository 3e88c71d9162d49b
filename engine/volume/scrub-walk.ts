/**
 * What scrubs look at (engine/replication/SCRUB.md), of one copy on one disk. Here: the light walk, a window of the map
 * at a time in the order of its blocks, so that where it is says all about how far it came; and how a deep one
 * (deep-walk.ts) reads the medium, and looks again at what did not fit.
 *
 *   deep    every version that some view shows, read from the medium and held against its checksum, by place in the
 *           log: neighbours there are read at once, whatever they are in the volume
 *   light   the same entries against the table of segments; no data is read
 *
 * A clone's blocks that it shares with its origin are not in its map: they are the origin's, and looked at there, also
 * when that was deleted and is left for its clones alone.
 */
import { crcOf, ENTRY_KIND, epochOf, kindOf, segmentOf, seqOf, storedUnitsOf, unitsOf } from '../log/entry.ts'
import { segmentOffsetBytes } from '../log/geometry.ts'
import { blockIdentity, recordSeed } from '../log/identity.ts'
import type { Pace } from '../log/medium-pace.ts'
import { SEGMENT_STATE } from '../log/segment-table.ts'
import { PAGES_MAX } from '../log/volume-map.ts'
import type { VersionId } from '../replication/record.ts'
import { until, type Task } from '../task.ts'
import { BLOCK_BYTES, UNIT_BYTES, UNITS_PER_BLOCK } from '../units.ts'
import type { Target } from './block-reader.ts'
import { pagesFrom, pageVersions, type CopyReading, type FoundVersion } from './copy-reader.ts'
import { findExact } from './copy-repair.ts'

/** Of the map, looked at before it is noted where the walk is. */
const WINDOW_PAGES = 32
const READS_OF_ONE = 2

export interface Walked {
  /** Undefined: there is nothing behind it. */
  nextPage: number | undefined
  /** Blocks that were looked at. */
  blocks: number
  /** Where map and segments do not agree, as sentences. */
  problems: string[]
}

/**
 * Look at a window of pages from `fromPage` on, by their entries alone. Undefined: it cannot go on (the index cannot be
 * read, the disk failed, the copy is gone), or was told not to.
 */
export function* walkLight(
  target: Target,
  fromPage: number,
  pace: Pace,
  /** Told all versions of each page, in the turn in which the map has them. */
  each: (versions: readonly FoundVersion[]) => void = () => {},
): Task<Walked | undefined> {
  const window = yield* windowFrom(target, fromPage)
  if (window === undefined) return undefined
  const problems: string[] = []
  let blocks = 0
  for (const page of window.pages) {
    if (!(yield* pace.wait(0))) return undefined
    const versions = yield* pageVersions(target, page, () => true)
    if (versions === undefined) return undefined
    blocks += versions.length
    each(versions)
    if (problemsOf(target, versions).length === 0) continue
    // What is so is so at the second look.
    const again = yield* pageVersions(target, page, () => true)
    if (again === undefined) return undefined
    problems.push(...problemsOf(target, again))
  }
  return { nextPage: window.nextPage, blocks, problems }
}

/**
 * Whether a version that was found damaged is so now: whole when it can be read (it was repaired, or moved), gone when
 * no view shows it any more. What the map cannot tell stays damaged: the next scrub looks at it again.
 */
export function* lookAgain(o: CopyReading, target: Target, id: VersionId): Task<'whole' | 'damaged' | 'gone'> {
  for (let reads = 0; reads < READS_OF_ONE; reads++) {
    const found = yield* findExact(target, id)
    if (found === 'none' || isOver(target)) return 'gone'
    if (found === 'unknown') continue
    const fits = yield* readOne(o, target, id.lba, found.words)
    if (isOver(target)) return 'gone'
    if (fits) return 'whole'
  }
  return 'damaged'
}

function* windowFrom(
  target: Target,
  fromPage: number,
): Task<{ pages: number[]; nextPage: number | undefined } | undefined> {
  if (isOver(target)) return undefined
  const pages = yield* pagesFrom(target, fromPage, PAGES_MAX, WINDOW_PAGES)
  if (pages === undefined) return undefined
  const last = pages.at(-1)
  return { pages, nextPage: last === undefined ? undefined : last + 1 }
}

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

/** Whether the blob of the entry at `at` is in `bytes`, which begin at `firstBlock`, as it was written. */
export function isWhole(
  o: CopyReading,
  { lba, words, at }: { lba: number; words: Uint32Array; at: number },
  firstBlock: number,
  bytes: Uint8Array,
): boolean {
  const from = unitsOf(words, at) * UNIT_BYTES - firstBlock * BLOCK_BYTES
  const crc = o.crc32c(bytes.subarray(from, from + storedUnitsOf(words, at) * UNIT_BYTES))
  const identity = blockIdentity(recordSeed(o.tag, epochOf(words, at), seqOf(words, at)), lba)
  return (crc ^ identity) >>> 0 === crcOf(words, at)
}

function* readOne(o: CopyReading, target: Target, lba: number, words: Uint32Array): Task<boolean> {
  const firstBlock = firstBlockOf(words, 0)
  const run = { segment: segmentOf(words, 0), firstBlock, blocks: endBlockOf(words, 0) - firstBlock }
  const entry = { lba, words, at: 0 }
  return yield* until<boolean>((resume) =>
    readRun(target, run, (bytes) => resume(bytes !== undefined && isWhole(o, entry, firstBlock, bytes))),
  )
}

/** Of the versions of a page, at this moment. */
function problemsOf({ stream, map }: Target, versions: readonly FoundVersion[]): string[] {
  const { segments, log } = stream
  const problems: string[] = []
  const units = new Map<number, number>()
  for (const { lba, words } of versions) {
    const segment = segmentOf(words, 0)
    const of = `block ${lba} of seq ${seqOf(words, 0)}`
    const state = segments.state[segment]
    if (state === undefined || state === SEGMENT_STATE.none || state === SEGMENT_STATE.givenBack) {
      problems.push(`${of} is said to lie in segment ${segment}, which holds nothing`)
      continue
    }
    if (kindOf(words, 0) !== ENTRY_KIND.data) continue
    const stored = storedUnitsOf(words, 0)
    if (stored === 0 || unitsOf(words, 0) + stored > log.segmentBlocks * UNITS_PER_BLOCK)
      problems.push(`${of} is said to lie beyond the end of segment ${segment}`)
    units.set(segment, (units.get(segment) ?? 0) + stored)
  }
  for (const [segment, live] of units)
    if (segments.live[segment]! < live)
      problems.push(
        `segment ${segment} is said to hold ${segments.live[segment]} units, and ${map.descriptor.spec.name} has ` +
          `${live} of one page there`,
      )
  return problems
}
