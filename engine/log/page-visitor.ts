/**
 * Visit every page of a volume that exists in a range: in memory, among the pending entries, or in the index. Loading a
 * page also folds it, so sweeps (a trim of a large range, a deleted volume, an overwritten cold range) are visits.
 */
import { until, type Task } from '../task.ts'
import type { IndexPort } from '../ports.ts'
import type { ExtentMap } from './extent-map.ts'
import { pageKey, pageRange, parsePageKey } from './index-keys.ts'
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
  for (const number of [...inMemory].sort((a, b) => a - b)) {
    const page = yield* loadPage(map, volume, number)
    if (page === undefined) return false
    if (visit(page) === false) return true
    if (between !== undefined) yield* between()
  }
  let { from } = pageRange(volume.number, firstPage, endPage)
  const { below } = pageRange(volume.number, firstPage, endPage)
  let last = -1
  for (;;) {
    const keys = yield* until<Uint8Array[] | undefined>((resume) =>
      index.range({ from, below, limit: KEYS_PER_READ }, (ok, entries) =>
        resume(ok ? entries.map(([key]) => key) : undefined),
      ),
    )
    if (keys === undefined) return false
    for (const key of keys) {
      const { page: number } = parsePageKey(key)
      if (number === last || inMemory.has(number)) continue
      last = number
      const page = yield* loadPage(map, volume, number)
      if (page === undefined) return false
      if (visit(page) === false) return true
      if (between !== undefined) yield* between()
    }
    if (keys.length < KEYS_PER_READ) return true
    const { page, checkpoint } = parsePageKey(keys.at(-1)!)
    from = pageKey(volume.number, page, checkpoint + 1)
  }
}

export function* loadPage(map: ExtentMap, volume: VolumeMap, number: number): Task<MapPage | undefined> {
  const present = map.page(volume, number)
  if (present !== undefined) return present
  return yield* until<MapPage | undefined>((resume) => map.load(volume, number, resume))
}
