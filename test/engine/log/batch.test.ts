/** Batch headers: in one block and in many, fixed bytes, damage, and batches that belong elsewhere. */
import fc from 'fast-check'
import t from 'tap'
import {
  BATCH_HEADER_BYTES, checkBatchHeader, decodeBatchHeader, decodeRecords, finishBatchHeader, peekBatchHeader,
} from '../../../engine/log/batch.ts'
import type { BatchFields } from '../../../engine/log/batch.ts'
import { hexToUuid, viewOf } from '../../../engine/log/bytes.ts'
import { encodeRecord, recordBytes } from '../../../engine/log/record.ts'
import type { RecordHeader } from '../../../engine/log/record.ts'
import { BLOCK_BYTES, U48_MAX, VOLUME_BYTES_MAX } from '../../../engine/units.ts'
import { crc32c, damagedCopies, DISK_UUID, golden } from './damage.ts'

const DISK_TAG = hexToUuid(DISK_UUID).subarray(0, 8)
const SALT = Uint8Array.of(9, 8, 7, 6, 5, 4, 3, 2)
const EXPECT = { diskTag: DISK_TAG, segment: 3, generation: 2 }

function writeOf(blockCount: number, payloadUnits: number): RecordHeader {
  return {
    kind: 1, flags: 0, blockCount, volumeId: new Uint8Array(16).fill(0xcc), lba: 512, part: 0, parts: 1, seq: 77,
    epoch: 1,
    attachGeneration: 0, previousSeq: 76, transform: 0, operation: 0, frontendIncarnation: 0, keyId: 0,
    requestNumber: 5,
    sliceGeneration: 0, payloadUnits, fromSegment: 0, fromGeneration: 0, fromUnits: 0, bornBatch: 0, bodyBytes: 0,
    bodyCrc: 0,
    crcs: new Uint32Array(blockCount).fill(0x1234), storedUnits: new Uint8Array(blockCount).fill(64),
  }
}

/** A batch header of `count` records with `blocks` blocks each, in a dirty buffer. */
function batchOf(count: number, blocks: number, change: Partial<BatchFields> = {}) {
  const lengthOfOne = recordBytes({ kind: 1, flags: 0, blockCount: blocks })
  const headerBytes = BATCH_HEADER_BYTES + count * lengthOfOne
  const headerBlocks = Math.ceil(headerBytes / 4096)
  const bytes = new Uint8Array(headerBlocks * 4096).fill(0xee)
  const view = viewOf(bytes)
  const records: RecordHeader[] = []
  for (let i = 0; i < count; i++) {
    records.push(writeOf(blocks, (headerBlocks + i * blocks) * 64))
    encodeRecord(view, BATCH_HEADER_BYTES + i * lengthOfOne, records[i]!)
  }
  const fields: BatchFields = {
    headerBytes, totalBlocks: headerBlocks + count * blocks, recordCount: count, batch: 1001, durableBatch: 998,
    segment: 3, generation: 2,
    incarnation: 6, streamId: 1, startBlock: 40, salt: SALT, ...change,
  }
  const headerCrc = finishBatchHeader(bytes, view, fields, DISK_TAG, crc32c)
  return { bytes, records, header: { ...fields, headerCrc } }
}

const GOLDEN = [
  '0000: 4846425401000000465e63b9c0000000',
  '0016: 0200000001000000e903000000000000',
  '0032: e6030000000000000300000002000000',
  '0048: 0600000001000000d0d1d2d3d4d5d6d7',
  '0064: 28000000000000000908070605040302',
  '0080: 0100700001000000cccccccccccccccc',
  '0096: cccccccccccccccc0002000000000000',
  '0112: 4d000000000001000100000000000000',
  '0128: 4c000000000000000000000000000000',
  '0144: 05000000000000000000000040000000',
  '0176: 00000000000000003412000040000000',
]

t.test('golden bytes', (t) => {
  t.same(golden(batchOf(1, 1).bytes), GOLDEN)
  t.end()
})

t.test('comes back with its records, in one block and in many', (t) => {
  for (const [count, blocks] of [[1, 1], [1, 256], [35, 1], [36, 1], [40, 1], [20, 256]] as const) {
    const { bytes, records, header } = batchOf(count, blocks)
    const peeked = peekBatchHeader(bytes.subarray(0, 4096), EXPECT)
    t.same(peeked, header)
    t.ok(checkBatchHeader(bytes, crc32c))
    t.same(decodeBatchHeader(bytes, crc32c, EXPECT), header)
    t.same(decodeRecords(bytes, header), records)
    t.ok(bytes.subarray(header.headerBytes).every((byte) => byte === 0), 'padded with zeroes')
    if (bytes.length > 4096) t.equal(decodeBatchHeader(bytes.subarray(0, 4096), crc32c, EXPECT), undefined)
  }
  const change = { batch: U48_MAX, durableBatch: U48_MAX - 1, incarnation: 2 ** 32 - 1 }
  t.match(decodeBatchHeader(batchOf(1, 1, change).bytes, crc32c, EXPECT), change)
  t.end()
})

t.test('a batch of another disk, segment, generation or incarnation is none', (t) => {
  const { bytes } = batchOf(1, 1)
  t.ok(peekBatchHeader(bytes, { ...EXPECT, incarnation: 6, startBlock: 40, salt: SALT, blocksMost: 2 }))
  t.equal(peekBatchHeader(bytes, { ...EXPECT, incarnation: 7 }), undefined)
  t.equal(peekBatchHeader(bytes, { ...EXPECT, segment: 4 }), undefined)
  t.equal(peekBatchHeader(bytes, { ...EXPECT, generation: 1 }), undefined)
  t.equal(peekBatchHeader(bytes, { ...EXPECT, diskTag: new Uint8Array(8) }), undefined)
  t.equal(peekBatchHeader(bytes, { ...EXPECT, startBlock: 39 }), undefined)
  t.equal(peekBatchHeader(bytes, { ...EXPECT, salt: new Uint8Array(8) }), undefined, 'bytes a guest could have written')
  t.equal(peekBatchHeader(bytes, { ...EXPECT, blocksMost: 1 }), undefined, 'longer than the room it has')
  t.end()
})

t.test('every damaged sector that the checksum covers is rejected', (t) => {
  const { bytes, header } = batchOf(40, 1)
  for (const { name, bytes: bad } of damagedCopies(bytes.subarray(0, 4096))) {
    const region = bytes.slice()
    region.set(bad)
    t.equal(decodeBatchHeader(region, crc32c, EXPECT), undefined, name)
  }
  for (let at = 4096; at < header.headerBytes; at++) {
    const region = bytes.slice()
    region[at]! ^= 0x10
    if (decodeBatchHeader(region, crc32c, EXPECT) !== undefined) t.fail(`byte ${at}`)
  }
  t.end()
})

t.test('records have to fill the header exactly and to stay inside the batch', (t) => {
  const { bytes, header, records } = batchOf(2, 1)
  t.equal(decodeRecords(bytes, { ...header, recordCount: 1 }), undefined)
  t.equal(decodeRecords(bytes, { ...header, recordCount: 3 }), undefined)
  t.equal(decodeRecords(bytes, { ...header, totalBlocks: 2 }), undefined, 'payload behind the batch')
  // Its place in the map would be one of another volume.
  const beyond = (lba: number) => {
    encodeRecord(viewOf(bytes), BATCH_HEADER_BYTES, { ...records[0]!, lba })
    return decodeRecords(bytes, header)
  }
  const end = VOLUME_BYTES_MAX / BLOCK_BYTES
  t.equal(beyond(end), undefined, 'a block that no volume has')
  t.ok(beyond(end - records[0]!.blockCount))
  t.equal(decodeRecords(bytes, { ...header, headerBytes: 8192 }), undefined, 'region too short')
  viewOf(bytes).setUint32(BATCH_HEADER_BYTES + 76, 63, true)
  t.equal(decodeRecords(bytes, header), undefined, 'payload inside the header')
  t.end()
})

t.test('garbage never throws', (t) => {
  const { bytes } = batchOf(1, 1)
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 0, maxLength: 200 }), fc.nat({ max: 100 }), (noise, at) => {
      const region = bytes.slice()
      region.set(noise, at)
      const header = peekBatchHeader(region, EXPECT)
      checkBatchHeader(region, crc32c)
      if (header !== undefined) decodeRecords(region, header)
      peekBatchHeader(noise, EXPECT)
      checkBatchHeader(noise, crc32c)
    }),
    { numRuns: 2000 },
  )
  t.end()
})
