/**
 * What a scrub looks at, a window of the map at a time (engine/replication/SCRUB.md): of one copy on one disk, in the
 * order of its blocks, so that where it is says all about how far it came.
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
import { SEGMENT_STATE } from '../log/segment-table.ts'
import { PAGES_MAX } from '../log/volume-map.ts'
import type { VersionId } from '../replication/record.ts'
import { until, type Task } from '../task.ts'
import { BLOCK_BYTES, UNIT_BYTES, UNITS_PER_BLOCK } from '../units.ts'
import type { Target } from './block-reader.ts'
import { pagesFrom, pageVersions, type CopyReading, type FoundVersion } from './copy-reader.ts'
import { findExact } from './copy-repair.ts'

/** More would be sorted, and kept, at a time; fewer would be read in smaller pieces. */
const WINDOW_PAGES = 32
/** The longest read, and what is verified in one turn. */
export const READ_BLOCKS = 256
/** What lies between two blocks that are wanted is read along when it is no more than this. */
const GAP_BLOCKS = 16
const READS_OF_ONE = 2
/** One is verified while the next is read. */
const READS_UNDER_WAY = 2

export interface Walked {
  /** Undefined: there is nothing behind it. */
  nextPage: number | undefined
  /** Blocks that were looked at. */
  blocks: number
  /** Of the medium. */
  readBytes: number
  /** They could not be read twice, or do not fit their checksum. */
  damaged: VersionId[]
  /** Where map and segments do not agree, as sentences. */
  problems: string[]
}

/** How fast it goes. */
export interface Pace {
  /** Whether so many bytes may be read now; it may take its time. False: the scrub ends here. */
  wait(bytes: number): Task<boolean>
  /** Of one read now. */
  blocksMost(): number
}

/**
 * Look at a window of pages from `fromPage` on. Undefined: it cannot go on (the index cannot be read, the disk failed,
 * the copy is gone), or was told not to.
 */
export function* walkDeep(o: CopyReading, target: Target, fromPage: number, pace: Pace): Task<Walked | undefined> {
  const window = yield* windowFrom(target, fromPage)
  if (window === undefined) return undefined
  const found: FoundVersion[] = []
  for (const page of window.pages) {
    const versions = yield* pageVersions(target, page, () => true)
    if (versions === undefined) return undefined
    for (const one of versions) if (kindOf(one.words, 0) === ENTRY_KIND.data) found.push(one)
    yield* endTurn(target)
  }
  found.sort(byPlace)
  const read = yield* readAll(o, target, found, pace)
  if (read === undefined) return undefined
  const damaged: VersionId[] = []
  for (const version of read.bad) {
    const id = idOf(version)
    if ((yield* lookAgain(o, target, id)) === 'damaged') damaged.push(id)
  }
  if (isOver(target)) return undefined
  return { nextPage: window.nextPage, blocks: found.length, readBytes: read.bytes, damaged, problems: [] }
}

/** Those that do not fit at the first look. @param found  in order of place */
function* readAll(
  o: CopyReading,
  target: Target,
  found: readonly FoundVersion[],
  pace: Pace,
): Task<{ bad: FoundVersion[]; bytes: number } | undefined> {
  const all = { bad: [] as FoundVersion[], bytes: 0 }
  let underWay = 0
  let onEnded: (() => void) | undefined
  const fewerThan = function* (most: number): Task<void> {
    while (underWay >= most) yield* until<void>((resume) => (onEnded = resume))
  }
  let goesOn = true
  for (let at = 0; at < found.length && goesOn;) {
    const run = nearBy(found, at, Math.min(READ_BLOCKS, pace.blocksMost()))
    goesOn = (yield* pace.wait(run.blocks * BLOCK_BYTES)) && !isOver(target)
    if (!goesOn) break
    underWay++
    readRun(o, target, run, (bad) => {
      underWay--
      all.bad.push(...bad)
      const resume = onEnded
      onEnded = undefined
      resume?.()
    })
    all.bytes += run.blocks * BLOCK_BYTES
    at += run.versions.length
    yield* fewerThan(READS_UNDER_WAY)
  }
  yield* fewerThan(1)
  return goesOn && !isOver(target) ? all : undefined
}

/** The same for its entries alone. */
export function* walkLight(target: Target, fromPage: number, pace: Pace): Task<Walked | undefined> {
  const window = yield* windowFrom(target, fromPage)
  if (window === undefined) return undefined
  const problems: string[] = []
  let blocks = 0
  for (const page of window.pages) {
    if (!(yield* pace.wait(0))) return undefined
    const versions = yield* pageVersions(target, page, () => true)
    if (versions === undefined) return undefined
    blocks += versions.length
    if (problemsOf(target, versions).length === 0) continue
    // What is so is so at the second look.
    const again = yield* pageVersions(target, page, () => true)
    if (again === undefined) return undefined
    problems.push(...problemsOf(target, again))
  }
  return { nextPage: window.nextPage, blocks, readBytes: 0, damaged: [], problems }
}

/**
 * Whether a version that was found damaged is so now: whole when it can be read (it was repaired, or moved), gone when
 * no view shows it any more.
 */
export function* lookAgain(o: CopyReading, target: Target, id: VersionId): Task<'whole' | 'damaged' | 'gone'> {
  for (let reads = 0; reads < READS_OF_ONE; reads++) {
    const found = yield* findExact(target, id)
    if (found === undefined) return 'gone'
    const one: FoundVersion[] = [{ lba: id.lba, words: found.words }]
    const bad = yield* until<FoundVersion[]>((resume) => readRun(o, target, nearBy(one, 0, 1), resume))
    if (isOver(target)) return 'gone'
    if (bad.length === 0) return 'whole'
  }
  return 'damaged'
}

const idOf = ({ lba, words }: FoundVersion): VersionId => ({ lba, epoch: epochOf(words, 0), seq: seqOf(words, 0) })

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

const isOver = ({ stream, map }: Target): boolean => stream.failed || map.isGone

const byPlace = (a: FoundVersion, b: FoundVersion): number =>
  segmentOf(a.words, 0) - segmentOf(b.words, 0) || unitsOf(a.words, 0) - unitsOf(b.words, 0)

interface Run {
  versions: FoundVersion[]
  segment: number
  /** In blocks from the segment's start. */
  firstBlock: number
  blocks: number
}

/** What is in memory is found at once: without an end, a turn would be as long as the window. */
function* endTurn({ stream }: Target): Task<void> {
  yield* until<void>((resume) => stream.context.clock.defer(() => resume()))
}

/** Versions from `at` on, in order of place, that one read of so many blocks brings. */
function nearBy(found: readonly FoundVersion[], at: number, most: number): Run {
  const first = found[at]!
  const segment = segmentOf(first.words, 0)
  const firstBlock = Math.floor(unitsOf(first.words, 0) / UNITS_PER_BLOCK)
  let endBlock = endBlockOf(first)
  let end = at + 1
  for (; end < found.length; end++) {
    const next = found[end]!
    if (segmentOf(next.words, 0) !== segment) break
    if (Math.floor(unitsOf(next.words, 0) / UNITS_PER_BLOCK) > endBlock + GAP_BLOCKS) break
    if (endBlockOf(next) - firstBlock > most) break
    endBlock = Math.max(endBlock, endBlockOf(next))
  }
  return { versions: found.slice(at, end), segment, firstBlock, blocks: endBlock - firstBlock }
}

const endBlockOf = ({ words }: FoundVersion): number =>
  Math.ceil((unitsOf(words, 0) + storedUnitsOf(words, 0)) / UNITS_PER_BLOCK)

/**
 * Read a run from the medium; `done` gets those that do not fit, all of them when it cannot be read. The map may show
 * them elsewhere by then.
 */
function readRun(o: CopyReading, { stream }: Target, run: Run, done: (bad: FoundVersion[]) => void): void {
  const { segments, context } = stream
  const { segment, firstBlock, blocks, versions } = run
  const offset = segmentOffsetBytes(context.segmentBytes, segment) + firstBlock * BLOCK_BYTES
  segments.readers[segment] = segments.readers[segment]! + 1
  context.disk.readMedium(offset, blocks * BLOCK_BYTES, (bytes) => {
    segments.readers[segment] = segments.readers[segment]! - 1
    done(bytes === undefined ? versions : versions.filter((one) => !isWhole(o, one, firstBlock, bytes)))
  })
}

function isWhole(o: CopyReading, { lba, words }: FoundVersion, firstBlock: number, bytes: Uint8Array): boolean {
  const from = unitsOf(words, 0) * UNIT_BYTES - firstBlock * BLOCK_BYTES
  const crc = o.crc32c(bytes.subarray(from, from + storedUnitsOf(words, 0) * UNIT_BYTES))
  const identity = blockIdentity(recordSeed(o.tag, epochOf(words, 0), seqOf(words, 0)), lba)
  return (crc ^ identity) >>> 0 === crcOf(words, 0)
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
