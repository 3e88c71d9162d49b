/**
 * A window of the map for a deep scrub (engine/replication/SCRUB.md Q6): so many pages that what they show can be put
 * in order of place in a few walks of them, each of which gathers what lies in a range of segments.
 *
 *   count   every page once: its entries by segment; gathered at once, as long as there is room for all
 *   ranges  runs of segments with as many entries as there is room for
 *   gather  the pages once more for a range; those that had nothing there are passed over
 *
 * - What the map showed when the window was counted, and still lies where it lay, is gathered in one of the walks.
 * - Memory: the table, 8 B a page of the window, 4 B a segment of the disk.
 */
import { ENTRY_KIND, ENTRY_WORDS, kindOf, segmentOf } from '../log/entry.ts'
import type { Pace } from '../log/medium-pace.ts'
import { peekPages } from '../log/page-peek.ts'
import type { Task } from '../task.ts'
import { PAGE_BLOCKS } from '../units.ts'
import type { Target } from './block-reader.ts'
import { pagesFrom, pageWithHistory, type FoundVersion, type PageWithHistory } from './copy-reader.ts'
import type { PlaceLimits, PlaceTable } from './scrub-places.ts'

export interface WindowLimits extends PlaceLimits {
  /** Ranges that a window may come to, so walks of its pages. */
  ranges: number
  pages: number
}

/** 32 MiB for the table; a range is 4 GiB of blocks, a window 64 GiB. */
export const WINDOW_LIMITS: WindowLimits = { entries: 2 ** 20, segments: 4096, ranges: 16, pages: 2 ** 17 }

const PAGES_A_LOOK = 32
const PAGES_A_PEEK = 16
/** Ranges of which each page has a flag; those above share the last one. */
const FLAGS = 32

/** For a turn. */
interface LookedAt {
  page: Pick<PageWithHistory['page'], 'firstLba' | 'words'>
  history: PageWithHistory['history']
}

export class DeepWindow {
  /** Where the window ends; known when it is counted. */
  endPage: number
  /** All that is in it is in the table. */
  isGathered = true
  /** Of how many ranges it is; known when it is counted. */
  ranges = 0
  private readonly target: Target
  private readonly pace: Pace
  private readonly counted: ((blocks: number) => void) | undefined
  private readonly table: PlaceTable
  private readonly limits: WindowLimits
  private readonly fromPage: number
  private readonly fromSegment: number
  private readonly pages: number[] = []
  /** Of pages `peekedFrom .. peekedEnd - 1`, those that need not be loaded. */
  private peeked = new Map<number, Uint32Array>()
  private peekedFrom = 0
  private peekedEnd = 0
  /** By page: the ranges in which it had something. */
  private flags = new Uint32Array(0)
  /** By segment: entries, then which range it is in, from 1 on; 0: nothing was there. */
  private readonly bySegment: Uint32Array

  /** @param fromSegment  what lies in front of it is passed over */
  constructor(
    target: Target,
    { pace, counted }: { pace: Pace; counted?(blocks: number): void },
    table: PlaceTable,
    limits: WindowLimits,
    where: { fromPage: number; endPage: number; fromSegment: number },
  ) {
    this.target = target
    this.pace = pace
    this.counted = counted
    this.table = table
    this.limits = limits
    this.fromPage = where.fromPage
    this.endPage = where.endPage
    this.fromSegment = where.fromSegment
    this.bySegment = new Uint32Array(target.stream.segments.count)
  }

  /** False: it cannot go on, or was told not to. */
  *count(): Task<boolean> {
    const { target, table, limits } = this
    const entriesMost = limits.entries * limits.ranges
    let entries = 0
    for (let at = this.fromPage; at < this.endPage;) {
      const pages: number[] | undefined = yield* pagesFrom(target, at, this.endPage, PAGES_A_LOOK)
      if (pages === undefined) return false
      if (pages.length === 0) break
      for (const [i, page] of pages.entries()) {
        if (!(yield* this.pace.wait(0))) return false
        const found = yield* this.page(pages, i, () => true)
        if (found === undefined) return false
        this.pages.push(page)
        at = page + 1
        const before = entries
        eachBlob(found, (lba, words, w) => {
          const segment = segmentOf(words, w)
          if (segment < this.fromSegment) return
          this.bySegment[segment] = this.bySegment[segment]! + 1
          entries++
          if (this.isGathered) this.isGathered = table.push(lba, words, w)
        })
        this.counted?.(entries - before)
        if (entries >= entriesMost || this.pages.length === limits.pages) this.endPage = at
        if (at === this.endPage) break
      }
    }
    if (!this.isGathered) table.clear()
    this.ranges = this.divide()
    if (this.ranges > 1) this.flags = new Uint32Array(this.pages.length)
    return true
  }

  /**
   * Gather what lies in a range. @param full  makes room in the table: it reads what is there. False as of `count`.
   */
  *gather(range: number, full: () => Task<boolean>): Task<boolean> {
    const { table } = this
    const flag = flagOf(range)
    const isWanted = (i: number): boolean => range === 0 || (this.flags[i]! & flag) !== 0
    for (let i = 0; i < this.pages.length; i++) {
      if (!isWanted(i)) continue
      if (!(yield* this.pace.wait(0))) return false
      const found = yield* this.page(this.pages, i, isWanted)
      if (found === undefined) return false
      let flags = 0
      let late: FoundVersion[] = []
      eachBlob(found, (lba, words, w) => {
        const at = this.bySegment[segmentOf(words, w)]! - 1
        // Written since.
        if (at < 0) return
        flags |= flagOf(at)
        if (at === range && !table.push(lba, words, w)) late.push({ lba, words: words.slice(w, w + ENTRY_WORDS) })
      })
      if (range === 0) this.flags[i] = flags
      while (late.length > 0) {
        if (!(yield* full())) return false
        late = late.filter(({ lba, words }) => !table.push(lba, words, 0))
      }
    }
    return true
  }

  /** Page `i` of a list; those behind it that are wanted, too, are looked at with one read. */
  private *page(
    pages: readonly number[],
    i: number,
    isWanted: (i: number) => boolean,
  ): Task<LookedAt | undefined> {
    const { stream, map } = this.target
    const page = pages[i]!
    if (page < this.peekedFrom || page >= this.peekedEnd) {
      let end = i + 1
      while (end < pages.length && end - i < PAGES_A_PEEK && pages[end] === page + end - i && isWanted(end)) end++
      const peeked = yield* peekPages(stream.map, map, page, page + end - i)
      if (peeked === undefined) return undefined
      this.peeked = peeked
      this.peekedFrom = page
      this.peekedEnd = page + end - i
    }
    const words = this.peeked.get(page)
    this.peeked.delete(page)
    if (words === undefined) return yield* pageWithHistory(this.target, page)
    return { page: { firstLba: page * PAGE_BLOCKS, words }, history: new Map() }
  }

  private divide(): number {
    const { bySegment, limits } = this
    let ranges = 0
    let entries = 0
    let segments = 0
    for (let segment = 0; segment < bySegment.length; segment++) {
      const here = bySegment[segment]!
      if (here === 0) continue
      if (ranges === 0 || entries + here > limits.entries || segments === limits.segments) {
        ranges++
        entries = 0
        segments = 0
      }
      entries += here
      segments++
      bySegment[segment] = ranges
    }
    return ranges
  }
}

const flagOf = (range: number): number => 1 << Math.min(range, FLAGS - 1)

/** Head and history, in this turn. */
function eachBlob(
  { page, history }: LookedAt,
  visit: (lba: number, words: Uint32Array, at: number) => void,
): void {
  for (let i = 0; i < PAGE_BLOCKS; i++)
    if (kindOf(page.words, i * ENTRY_WORDS) === ENTRY_KIND.data) visit(page.firstLba + i, page.words, i * ENTRY_WORDS)
  for (const [lba, versions] of history)
    for (const words of versions) if (kindOf(words, 0) === ENTRY_KIND.data) visit(lba, words, 0)
}
