/**
 * The light walk of a scrub (engine/replication/SCRUB.md Q5) over one copy on one disk: each entry of the map against
 * the table of segments, a window of the map at a time in the order of its blocks, so that where it is says all about
 * how far it came. No data is read.
 *
 * A clone's blocks that it shares with its origin are not in its map: they are the origin's, and looked at there, also
 * when that was deleted and is left for its clones alone.
 */
import { ENTRY_KIND, kindOf, segmentOf, seqOf, storedUnitsOf, unitsOf } from '../log/entry.ts'
import type { Pace } from '../log/medium-pace.ts'
import { SEGMENT_STATE } from '../log/segment-table.ts'
import { PAGES_MAX } from '../log/volume-map.ts'
import type { Task } from '../task.ts'
import { UNITS_PER_BLOCK } from '../units.ts'
import type { Target } from './block-reader.ts'
import { pagesFrom, pageVersions, type FoundVersion } from './copy-reader.ts'
import { isOver } from './medium-blocks.ts'

/** Of the map, looked at before it is noted where the walk is. */
const WINDOW_PAGES = 32

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
