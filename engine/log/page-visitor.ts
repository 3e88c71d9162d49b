/**
 * Visit every page of a volume that exists in a range: in memory, among the pending entries, or in the index. Loading a
 * page also folds it, so sweeps (a trim of a large range, a deleted volume, an overwritten cold range) are visits.
 *
 * Where a rollback emptied a page it has no key of its own, only older versions, and another rollback may show them
 * again: with rollbacks the pages of older versions are visited, too.
 */
import { until, type Task } from '../task.ts'
import type { IndexPort } from '../ports.ts'
import type { ExtentMap } from './extent-map.ts'
import { PAGE_BLOCKS } from '../units.ts'
import { historyRange, pageRange, parseHistoryKey, parsePageKey } from './index-keys.ts'
import { PAGES_MAX, type MapPage, type VolumeMap } from './volume-map.ts'

const KEYS_PER_READ = 64

/** False when the index cannot be read. `visit` may end the walk by returning false. Later pages may be missed. */
export function* visitPages(
  options: { map: ExtentMap; index: IndexPort; volume: VolumeMap; firstPage: number; endPage: number },
  visit: (page: MapPage) => boolean | void,
  /** Runs after each page; a visit makes pages dirty, and somebody has to write them before they fill the memory. */
  between?: () => Task<void>,
): Task<boolean> {
  const { map, index, volume, firstPage, endPage } = options
  yield* until<void>((resume) => map.loads.whenCommitted(() => resume()))
  const inMemory = new Set<number>()
  for (const page of volume.pages.keys()) if (page >= firstPage && page < endPage) inMemory.add(page)
  const base = volume.number * PAGES_MAX
  for (const key of map.pending.pages()) if (key >= base + firstPage && key < base + endPage) inMemory.add(key - base)
  // A rebuild folds each page once: what has older versions has been folded.
  const isRolledBack = volume.views.hasRollbacks && !map.rebuilding
  if (isRolledBack)
    volume.history.eachWithin(firstPage * PAGE_BLOCKS, endPage * PAGE_BLOCKS, (lba) => {
      inMemory.add(Math.floor(lba / PAGE_BLOCKS))
    })
  for (const number of [...inMemory].sort((a, b) => a - b)) {
    const page = yield* loadPage(map, volume, number)
    if (page === undefined) return false
    if (visit(page) === false) return true
    if (between !== undefined) yield* between()
  }
  for (let first = firstPage; first < endPage;) {
    // First those that have older versions: one whose version became its head again meanwhile has a key by then.
    const older = isRolledBack
      ? yield* namedPages(index, historyRange(volume.number, first * PAGE_BLOCKS, endPage * PAGE_BLOCKS), pageOfOlder)
      : NO_PAGES
    if (older === undefined) return false
    const end = Math.min(endPage, older.end)
    const heads = yield* namedPages(index, pageRange(volume.number, first, end), pageOfHead)
    if (heads === undefined) return false
    first = Math.min(end, heads.end)
    for (const number of [...new Set([...older.pages, ...heads.pages])].sort((a, b) => a - b)) {
      if (number >= first) break
      if (inMemory.has(number)) continue
      const page = yield* loadPage(map, volume, number)
      if (page === undefined) return false
      if (visit(page) === false) return true
      if (between !== undefined) yield* between()
    }
  }
  return true
}

const NO_PAGES = { pages: new Set<number>(), end: Infinity }
const pageOfHead = (key: Uint8Array): number => parsePageKey(key).page
const pageOfOlder = (key: Uint8Array): number => Math.floor(parseHistoryKey(key).lba / PAGE_BLOCKS)

/** Pages that the next keys are of, all there are before `end`. Undefined when the index cannot be read. */
function* namedPages(
  index: IndexPort,
  range: { from: Uint8Array; below: Uint8Array },
  pageOf: (key: Uint8Array) => number,
): Task<{ pages: Set<number>; end: number } | undefined> {
  const keys = yield* until<Uint8Array[] | undefined>((resume) =>
    index.range({ ...range, limit: KEYS_PER_READ }, (ok, entries) =>
      resume(ok ? entries.map(([key]) => key) : undefined),
    ),
  )
  if (keys === undefined) return undefined
  const end = keys.length < KEYS_PER_READ ? Infinity : pageOf(keys.at(-1)!) + 1
  return { pages: new Set(keys.map(pageOf)), end }
}

export function* loadPage(map: ExtentMap, volume: VolumeMap, number: number): Task<MapPage | undefined> {
  const present = map.page(volume, number)
  if (present !== undefined) return present
  return yield* until<MapPage | undefined>((resume) => map.load(volume, number, resume))
}
