/**
 * The walk of a deep scrub over one copy on one disk (engine/replication/SCRUB.md Q4, Q6, Q7, Q15): windows of the map,
 * what each shows gathered by place (deep-window.ts, scrub-places.ts), and read from the medium in the order of the
 * log. The headers of a segment lie between its blocks: they come with the same reads (place-reads.ts).
 *
 *   window -> counted -> range of its segments -> gathered -> read, a stretch of the log at a time -> next range
 *                                                               does not fit? -> asked of the map, read again -> told
 *
 * Where it is: the first page of the window, and a segment in front of which all of the window was looked at.
 */
import { PAGES_MAX } from '../log/volume-map.ts'
import type { Task } from '../task.ts'
import type { Target } from './block-reader.ts'
import type { CopyReading } from './copy-reader.ts'
import { DeepWindow, WINDOW_LIMITS, type WindowLimits } from './deep-window.ts'
import { isOver } from './medium-blocks.ts'
import { PlaceReads, type ReadSteps } from './place-reads.ts'
import { PlaceTable } from './scrub-places.ts'

/** Pages in front of `nextPage` were looked at. */
export interface WalkPlace {
  nextPage: number
  /**
   * Of pages `page .. endPage - 1`, what lies in segments in front of `fromSegment` was, too. It counts when `page` is
   * `nextPage`: a version of before knows nothing of it, and moves that alone.
   */
  within?: { page: number; endPage: number; fromSegment: number }
}

export interface DeepSteps extends Omit<ReadSteps, 'reached'> {
  /** So many blocks are to be looked at of a page of the map, which was counted. */
  counted?(blocks: number): void
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
    const window = new DeepWindow(target, steps, table, limits, { fromPage: nextPage, endPage, fromSegment })
    table.clear()
    if (!(yield* window.count())) return false
    const page = nextPage
    const reads = new PlaceReads(o, target, table, {
      ...steps,
      reached: (segment, blocks) =>
        steps.reached({ nextPage: page, within: { page, endPage: window.endPage, fromSegment: segment } }, blocks),
    })
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
