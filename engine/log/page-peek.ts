/**
 * Looking at pages of the map that are in the index whole, without loading them: many with one read, and none of them
 * takes the place of one that clients use. For walks over all of a map, where a load of each page would be most of the
 * time: 17 to 20 us of processor time a page, loaded one by one 54 to 75.
 *
 * - What comes is a page as the last durable checkpoint left it, and nothing has changed it since: it is not in memory,
 *   nothing of it waits, no checkpoint ended or is under way.
 * - What its values supersede is not resolved, so this is no way to change anything.
 */
import { until, type Task } from '../task.ts'
import { PAGE_BLOCKS } from '../units.ts'
import { copyEntry, ENTRY_WORDS } from './entry.ts'
import type { ExtentMap } from './extent-map.ts'
import { decodePageValue, pageRange, parsePageKey } from './index-keys.ts'
import { pageKeyOf, type VolumeMap } from './volume-map.ts'

/**
 * The entries of those of pages `first .. end - 1` for which that is all there is to know; the others have to be
 * loaded. Undefined when the index cannot be read.
 */
export function* peekPages(
  extents: ExtentMap,
  map: VolumeMap,
  first: number,
  end: number,
): Task<Map<number, Uint32Array> | undefined> {
  const peeked = new Map<number, Uint32Array>()
  yield* until<void>((resume) => extents.loads.whenCommitted(() => resume()))
  if (!isPlain(extents, map)) return peeked
  const { commits } = extents.loads
  const entries = yield* until<Array<[Uint8Array, Uint8Array]> | undefined>((resume) =>
    extents.index.range({ ...pageRange(map.number, first, end), limit: 1 << 20 }, (ok, found) =>
      resume(ok ? found : undefined),
    ),
  )
  if (entries === undefined) return undefined
  if (!isPlain(extents, map) || extents.loads.commits !== commits) return peeked
  for (const [key, bytes] of entries) {
    // In the order of their checkpoints: later ones are newer.
    const { page } = parsePageKey(key)
    const value = decodePageValue(bytes)
    if (value === undefined) return undefined
    if (value.base && value.indexes.length === PAGE_BLOCKS) {
      peeked.set(page, value.words)
      continue
    }
    const words = peeked.get(page) ?? new Uint32Array(PAGE_BLOCKS * ENTRY_WORDS)
    for (const [i, index] of value.indexes.entries())
      copyEntry(value.words, i * ENTRY_WORDS, words, index * ENTRY_WORDS)
    peeked.set(page, words)
  }
  for (const page of peeked.keys())
    if (map.pages.has(page) || extents.pending.has(pageKeyOf(map.number, page))) peeked.delete(page)
  return peeked
}

/** Nothing but the values of a page says what it shows. */
const isPlain = (extents: ExtentMap, map: VolumeMap): boolean =>
  extents.committing === undefined &&
  !extents.rebuilding &&
  map.tombstones.length === 0 &&
  !map.hasHistory &&
  !map.views.hasRollbacks &&
  !map.isDeleted
