/**
 * Pointing the map at a cleaner's copy, live (after the copy is durable) and in roll-forward. A copy counts only where
 * the map still shows the old place: whatever was written meanwhile wins.
 */
import { until, type Task } from '../task.ts'
import { PAGE_BLOCKS } from '../units.ts'
import {
  ENTRY_KIND, ENTRY_WORDS, epochOf, hasEntry, kindOf, segmentOf, seqOf, storedUnitsOf, unitsOf, withTransform,
} from './entry.ts'
import type { ExtentMap } from './extent-map.ts'
import { historyRange, parseHistoryKey } from './index-keys.ts'
import { loadPage, visitPages } from './page-visitor.ts'
import type { RecordHeader } from './record.ts'
import type { StoreStream } from './store-stream.ts'
import { findVersions, putHistory, readHistory, type VersionOfBlock } from './version-history.ts'
import type { VolumeMap } from './volume-map.ts'

/**
 * Put at `into` the entry of block `i` of the record as an older version, or none, if that is known without a look into
 * the index. False: it is not.
 */
export type KnownOlder = (i: number, into: Uint32Array) => boolean

const older = new Uint32Array(ENTRY_WORDS)

/**
 * @param to  where the copy of the record's first blob lies
 * @param isKnown  for who has looked already. False when the index cannot be read.
 */
export function* moveEntry(
  stream: StoreStream,
  volume: VolumeMap,
  record: RecordHeader,
  to: { segment: number; units: number },
  isKnown: KnownOlder = () => false,
): Task<boolean> {
  const { map } = stream
  const page = yield* loadPage(map, volume, Math.floor(record.lba / PAGE_BLOCKS))
  if (page === undefined) return false
  const unknown: Array<{ i: number; offset: number }> = []
  let offset = 0
  for (let i = 0; i < record.blockCount; i++) {
    const isMoved = map.applyMove(page, record.lba - page.firstLba + i, {
      epoch: record.epoch,
      seq: record.seq,
      fromSegment: record.fromSegment,
      fromUnits: record.fromUnits + offset,
      segment: to.segment,
      units: to.units + offset,
      transform: record.transform,
    })
    if (!isMoved && volume.hasHistory) {
      if (isKnown(i, older)) moveOlder(stream, volume, record, { entry: older, at: 0, i, offset }, to)
      else unknown.push({ i, offset })
    }
    offset += record.storedUnits[i]!
  }
  if (unknown.length === 0) return true
  const { lba: first, epoch, seq } = record
  const found = yield* findOlder(map, volume, unknown.map(({ i }) => ({ lba: first + i, epoch, seq })))
  if (found === undefined) return false
  for (const [n, { i, offset }] of unknown.entries())
    moveOlder(stream, volume, record, { entry: found, at: n * ENTRY_WORDS, i, offset }, to)
  return true
}

/** @param from  block `i`, whose blob lies `offset` units behind that of the record, and what the history has of it */
function moveOlder(
  { segments }: StoreStream,
  volume: VolumeMap,
  record: RecordHeader,
  from: { entry: Uint32Array; at: number; i: number; offset: number },
  to: { segment: number; units: number },
): void {
  const { entry, at, i, offset } = from
  if (!hasEntry(entry, at) || segmentOf(entry, at) !== record.fromSegment) return
  if (unitsOf(entry, at) !== record.fromUnits + offset) return
  segments.drop(record.fromSegment, storedUnitsOf(entry, at))
  segments.add(to.segment, storedUnitsOf(entry, at))
  const place = putHistory(volume, record.lba + i, entry, at)
  volume.history.words[place] = to.segment + 1
  volume.history.words[place + 1] = to.units + offset
  volume.history.words[place + 5] = withTransform(volume.history.words[place + 5]!, record.transform)
}

/** Of each of these versions the entry, if it is an older one now; undefined: the index cannot be read. */
export const findOlder = (
  map: ExtentMap,
  volume: VolumeMap,
  wanted: readonly VersionOfBlock[],
): Task<Uint32Array | undefined> =>
  until<Uint32Array | undefined>((resume) => findVersions(map, volume, wanted, resume))

/** Point tombstones, page entries and history entries of a zero or trim to its copy in `segment`. */
export function* moveZero(
  stream: StoreStream,
  volume: VolumeMap,
  record: RecordHeader,
  segment: number,
): Task<boolean> {
  return yield* eachZero(stream, volume, record, {
    tombstone: (tombstone) => {
      tombstone.segment = segment
    },
    page: (page, at, index) => {
      page.words[at] = segment + 1
      page.markDirty(index)
      stream.map.noteDirty(page)
    },
    history: (lba, words) => {
      const moved = words.slice()
      moved[0] = segment + 1
      putHistory(volume, lba, moved)
    },
  })
}

/** Visit what refers to a zero or trim record. False when the index cannot be read. */
export function* eachZero(
  stream: StoreStream,
  volume: VolumeMap,
  record: { lba: number; blockCount: number; epoch: number; seq: number },
  visit: {
    tombstone(tombstone: VolumeMap['tombstones'][number]): void
    page(page: import('./volume-map.ts').MapPage, at: number, index: number): void
    history(lba: number, words: Uint32Array): void
  },
): Task<boolean> {
  const { map, context } = stream
  const end = record.lba + record.blockCount
  for (const tombstone of volume.tombstones)
    if (tombstone.epoch === record.epoch && tombstone.seq === record.seq) visit.tombstone(tombstone)
  const isThis = (words: Uint32Array, at: number): boolean =>
    words[at] !== 0 &&
    kindOf(words, at) !== ENTRY_KIND.data &&
    seqOf(words, at) === record.seq &&
    epochOf(words, at) === record.epoch
  const range = {
    map,
    index: context.index,
    volume,
    firstPage: Math.floor(record.lba / PAGE_BLOCKS),
    endPage: Math.ceil(end / PAGE_BLOCKS),
  }
  const ok = yield* visitPages(range, (page) => {
    const from = Math.max(0, record.lba - page.firstLba)
    const below = Math.min(PAGE_BLOCKS, end - page.firstLba)
    for (let index = from; index < below; index++)
      if (isThis(page.words, index * ENTRY_WORDS)) visit.page(page, index * ENTRY_WORDS, index)
  })
  if (!ok || !volume.hasHistory) return ok
  const pages = yield* pagesWithHistory(map, volume, record.lba, end)
  if (pages === undefined) return false
  // Page by page: snapshots may have kept a slice many times over.
  for (const page of pages) {
    const first = Math.max(record.lba, page * PAGE_BLOCKS)
    const history = yield* until<Map<number, Uint32Array[]> | undefined>((resume) =>
      readHistory(map, volume, first, Math.min(end, (page + 1) * PAGE_BLOCKS), resume),
    )
    if (history === undefined) return false
    for (const [lba, versions] of history) for (const words of versions) if (isThis(words, 0)) visit.history(lba, words)
  }
  return true
}

/** In which pages blocks `first .. end - 1` may have older versions. Undefined when the index cannot be read. */
function* pagesWithHistory(
  { index }: ExtentMap,
  volume: VolumeMap,
  first: number,
  end: number,
): Task<Set<number> | undefined> {
  const pageOf = (lba: number): number => Math.floor(lba / PAGE_BLOCKS)
  const pages = new Set<number>()
  if (pageOf(first) === pageOf(end - 1)) return pages.add(pageOf(first))
  // Before the index is asked, for a checkpoint may take them there meanwhile.
  for (const changes of [volume.committingHistory, volume.history])
    changes.eachWithin(first, end, (lba) => pages.add(pageOf(lba)))
  for (let at = first; at < end;) {
    const lba = yield* until<number | undefined>((resume) =>
      index.range({ ...historyRange(volume.number, at, end), limit: 1 }, (ok, entries) => {
        const key = entries[0]?.[0]
        resume(ok ? (key === undefined ? end : parseHistoryKey(key).lba) : undefined)
      }),
    )
    if (lba === undefined) return undefined
    if (lba === end) break
    pages.add(pageOf(lba))
    at = (pageOf(lba) + 1) * PAGE_BLOCKS
  }
  return pages
}
