/**
 * What the cleaner reads of its victim at a time, and looks up before it decides: batches, their records, and for each
 * block that the head does not show whether it is an older version.
 *
 * Reading changes nothing, so one window is read while the copies of the one before are written; what it found holds
 * but for what changed in memory meanwhile, until a checkpoint ends (`olderOf`).
 */
import { runTask, until, type Task } from '../task.ts'
import { BLOCK_BYTES, PAGE_BLOCKS } from '../units.ts'
import { checkBatchHeader, decodeRecords, peekBatchHeader } from './batch.ts'
import { uuidToHex } from './bytes.ts'
import { ENTRY_WORDS, hasEntry, seqOf } from './entry.ts'
import { loadPage } from './page-visitor.ts'
import { RECORD_KIND, type RecordHeader } from './record.ts'
import { findOlder } from './relocation.ts'
import type { SummaryEntry } from './segment.ts'
import type { StoreStream } from './store-stream.ts'
import { changedVersion, type VersionOfBlock } from './version-history.ts'
import type { VolumeMap } from './volume-map.ts'

/** A batch of the victim, and where the one behind it begins. */
export interface Place {
  entry: SummaryEntry
  endBlock: number
}

export interface CleanerWindow {
  /** First place behind it. */
  end: number
  headersOnly: boolean
  bytes: Uint8Array
  batches: Array<{ entry: SummaryEntry; at: number; records: RecordHeader[] }>
  /** Some batch has no header that is what was written: what lies there the maps know (map-relocation.ts). */
  isHeadless: boolean
  /** Of each block of a record: its entry as an older version; null: it is none. Undefined: not looked for. */
  found: Map<RecordHeader, Array<Uint32Array | null | undefined>>
  foundAtCommit: number
}

/** Why there is none: it, or what has to be looked up, could not be read (now). */
export type NoWindow = 'unreadable' | 'unread'

export interface Victim {
  stream: StoreStream
  segment: number
  generation: number
}

/**
 * Read batches `from ..` of the victim: one when only headers matter, else as many as fit into the buffer.
 *
 * @param buffer  the window points into it, but for a batch that is longer
 */
export function* readWindow(
  victim: Victim,
  places: readonly Place[],
  from: number,
  { headersOnly, buffer }: { headersOnly: boolean; buffer: Uint8Array },
): Task<CleanerWindow | NoWindow> {
  const { stream, segment } = victim
  const first = places[from]!.entry
  const endOf = (at: number): number => {
    const { entry, endBlock } = places[at]!
    return headersOnly ? entry.startBlock + entry.headerBlocks : endBlock
  }
  let end = from + 1
  const most = buffer.length / BLOCK_BYTES
  if (!headersOnly) while (end < places.length && endOf(end) - first.startBlock <= most) end++
  const bytes = yield* stream.reader.read(segment, first.startBlock, endOf(end - 1) - first.startBlock, buffer)
  if (bytes === undefined) return 'unreadable'
  const window: CleanerWindow = {
    end, headersOnly, bytes, batches: [], isHeadless: false, found: new Map(),
    foundAtCommit: stream.map.loads.commits,
  }
  for (const { entry } of places.slice(from, end)) {
    const at = (entry.startBlock - first.startBlock) * BLOCK_BYTES
    const records = recordsOf(victim, bytes.subarray(at), entry)
    if (records === undefined) window.isHeadless = true
    else window.batches.push({ entry, at, records })
  }
  return headersOnly || (yield* lookUp(stream, window)) ? window : 'unread'
}

/** A window that is read while something else is done. */
export class WindowAhead {
  private read: CleanerWindow | NoWindow | undefined
  private waiting: ((read: CleanerWindow | NoWindow) => void) | undefined

  constructor(task: Task<CleanerWindow | NoWindow>) {
    runTask(task, (read) => {
      this.read = read
      this.waiting?.(read)
    })
  }

  /** Wait for it. */
  *ended(): Task<CleanerWindow | NoWindow> {
    return this.read ?? (yield* until<CleanerWindow | NoWindow>((resume) => (this.waiting = resume)))
  }
}

/**
 * Of these blocks of a record in the window the entries, where they are older versions now. Undefined when the index
 * cannot be read.
 */
export function* olderOf(
  stream: StoreStream,
  window: CleanerWindow,
  volume: VolumeMap,
  record: RecordHeader,
  blocks: readonly number[],
): Task<Array<Uint32Array | undefined> | undefined> {
  const { map } = stream
  const found = window.foundAtCommit === map.loads.commits ? window.found.get(record) : undefined
  if (found === undefined || blocks.some((i) => found[i] === undefined))
    return yield* findOlder(map, volume, blocks.map((i) => versionOf(record, i)))
  return blocks.map((i) => {
    const changed = changedVersion(volume, versionOf(record, i))
    return (changed === undefined ? found[i] : changed) ?? undefined
  })
}

function recordsOf({ stream, ...place }: Victim, bytes: Uint8Array, entry: SummaryEntry): RecordHeader[] | undefined {
  const { diskTag, crc32c } = stream.context
  const header = peekBatchHeader(bytes, { diskTag, ...place, startBlock: entry.startBlock })
  if (header === undefined || header.headerCrc !== entry.headerCrc || !checkBatchHeader(bytes, crc32c)) return undefined
  return decodeRecords(bytes, header)
}

/** For all that was read together: one by one each record would wait for the index. False when that cannot be read. */
function* lookUp({ map, volumesById }: StoreStream, { batches, found }: CleanerWindow): Task<boolean> {
  const ofVolumes = new Map<VolumeMap, Array<{ record: RecordHeader; i: number }>>()
  for (const { records } of batches)
    for (const record of records) {
      if (record.kind !== RECORD_KIND.write) continue
      const volume = volumesById.get(uuidToHex(record.volumeId))
      if (volume === undefined || !volume.hasHistory) continue
      const page = yield* loadPage(map, volume, Math.floor(record.lba / PAGE_BLOCKS))
      if (page === undefined) return false
      const blocks = ofVolumes.get(volume) ?? []
      ofVolumes.set(volume, blocks)
      found.set(record, new Array<Uint32Array | null | undefined>(record.blockCount).fill(undefined))
      for (let i = 0; i < record.blockCount; i++) {
        const at = (record.lba + i - page.firstLba) * ENTRY_WORDS
        if (!hasEntry(page.words, at) || seqOf(page.words, at) !== record.seq) blocks.push({ record, i })
      }
    }
  for (const [volume, blocks] of ofVolumes) {
    const entries = yield* findOlder(map, volume, blocks.map(({ record, i }) => versionOf(record, i)))
    if (entries === undefined) return false
    for (const [n, { record, i }] of blocks.entries()) found.get(record)![i] = entries[n] ?? null
  }
  return true
}

const versionOf = ({ lba, epoch, seq }: RecordHeader, i: number): VersionOfBlock => ({ lba: lba + i, epoch, seq })
