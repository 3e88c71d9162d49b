/** The segment that a log fills: opened with a header, filled batch behind batch, sealed with summary and trailer. */
import type { Crc32c } from '../ports.ts'
import { BLOCK_BYTES } from '../units.ts'
import { segmentOffsetBytes } from './geometry.ts'
import type { LogBatch } from './log-batch.ts'
import { encodeSeal, encodeSegmentHeader, summaryBlocksFor, type SummaryEntry } from './segment.ts'
import type { SegmentTable } from './segment-table.ts'

export interface OpenSegmentOptions {
  crc32c: Crc32c
  segments: SegmentTable
  diskUuid: string
  streamId: number
  segmentBytes: number
  incarnation: number
  /** A segment that is granted and initialised, or undefined: then the log is resumed when there is one. */
  takeSegment(): number | undefined
  writeFrame(offsetBytes: number, bytes: Uint8Array): void
}

export class OpenSegment {
  /** -1: none is open. */
  number = -1
  generation = 0
  /** Where the next batch begins. */
  block = 0
  private readonly o: OpenSegmentOptions
  private readonly segmentBlocks: number
  private summary: SummaryEntry[] = []

  constructor(options: OpenSegmentOptions) {
    this.o = options
    this.segmentBlocks = options.segmentBytes / BLOCK_BYTES
  }

  get blocksLeft(): number {
    return this.number < 0
      ? 0
      : Math.max(0, this.segmentBlocks - this.block - summaryBlocksFor(this.summary.length + 1) - 1)
  }

  /** Where the next batch begins, from the disk's start. */
  get offsetBytes(): number {
    return segmentOffsetBytes(this.o.segmentBytes, this.number) + this.block * BLOCK_BYTES
  }

  /** A batch has its place. */
  fill({ number, startBlock, totalBlocks, headerBlocks, headerCrc }: LogBatch): void {
    this.summary.push({ startBlock, headerCrc, batch: number, headerBlocks })
    this.o.segments.lastBatch[this.number] = number
    this.block += totalBlocks
  }

  /** False when no segment is ready. */
  openNext(firstBatch: number): boolean {
    const segment = this.o.takeSegment()
    if (segment === undefined) return false
    this.generation = this.o.segments.open(segment, firstBatch)
    this.number = segment
    this.block = 1
    this.summary = []
    const { crc32c, diskUuid, streamId, incarnation, segmentBytes } = this.o
    const { generation } = this
    const header = encodeSegmentHeader(
      { streamId, diskUuid, segment, generation, firstBatch, incarnation, free: false },
      crc32c,
    )
    this.o.writeFrame(segmentOffsetBytes(segmentBytes, segment), header)
    return true
  }

  seal(lastBatch: number): void {
    const { crc32c, diskUuid, streamId, incarnation, segmentBytes, segments } = this.o
    const { number: segment, generation } = this
    const bytes = encodeSeal(
      {
        streamId,
        diskUuid,
        segment,
        generation,
        firstBatch: segments.firstBatch[segment]!,
        incarnation,
        endBlock: this.block,
        flags: 0,
        entries: this.summary,
      },
      crc32c,
    )
    const offset = segmentOffsetBytes(segmentBytes, segment) + segmentBytes - bytes.length
    this.o.writeFrame(offset, bytes)
    segments.seal(segment, lastBatch)
    this.number = -1
  }
}
