/**
 * The walk of a deep scrub over one copy on one disk (engine/replication/SCRUB.md Q4, Q6, Q7): windows of the map, what
 * each shows gathered by place (deep-window.ts, scrub-places.ts), and read from the medium in the order of the log.
 *
 *   window -> counted -> range of its segments -> gathered -> read, a stretch of the log at a time -> next range
 *                                                               does not fit? -> asked of the map, read again -> told
 *
 * Where it is: the first page of the window, and a segment in front of which all of the window was looked at.
 */
import { epochOf, seqOf } from '../log/entry.ts'
import { GAP_BLOCKS, READ_BLOCKS, type Pace } from '../log/medium-pace.ts'
import { PAGES_MAX } from '../log/volume-map.ts'
import type { VersionId } from '../replication/record.ts'
import { until, type Task } from '../task.ts'
import { BLOCK_BYTES } from '../units.ts'
import type { Target } from './block-reader.ts'
import type { CopyReading } from './copy-reader.ts'
import { DeepWindow, WINDOW_LIMITS, type WindowLimits } from './deep-window.ts'
import { PlaceTable, type PlaceRow } from './scrub-places.ts'
import { endBlockOf, firstBlockOf, isOver, isWhole, lookAgain, readRun, type BlockRun } from './scrub-walk.ts'

/** Small blobs are many in one read; so many are verified in one turn. */
const READ_ENTRIES = 1024
/** One is verified while the next is read. */
const READS_UNDER_WAY = 2
/** So many that do not fit are looked at again before more is read. */
const SUSPECTS_MOST = 64

/** Pages in front of `nextPage` were looked at. */
export interface WalkPlace {
  nextPage: number
  /**
   * Of pages `page .. endPage - 1`, what lies in segments in front of `fromSegment` was, too. It counts when `page` is
   * `nextPage`: a version of before knows nothing of it, and moves that alone.
   */
  within?: { page: number; endPage: number; fromSegment: number }
}

export interface DeepSteps {
  pace: Pace
  /** Blocks could not be read twice, or do not fit their checksum. It may take its time. */
  damaged(ids: readonly VersionId[]): Task<void>
  /** Whether it is time to say how far it came. */
  isDue(): boolean
  /** It came to there, and looked at so many blocks since the last time. */
  reached(place: WalkPlace, blocks: number): Task<void>
}

/** False: it cannot go on (the index cannot be read, the disk failed, the copy is gone), or was told not to. */
export function* walkDeep(
  o: CopyReading,
  target: Target,
  from: WalkPlace,
  steps: DeepSteps,
  limits: WindowLimits = WINDOW_LIMITS,
): Task<boolean> {
  if (isOver(target)) return false
  const table = new PlaceTable(target.stream.segments, target.stream.log.segmentBlocks, limits)
  let { nextPage } = from
  let within = from.within?.page === nextPage ? from.within : undefined
  while (nextPage < PAGES_MAX) {
    const { endPage = PAGES_MAX, fromSegment = 0 } = within ?? {}
    const window = new DeepWindow(target, steps.pace, table, limits, { fromPage: nextPage, endPage, fromSegment })
    table.clear()
    if (!(yield* window.count())) return false
    const reads = new PlaceReads(o, target, table, steps, { fromPage: nextPage, endPage: window.endPage })
    if (window.isGathered) {
      if (!(yield* reads.all('whole'))) return false
    } else
      for (let range = 0; range < window.ranges; range++) {
        const isGathered = yield* window.gather(range, () => reads.all('part'))
        if (!isGathered || !(yield* reads.all('whole'))) return false
      }
    nextPage = window.endPage
    within = undefined
    yield* steps.reached({ nextPage }, reads.takeBlocks())
  }
  return true
}

/** Reads what is in the table, in the order of the log, and empties it. */
class PlaceReads {
  private readonly o: CopyReading
  private readonly target: Target
  private readonly table: PlaceTable
  private readonly steps: DeepSteps
  private readonly window: { fromPage: number; endPage: number }
  private underWay = 0
  private onEnded: (() => void) | undefined
  /** They do not fit at the first look. */
  private suspects: VersionId[] = []
  /** Looked at and not told yet, in segments that are done, and in the one that is not. */
  private blocks = 0
  private blocksHere = 0

  constructor(
    o: CopyReading,
    target: Target,
    table: PlaceTable,
    steps: DeepSteps,
    window: { fromPage: number; endPage: number },
  ) {
    this.o = o
    this.target = target
    this.table = table
    this.steps = steps
    this.window = window
  }

  /** @param what  `part`: of a segment there may be more to come. False as of `walkDeep`. */
  *all(what: 'whole' | 'part'): Task<boolean> {
    for (const row of this.table.inOrder()) {
      if (what === 'whole' && this.steps.isDue() && !(yield* this.tell(row.segment))) return false
      const goesOn = yield* this.segment(row)
      if (!goesOn) {
        yield* this.ended(1)
        // What was looked at is not looked at again, unless somebody would have to be waited for.
        if (what === 'whole' && this.suspects.length === 0 && !isOver(this.target)) yield* this.tell(row.segment)
        return false
      }
      this.blocks += this.blocksHere
      this.blocksHere = 0
    }
    this.table.clear()
    return yield* this.settle()
  }

  takeBlocks(): number {
    const { blocks } = this
    this.blocks = 0
    return blocks
  }

  private *segment(row: PlaceRow): Task<boolean> {
    const { target, table, steps } = this
    for (let stretch = 0; stretch < row.newest.length; stretch++) {
      if (row.newest[stretch] === 0) continue
      const slots = table.slots(row, stretch)
      for (let at = 0; at < slots.length;) {
        if (this.isGone(row)) return true
        const { end, ...run } = this.runFrom(row, slots, at)
        if (!(yield* steps.pace.wait(run.blocks * BLOCK_BYTES)) || isOver(target)) return false
        this.read(run, slots.slice(at, end))
        at = end
        yield* this.ended(READS_UNDER_WAY)
        if (this.suspects.length >= SUSPECTS_MOST && !(yield* this.settle())) return false
      }
    }
    return true
  }

  /** Nothing of what was found there lies there now: it was moved, which verified it, or no view shows it. */
  private isGone({ segment, generation }: PlaceRow): boolean {
    const { segments } = this.target.stream
    return segments.generation[segment] !== generation || segments.live[segment] === 0
  }

  /** Slots from `at` on that one read brings. */
  private runFrom(row: PlaceRow, slots: readonly number[], at: number): BlockRun & { end: number } {
    const { table } = this
    const most = Math.min(READ_BLOCKS, this.steps.pace.blocksMost())
    const firstBlock = firstBlockOf(table.words(slots[at]!), table.at(slots[at]!))
    let endBlock = firstBlock
    let end = at
    for (; end < slots.length && end - at < READ_ENTRIES; end++) {
      const slot = slots[end]!
      const first = firstBlockOf(table.words(slot), table.at(slot))
      const next = endBlockOf(table.words(slot), table.at(slot))
      if (end > at && (first > endBlock + GAP_BLOCKS || next - firstBlock > most)) break
      endBlock = Math.max(endBlock, next)
    }
    return { segment: row.segment, firstBlock, blocks: endBlock - firstBlock, end }
  }

  private read(run: BlockRun, slots: readonly number[]): void {
    const { o, table } = this
    this.underWay++
    this.blocksHere += slots.length
    readRun(this.target, run, (bytes) => {
      this.underWay--
      for (const slot of slots) {
        const words = table.words(slot)
        const at = table.at(slot)
        const lba = table.lba(slot)
        if (bytes !== undefined && isWhole(o, { lba, words, at }, run.firstBlock, bytes)) continue
        this.suspects.push({ lba, epoch: epochOf(words, at), seq: seqOf(words, at) })
      }
      const resume = this.onEnded
      this.onEnded = undefined
      resume?.()
    })
  }

  /** Until fewer than `most` reads are under way. */
  private *ended(most: number): Task<void> {
    while (this.underWay >= most) yield* until<void>((resume) => (this.onEnded = resume))
  }

  /** Look again at what did not fit, and tell what is damaged. */
  private *settle(): Task<boolean> {
    const { o, target, steps } = this
    yield* this.ended(1)
    const { suspects } = this
    this.suspects = []
    const damaged: VersionId[] = []
    for (const id of suspects) {
      if (!(yield* steps.pace.wait(BLOCK_BYTES))) {
        // None of them is told: what lies in front of them is not done.
        this.suspects = suspects
        return false
      }
      if ((yield* lookAgain(o, target, id)) === 'damaged') damaged.push(id)
    }
    if (isOver(target)) return false
    if (damaged.length > 0) yield* steps.damaged(damaged)
    return true
  }

  /** All in front of the segment is done. */
  private *tell(fromSegment: number): Task<boolean> {
    if (!(yield* this.settle())) return false
    const { fromPage, endPage } = this.window
    const within = { page: fromPage, endPage, fromSegment }
    yield* this.steps.reached({ nextPage: fromPage, within }, this.takeBlocks())
    return true
  }
}
