/**
 * Whether what describes a sealed segment is on the medium as it was written: its header, trailer and summary, and the
 * headers of its batches. A read of a block never looks at them, so that they may rot for as long as nobody cleans the
 * segment or builds the index anew (FORMAT.md section 3).
 *
 *   tail of the segment -> where the headers are -> each at its place: with the blocks beside it, or by itself
 *
 * Nothing is changed, and nothing kept from its work: what is near one another is read at once, past the page cache.
 * Headers lie between the blocks that they describe, so whoever reads those has them, too (engine/volume/deep-walk.ts).
 */
import { until, type Task } from '../task.ts'
import { BLOCK_BYTES } from '../units.ts'
import { checkBatchHeader, peekBatchHeader } from './batch.ts'
import { segmentOffsetBytes } from './geometry.ts'
import { GAP_BLOCKS, READ_BLOCKS, type Pace } from './medium-pace.ts'
import {
  decodeSegmentHeader, decodeSummary, decodeTrailer, summaryBlocksFor, type SummaryEntry, type Trailer,
} from './segment.ts'
import { SEGMENT_STATE } from './segment-table.ts'
import type { StoreStream } from './store-stream.ts'

export interface StructureDamage {
  segment: number
  /** From its start. */
  block: number
  what: 'segment header' | 'trailer' | 'summary' | 'batch header'
}

/** Which segments have to be looked at, and who is told of it. */
export interface StructureWatch {
  isWanted(stream: StoreStream, segment: number): boolean
  /** All of it was looked at, under its present generation. */
  looked(stream: StoreStream, segment: number, damages: readonly StructureDamage[]): void
}

/** A header, and where it has to be. */
export interface HeaderPlace {
  startBlock: number
  blocks: number
  /** Of a batch; unset: it is the segment's. */
  entry?: SummaryEntry
}

const LOOKS = 2

/** One that is not sealed has nothing to look at yet, nor has one of which the seal is still being written. */
export const isCheckable = ({ segments, log }: StoreStream, segment: number): boolean =>
  segments.state[segment] === SEGMENT_STATE.sealed && log.isSegmentWritten(segments.lastBatch[segment]!)

/** Of one segment, by itself. Undefined: it was ended, or the disk failed. */
export function* checkSegment(
  stream: StoreStream,
  segment: number,
  pace: Pace,
): Task<StructureDamage[] | undefined> {
  if (!isCheckable(stream, segment)) return []
  const structures = new SegmentStructures(stream, segment, pace)
  try {
    return (yield* structures.open()) && (yield* structures.all()) ? structures.damages : undefined
  } finally {
    structures.close()
  }
}

export class SegmentStructures {
  readonly segment: number
  readonly damages: StructureDamage[] = []
  /** By place; known when it is open. */
  headers: readonly HeaderPlace[] = []
  private readonly stream: StoreStream
  private readonly pace: Pace

  /** It is not given back until `close`, so that what lies there stays. */
  constructor(stream: StoreStream, segment: number, pace: Pace) {
    this.stream = stream
    this.segment = segment
    this.pace = pace
    const { readers } = stream.segments
    readers[segment] = readers[segment]! + 1
  }

  close(): void {
    const { readers } = this.stream.segments
    readers[this.segment] = readers[this.segment]! - 1
  }

  /** Read where the headers are. False: it was ended, or the disk failed. */
  *open(): Task<boolean> {
    const entries = yield* this.summary()
    if (entries === 'ended') return false
    this.headers = [
      { startBlock: 0, blocks: 1 },
      ...entries.map((entry) => ({ startBlock: entry.startBlock, blocks: entry.headerBlocks, entry })),
    ]
    return true
  }

  /** @param bytes  from its place on */
  isWhole({ startBlock, entry }: HeaderPlace, bytes: Uint8Array): boolean {
    const { context: { diskUuid, diskTag, crc32c }, segments } = this.stream
    const { segment } = this
    const generation = segments.generation[segment]!
    if (entry === undefined) {
      const header = decodeSegmentHeader(bytes.subarray(0, BLOCK_BYTES), crc32c, { diskUuid, segment })
      return header?.generation === generation && header.free === false
    }
    const header = peekBatchHeader(bytes, { diskTag, segment, generation, startBlock })
    // The summary names the checksum, so it is the one that was written.
    return header?.headerCrc === entry.headerCrc && checkBatchHeader(bytes, crc32c)
  }

  /** Look again at headers that did not fit: what is damaged is noted. False as of `open`. */
  *lookAgain(suspects: readonly HeaderPlace[]): Task<boolean> {
    for (const one of suspects) {
      const found = yield* this.found(one.startBlock, one.blocks, LOOKS, (bytes) =>
        this.isWhole(one, bytes) ? true : undefined)
      if (found === 'ended') return false
      if (found === undefined) this.note(one.startBlock, one.entry === undefined ? 'segment header' : 'batch header')
    }
    return true
  }

  /** Look at all headers, those near one another with one read. False as of `open`. */
  *all(): Task<boolean> {
    const { headers } = this
    for (let at = 0; at < headers.length;) {
      const run = nearBy(headers, at, Math.min(READ_BLOCKS, this.pace.blocksMost()))
      const { startBlock } = run[0]!
      const bad = yield* this.found(startBlock, endOf(run.at(-1)!) - startBlock, 1, (bytes) =>
        run.filter((one) => !this.isWhole(one, bytes.subarray((one.startBlock - startBlock) * BLOCK_BYTES))))
      if (bad === 'ended' || !(yield* this.lookAgain(bad ?? run))) return false
      at += run.length
    }
    return true
  }

  /** Where it is damaged nothing is known of the batches. */
  private *summary(): Task<readonly SummaryEntry[] | 'ended'> {
    const { segmentBlocks } = this.stream.reader
    const last = segmentBlocks - 1
    const blocks = Math.min(this.tailBlocks(), segmentBlocks)
    const both = (bytes: Uint8Array): { trailer: Trailer; entries: SummaryEntry[] | undefined } | undefined => {
      const trailer = this.trailer(bytes.subarray(-BLOCK_BYTES))
      if (trailer === undefined) return undefined
      if (trailer.summaryBlocks === 0) return { trailer, entries: [] }
      const from = bytes.length - (trailer.summaryBlocks + 1) * BLOCK_BYTES
      return { trailer, entries: from < 0 ? undefined : this.entries(bytes.subarray(from), trailer) }
    }
    const tail = (yield* this.found(segmentBlocks - blocks, blocks, 1, both)) ??
      (yield* this.found(last, 1, LOOKS, both))
    if (tail === 'ended') return 'ended'
    if (tail === undefined) return this.note(last, 'trailer')
    if (tail.entries !== undefined) return tail.entries
    const { summaryBlocks } = tail.trailer
    const entries = yield* this.found(last - summaryBlocks, summaryBlocks, LOOKS, (bytes) =>
      this.entries(bytes, tail.trailer))
    return entries ?? this.note(last - summaryBlocks, 'summary')
  }

  /** Of trailer and summary, by the batches that it is said to hold; what is damaged may say otherwise. */
  private tailBlocks(): number {
    const { firstBatch, lastBatch } = this.stream.segments
    const { segment } = this
    return Math.min(1 + summaryBlocksFor(lastBatch[segment]! - firstBatch[segment]! + 1), this.pace.blocksMost())
  }

  private note(block: number, what: StructureDamage['what']): [] {
    this.damages.push({ segment: this.segment, block, what })
    return []
  }

  /** What is made of some blocks; undefined when they cannot be read, or nothing is made of them, so many times. */
  private *found<T>(
    block: number,
    blocks: number,
    looks: number,
    make: (bytes: Uint8Array) => T | undefined,
  ): Task<T | 'ended' | undefined> {
    const { context } = this.stream
    const offset = segmentOffsetBytes(context.segmentBytes, this.segment) + block * BLOCK_BYTES
    for (let look = 0; look < looks; look++) {
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

  private trailer(block: Uint8Array): Trailer | undefined {
    const { context, segments, reader } = this.stream
    return decodeTrailer(block, context.crc32c, {
      diskUuid: context.diskUuid,
      segment: this.segment,
      generation: segments.generation[this.segment]!,
      segmentBlocks: reader.segmentBlocks,
    })
  }

  private entries(bytes: Uint8Array, trailer: Trailer): SummaryEntry[] | undefined {
    const summary = bytes.subarray(0, trailer.summaryBlocks * BLOCK_BYTES)
    return decodeSummary(summary, trailer, this.stream.context.crc32c)
  }
}

const endOf = ({ startBlock, blocks }: HeaderPlace): number => startBlock + blocks

/** Headers from `at` on that one read of so many blocks brings. */
function nearBy(headers: readonly HeaderPlace[], at: number, most: number): HeaderPlace[] {
  const first = headers[at]!
  let end = at + 1
  while (
    end < headers.length &&
    headers[end]!.startBlock - endOf(headers[end - 1]!) <= GAP_BLOCKS &&
    endOf(headers[end]!) - first.startBlock <= most
  )
    end++
  return headers.slice(at, end)
}
