/**
 * What filling a copy does to its log and map (FORMAT.md section 7): versions become FILL records, and slices whose
 * history is another one are wiped first.
 */
import { forgetChanges } from '../log/change-merging.ts'
import { clearEntry, ENTRY_WORDS } from '../log/entry.ts'
import { historyKey, historyRange, parseHistoryKey } from '../log/index-keys.ts'
import { visitPages } from '../log/page-visitor.ts'
import { RECORD_FLAG, RECORD_KIND, type RecordHeader } from '../log/record.ts'
import { dropHistory, readHistory } from '../log/version-history.ts'
import type { MapPage } from '../log/volume-map.ts'
import type { BlockVersion } from '../replication/record.ts'
import { until, type Task } from '../task.ts'
import { PAGE_BLOCKS, SLICE_BLOCKS, UNIT_BYTES } from '../units.ts'
import type { Target } from './block-reader.ts'
import { blobsOf, headerOf, kindNumber, setTable } from './copy-headers.ts'
import { isLostMark } from './lost-mark.ts'

/** One record for each run of blocks of one version, inside a page. */
export function* fillRecords(
  volumeId: Uint8Array,
  tag: number,
  versions: readonly BlockVersion[],
  blocksMost: number,
): Generator<{ record: RecordHeader; payload: Uint8Array[] }> {
  for (let first = 0; first < versions.length;) {
    const { epoch, seq, lba, kind } = versions[first]!
    const most = Math.min(blocksMost, PAGE_BLOCKS - (lba % PAGE_BLOCKS))
    let count = 1
    for (; count < most; count++) {
      const next = versions[first + count]
      if (next?.seq !== seq || next.epoch !== epoch || next.kind !== kind || next.lba !== lba + count) break
      // A record has one transform for all of its blobs.
      if (isLost(next) !== isLost(versions[first]!)) break
    }
    const record = headerOf(volumeId, { kind: kindNumber(kind), epoch, seq, lba, blockCount: count }, undefined)
    record.flags = RECORD_FLAG.fill
    const payload: Uint8Array[] = []
    if (record.kind === RECORD_KIND.write) {
      const crcs: number[] = []
      const units: number[] = []
      let transform = 0
      for (let i = 0; i < count; i++) {
        const { bytes, crcs: blobCrcs, stored } = blobsOf(versions[first + i]!.payload!)
        payload.push(bytes)
        crcs.push(blobCrcs[0]!)
        units.push(bytes.length / UNIT_BYTES)
        transform |= stored?.transform ?? 0
      }
      setTable(record, tag, { crcs, stored: transform === 0 ? undefined : { transform, units } })
    }
    yield { record, payload }
    first += count
  }
}

const isLost = ({ payload }: BlockVersion): boolean =>
  payload !== undefined && isLostMark(blobsOf(payload).stored?.transform ?? 0)

const KEYS_PER_READ = 256

/** Take everything of these slices out of the map. False when the index cannot be read. */
export function* wipeSlices({ stream, map }: Target, slices: readonly number[]): Task<boolean> {
  if (slices.length === 0) return true
  const pagesPerSlice = SLICE_BLOCKS / PAGE_BLOCKS
  const relieve = function* (): Task<void> {
    if (stream.wantsCheckpoint) yield* until<boolean>((resume) => stream.makeCheckpoint(resume))
  }
  const wipe = (page: MapPage): void => {
    for (let index = 0; index < PAGE_BLOCKS; index++) {
      const at = index * ENTRY_WORDS
      if (page.words[at] === 0) continue
      stream.map.releaseEntry(map, page.words, at)
      clearEntry(page.words, at)
      page.markDirty(index)
    }
    // A delta cannot say "no entry".
    page.mustFold = true
    stream.map.noteDirty(page)
  }
  for (const slice of slices) {
    const [firstPage, endPage] = [slice * pagesPerSlice, (slice + 1) * pagesPerSlice]
    for (const t of map.tombstones)
      if (t.firstPage >= firstPage && t.firstPage < endPage)
        stream.tombstonesGone.push({ volume: map.number, epoch: t.epoch, seq: t.seq, firstPage: t.firstPage })
    map.tombstones = map.tombstones.filter((t) => t.firstPage < firstPage || t.firstPage >= endPage)
    const range = { map: stream.map, index: stream.context.index, volume: map, firstPage, endPage }
    if (!(yield* visitPages(range, wipe, relieve))) return false
  }
  // Older versions become keys first, so that one walk over the index sees them all.
  if (!(yield* until<boolean>((resume) => stream.makeCheckpoint(resume)))) return false
  for (const slice of slices) {
    if (!(yield* wipeHistory({ stream, map }, slice, relieve))) return false
    if (!(yield* forgetChanges(stream, map, slice, slice + 1))) return false
  }
  map.changed = true
  return true
}

function* wipeHistory({ stream, map }: Target, slice: number, relieve: () => Task<void>): Task<boolean> {
  let { from } = historyRange(map.number, slice * SLICE_BLOCKS, 0)
  const { below } = historyRange(map.number, 0, (slice + 1) * SLICE_BLOCKS)
  for (;;) {
    const lbas = yield* until<number[] | undefined>((resume) =>
      stream.context.index.range({ from, below, limit: KEYS_PER_READ }, (ok, entries) =>
        resume(ok ? entries.map(([key]) => parseHistoryKey(key).lba) : undefined),
      ),
    )
    if (lbas === undefined) return false
    const first = lbas[0]
    const last = lbas.at(-1)
    if (first === undefined || last === undefined) return true
    const history = yield* until<Map<number, Uint32Array[]> | undefined>((resume) =>
      readHistory(stream.map, map, first, last + 1, resume),
    )
    if (history === undefined) return false
    for (const [lba, versions] of history)
      for (const words of versions) {
        stream.map.releaseEntry(map, words, 0)
        dropHistory(map, lba, words)
      }
    yield* relieve()
    from = historyKey(map.number, last + 1, 0, 0)
  }
}
