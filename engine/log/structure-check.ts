/**
 * Whether what describes a sealed segment is on the medium as it was written: its header, trailer and summary, and the
 * headers of its batches. A read of a block never looks at them, so that they may rot for as long as nobody cleans the
 * segment or builds the index anew; and an index cannot be built from a log whose headers are damaged (FORMAT.md
 * section 3).
 *
 * Nothing is changed, and nothing kept from its work: headers near one another are read at once, past the page cache.
 */
import { until, type Task } from '../task.ts'
import { BLOCK_BYTES } from '../units.ts'
import { checkBatchHeader, decodeRecords, peekBatchHeader } from './batch.ts'
import { segmentOffsetBytes } from './geometry.ts'
import { GAP_BLOCKS, READ_BLOCKS, type Pace } from './medium-pace.ts'
import {
  decodeSegmentHeader, decodeSummary, decodeTrailer, type SegmentHeader, type SummaryEntry, type Trailer,
} from './segment.ts'
import { SEGMENT_STATE } from './segment-table.ts'
import type { StoreStream } from './store-stream.ts'

export interface StructureDamage {
  segment: number
  /** From its start. */
  block: number
  what: 'segment header' | 'trailer' | 'summary' | 'batch header'
}

const LOOKS = 2

/**
 * Of one segment; one that is not sealed, or no more, has none, nor has one of which the seal is still being written.
 * Undefined: it was ended, or the disk failed.
 */
export function* checkSegment(
  stream: StoreStream,
  segment: number,
  pace: Pace,
): Task<StructureDamage[] | undefined> {
  const { segments, log } = stream
  if (segments.state[segment] !== SEGMENT_STATE.sealed || !log.isSegmentWritten(segments.lastBatch[segment]!)) return []
  // It is not given back meanwhile, so that what lies there stays.
  segments.readers[segment] = segments.readers[segment]! + 1
  try {
    return yield* new Check(stream, segment, pace).run()
  } finally {
    segments.readers[segment] = segments.readers[segment]! - 1
  }
}

class Check {
  private readonly stream: StoreStream
  private readonly segment: number
  private readonly pace: Pace

  constructor(stream: StoreStream, segment: number, pace: Pace) {
    this.stream = stream
    this.segment = segment
    this.pace = pace
  }

  *run(): Task<StructureDamage[] | undefined> {
    const { segment } = this
    const header = yield* this.found(0, 1, (bytes) => this.header(bytes))
    if (header === 'ended') return undefined
    if (header === undefined) return [{ segment, block: 0, what: 'segment header' }]
    const last = this.stream.reader.segmentBlocks - 1
    const trailer = yield* this.found(last, 1, (bytes) => this.trailer(bytes))
    if (trailer === 'ended') return undefined
    if (trailer === undefined) return [{ segment, block: last, what: 'trailer' }]
    const { summaryBlocks } = trailer
    const decode = (bytes: Uint8Array): SummaryEntry[] | undefined =>
      decodeSummary(bytes, trailer, this.stream.context.crc32c)
    const entries = summaryBlocks === 0 ? [] : yield* this.found(last - summaryBlocks, summaryBlocks, decode)
    if (entries === 'ended') return undefined
    if (entries === undefined) return [{ segment, block: last - summaryBlocks, what: 'summary' }]
    return yield* this.headers(entries)
  }

  private *headers(entries: readonly SummaryEntry[]): Task<StructureDamage[] | undefined> {
    const damages: StructureDamage[] = []
    for (let at = 0; at < entries.length;) {
      const run = nearBy(entries, at, Math.min(READ_BLOCKS, this.pace.blocksMost()))
      const { startBlock } = run[0]!
      const end = endOf(run.at(-1)!)
      const bad = yield* this.found(startBlock, end - startBlock, (bytes) =>
        run.filter((entry) => !this.isWhole(bytes.subarray((entry.startBlock - startBlock) * BLOCK_BYTES), entry)),
      )
      if (bad === 'ended') return undefined
      for (const entry of bad ?? run) {
        const isWhole = (bytes: Uint8Array): true | undefined => (this.isWhole(bytes, entry) ? true : undefined)
        const found = yield* this.found(entry.startBlock, entry.headerBlocks, isWhole)
        if (found === 'ended') return undefined
        if (found === undefined) damages.push({ segment: this.segment, block: entry.startBlock, what: 'batch header' })
      }
      at += run.length
    }
    return damages
  }

  /** What is made of some blocks; undefined when they cannot be read, or nothing is made of them, twice. */
  private *found<T>(
    block: number,
    blocks: number,
    make: (bytes: Uint8Array) => T | undefined,
  ): Task<T | 'ended' | undefined> {
    const { context } = this.stream
    const offset = segmentOffsetBytes(context.segmentBytes, this.segment) + block * BLOCK_BYTES
    for (let looks = 0; looks < LOOKS; looks++) {
      if (!(yield* this.pace.wait(blocks * BLOCK_BYTES)) || this.stream.failed) return 'ended'
      // The bytes are there for this turn only.
      const found = yield* until<T | undefined>((resume) =>
        context.disk.readMedium(offset, blocks * BLOCK_BYTES, (bytes) =>
          resume(bytes === undefined ? undefined : make(bytes))),
      )
      if (this.stream.failed) return 'ended'
      if (found !== undefined) return found
    }
    return undefined
  }

  private header(block: Uint8Array): SegmentHeader | undefined {
    const { context: { crc32c, diskUuid }, segments } = this.stream
    const header = decodeSegmentHeader(block, crc32c, { diskUuid, segment: this.segment })
    const isIts = header?.generation === segments.generation[this.segment] && header?.free === false
    return isIts ? header : undefined
  }

  private trailer(block: Uint8Array): Trailer | undefined {
    const { context, segments, reader } = this.stream
    return decodeTrailer(block, context.crc32c, {
      diskUuid: context.diskUuid,
      segment: this.segment,
      generation: segments.generation[this.segment]!,
      segmentBlocks: reader.segmentBlocks,
    })
  }

  private isWhole(bytes: Uint8Array, { startBlock, headerCrc }: SummaryEntry): boolean {
    const { context: { diskTag, crc32c }, segments } = this.stream
    const generation = segments.generation[this.segment]!
    const header = peekBatchHeader(bytes, { diskTag, segment: this.segment, generation, startBlock })
    if (header === undefined || header.headerCrc !== headerCrc || !checkBatchHeader(bytes, crc32c)) return false
    return decodeRecords(bytes, header) !== undefined
  }
}

const endOf = ({ startBlock, headerBlocks }: SummaryEntry): number => startBlock + headerBlocks

/** Entries from `at` on that one read of so many blocks brings. */
function nearBy(entries: readonly SummaryEntry[], at: number, most: number): SummaryEntry[] {
  const first = entries[at]!
  let end = at + 1
  while (
    end < entries.length &&
    entries[end]!.startBlock - endOf(entries[end - 1]!) <= GAP_BLOCKS &&
    endOf(entries[end]!) - first.startBlock <= most
  )
    end++
  return entries.slice(at, end)
}
