/**
 * What one checkpoint writes into the index: bytes in proportion to what changed since the last one (FORMAT.md 5).
 *
 * `collectCheckpoint` takes the changes out of memory in one turn; everything it takes was applied, so the log has to
 * be synced before the operations are written (order: log durable -> index batch -> root -> segments given back).
 * While it is under way its pages stay in memory and its pending pages are not loaded.
 */
import { assert } from '../assert.ts'
import { PAGE_BLOCKS } from '../units.ts'
import type { IndexOperation } from '../ports.ts'
import { ENTRY_WORDS } from './entry.ts'
import type { ExtentMap } from './extent-map.ts'
import { HistoryChanges } from './history-changes.ts'
import {
  encodePageBlocks,
  encodePageValue,
  generationKey,
  metaKey,
  pageKey,
  scrubKey,
  segmentKey,
  tombstoneKey,
  volumeKey,
} from './index-keys.ts'
import { PendingEntries } from './pending-entries.ts'
import { SEGMENT_STATE } from './segment-table.ts'
import { MapPage, PAGES_MAX, type VolumeMap } from './volume-map.ts'
import type { LogPosition } from './log-batch.ts'

/** Deltas of a page are folded into a base from this many entries or keys on. */
const FOLD_ENTRIES = 256
const FOLD_KEYS = 32
const SEGMENT_VALUE_BYTES = 40

export interface CheckpointMeta extends LogPosition {
  format: 1
  diskUuid: string
  streamId: number
  checkpoint: number
  incarnation: number
  indexUuid: string
  /** Hex. */
  salt: string
  nextVolume: number
  /** Who wrote it keeps the log of changes; absent: it was a version that knows none. */
  changes?: 1
}

export interface VolumeIndexValue {
  descriptor: unknown
  appliedSeq: number
  previousSeq: number
  usedUnits: number
  /** Absent: of before it was counted. */
  usedBlocks?: number
  controlSegment: number
  controlBornBatch: number
  emptied: boolean
  sweepHistory: boolean
  /** Of a copy: slices that are being wiped. */
  wiping?: number[]
  hintSeq?: number
  /** Absent: 0. */
  changesFrom?: number
}

export interface CollectedCheckpoint {
  /** Once for the index, before `committed`; each is good until the next one is asked for. */
  operations: Iterable<IndexOperation>
  /** Of their keys and values. */
  bytes: number
  /** Entries written, for the log line. */
  entries: number
  /** Segments nothing refers to any more once the root is written. */
  freed: number[]
  /** The index batch is durable. */
  committed(): void
}

export function collectCheckpoint(
  map: ExtentMap,
  options: {
    /** Undefined while an index is rebuilt: it has no `m` key, and so counts for nothing, before it is whole. */
    meta: CheckpointMeta | undefined
    checkpoint: number
    /** Uncached pages got this many new unresolved entries. */
    onUnresolved(volume: VolumeMap, page: number, entries: number): void
    /** What changed in a slice lies in so many values that they should be merged. */
    onPile(volume: VolumeMap, slice: number): void
    tombstonesGone: Array<{ volume: number; epoch: number; seq: number; firstPage: number }>
    /** Of these what they still had to take out of the index is taken out, and all that names them. */
    volumesGone: VolumeMap[]
  },
): CollectedCheckpoint {
  const { meta, checkpoint } = options
  const operations: IndexOperation[] = []
  const put = (key: Uint8Array, value: Uint8Array): void => void operations.push({ type: 'put', key, value })
  const del = (key: Uint8Array): void => void operations.push({ type: 'del', key })
  let entries = 0
  let historyBytes = 0

  const pages = [...map.dirtyPages]
  map.dirtyPages = new Set()
  for (const page of pages) {
    entries += page.dirtyCount
    collectPage(page, checkpoint, put, del)
    page.committing = true
  }

  const committing = new PendingEntries()
  for (const key of map.pending.pages()) {
    const number = Math.floor(key / PAGES_MAX)
    const pageNumber = key - number * PAGES_MAX
    const volume = map.volumes.get(number)!
    const { indexes, words } = map.pending.list(key)
    assert(!volume.loading.has(pageNumber), 'a page that is being loaded has no pending entries now')
    for (let i = 0; i < indexes.length; i++) committing.push(key, indexes[i]!, words, i * ENTRY_WORDS)
    entries += indexes.length
    put(pageKey(number, pageNumber, checkpoint), encodePageValue({ base: false, resolved: false, indexes, words }))
    options.onUnresolved(volume, pageNumber, indexes.length)
  }
  map.pending = new PendingEntries()
  map.committing = committing

  map.historyTally.changes = 0
  const volumes = [...map.volumes.values(), ...options.volumesGone]
  for (const volume of volumes) {
    historyBytes += volume.history.operationBytes()
    volume.committingHistory = volume.history
    volume.history = new HistoryChanges(map.historyTally)
    volume.changes.collect({ volume: volume.number, checkpoint }, put, del, (slice) => options.onPile(volume, slice))
    volume.copy?.waiting.collect(volume.number, put, del)
    volume.copy?.leaves.collect(volume.number, put, del)
    if (volume.changed) put(volumeKey(volume.number), json(volumeValue(volume)))
    volume.changed = false
    // While an index is rebuilt they are passing: every page takes them before the end.
    for (const t of meta === undefined ? [] : volume.tombstones) {
      // Those of a clone stay for ever; only the cleaner changes one.
      if (t.savedSegment === t.segment) continue
      t.savedSegment = t.segment
      put(
        tombstoneKey(volume.number, t.epoch, t.seq, t.firstPage),
        json({ endPage: t.endPage, kind: t.kind, segment: t.segment, bornBatch: t.bornBatch }),
      )
    }
  }
  for (const t of options.tombstonesGone) del(tombstoneKey(t.volume, t.epoch, t.seq, t.firstPage))
  for (const { number, tombstones } of options.volumesGone) {
    for (const t of tombstones) del(tombstoneKey(number, t.epoch, t.seq, t.firstPage))
    del(volumeKey(number))
    del(scrubKey(number))
  }

  const freed: number[] = []
  const { segments } = map
  for (let segment = 0; segment < segments.count; segment++)
    if (
      segments.state[segment] === SEGMENT_STATE.cleaned &&
      segments.readers[segment] === 0 &&
      meta !== undefined &&
      segments.lastBatch[segment]! < meta.batch
    ) {
      freed.push(segment)
      segments.setState(segment, SEGMENT_STATE.givenBack)
    }
  for (const segment of meta === undefined ? [] : segments.takeChanged()) {
    const state = segments.state[segment]!
    if (state === SEGMENT_STATE.none || state === SEGMENT_STATE.givenBack) {
      del(segmentKey(segment))
      put(generationKey(segment), u32(segments.generation[segment]!))
    } else put(segmentKey(segment), encodeSegmentValue(segments, segment))
  }
  if (meta !== undefined) put(metaKey(), json(meta))

  return {
    operations: allOperations(operations, volumes),
    bytes: operations.reduce((sum, one) => sum + bytesOf(one), historyBytes),
    entries,
    freed,
    committed() {
      for (const page of pages) page.committing = false
      for (const volume of map.volumes.values()) volume.committingHistory.clear()
      map.loads.commitEnded()
    },
  }
}

const bytesOf = (one: IndexOperation): number => one.key.length + (one.type === 'put' ? one.value.length : 0)

/** Older versions are many: nothing is made of them before it is written. */
function* allOperations(operations: IndexOperation[], volumes: VolumeMap[]): Generator<IndexOperation> {
  yield* operations
  for (const { number, committingHistory } of volumes) yield* committingHistory.operations(number)
}

const collectedIndexes = new Uint8Array(PAGE_BLOCKS)

/** A base when deltas have piled up or cannot tell it, else what changed. */
function collectPage(
  page: MapPage,
  checkpoint: number,
  put: (key: Uint8Array, value: Uint8Array) => void,
  del: (key: Uint8Array) => void,
): void {
  const number = page.map.number
  assert(page.map.pages.get(page.page) === page, 'M2: a page with changes is in memory')
  const fold = page.mustFold || page.deltaEntries + page.dirtyCount >= FOLD_ENTRIES || page.keys.length >= FOLD_KEYS
  let count = 0
  for (let i = 0; i < PAGE_BLOCKS; i++)
    if (fold ? page.words[i * ENTRY_WORDS] !== 0 : page.dirty[i] === 1) collectedIndexes[count++] = i
  const indexes = collectedIndexes.subarray(0, count)
  if (fold) {
    for (const key of page.keys) if (key !== checkpoint) del(pageKey(number, page.page, key))
    page.keys = []
    page.deltaEntries = 0
  } else page.deltaEntries += count
  if (count > 0) {
    const value = encodePageBlocks({ words: page.words, indexes }, { base: fold, resolved: true })
    put(pageKey(number, page.page, checkpoint), value)
    page.keys.push(checkpoint)
  }
  page.dirty.fill(0)
  page.dirtyCount = 0
  page.mustFold = false
}

function volumeValue(volume: VolumeMap): VolumeIndexValue {
  return {
    descriptor:
      volume.copy === undefined ? volume.descriptor : volume.copy.stored(volume.descriptor, volume.appliedSeq),
    appliedSeq: volume.appliedSeq,
    previousSeq: volume.previousSeq,
    usedUnits: volume.usedUnits,
    usedBlocks: volume.usedBlocks,
    controlSegment: volume.controlSegment,
    controlBornBatch: volume.controlBornBatch,
    emptied: volume.emptied,
    sweepHistory: volume.sweepHistory,
    ...(volume.changesFrom === 0 ? {} : { changesFrom: volume.changesFrom }),
    ...(volume.copy === undefined ? {} : { wiping: volume.copy.wiping, hintSeq: volume.copy.hintSeq }),
  }
}

function encodeSegmentValue(segments: ExtentMap['segments'], segment: number): Uint8Array {
  const out = new Uint8Array(SEGMENT_VALUE_BYTES)
  const view = new DataView(out.buffer)
  view.setUint32(0, segments.generation[segment]!, true)
  out[4] = segments.state[segment]!
  view.setUint32(8, segments.live[segment]!, true)
  view.setFloat64(16, segments.firstBatch[segment]!, true)
  view.setFloat64(24, segments.lastBatch[segment]!, true)
  view.setFloat64(32, segments.oldestBorn[segment]!, true)
  return out
}

export function decodeSegmentValue(
  bytes: Uint8Array,
):
  | { generation: number; state: number; live: number; firstBatch: number; lastBatch: number; oldestBorn: number }
  | undefined {
  if (bytes.length !== SEGMENT_VALUE_BYTES) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, SEGMENT_VALUE_BYTES)
  return {
    generation: view.getUint32(0, true),
    state: bytes[4]!,
    live: view.getUint32(8, true),
    firstBatch: view.getFloat64(16, true),
    lastBatch: view.getFloat64(24, true),
    oldestBorn: view.getFloat64(32, true),
  }
}

const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value))

export function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    return undefined
  }
}

function u32(value: number): Uint8Array {
  const out = new Uint8Array(4)
  new DataView(out.buffer).setUint32(0, value, true)
  return out
}
