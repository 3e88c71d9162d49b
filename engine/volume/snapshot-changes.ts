/**
 * What differs between two snapshots of a slice, from the log of changes: it costs by what changed, however much of the
 * slice is mapped. Where the log cannot tell what a block shows now (it was zeroed or trimmed, or the snapshots are not
 * one behind the other), the map is asked about that page alone.
 */
import { CHANGE, type ChangePaint } from '../log/change-set.ts'
import { readChanges } from '../log/change-reading.ts'
import { SNAPSHOT_RUN_KIND } from '../replication/messages.ts'
import type { Task } from '../task.ts'
import { PAGE_BLOCKS, SLICE_BLOCKS } from '../units.ts'
import type { Target } from './block-reader.ts'
import { isShown, type Shown } from './snapshot-blocks.ts'
import type { SnapshotMap } from './snapshot-map.ts'
import type { ViewDifference } from './views.ts'

/** Pages that are asked about are asked together when no more than so many lie between. */
const GAP_PAGES = 4

export interface SliceChanges {
  slice: number
  difference: ViewDifference
  paint: ChangePaint
}

/** Whether all that came between is in the log of changes. */
export const isLogged = ({ map }: Target, { intervals }: ViewDifference): boolean =>
  intervals.every(([above]) => above >= map.changesFrom)

/** @param seqs  of both snapshots: they are there when it ends */
export function* paintSlice(
  { stream, map }: Target,
  seqs: readonly number[],
  changes: SliceChanges,
): Task<Shown<true>> {
  const { slice, difference: { intervals }, paint } = changes
  if (!(yield* readChanges(stream.map, map, { slice, intervals }, paint))) return undefined
  return seqs.every((seq) => isShown(map, seq)) ? true : 'gone'
}

/**
 * Tell what is painted from `found.endLba` on, up to where the map has to be asked, to `end`, or to so many runs.
 * @returns the block up to which the map is to be asked; `found.endLba`: nothing is to be asked here
 */
export function tellPainted(changes: SliceChanges, end: number, found: SnapshotMap, runsMax: number): number {
  const { slice, difference, paint } = changes
  const sliceLba = slice * SLICE_BLOCKS
  const needsMap = (page: number): boolean =>
    difference.isOnTop ? paint.hasLook(page) : paint.pages[page] !== 0
  const endPage = Math.ceil((end - sliceLba) / PAGE_BLOCKS)
  for (let page = Math.floor((found.endLba - sliceLba) / PAGE_BLOCKS); page < endPage; page++) {
    if (paint.pages[page] === 0) continue
    const first = Math.max(found.endLba, sliceLba + page * PAGE_BLOCKS)
    const pageEnd = Math.min(end, sliceLba + (page + 1) * PAGE_BLOCKS)
    if (needsMap(page)) {
      found.endLba = first
      return Math.min(end, sliceLba + endOfAsked(page, endPage, needsMap) * PAGE_BLOCKS)
    }
    paint.eachRun(first - sliceLba, pageEnd - sliceLba, (at, count, kind) => {
      if (kind === CHANGE.written) tellRun(found, sliceLba + at, count)
    })
    found.endLba = pageEnd
    if (found.runs.length >= runsMax * 3) return pageEnd
  }
  found.endLba = end
  return end
}

function endOfAsked(page: number, endPage: number, needsMap: (page: number) => boolean): number {
  let end = page + 1
  for (let next = end; next < Math.min(endPage, end + GAP_PAGES); next++) if (needsMap(next)) end = next + 1
  return end
}

function tellRun({ runs }: SnapshotMap, lba: number, count: number): void {
  const last = runs.length - 3
  const isNext = last >= 0 && runs[last]! + runs[last + 1]! === lba && runs[last + 2] === SNAPSHOT_RUN_KIND.data
  if (isNext) runs[last + 1]! += count
  else runs.push(lba, count, SNAPSHOT_RUN_KIND.data)
}
