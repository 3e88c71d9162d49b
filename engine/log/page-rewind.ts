/**
 * What becomes of a page that is loaded, with a look at its older versions: after a rollback its head shows some of
 * them again, and what is left of a clone gets zeroes of whole pages among them.
 */
import { clearEntry, copyEntry, ENTRY_WORDS, seqOf, zeroEntry } from './entry.ts'
import { PAGE_BLOCKS, SLICE_BLOCKS } from '../units.ts'
import type { ExtentMap } from './extent-map.ts'
import { dropHistory, putHistory, readHistory } from './version-history.ts'
import type { MapPage, Tombstone, VolumeMap } from './volume-map.ts'

/**
 * After a rollback: every head entry becomes the newest version the head may show. That may be an older one, none, or
 * one that an earlier rollback had put into the history; so the history is looked at even where nothing is hidden.
 */
export function rewindPage(
  extents: ExtentMap,
  page: MapPage,
  done: (page: MapPage | undefined) => void,
): void {
  const { map } = page
  // What is being wiped shows nothing any more: out of the history it would come back behind the wipe.
  const isWiped = map.copy?.wiping.includes(Math.floor(page.firstLba / SLICE_BLOCKS)) === true
  if (!isWiped && tombstonesOver(extents, page).length > 0) return layZeroes(extents, page, done)
  if (isWiped || !map.views.hasRollbacks || !map.views.headExists) {
    page.needsRewind = false
    return done(page)
  }
  const { views } = map
  page.pins++
  readHistory(extents, map, page.firstLba, page.firstLba + PAGE_BLOCKS, (history) => {
    page.pins--
    if (history === undefined) return done(undefined)
    // Another rollback came meanwhile.
    if (map.views !== views) return rewindPage(extents, page, done)
    let changed = false
    for (let index = 0; index < PAGE_BLOCKS; index++) {
      const at = index * ENTRY_WORDS
      const lba = page.firstLba + index
      const headSeq = page.words[at] === 0 ? 0 : seqOf(page.words, at)
      const isHidden = headSeq > 0 && views.hidden(Infinity, headSeq)
      const shown = history.get(lba)?.findLast((words) => !views.hidden(Infinity, seqOf(words, 0)))
      if (!isHidden && (shown === undefined || seqOf(shown, 0) < headSeq)) continue
      // Only a newer one covers it for the views that show both.
      const newerSeq = isHidden || shown === undefined ? Infinity : seqOf(shown, 0)
      if (headSeq > 0) extents.supersede(map, lba, page.words, at, newerSeq)
      clearEntry(page.words, at)
      if (shown !== undefined) {
        copyEntry(shown, 0, page.words, at)
        dropHistory(map, lba, shown)
      }
      page.markDirty(index)
      changed = true
    }
    pruneHistory(extents, page, history)
    page.needsRewind = false
    if (changed) {
      extents.rewound++
      // A delta cannot say "no entry": the page is written as a base.
      page.mustFold = true
      extents.noteDirty(page)
    }
    done(page)
  })
}

/** What was kept because the head might show it again, and is shown by nobody now. */
function pruneHistory(extents: ExtentMap, page: MapPage, history: Map<number, Uint32Array[]>): void {
  const { map } = page
  for (const [lba, versions] of history) {
    const at = (lba - page.firstLba) * ENTRY_WORDS
    const headSeq = page.words[at] === 0 ? 0 : seqOf(page.words, at)
    const seqs = versions.map((words) => seqOf(words, 0)).filter((seq) => seq !== headSeq)
    const shown = map.views.shownBySnapshots([...seqs, headSeq].sort((a, b) => a - b))
    for (const words of versions) {
      if (seqOf(words, 0) === headSeq || shown.has(seqOf(words, 0))) continue
      extents.releaseEntry(map, words, 0)
      dropHistory(map, lba, words)
    }
  }
}

/**
 * Whether zeroes of whole pages go to the older versions of each page that is loaded. What is left of a clone has no
 * head that would keep them, and a hole of it shows what lies below (FORMAT.md section 8), also in a page of which
 * nothing else is there.
 */
export const isLaid = (extents: ExtentMap, map: VolumeMap): boolean =>
  map.isDeleted && map.keepsZeroes && !extents.rebuilding

const tombstonesOver = (extents: ExtentMap, { map, page }: MapPage): Tombstone[] =>
  isLaid(extents, map) ? map.tombstones.filter((one) => page >= one.firstPage && page < one.endPage) : []

/** Those that some snapshot shows, where they are not among the older versions yet. */
function layZeroes(extents: ExtentMap, page: MapPage, done: (page: MapPage | undefined) => void): void {
  const { map } = page
  page.pins++
  readHistory(extents, map, page.firstLba, page.firstLba + PAGE_BLOCKS, (history) => {
    page.pins--
    if (history === undefined) return done(undefined)
    // As they are now: a wipe takes them away.
    const zeroes = tombstonesOver(extents, page).map((one) => zeroEntry(one))
    for (let index = 0; index < PAGE_BLOCKS && zeroes.length > 0; index++) {
      const lba = page.firstLba + index
      const versions = history.get(lba) ?? []
      const known = new Set(versions.map((words) => seqOf(words, 0)))
      const seqs = new Set([...known, ...zeroes.map((words) => seqOf(words, 0))])
      const shown = map.views.shownBySnapshots([...seqs].sort((a, b) => a - b))
      const missing = zeroes.filter((words) => shown.has(seqOf(words, 0)) && !known.has(seqOf(words, 0)))
      for (const words of missing) putHistory(map, lba, words)
      if (missing.length > 0) history.set(lba, [...versions, ...missing])
    }
    pruneHistory(extents, page, history)
    page.needsRewind = false
    done(page)
  })
}
