/**
 * What the record codec costs: encode of a record, finish of a batch, decode. Run alone, on an otherwise idle machine:
 * `node bench/micro/record-codec.ts`. The goal is < 0.4 us for a record of one block.
 */
import { crc32c } from '@node-rs/crc32'
import { BATCH_HEADER_BYTES, decodeRecords, finishBatchHeader } from '../../engine/log/batch.ts'
import type { BatchFields, BatchHeader } from '../../engine/log/batch.ts'
import { viewOf } from '../../engine/log/bytes.ts'
import { blockIdentity, recordSeed, volumeTag } from '../../engine/log/identity.ts'
import { encodeRecord, recordBytes } from '../../engine/log/record.ts'
import type { RecordHeader } from '../../engine/log/record.ts'

const RECORDS_PER_BATCH = 32
const ROUNDS = 5

function recordOf(blockCount: number): RecordHeader {
  return {
    kind: 1, flags: 0, blockCount, volumeId: new Uint8Array(16).fill(7), lba: 2 ** 33, part: 0, parts: 1, seq: 2 ** 34,
    epoch: 1,
    attachGeneration: 1, previousSeq: 2 ** 34 - 1, transform: 0, operation: 0, frontendIncarnation: 1, keyId: 0,
    requestNumber: 9,
    sliceGeneration: 0, payloadUnits: 2 ** 14, fromSegment: 0, fromGeneration: 0, fromUnits: 0, bornBatch: 0,
    bodyBytes: 0, bodyCrc: 0,
    crcs: new Uint32Array(blockCount), storedUnits: new Uint8Array(blockCount).fill(64),
  }
}

function measure(name: string, perRun: number, runs: number, run: () => void): void {
  const results: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const start = process.hrtime.bigint()
    for (let i = 0; i < runs; i++) run()
    results.push(Number(process.hrtime.bigint() - start) / 1000 / (runs * perRun))
  }
  results.sort((a, b) => a - b)
  console.log(`${name.padEnd(44)} ${results[ROUNDS >> 1]!.toFixed(3)} us (best ${results[0]!.toFixed(3)})`)
}

const bytes = new Uint8Array(64 * 1024)
const view = viewOf(bytes)
const diskTag = new Uint8Array(8)

for (const blockCount of [1, 8, 256]) {
  const record = recordOf(blockCount)
  measure(`encodeRecord, ${blockCount} block(s)`, 1, Math.ceil(500_000 / blockCount), () => {
    record.seq++
    encodeRecord(view, BATCH_HEADER_BYTES, record)
  })
}

const record = recordOf(1)
const lengthBytes = recordBytes(record)
const fields: BatchFields = {
  headerBytes: BATCH_HEADER_BYTES + RECORDS_PER_BATCH * lengthBytes, totalBlocks: 300, recordCount: RECORDS_PER_BATCH,
  batch: 2 ** 33, durableBatch: 5,
  segment: 1, generation: 1, incarnation: 1, streamId: 0, startBlock: 1, salt: new Uint8Array(8),
}
const region = bytes.subarray(0, Math.ceil(fields.headerBytes / 4096) * 4096)
measure(`batch of ${RECORDS_PER_BATCH} one-block records, a record`, RECORDS_PER_BATCH, 20_000, () => {
  for (let i = 0; i < RECORDS_PER_BATCH; i++) encodeRecord(view, BATCH_HEADER_BYTES + i * lengthBytes, record)
  finishBatchHeader(region, view, fields, diskTag, crc32c)
})
measure('finishBatchHeader, the same batch', 1, 100_000, () => finishBatchHeader(region, view, fields, diskTag, crc32c))

for (let i = 0; i < RECORDS_PER_BATCH; i++) {
  encodeRecord(view, BATCH_HEADER_BYTES + i * lengthBytes, { ...record, payloadUnits: 64 })
}
const header: BatchHeader = { ...fields, headerCrc: finishBatchHeader(region, view, fields, diskTag, crc32c) }
measure('decodeRecords, a record', RECORDS_PER_BATCH, 5000, () => decodeRecords(region, header))

const tag = volumeTag(crc32c, record.volumeId)
let sum = 0
measure('recordSeed + blockIdentity', 1, 2_000_000, () => {
  sum ^= blockIdentity(recordSeed(tag, 1, record.seq++), sum)
})
