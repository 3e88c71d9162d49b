/**
 * Reads batches back from segments: for recovery, rebuild and the cleaner. Everything it returns was checked against
 * the place it was read from (disk, segment, generation, incarnation), never believed because it looks right.
 */
import type { Crc32c, DiskPort } from '../ports.ts'
import { BLOCK_BYTES, MIB, UNIT_BYTES } from '../units.ts'
import { until, untilAll, type Task } from '../task.ts'
import {
  BATCH_MAGIC,
  checkBatchHeader,
  decodeRecords,
  headerBlocksFor,
  peekBatchHeader,
  type BatchHeader,
} from './batch.ts'
import { getU48, viewOf } from './bytes.ts'
import { segmentOffsetBytes } from './geometry.ts'
import { blockIdentity, recordSeed, volumeTag } from './identity.ts'
import { RECORD_KIND, type RecordHeader } from './record.ts'
import {
  decodeSegmentHeader,
  decodeSummary,
  decodeTrailer,
  type SegmentHeader,
  type SummaryEntry,
  type Trailer,
} from './segment.ts'

export interface ReadBatch {
  header: BatchHeader
  records: RecordHeader[]
  segment: number
  startBlock: number
}

/** What the frame of a segment says: any valid part proves that the segment is in use. */
export interface SegmentFrame {
  segment: number
  header: SegmentHeader | undefined
  trailer: Trailer | undefined
  /** Of the batch in block 1, when its header looks like one of this disk and segment. */
  first: { generation: number; incarnation: number; streamId: number; batch: number } | undefined
  /** A batch begins where its header has to be: a write that was meant for another place. */
  hasStray: boolean
}

/** Of what was read besides: whether the medium failed, and up to which batch a stray one says that all was durable. */
export interface Findings {
  failed: boolean
  durableBatch: number
}

export class LogReader {
  private readonly o: {
    disk: DiskPort
    crc32c: Crc32c
    diskUuid: string
    diskTag: Uint8Array
    segmentBytes: number
  }
  readonly segmentBlocks: number

  constructor(options: LogReader['o']) {
    this.o = options
    this.segmentBlocks = options.segmentBytes / BLOCK_BYTES
  }

  /** Bytes of a segment, undefined when the medium fails twice. @param buffer  used when it is long enough */
  *read(segment: number, block: number, blocks: number, buffer?: Uint8Array): Task<Uint8Array | undefined> {
    const { disk, segmentBytes } = this.o
    const lengthBytes = blocks * BLOCK_BYTES
    const isLongEnough = buffer !== undefined && buffer.length >= lengthBytes
    const bytes = isLongEnough ? buffer.subarray(0, lengthBytes) : new Uint8Array(lengthBytes)
    const offset = segmentOffsetBytes(segmentBytes, segment) + block * BLOCK_BYTES
    if (disk.tryRead(offset, bytes)) return bytes
    return (yield* until<boolean>((resume) => readTwice(disk, offset, bytes, resume))) ? bytes : undefined
  }

  /** What lies at a unit of a segment, undefined when the medium fails twice. Blobs begin at any unit. */
  *readUnits(segment: number, units: number, lengthUnits: number): Task<Uint8Array | undefined> {
    const { disk, segmentBytes } = this.o
    const bytes = new Uint8Array(lengthUnits * UNIT_BYTES)
    const offset = segmentOffsetBytes(segmentBytes, segment) + units * UNIT_BYTES
    if (disk.tryRead(offset, bytes)) return bytes
    return (yield* until<boolean>((resume) => readTwice(disk, offset, bytes, resume))) ? bytes : undefined
  }

  /** Frames of many segments, several reads at a time. */
  *frames(segments: number[]): Task<SegmentFrame[] | undefined> {
    const { disk, crc32c, diskUuid, segmentBytes } = this.o
    const found: SegmentFrame[] = []
    const read = (offset: number, into: Uint8Array) => (resume: (ok: boolean) => void) => {
      if (disk.tryRead(offset, into)) resume(true)
      else readTwice(disk, offset, into, resume)
    }
    // Each group is decoded before the next one is read into the same buffers.
    const atOnce = Math.min(16, segments.length)
    const heads = Array.from({ length: atOnce }, () => new Uint8Array(2 * BLOCK_BYTES))
    const tails = Array.from({ length: atOnce }, () => new Uint8Array(BLOCK_BYTES))
    for (let i = 0; i < segments.length; i += 16) {
      const group = segments.slice(i, i + 16)
      const results = yield* untilAll<boolean>(
        group.flatMap((segment, j) => [
          read(segmentOffsetBytes(segmentBytes, segment), heads[j]!),
          read(segmentOffsetBytes(segmentBytes, segment + 1) - BLOCK_BYTES, tails[j]!),
        ]),
      )
      if (results.includes(false)) return undefined
      group.forEach((segment, j) => {
        const frame = decodeSegmentHeader(heads[j]!.subarray(0, BLOCK_BYTES), crc32c, { diskUuid, segment })
        const end = decodeTrailer(tails[j]!, crc32c, { diskUuid, segment, segmentBlocks: this.segmentBlocks })
        const first = this.firstBatch(heads[j]!.subarray(BLOCK_BYTES), segment)
        // It says free of a former use: the header of the present one was written, and is lost.
        const used = Math.max(end?.generation ?? 0, first?.generation ?? 0)
        const header = frame?.free === true && used > frame.generation ? undefined : frame
        const trailer = header === undefined || end?.generation === header.generation ? end : undefined
        const hasStray = viewOf(heads[j]!).getUint32(0, true) === BATCH_MAGIC
        found.push({ segment, header, trailer, first, hasStray })
      })
    }
    return found
  }

  private firstBatch(block: Uint8Array, segment: number): SegmentFrame['first'] {
    const view = new DataView(block.buffer, block.byteOffset, block.byteLength)
    if (view.getUint32(0, true) !== BATCH_MAGIC) return undefined
    const generation = view.getUint32(44, true)
    const header = peekBatchHeader(block, { diskTag: this.o.diskTag, segment, generation, startBlock: 1 })
    if (header === undefined) return undefined
    // A header of one block can be proved here; a longer one is taken for a hint and proved by the scan.
    if (headerBlocksFor(header.headerBytes) === 1 && !checkBatchHeader(block, this.o.crc32c)) return undefined
    return { generation, incarnation: header.incarnation, streamId: header.streamId, batch: getU48(view, 24) }
  }

  /** One batch header with its records, undefined when it is not whole. */
  *batchAt(
    place: { segment: number; generation: number; incarnation?: number; salt?: Uint8Array; block: number },
    media: { failed: boolean },
  ): Task<ReadBatch | undefined> {
    if (place.block >= this.segmentBlocks - 1) return undefined
    let region = yield* this.read(place.segment, place.block, 1)
    if (region === undefined) {
      media.failed = true
      return undefined
    }
    const header = peekBatchHeader(region, {
      diskTag: this.o.diskTag,
      segment: place.segment,
      generation: place.generation,
      blocksMost: this.segmentBlocks - 1 - place.block,
      startBlock: place.block,
      ...(place.incarnation === undefined ? {} : { incarnation: place.incarnation }),
      ...(place.salt === undefined ? {} : { salt: place.salt }),
    })
    if (header === undefined) return undefined
    const blocks = headerBlocksFor(header.headerBytes)
    if (blocks > 1) region = yield* this.read(place.segment, place.block, blocks)
    if (region === undefined) {
      media.failed = true
      return undefined
    }
    if (!checkBatchHeader(region, this.o.crc32c)) return undefined
    const records = decodeRecords(region, header)
    return records === undefined ? undefined : { header, records, segment: place.segment, startBlock: place.block }
  }

  /**
   * All whole batches of an unsealed segment in the order of their place. Behind a damaged one every block is looked
   * at, because later batches tell how far the log was durable, also one that was written to the wrong place.
   */
  *scan(
    place: { segment: number; generation: number; incarnation: number; salt?: Uint8Array },
    findings: Findings,
  ): Task<ReadBatch[]> {
    const found: ReadBatch[] = []
    let block = 1
    while (block < this.segmentBlocks - 1) {
      const batch = yield* this.batchAt({ ...place, block }, findings)
      if (batch !== undefined) {
        found.push(batch)
        block += batch.header.totalBlocks
        continue
      }
      yield* this.noteStray({ ...place, block }, findings)
      const next = yield* this.nextMagic(place.segment, block + 1, findings)
      if (next === undefined) break
      block = next
    }
    return found
  }

  /**
   * A whole batch header of this incarnation at a place that is not its own is a write that went astray: where it
   * belongs there is nothing, but what it says of the batches before it is true.
   */
  *noteStray(
    place: { segment: number; incarnation: number; salt?: Uint8Array; block: number },
    findings: Findings,
  ): Task<void> {
    const { segment, block, incarnation, salt } = place
    const first = salt === undefined ? undefined : yield* this.read(segment, block, 1)
    if (first === undefined || salt === undefined) return
    const view = viewOf(first)
    const own = { segment: view.getUint32(40, true), generation: view.getUint32(44, true) }
    const header = peekBatchHeader(first, { diskTag: this.o.diskTag, ...own, incarnation, salt })
    if (header === undefined) return
    const blocks = Math.min(headerBlocksFor(header.headerBytes), this.segmentBlocks - block)
    const region = yield* this.read(segment, block, blocks)
    if (region === undefined || !checkBatchHeader(region, this.o.crc32c)) return
    findings.durableBatch = Math.max(findings.durableBatch, header.durableBatch)
  }

  private *nextMagic(segment: number, from: number, media: { failed: boolean }): Task<number | undefined> {
    const step = MIB / BLOCK_BYTES
    for (let at = from; at < this.segmentBlocks - 1; at += step) {
      const blocks = Math.min(step, this.segmentBlocks - 1 - at)
      const bytes = yield* this.read(segment, at, blocks)
      if (bytes === undefined) {
        media.failed = true
        continue
      }
      const view = new DataView(bytes.buffer)
      for (let i = 0; i < blocks; i++)
        if (view.getUint32(i * BLOCK_BYTES, true) === BATCH_MAGIC) return at + i
    }
    return undefined
  }

  /** The summary of a sealed segment. */
  *summary(trailer: Trailer): Task<SummaryEntry[] | undefined> {
    if (trailer.summaryBlocks === 0) return []
    const bytes = yield* this.read(
      trailer.segment,
      this.segmentBlocks - 1 - trailer.summaryBlocks,
      trailer.summaryBlocks,
    )
    return bytes === undefined ? undefined : decodeSummary(bytes, trailer, this.o.crc32c)
  }

  /** Whether every blob of a batch fits its checksum (needed only above the watermark). */
  *isWhole(batch: ReadBatch, media: { failed: boolean }): Task<boolean> {
    const bytes = yield* this.read(batch.segment, batch.startBlock, batch.header.totalBlocks)
    if (bytes === undefined) {
      media.failed = true
      return false
    }
    return batch.records.every((record) => this.recordIsWhole(record, bytes))
  }

  /** @param bytes  the whole batch */
  recordIsWhole(record: RecordHeader, bytes: Uint8Array): boolean {
    const { crc32c } = this.o
    let at = record.payloadUnits * UNIT_BYTES
    if (record.kind === RECORD_KIND.control)
      return (
        at + record.bodyBytes <= bytes.length &&
        crc32c(bytes.subarray(at, at + record.bodyBytes)) >>> 0 === record.bodyCrc
      )
    if (record.kind !== RECORD_KIND.write) return true
    const seed = recordSeed(volumeTag(crc32c, record.volumeId), record.epoch, record.seq)
    for (let i = 0; i < record.blockCount; i++) {
      const length = record.storedUnits[i]! * UNIT_BYTES
      if (at + length > bytes.length) return false
      const crc = (crc32c(bytes.subarray(at, at + length)) ^ blockIdentity(seed, record.lba + i)) >>> 0
      if (crc !== record.crcs[i]) return false
      at += length
    }
    return true
  }

  /** The JSON body of a control record; undefined: it cannot be read, or there is none. */
  *body(batch: ReadBatch, record: RecordHeader): Task<Uint8Array | undefined> {
    if (record.bodyBytes === 0) return undefined
    const from = record.payloadUnits * UNIT_BYTES
    const firstBlock = Math.floor(from / BLOCK_BYTES)
    const endBlock = Math.ceil((from + record.bodyBytes) / BLOCK_BYTES)
    const bytes = yield* this.read(batch.segment, batch.startBlock + firstBlock, endBlock - firstBlock)
    if (bytes === undefined) return undefined
    const body = bytes.subarray(from - firstBlock * BLOCK_BYTES).subarray(0, record.bodyBytes)
    return this.o.crc32c(body) >>> 0 === record.bodyCrc ? body : undefined
  }
}

/** An error may pass: the second one counts. */
function readTwice(disk: DiskPort, offset: number, into: Uint8Array, done: (ok: boolean) => void): void {
  disk.read(offset, into, (ok) => (ok ? done(true) : disk.read(offset, into, done)))
}
