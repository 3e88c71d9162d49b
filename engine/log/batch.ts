/**
 * The header of a batch: 80 bytes and the records behind it, padded to a block, under one checksum (FORMAT.md 2.2).
 *
 * Reading is in two steps, because a header may be longer than the block that was read first: `peekBatchHeader`
 * believes nothing but ranges and tells the length, `checkBatchHeader` proves the whole region. Only then are the
 * records decoded. Garbage gets undefined or false, never a throw.
 */
import { assert } from '../assert.ts'
import type { Crc32c } from '../ports.ts'
import { BLOCK_BYTES, UNITS_PER_BLOCK, VOLUME_BYTES_MAX } from '../units.ts'
import { getU48, putU48Padded, viewOf } from './bytes.ts'
import { decodeRecord, RECORD_FIXED_BYTES, RECORD_KIND, recordBytes, recordPayloadUnits } from './record.ts'
import type { RecordHeader } from './record.ts'
import { FORMAT_VERSION } from './superblock.ts'

export const BATCH_HEADER_BYTES = 80
/** `HFBT` in the order of the disk. */
export const BATCH_MAGIC = 0x54424648
const CRC_AT = 8
const FOUR_ZEROES = new Uint8Array(4)

export interface BatchFields {
  /** Batch header and records, without padding. */
  headerBytes: number
  /** Header blocks and payload blocks. */
  totalBlocks: number
  recordCount: number
  batch: number
  durableBatch: number
  segment: number
  generation: number
  incarnation: number
  streamId: number
  /** Where it stands in its segment. */
  startBlock: number
  /** 8 bytes drawn at each opening and shown to nobody, so that a guest's data cannot pass for a batch. */
  salt: Uint8Array
}

export interface BatchHeader extends BatchFields {
  headerCrc: number
}

export interface BatchExpectation {
  /** First 8 bytes of the disk's uuid. */
  diskTag: Uint8Array
  segment: number
  generation: number
  incarnation?: number
  startBlock?: number
  salt?: Uint8Array
  /** Blocks from the batch's start to where batches end at the latest. */
  blocksMost?: number
}

export function headerBlocksFor(headerBytes: number): number {
  return Math.ceil(headerBytes / BLOCK_BYTES)
}

/**
 * Write the batch header in front of the records that stand from byte 80 on, and zeroes behind them up to the block.
 * @param bytes  the header region, whole blocks; `view` looks at the same bytes
 * @returns the header's checksum
 */
export function finishBatchHeader(
  bytes: Uint8Array,
  view: DataView,
  fields: BatchFields,
  diskTag: Uint8Array,
  crc32c: Crc32c,
): number {
  const { headerBytes } = fields
  const paddedBytes = headerBlocksFor(headerBytes) * BLOCK_BYTES
  assert(bytes.length >= paddedBytes, 'the header region is whole blocks')
  assert(fields.totalBlocks * BLOCK_BYTES >= paddedBytes && fields.recordCount >= 1, 'a batch holds its header')
  view.setUint32(0, BATCH_MAGIC, true)
  view.setUint16(4, FORMAT_VERSION, true)
  view.setUint16(6, 0, true)
  view.setUint32(CRC_AT, 0, true)
  view.setUint32(12, headerBytes, true)
  view.setUint32(16, fields.totalBlocks, true)
  view.setUint32(20, fields.recordCount, true)
  putU48Padded(view, 24, fields.batch)
  putU48Padded(view, 32, fields.durableBatch)
  view.setUint32(40, fields.segment, true)
  view.setUint32(44, fields.generation, true)
  view.setUint32(48, fields.incarnation, true)
  view.setUint32(52, fields.streamId, true)
  for (let i = 0; i < 8; i++) view.setUint8(56 + i, diskTag[i]!)
  view.setUint32(64, fields.startBlock, true)
  view.setUint32(68, 0, true)
  for (let i = 0; i < 8; i++) view.setUint8(72 + i, fields.salt[i]!)
  bytes.fill(0, headerBytes, paddedBytes)
  const headerCrc = crc32c(bytes.subarray(0, headerBytes)) >>> 0
  view.setUint32(CRC_AT, headerCrc, true)
  return headerCrc
}

/**
 * Fields and ranges of what may be a batch header; its checksum has not been looked at.
 * @param firstBlock  at least 80 bytes
 */
export function peekBatchHeader(firstBlock: Uint8Array, expect: BatchExpectation): BatchHeader | undefined {
  if (firstBlock.length < BATCH_HEADER_BYTES) return undefined
  const view = viewOf(firstBlock)
  if (view.getUint32(0, true) !== BATCH_MAGIC || view.getUint16(4, true) !== FORMAT_VERSION) return undefined
  const header: BatchHeader = {
    headerCrc: view.getUint32(CRC_AT, true),
    headerBytes: view.getUint32(12, true),
    totalBlocks: view.getUint32(16, true),
    recordCount: view.getUint32(20, true),
    batch: getU48(view, 24),
    durableBatch: getU48(view, 32),
    segment: view.getUint32(40, true),
    generation: view.getUint32(44, true),
    incarnation: view.getUint32(48, true),
    streamId: view.getUint32(52, true),
    startBlock: view.getUint32(64, true),
    salt: Uint8Array.from(firstBlock.subarray(72, 80)),
  }
  if (header.segment !== expect.segment || header.generation !== expect.generation) return undefined
  if (expect.incarnation !== undefined && header.incarnation !== expect.incarnation) return undefined
  if (expect.startBlock !== undefined && header.startBlock !== expect.startBlock) return undefined
  for (let i = 0; i < 8; i++) {
    if (firstBlock[56 + i] !== expect.diskTag[i]) return undefined
    if (expect.salt !== undefined && firstBlock[72 + i] !== expect.salt[i]) return undefined
  }
  const { headerBytes, totalBlocks, recordCount } = header
  if (headerBytes % 8 !== 0 || headerBytes < BATCH_HEADER_BYTES + recordCount * RECORD_FIXED_BYTES) return undefined
  if (recordCount < 1 || totalBlocks < headerBlocksFor(headerBytes)) return undefined
  if (expect.blocksMost !== undefined && totalBlocks > expect.blocksMost) return undefined
  return header.durableBatch < header.batch ? header : undefined
}

/** Whether the region (at least `headerBytes` long) is the one that was written. */
export function checkBatchHeader(headerRegion: Uint8Array, crc32c: Crc32c): boolean {
  if (headerRegion.length < BATCH_HEADER_BYTES) return false
  const view = viewOf(headerRegion)
  const headerBytes = view.getUint32(12, true)
  if (headerBytes < BATCH_HEADER_BYTES || headerBytes > headerRegion.length) return false
  // As if the field were zero, without writing into what may be somebody's cache.
  const before = crc32c(FOUR_ZEROES, crc32c(headerRegion.subarray(0, CRC_AT)))
  return crc32c(headerRegion.subarray(CRC_AT + 4, headerBytes), before) >>> 0 === view.getUint32(CRC_AT, true)
}

/** Both steps at once, for a region that is known to hold the whole header; a longer header gets undefined. */
export function decodeBatchHeader(
  headerRegion: Uint8Array,
  crc32c: Crc32c,
  expect: BatchExpectation,
): BatchHeader | undefined {
  const header = peekBatchHeader(headerRegion, expect)
  return header !== undefined && checkBatchHeader(headerRegion, crc32c) ? header : undefined
}

/** No volume has a block there, and a map no place for one: it would be taken for one of another volume. */
const endsBeyondVolumes = ({ kind, lba, blockCount }: RecordHeader): boolean =>
  kind !== RECORD_KIND.control && lba + blockCount > VOLUME_BYTES_MAX / BLOCK_BYTES

/** The records of a checked header, undefined when they do not fill it exactly or point outside the batch. */
export function decodeRecords(headerRegion: Uint8Array, header: BatchHeader): RecordHeader[] | undefined {
  const { headerBytes, recordCount } = header
  if (headerBytes > headerRegion.length) return undefined
  const view = viewOf(headerRegion)
  const payloadFrom = headerBlocksFor(headerBytes) * UNITS_PER_BLOCK
  const payloadBelow = header.totalBlocks * UNITS_PER_BLOCK
  const records: RecordHeader[] = []
  let at = BATCH_HEADER_BYTES
  for (let i = 0; i < recordCount; i++) {
    const record = decodeRecord(view, at, headerBytes)
    if (record === undefined || endsBeyondVolumes(record)) return undefined
    if (record.kind === RECORD_KIND.write || record.kind === RECORD_KIND.control) {
      const { payloadUnits } = record
      if (payloadUnits < payloadFrom || payloadUnits + recordPayloadUnits(record) > payloadBelow) return undefined
    }
    records.push(record)
    at += recordBytes(record)
  }
  return at === headerBytes ? records : undefined
}
