/**
 * What the cleaner reads of its victim at a time, and looks up before it decides: batches, their records, and for each
 * block that the head does not show whether it is an older version.
 *
 * Reading changes nothing, so one window is read while the copies of the one before are written; what it found holds
 * but for what changed in memory meanwhile, until a checkpoint ends that began later (`knownOlder`).
 */
import type { Task } from '../task.ts'
import { BLOCK_BYTES, PAGE_BLOCKS } from '../units.ts'
import { checkBatchHeader, decodeRecords, peekBatchHeader } from './batch.ts'
import { copyEntry, ENTRY_WORDS, hasEntry, seqOf } from './entry.ts'
import type { ExtentMap } from './extent-map.ts'
import { loadPage } from './page-visitor.ts'
import { RECORD_KIND, type RecordHeader } from './record.ts'
import { findOlder } from './relocation.ts'
import type { SummaryEntry } from './segment.ts'
import type { StoreStream } from './store-stream.ts'
import { changedVersion, type VersionOfBlock } from './version-history.ts'
import type { VolumeMap } from './volume-map.ts'

const NONE = new Uint32Array(0)
const NOT_LOOKED = new Int32Array(0)

/** A batch of the victim, and where the one behind it begins. */
export interface Place {
  entry: SummaryEntry
  endBlock: number
}

export interface CleanerWindow {
  headersOnly: boolean
  bytes: Uint8Array
  batches: WindowBatch[]
  /** Some batch has no header that is what was written: what lies there the maps know (map-relocation.ts). */
  isHeadless: boolean
  /** Entries of blocks as older versions; none where it is none. */
  older: Uint32Array
  /** By number of the block in this window: where its entry stands in `older`; negative: it was not looked for. */
  olderAt: Int32Array
  /** Blocks of its writes. */
  blocks: number
  /** What was found holds until a checkpoint ends that is none of the first so many. */
  foundAtBegun: number
}

export interface WindowBatch {
  entry: SummaryEntry
  /** Where it begins in the window's bytes. */
  at: number
  records: RecordHeader[]
  /** Number of the first block of each record, of those that have blocks, in the window. */
  firstBlocks: number[]
}

/** Why there is none: it, or what has to be looked up, could not be read (now). */
export type NoWindow = 'unreadable' | 'unread'

export interface Victim {
  stream: StoreStream
  segment: number
  generation: number
}

/** First place behind a window from `from` on: one batch when only headers matter, else as many as fit. */
export function windowEnd(
  places: readonly Place[],
  from: number,
  { headersOnly, blocksMost }: { headersOnly: boolean; blocksMost: number },
): number {
  let end = from + 1
  if (headersOnly) return end
  const first = places[from]!.entry.startBlock
  while (end < places.length && places[end]!.endBlock - first <= blocksMost) end++
  return end
}

/**
 * Read batches of the victim that lie behind each other.
 *
 * @param buffer  the window points into it, but for a batch that is longer
 */
export function* readWindow(
  victim: Victim,
  places: readonly Place[],
  { headersOnly, buffer }: { headersOnly: boolean; buffer: Uint8Array },
): Task<CleanerWindow | NoWindow> {
  const { stream, segment } = victim
  const first = places[0]!.entry
  const last = places.at(-1)!
  const endBlock = headersOnly ? last.entry.startBlock + last.entry.headerBlocks : last.endBlock
  const bytes = yield* stream.reader.read(segment, first.startBlock, endBlock - first.startBlock, buffer)
  if (bytes === undefined) return 'unreadable'
  const window: CleanerWindow = {
    headersOnly, bytes, batches: [], isHeadless: false, older: NONE, olderAt: NOT_LOOKED, blocks: 0,
    foundAtBegun: 0,
  }
  for (const { entry } of places) {
    const at = (entry.startBlock - first.startBlock) * BLOCK_BYTES
    const records = recordsOf(victim, bytes.subarray(at), entry)
    if (records === undefined) {
      window.isHeadless = true
      continue
    }
    const firstBlocks: number[] = []
    for (const { kind, blockCount } of records) {
      firstBlocks.push(window.blocks)
      if (kind === RECORD_KIND.write) window.blocks += blockCount
    }
    window.batches.push({ entry, at, records, firstBlocks })
  }
  return headersOnly || (yield* lookUp(stream, window)) ? window : 'unread'
}

/**
 * Put at `into` the entry of a block of the window as an older version now, or none. False: it has to be looked for
 * anew.
 *
 * @param block  its number in the window
 */
export function knownOlder(
  { map }: StoreStream,
  window: CleanerWindow,
  { volume, record, i, block }: { volume: VolumeMap; record: RecordHeader; i: number; block: number },
  into: Uint32Array,
): boolean {
  const at = isCurrent(map, window) ? (window.olderAt[block] ?? -1) : -1
  if (at < 0) return false
  if (!changedVersion(volume, versionOf(record, i), into, 0)) copyEntry(window.older, at, into, 0)
  return true
}

/** Look again for all that was found too long ago. False when the index cannot be read. */
export function* renewWindow(stream: StoreStream, window: CleanerWindow): Task<boolean> {
  return window.headersOnly || isCurrent(stream.map, window) || (yield* lookUp(stream, window))
}

const isCurrent = ({ loads }: ExtentMap, window: CleanerWindow): boolean => loads.commits <= window.foundAtBegun

function recordsOf({ stream, ...place }: Victim, bytes: Uint8Array, entry: SummaryEntry): RecordHeader[] | undefined {
  const { diskTag, crc32c } = stream.context
  const header = peekBatchHeader(bytes, { diskTag, ...place, startBlock: entry.startBlock })
  if (header === undefined || header.headerCrc !== entry.headerCrc || !checkBatchHeader(bytes, crc32c)) return undefined
  return decodeRecords(bytes, header)
}

/** For all that was read together: one by one each record would wait for the index. False when that cannot be read. */
function* lookUp(stream: StoreStream, window: CleanerWindow): Task<boolean> {
  const { map } = stream
  window.foundAtBegun = map.loads.begun
  window.older = NONE
  const ofVolumes = new Map<VolumeMap, { wanted: VersionOfBlock[]; blocks: number[] }>()
  for (const { records, firstBlocks } of window.batches)
    for (const [n, record] of records.entries()) {
      if (record.kind !== RECORD_KIND.write) continue
      const volume = stream.volumeOf(record.volumeId)
      if (volume === undefined || !volume.hasHistory) continue
      const page = yield* loadPage(map, volume, Math.floor(record.lba / PAGE_BLOCKS))
      if (page === undefined) return false
      const asked = ofVolumes.get(volume) ?? { wanted: [], blocks: [] }
      ofVolumes.set(volume, asked)
      for (let i = 0; i < record.blockCount; i++) {
        const at = (record.lba + i - page.firstLba) * ENTRY_WORDS
        if (hasEntry(page.words, at) && seqOf(page.words, at) === record.seq) continue
        asked.wanted.push(versionOf(record, i))
        asked.blocks.push(firstBlocks[n]! + i)
      }
    }
  if (ofVolumes.size === 0) return true
  window.olderAt = new Int32Array(window.blocks).fill(-1)
  for (const [volume, { wanted, blocks }] of ofVolumes) {
    const found = yield* findOlder(map, volume, wanted)
    if (found === undefined) return false
    const from = window.older.length
    const older = new Uint32Array(from + found.length)
    older.set(window.older)
    older.set(found, from)
    window.older = older
    for (const [n, block] of blocks.entries()) window.olderAt[block] = from + n * ENTRY_WORDS
  }
  return true
}

const versionOf = ({ lba, epoch, seq }: RecordHeader, i: number): VersionOfBlock => ({ lba: lba + i, epoch, seq })
