/**
 * Putting a version into the map that is not newer than all others: what another copy sent to fill this one (FORMAT.md
 * section 7). Of all versions of a block then known, the head shows the newest that no rollback hides, the history
 * keeps what snapshots show, the rest is dead; a version that is known already changes nothing, but for the block
 * itself where there is but its mark.
 */
import { until, type Task } from '../task.ts'
import { TRANSFORM } from '../transform/transform.ts'
import { PAGE_BLOCKS } from '../units.ts'
import {
  clearEntry,
  compareVersions,
  copyEntry,
  ENTRY_KIND,
  ENTRY_WORDS,
  kindOf,
  putEntry,
  seqOf,
  storedUnitsOf,
  transformOf,
} from './entry.ts'
import type { ExtentMap } from './extent-map.ts'
import { loadPage } from './page-visitor.ts'
import { RECORD_KIND, type RecordHeader } from './record.ts'
import type { StoreStream } from './store-stream.ts'
import { dropHistory, putHistory, readHistory } from './version-history.ts'
import type { MapPage, VolumeMap } from './volume-map.ts'

/** Insert the blocks of a FILL record. @param to  where its first blob lies. False: the index cannot be read. */
export function* fillVersions(
  stream: StoreStream,
  volume: VolumeMap,
  record: RecordHeader,
  to: { segment: number; units: number },
): Task<boolean> {
  const { map } = stream
  const end = record.lba + record.blockCount
  let units = to.units
  for (let lba = record.lba; lba < end;) {
    const pageNumber = Math.floor(lba / PAGE_BLOCKS)
    const stop = Math.min(end, (pageNumber + 1) * PAGE_BLOCKS)
    const page = yield* loadPage(map, volume, pageNumber)
    if (page === undefined) return false
    let history = new Map<number, Uint32Array[]>()
    if (volume.hasHistory) {
      page.pins++
      const from = lba
      const found = yield* until<Map<number, Uint32Array[]> | undefined>((resume) =>
        readHistory(map, volume, from, stop, resume),
      )
      page.pins--
      if (found === undefined) return false
      // A rollback came meanwhile: the page has to be rewound first.
      if (map.page(volume, pageNumber) !== page) continue
      history = found
    }
    for (; lba < stop; lba++) {
      const entry = entryOf(record, lba - record.lba, to.segment, units)
      if (record.kind === RECORD_KIND.write) units += record.storedUnits[lba - record.lba]!
      insert(map, page, lba, entry, history.get(lba) ?? [])
    }
    map.noteDirty(page)
    volume.changed = true
  }
  return true
}

function entryOf(record: RecordHeader, i: number, segment: number, units: number): Uint32Array {
  const words = new Uint32Array(ENTRY_WORDS)
  const { epoch, seq, transform } = record
  if (record.kind === RECORD_KIND.write)
    putEntry(words, 0, {
      segment,
      units,
      epoch,
      seq,
      crc: record.crcs[i]!,
      storedUnits: record.storedUnits[i]!,
      kind: ENTRY_KIND.data,
      transform,
    })
  else {
    const kind = record.kind === RECORD_KIND.zero ? ENTRY_KIND.zero : ENTRY_KIND.trim
    putEntry(words, 0, { segment, units: 0, epoch, seq, crc: 0, storedUnits: 0, kind, transform: 0 })
  }
  return words
}

function insert(map: ExtentMap, page: MapPage, lba: number, entry: Uint32Array, older: Uint32Array[]): void {
  const volume = page.map
  const at = (lba - page.firstLba) * ENTRY_WORDS
  const head = page.words[at] === 0 ? undefined : page.words.slice(at, at + ENTRY_WORDS)
  const known = head === undefined ? older : [...older, head]
  const same = known.find((words) => compareVersions(words, 0, entry, 0) === 0)
  if (same !== undefined) {
    if (isMark(same) && !isMark(entry)) replaceMark(map, page, lba, same, entry, same === head)
    return
  }
  const all = [...known, entry].sort((a, b) => compareVersions(a, 0, b, 0))
  const { views } = volume
  const shownHead = views.headExists ? all.findLast((words) => !views.hidden(Infinity, seqOf(words, 0))) : undefined
  const shown = views.shownBySnapshots(all.map((words) => seqOf(words, 0)))
  for (const words of all) {
    const was = words === entry ? 'none' : words === head ? 'head' : 'history'
    const is = words === shownHead ? 'head' : shown.has(seqOf(words, 0)) ? 'history' : 'none'
    if (was === 'none' && is !== 'none') {
      count(map, volume, words)
      const what = { lba, count: 1, seq: seqOf(words, 0), kind: kindOf(words, 0) }
      volume.changes.noteUnordered(views, volume.appliedSeq, what)
    }
    if (was !== 'none' && is === 'none') map.releaseEntry(volume, words, 0)
    if (was === 'history' && is !== 'history') dropHistory(volume, lba, words)
    if (was !== 'history' && is === 'history') putHistory(volume, lba, words)
  }
  if (shownHead === head) return
  if (shownHead !== undefined) copyEntry(shownHead, 0, page.words, at)
  else {
    clearEntry(page.words, at)
    // A delta cannot say "no entry".
    page.mustFold = true
  }
  page.markDirty(lba - page.firstLba)
}

const isMark = (words: Uint32Array): boolean => (transformOf(words, 0) & TRANSFORM.lost) !== 0

/** The block itself, where there was but its mark: the same version, at another place. */
function replaceMark(
  map: ExtentMap,
  page: MapPage,
  lba: number,
  mark: Uint32Array,
  entry: Uint32Array,
  isHead: boolean,
): void {
  const volume = page.map
  count(map, volume, entry)
  map.releaseEntry(volume, mark, 0)
  if (!isHead) {
    dropHistory(volume, lba, mark)
    putHistory(volume, lba, entry)
    return
  }
  copyEntry(entry, 0, page.words, (lba - page.firstLba) * ENTRY_WORDS)
  page.markDirty(lba - page.firstLba)
}

function count(map: ExtentMap, volume: VolumeMap, words: Uint32Array): void {
  const stored = storedUnitsOf(words, 0)
  if (stored === 0) return
  map.segments.add(Math.max(0, words[0]! - 1), stored)
  volume.usedUnits += stored
  volume.usedBlocks++
}
