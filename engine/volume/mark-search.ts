/**
 * Which blocks of a copy are marks of what could not be read where it was filled from (engine/replication/SPEC.md D9):
 * from the map alone, in order of block and seq, no block is read. What a clone shares is in the map of its origin, and
 * looked for there; what clones beside the copy show alone is theirs.
 *
 * Who asks goes on where the last answer ended. What a fill brings meanwhile may be missed.
 * Cost: the pages that exist there, each loaded once, at most 256 an answer.
 */
import { ENTRY_KIND, ENTRY_WORDS, epochOf, kindOf, seqOf, transformOf } from '../log/entry.ts'
import type { MarkPlace } from '../replication/copy-store.ts'
import type { VersionId } from '../replication/record.ts'
import type { Task } from '../task.ts'
import { PAGE_BLOCKS } from '../units.ts'
import type { Target } from './block-reader.ts'
import { pagesFrom, pageVersions, pageWithHistory, type CopyReading } from './copy-reader.ts'
import { isLostMark } from './lost-mark.ts'
import { hasPins, withoutPinned } from './own-views.ts'
import { PAGES_PER_SLICE } from './slice-scan.ts'

const PAGES_AN_ANSWER = 256
const PAGES_A_LOOK = 32

/** `from`: where it goes on; undefined: there is none behind. Undefined when the map cannot be read. */
export function* findMarks(
  o: CopyReading,
  sliceCount: number,
  { from = { lba: 0, seq: 0 }, most }: { from: MarkPlace | undefined; most: number },
): Task<{ ids: VersionId[]; from: MarkPlace | undefined } | undefined> {
  const ids: VersionId[] = []
  const end = sliceCount * PAGES_PER_SLICE
  let looked = 0
  for (let at = Math.floor(from.lba / PAGE_BLOCKS); at < end;) {
    const below = (Math.floor(at / PAGES_PER_SLICE) + 1) * PAGES_PER_SLICE
    const target = o.target(at * PAGE_BLOCKS)
    // Its disk is gone, and its marks with it.
    const pages: number[] | undefined = target === undefined ? [] : yield* pagesOf(target, at, below)
    if (pages === undefined) return undefined
    for (const page of pages) {
      const marks: VersionId[] | undefined = yield* marksOfPage(target!, page)
      if (marks === undefined) return undefined
      for (const id of marks) {
        if (id.lba < from.lba || (id.lba === from.lba && id.seq < from.seq)) continue
        if (ids.length === most) return { ids, from: { lba: id.lba, seq: id.seq } }
        ids.push(id)
      }
      if (++looked === PAGES_AN_ANSWER) return { ids, from: { lba: (page + 1) * PAGE_BLOCKS, seq: 0 } }
    }
    // Fewer than were asked for are not all: the index may have one in several pieces.
    at = pages.length === 0 ? below : pages.at(-1)! + 1
  }
  return { ids, from: undefined }
}

function* pagesOf(target: Target, from: number, below: number): Task<number[] | undefined> {
  return target.stream.failed ? undefined : yield* pagesFrom(target, from, below, PAGES_A_LOOK)
}

function* marksOfPage(target: Target, pageNumber: number): Task<VersionId[] | undefined> {
  const both = yield* pageWithHistory(target, pageNumber)
  if (both === undefined) return undefined
  const { page, history } = both
  let isAny = false
  for (let w = 0; w < PAGE_BLOCKS * ENTRY_WORDS && !isAny; w += ENTRY_WORDS) isAny = isMark(page.words, w)
  for (const older of history.values()) isAny ||= older.some((words) => isMark(words, 0))
  if (!isAny) return []
  const versions = yield* pageVersions(target, pageNumber, () => true)
  if (versions === undefined) return undefined
  const own = hasPins(target.map) ? withoutPinned(target.map, versions) : versions
  return own
    .filter(({ words }) => isMark(words, 0))
    .map(({ lba, words }) => ({ lba, epoch: epochOf(words, 0), seq: seqOf(words, 0) }))
    // The head of a block that was rolled back is older than what snapshots show of it.
    .sort((a, b) => a.lba - b.lba || a.seq - b.seq)
}

const isMark = (words: Uint32Array, w: number): boolean =>
  kindOf(words, w) === ENTRY_KIND.data && isLostMark(transformOf(words, w))
