/**
 * Folding: a page is made of its values in the index, the entries that waited for it and the tombstones over it, and
 * everything that is superseded on the way is resolved.
 */
import { TRANSFORM } from '../transform/transform.ts'
import { PAGE_BLOCKS } from '../units.ts'
import {
  clearEntry,
  compareVersions,
  copyEntry,
  ENTRY_KIND,
  ENTRY_WORDS,
  epochOf,
  kindOf,
  segmentOf,
  seqOf,
  storedUnitsOf,
  transformOf,
  zeroEntry,
} from './entry.ts'
import type { ExtentMap } from './extent-map.ts'
import { decodePageValue, parsePageKey } from './index-keys.ts'
import { isLaid } from './page-rewind.ts'
import { putHistory } from './version-history.ts'
import { MapPage, pageKeyOf, type VolumeMap } from './volume-map.ts'

/** A version of a block that comes on top of what the page has. */
interface Step {
  index: number
  words: Uint32Array
  at: number
}

/**
 * Bring index values, pending entries and tombstones together, by (epoch, seq).
 * @returns undefined: the index has no value, or one that contradicts the log; what was counted by then counts no more
 */
export function foldPage(
  extents: ExtentMap,
  map: VolumeMap,
  pageNumber: number,
  entries: Array<[Uint8Array, Uint8Array]>,
): MapPage | undefined {
  const page = new MapPage(map, pageNumber, extents.cache.takeWords())
  const key = pageKeyOf(map.number, pageNumber)
  const steps: Step[] = []
  for (const [rawKey, rawValue] of entries) {
    const value = decodePageValue(rawValue)
    if (value === undefined) return undefined
    const { checkpoint } = parsePageKey(rawKey)
    page.keys.push(checkpoint)
    if (!value.base) page.deltaEntries += value.indexes.length
    const direct = value.base || value.resolved
    for (let i = 0; i < value.indexes.length; i++) {
      const index = value.indexes[i]!
      if (direct) copyEntry(value.words, i * ENTRY_WORDS, page.words, index * ENTRY_WORDS)
      else steps.push({ index, words: value.words, at: i * ENTRY_WORDS })
    }
    if (!direct) page.mustFold = true
  }
  if (extents.pending.has(key)) {
    const { indexes, words } = extents.pending.list(key)
    for (let i = 0; i < indexes.length; i++) steps.push({ index: indexes[i]!, words, at: i * ENTRY_WORDS })
    extents.pending.forget(key)
  }
  for (const tombstone of map.tombstones) {
    if (pageNumber < tombstone.firstPage || pageNumber >= tombstone.endPage) continue
    // It goes to the older versions of the page at once (page-rewind.ts).
    if (isLaid(extents, map)) continue
    const words = zeroEntry(tombstone)
    // It stays for long, and its effect on the head was undone: applied at each load, it would be undone each time.
    if (map.keepsZeroes && !extents.rebuilding && map.views.hidden(Infinity, tombstone.seq)) {
      const shown = map.views.shownBySnapshots([tombstone.seq]).size > 0
      for (let index = 0; index < PAGE_BLOCKS && shown; index++) putHistory(map, page.firstLba + index, words)
      continue
    }
    for (let index = 0; index < PAGE_BLOCKS; index++) steps.push({ index, words, at: 0 })
  }
  // A stable sort: of two copies of one version, the later batch came later and wins.
  if (extents.rebuilding || map.tombstones.length > 0)
    steps.sort((a, b) => compareVersions(a.words, a.at, b.words, b.at))
  if (extents.rebuilding) resolveAll(extents, page, steps)
  else if (!steps.every((step) => resolve(extents, page, step))) {
    extents.onDisorder?.()
    return undefined
  }
  if (map.descriptor.deleted) dropHeads(extents, page)
  extents.noteDirty(page)
  return page
}

/** False: a version arrives that is not newer than what is there, as no log of ours has them. */
function resolve(extents: ExtentMap, page: MapPage, step: Step): boolean {
  const at = step.index * ENTRY_WORDS
  if (page.words[at] !== 0 && compareVersions(page.words, at, step.words, step.at) >= 0) {
    // A tombstone that is already in the page, or older than what is there.
    return storedUnitsOf(step.words, step.at) === 0
  }
  if (kindOf(step.words, step.at) === ENTRY_KIND.data) extents.replace(page, step.index, step.words, step.at)
  else {
    for (let i = 0; i < ENTRY_WORDS; i++) extents.scratch[i] = step.words[step.at + i]!
    extents.zeroBlock(page, step.index, extents.scratch)
  }
  return true
}

const isMark = ({ words, at }: Step): boolean => (transformOf(words, at) & TRANSFORM.lost) !== 0

/** Rebuild: choose head and history among all versions of each block, and count what survives. */
function resolveAll(extents: ExtentMap, page: MapPage, steps: Step[]): void {
  const { map } = page
  const versions: Step[][] = []
  for (const step of steps) {
    const seq = seqOf(step.words, step.at)
    if (map.views.isVoid(epochOf(step.words, step.at), seq)) continue
    const list = (versions[step.index] ??= [])
    const last = list.at(-1)
    if (last === undefined || compareVersions(last.words, last.at, step.words, step.at) !== 0) list.push(step)
    // A mark stands for bytes that nobody had then: where they are, they count, whichever was written later.
    else if (!isMark(step) || isMark(last)) list[list.length - 1] = step
  }
  versions.forEach((list, index) => {
    if (list === undefined) return
    const lba = page.firstLba + index
    const seqs = list.map(({ words, at }) => seqOf(words, at))
    const head = map.views.headExists ? seqs.findLast((seq) => !map.views.hidden(Infinity, seq)) : undefined
    const shown = map.views.shownBySnapshots(seqs)
    list.forEach(({ words, at }, i) => {
      if (seqs[i] === head) {
        const onlyZero = kindOf(words, at) !== ENTRY_KIND.data && list.length === 1 && !map.keepsZeroes
        if (onlyZero) return
        copyEntry(words, at, page.words, index * ENTRY_WORDS)
        page.markDirty(index)
      } else if (shown.has(seqs[i]!)) putHistory(map, lba, words, at)
      else return
      map.changes.noteUnordered(map.views, map.appliedSeq, { lba, count: 1, seq: seqs[i]!, kind: kindOf(words, at) })
      count(extents, map, words, at)
    })
  })
  page.mustFold = true
}

function count(extents: ExtentMap, map: VolumeMap, words: Uint32Array, at: number): void {
  const stored = storedUnitsOf(words, at)
  if (stored === 0) return
  extents.segments.add(segmentOf(words, at), stored)
  map.usedUnits += stored
  map.usedBlocks++
}

/** The volume is deleted: what no snapshot sees goes. */
export function dropHeads(extents: ExtentMap, page: MapPage): void {
  for (let index = 0; index < PAGE_BLOCKS; index++) {
    const at = index * ENTRY_WORDS
    if (page.words[at] === 0) continue
    extents.supersede(page.map, page.firstLba + index, page.words, at, Infinity)
    clearEntry(page.words, at)
    page.markDirty(index)
  }
  if (page.dirtyCount > 0) {
    page.mustFold = true
    extents.noteDirty(page)
  }
}
