/**
 * How much data the head of a copy shows from some block on: what a volume would lose if it ended there. From the map
 * alone, no block is read. A clone's head shows what it shares, too.
 *
 * What is written while this runs may be counted or not. Cost: the pages that exist there, each loaded once.
 */
import { ENTRY_KIND, ENTRY_WORDS, kindOf } from '../log/entry.ts'
import { loadPage, visitPages } from '../log/page-visitor.ts'
import type { MapPage } from '../log/volume-map.ts'
import { until, type Task } from '../task.ts'
import { PAGE_BLOCKS, SLICE_BLOCKS } from '../units.ts'
import type { Target } from './block-reader.ts'
import { baseBlocks, isSharedAt } from './copy-base.ts'
import type { CopyReading } from './copy-reader.ts'

/** Blocks of data in `from .. end - 1`; undefined when the map cannot be read. */
export function* dataBeyond(o: CopyReading, from: number, end: number): Task<number | undefined> {
  let blocks = 0
  for (let first = from; first < end;) {
    const below = Math.min(end, (Math.floor(first / SLICE_BLOCKS) + 1) * SLICE_BLOCKS)
    const target = o.target(first)
    if (target === undefined || target.stream.failed) return undefined
    const range = { first, end: below }
    const found: number | undefined = yield* isSharedAt(target.map, first)
      ? dataOfShared(target, range)
      : dataOfOwn(target, range)
    if (found === undefined) return undefined
    blocks += found
    first = below
  }
  return blocks
}

interface Range {
  first: number
  end: number
}

function* dataOfOwn({ stream, map }: Target, { first, end }: Range): Task<number | undefined> {
  let blocks = 0
  const count = ({ words, firstLba }: MapPage): void => {
    for (let lba = Math.max(first, firstLba); lba < Math.min(end, firstLba + PAGE_BLOCKS); lba++)
      if (kindOf(words, (lba - firstLba) * ENTRY_WORDS) === ENTRY_KIND.data) blocks++
  }
  const relieve = function* (): Task<void> {
    if (stream.wantsCheckpoint) yield* until<boolean>((resume) => stream.makeCheckpoint(resume))
  }
  const pages = { firstPage: Math.floor(first / PAGE_BLOCKS), endPage: Math.ceil(end / PAGE_BLOCKS) }
  const walk = { map: stream.map, index: stream.context.index, volume: map, ...pages }
  return (yield* visitPages(walk, count, relieve)) ? blocks : undefined
}

/** Every page: what it has none of its own of may show something below. */
function* dataOfShared(target: Target, { first, end }: Range): Task<number | undefined> {
  let blocks = 0
  for (let from = first; from < end;) {
    const pageEnd = Math.min(end, (Math.floor(from / PAGE_BLOCKS) + 1) * PAGE_BLOCKS)
    const base = yield* baseBlocks(target, from, pageEnd - from)
    if (base === undefined) return undefined
    const page = yield* loadPage(target.stream.map, target.map, Math.floor(from / PAGE_BLOCKS))
    if (base !== 'own') base.release()
    if (page === undefined) return undefined
    for (let lba = from; lba < pageEnd; lba++) {
      const own = kindOf(page.words, (lba - page.firstLba) * ENTRY_WORDS)
      const isBelow = base !== 'own' && kindOf(base.words, (lba - from) * ENTRY_WORDS) === ENTRY_KIND.data
      if (own === ENTRY_KIND.data || (own === ENTRY_KIND.none && isBelow)) blocks++
    }
    from = pageEnd
  }
  return blocks
}
