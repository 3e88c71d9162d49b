/** Lays records out as a batch (FORMAT.md 2.2): the header with all records, then their blobs, padded to blocks. */
import type { Crc32c } from '../ports.ts'
import { BLOCK_BYTES, MIB, UNITS_PER_BLOCK } from '../units.ts'
import { BATCH_HEADER_BYTES, finishBatchHeader, headerBlocksFor } from './batch.ts'
import type { Append, HeaderBuffer, LogBatch } from './log-batch.ts'
import { encodeRecord, RECORD_FLAG, recordBytes } from './record.ts'
import type { SegmentTable } from './segment-table.ts'

export interface BatchWriterOptions {
  crc32c: Crc32c
  segments: SegmentTable
  diskTag: Uint8Array
  streamId: number
  incarnation: number
  salt: Uint8Array
}

const HEADER_BYTES_MAX = 16 * BLOCK_BYTES
const PAYLOAD_UNITS_MAX = (4 * MIB) / 64
const ZEROES = new Uint8Array(BLOCK_BYTES)

/** How many appends of the head of a queue go into one batch of at most so many blocks. */
export function takeable(queue: readonly Append[], roomBlocks: number): number {
  let headerBytes = BATCH_HEADER_BYTES
  let units = 0
  let count = 0
  for (const append of queue) {
    headerBytes += recordBytes(append.record)
    units += append.payloadUnits
    if (count > 0 && (headerBytes > HEADER_BYTES_MAX || units > PAYLOAD_UNITS_MAX)) break
    if (headerBlocksFor(headerBytes) + Math.ceil(units / UNITS_PER_BLOCK) > roomBlocks) break
    count++
  }
  return count
}

/** Blocks that a batch of the cleaner's copies alone would take. */
export function movedBlocks(appends: readonly Append[]): number {
  let headerBytes = 0
  let units = 0
  for (const { record, payloadUnits } of appends) {
    if ((record.flags & RECORD_FLAG.moved) === 0) continue
    headerBytes += recordBytes(record)
    units += payloadUnits
  }
  if (headerBytes === 0) return 0
  return headerBlocksFor(BATCH_HEADER_BYTES + headerBytes) + Math.ceil(units / UNITS_PER_BLOCK)
}

export class BatchWriter {
  private readonly o: BatchWriterOptions
  private readonly headers: HeaderBuffer[] = []

  constructor(options: BatchWriterOptions) {
    this.o = options
  }

  /** What has to be written for a batch; its appends learn their places. */
  layOut(batch: LogBatch, durableBatch: number): Uint8Array[] {
    const { segments } = this.o
    const { appends, segment, startBlock } = batch
    let headerBytes = BATCH_HEADER_BYTES
    for (const append of appends) headerBytes += recordBytes(append.record)
    const headerBlocks = headerBlocksFor(headerBytes)
    const header = this.takeHeader(headerBlocks)
    batch.header = header
    const buffers: Uint8Array[] = [header.bytes.subarray(0, headerBlocks * BLOCK_BYTES)]
    let units = 0
    let at = BATCH_HEADER_BYTES
    for (const append of appends) {
      const { record } = append
      const payloadAt = headerBlocks * UNITS_PER_BLOCK + units
      if (append.payloadUnits > 0) record.payloadUnits = payloadAt
      if (record.bornBatch === 0) record.bornBatch = batch.number
      else segments.holdsBorn(segment, record.bornBatch)
      at += encodeRecord(header.view, at, record)
      append.segment = segment
      append.units = append.payloadUnits > 0 ? startBlock * UNITS_PER_BLOCK + payloadAt : 0
      append.batch = batch
      if (!append.mapOnly) segments.mixed[segment] = 1
      for (const blob of append.payload) buffers.push(blob)
      units += append.payloadUnits
      if (append.durable) batch.needsSync = true
    }
    const padUnits = (UNITS_PER_BLOCK - (units % UNITS_PER_BLOCK)) % UNITS_PER_BLOCK
    if (padUnits > 0) buffers.push(ZEROES.subarray(0, padUnits * 64))
    batch.headerBlocks = headerBlocks
    batch.totalBlocks = headerBlocks + Math.ceil(units / UNITS_PER_BLOCK)
    batch.headerCrc = finishBatchHeader(
      buffers[0]!,
      header.view,
      {
        headerBytes,
        totalBlocks: batch.totalBlocks,
        recordCount: appends.length,
        batch: batch.number,
        durableBatch,
        segment,
        generation: batch.generation,
        incarnation: this.o.incarnation,
        streamId: this.o.streamId,
        startBlock,
        salt: this.o.salt,
      },
      this.o.diskTag,
      this.o.crc32c,
    )
    return buffers
  }

  /** The batch is written. */
  written(batch: LogBatch): void {
    this.headers.push(batch.header!)
    batch.header = undefined
  }

  /** Header regions are reused; most are one or two blocks. */
  private takeHeader(blocks: number): HeaderBuffer {
    const found = this.headers.pop()
    if (found !== undefined && found.bytes.length >= blocks * BLOCK_BYTES) return found
    const bytes = new Uint8Array(Math.max(blocks, 2) * BLOCK_BYTES)
    return { bytes, view: new DataView(bytes.buffer) }
  }
}
