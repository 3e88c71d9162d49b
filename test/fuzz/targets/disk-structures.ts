/**
 * The structures of a disk one by one, of a disk that somebody made: what is changed is sealed again, so that every
 * checksum fits. Promises: a decoder answers a value or that it is none; it never throws.
 */
import { crc32c } from '../../../dataplane/checksum.ts'
import { BATCH_HEADER_BYTES, decodeBatchHeader, decodeRecords, finishBatchHeader } from '../../../engine/log/batch.ts'
import { seal } from '../../../engine/log/block-seal.ts'
import { hexToUuid } from '../../../engine/log/bytes.ts'
import { ENTRY_WORDS } from '../../../engine/log/entry.ts'
import { decodeEntryValue, decodePageValue } from '../../../engine/log/index-keys.ts'
import { decodeSegmentValue, parseJson } from '../../../engine/log/checkpoint.ts'
import { encodeRecord, recordBytes } from '../../../engine/log/record.ts'
import { decodeRoot, chooseRoot, encodeRoot } from '../../../engine/log/root.ts'
import {
  decodeSegmentHeader, decodeSummary, decodeTrailer, encodeSeal, encodeSegmentHeader, SUMMARY_ENTRY_BYTES,
} from '../../../engine/log/segment.ts'
import { chooseSuperblock, decodeSuperblock, encodeSuperblock } from '../../../engine/log/superblock.ts'
import { decodeWaiting } from '../../../engine/log/waiting-records.ts'
import { BLOCK_BYTES } from '../../../engine/units.ts'
import { decodeDescriptor } from '../../../engine/volume/descriptor.ts'
import { decodeLeaf } from '../../../engine/volume/snapshot-leaves.ts'
import { descriptorOf, writeItem, zeroItem } from '../../cli/offline-disk.ts'
import { chosen, oneOf } from '../target.ts'
import type { Target } from '../target.ts'

const DISK = '11'.repeat(16)
const VOLUME = '22'.repeat(16)
const diskTag = hexToUuid(DISK).subarray(0, 8)
const salt = new Uint8Array(8)

/** One block, as if it had been written so. */
function sealed(bytes: Buffer): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES)
  bytes.copy(block, 0, 0, BLOCK_BYTES - 4)
  seal(block, crc32c)
  return block
}

const expect = { diskUuid: DISK, segment: 3 }

function batchHeader(bytes: Buffer): void {
  const region = Buffer.alloc(2 * BLOCK_BYTES)
  bytes.copy(region)
  const claimed = region.readUInt32LE(12)
  const headerBytes = Math.min(claimed, region.length)
  region.writeUInt32LE(0, 8)
  region.writeUInt32LE(crc32c(region.subarray(0, headerBytes)) >>> 0, 8)
  const header = decodeBatchHeader(region, crc32c, { diskTag, segment: 3, generation: 1 })
  if (header !== undefined) decodeRecords(region, header)
}

function sealOf(bytes: Buffer): void {
  if (bytes.length < 80) return
  const block = sealed(bytes.subarray(0, 80))
  const summary = Buffer.alloc(BLOCK_BYTES)
  bytes.copy(summary, 0, 80)
  const batches = block.readUInt32LE(56)
  if (batches * SUMMARY_ENTRY_BYTES <= summary.length) {
    block.writeUInt32LE(crc32c(summary.subarray(0, batches * SUMMARY_ENTRY_BYTES)) >>> 0, 68)
    seal(block, crc32c)
  }
  const trailer = decodeTrailer(block, crc32c, { ...expect, segmentBlocks: 8192 })
  if (trailer !== undefined) decodeSummary(summary, trailer, crc32c)
}

const TITLE = { name: 's', labels: { a: 'b' }, createdAtMs: 1 }
const SNAPSHOT = { id: VOLUME, seq: 3, pinnedBy: null, sizeBytes: 2 ** 20, title: TITLE }

const DECODERS = [
  (bytes: Buffer) => chooseSuperblock([sealed(bytes), bytes.length === BLOCK_BYTES ? bytes : sealed(bytes)], crc32c),
  (bytes: Buffer) => decodeSuperblock(sealed(bytes), crc32c),
  (bytes: Buffer) => chooseRoot([sealed(bytes)], { diskUuid: DISK, streamId: 0 }, crc32c),
  (bytes: Buffer) => decodeRoot(sealed(bytes), crc32c),
  (bytes: Buffer) => decodeSegmentHeader(sealed(bytes), crc32c, expect),
  sealOf,
  batchHeader,
  decodePageValue,
  decodeEntryValue,
  decodeSegmentValue,
  decodeWaiting,
  decodeDescriptor,
  decodeLeaf,
  parseJson,
] as const

export const target: Target = {
  parsers: [
    'engine/log/superblock.ts', 'engine/log/root.ts', 'engine/log/segment.ts', 'engine/log/batch.ts',
    'engine/log/record.ts', 'engine/log/index-keys.ts', 'engine/log/bytes.ts', 'engine/log/block-seal.ts',
    'engine/log/waiting-records.ts', 'engine/volume/descriptor.ts', 'engine/volume/snapshot-leaves.ts',
  ],
  seeds: () => [
    chosen(0, encodeSuperblock({
      featuresCompatible: 0, featuresReadOnly: 0, featuresIncompatible: 0, clusterId: DISK, nodeId: VOLUME,
      diskUuid: DISK, generation: 7, createdMs: 1, segmentBytes: 32 * 2 ** 20, segmentCount: 9, streamCount: 1,
      nodeName: 'n1', pool: 'default', tags: ['ssd', 'b'],
    }, crc32c).subarray(0, 520)),
    chosen(2, encodeRoot({
      streamId: 0, diskUuid: DISK, generation: 2, checkpoint: 3, watermarkBatch: 4, incarnation: 5, flags: 1,
      bootId: VOLUME, indexUuid: VOLUME, salt,
    }, crc32c).subarray(0, 104)),
    chosen(4, encodeSegmentHeader({
      streamId: 0, ...expect, generation: 1, firstBatch: 1, incarnation: 1, free: false,
    }, crc32c).subarray(0, 56)),
    chosen(5, sealSeed()),
    chosen(6, batchSeed()),
    chosen(7, Buffer.concat([Buffer.of(1, 0, 2, 0, 5, 9, 0, 0), Buffer.alloc(2 * 4 * ENTRY_WORDS, 1)])),
    chosen(8, Buffer.alloc(4 * ENTRY_WORDS, 2)),
    chosen(9, Buffer.alloc(40, 3)),
    chosen(10, Buffer.concat([Buffer.alloc(12), batchSeed().subarray(BATCH_HEADER_BYTES)])),
    chosen(11, JSON.stringify(descriptorOf(VOLUME, {
      name: 'v', sizeBytes: 2 ** 20, slices: [[DISK, 1, [[0, 1, 1]]]],
      snapshots: [SNAPSHOT], rollbacks: [],
    } as Parameters<typeof descriptorOf>[1]))),
    chosen(12, JSON.stringify({ format: 1, snapshots: [SNAPSHOT] })),
  ],
  words: ['null', '{}', '[]', '-1', '1e999', '"x"', '"format":1', '"__proto__":', 'HFSUPER1', 'HFBT'],
  bytesMax: 2 * BLOCK_BYTES,
  execute: (input) => oneOf(input, DECODERS),
}

function sealSeed(): Buffer {
  const bytes = encodeSeal({
    streamId: 0, ...expect, generation: 1, firstBatch: 1, incarnation: 1, endBlock: 9, flags: 0,
    entries: [1, 2].map((batch) => ({ batch, startBlock: 3 * batch, headerBlocks: 1, headerCrc: batch })),
  }, crc32c)
  return Buffer.concat([bytes.subarray(BLOCK_BYTES, BLOCK_BYTES + 80), bytes.subarray(0, 32)])
}

function batchSeed(): Buffer {
  const items = [writeItem(VOLUME, { lba: 7, seq: 1 }, [1, 2]), zeroItem(VOLUME, { lba: 0, blocks: 9, seq: 2 })]
  const records = items.map(({ record }) => record)
  const headerBytes = BATCH_HEADER_BYTES + records.reduce((sum, record) => sum + recordBytes(record), 0)
  const bytes = new Uint8Array(BLOCK_BYTES)
  const view = new DataView(bytes.buffer)
  let at = BATCH_HEADER_BYTES
  let units = 64
  for (const record of records) {
    record.payloadUnits = units
    units += 128
    at += encodeRecord(view, at, record)
  }
  finishBatchHeader(bytes, view, {
    headerBytes, totalBlocks: 8, recordCount: 2, batch: 9, durableBatch: 8, segment: 3, generation: 1, incarnation: 1,
    streamId: 0, startBlock: 1, salt,
  }, diskTag, crc32c)
  return Buffer.from(bytes.buffer, 0, headerBytes)
}
