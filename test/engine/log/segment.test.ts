/** Segment header, summary and trailer: fixed bytes, damage, and that only the right place and generation count. */
import fc from 'fast-check'
import t from 'tap'
import { seal } from '../../../engine/log/block-seal.ts'
import {
  decodeSegmentHeader, decodeSummary, decodeTrailer, encodeSeal, encodeSegmentHeader, summaryBlocksFor, TRAILER_FLAG,
} from '../../../engine/log/segment.ts'
import type { Seal, SegmentHeader, SummaryEntry } from '../../../engine/log/segment.ts'
import { U48_MAX } from '../../../engine/units.ts'
import { crc32c, damagedCopies, DISK_UUID, golden, NODE_ID } from './damage.ts'

const HEADER: SegmentHeader = {
  streamId: 1, diskUuid: DISK_UUID, segment: 9, generation: 4, firstBatch: 100, incarnation: 5, free: false,
}
const EXPECT = { diskUuid: DISK_UUID, segment: 9 }
const entriesOf = (count: number): SummaryEntry[] =>
  Array.from({ length: count }, (_, i) => ({
    startBlock: 1 + 2 * i, headerCrc: 0xfff00000 + i, batch: 100 + i, headerBlocks: 1,
  }))
const sealOf = (count: number): Seal => ({
  ...HEADER, endBlock: 1 + 2 * count, flags: TRAILER_FLAG.sealedByRecovery, entries: entriesOf(count),
})
const parts = (bytes: Uint8Array) => ({ summary: bytes.subarray(0, -4096), block: bytes.subarray(-4096) })

const GOLDEN_HEADER = [
  '0000: 48465345474d4e540100000001000000',
  '0016: d0d1d2d3d4d5d6d7d8d9dadbdcdddedf',
  '0032: 09000000040000006400000000000000',
  '0048: 05000000000000000000000000000000',
  '4080: 00000000000000000000000004060776',
]
const GOLDEN_SEAL = [
  '0000: 010000000000f0ff6400000000000100',
  '0016: 030000000100f0ff6500000000000100',
  '4096: 4846534547454e440100000001000000',
  '4112: d0d1d2d3d4d5d6d7d8d9dadbdcdddedf',
  '4128: 09000000040000006400000000000000',
  '4144: 65000000000000000200000001000000',
  '4160: 05000000fe928b9e0500000001000000',
  '8176: 000000000000000000000000defbe662',
]

t.test('golden bytes', (t) => {
  t.same(golden(encodeSegmentHeader(HEADER, crc32c)), GOLDEN_HEADER)
  t.same(golden(encodeSeal(sealOf(2), crc32c)), GOLDEN_SEAL)
  t.end()
})

t.test('header: comes back, and only for this disk and segment', (t) => {
  for (const change of [{}, { firstBatch: U48_MAX, generation: 2 ** 32 - 1, incarnation: 2 ** 32 - 1, free: true }]) {
    const header = { ...HEADER, ...change }
    t.same(decodeSegmentHeader(encodeSegmentHeader(header, crc32c), crc32c, EXPECT), header)
  }
  const bytes = encodeSegmentHeader(HEADER, crc32c)
  t.equal(decodeSegmentHeader(bytes, crc32c, { ...EXPECT, segment: 8 }), undefined, 'written to the wrong place')
  t.equal(decodeSegmentHeader(bytes, crc32c, { ...EXPECT, diskUuid: NODE_ID }), undefined, 'of another disk')
  for (const { name, bytes: bad } of damagedCopies(bytes)) {
    t.equal(decodeSegmentHeader(bad, crc32c, EXPECT), undefined, name)
  }
  t.throws(() => encodeSegmentHeader({ ...HEADER, generation: 0 }, crc32c))
  t.end()
})

t.test('seal: trailer and summary come back for 0, 1, 256, 257 and 4000 batches', (t) => {
  for (const count of [0, 1, 256, 257, 4000]) {
    const bytes = encodeSeal(sealOf(count), crc32c)
    const { summary, block } = parts(bytes)
    t.equal(summary.length, 4096 * summaryBlocksFor(count))
    const trailer = decodeTrailer(block, crc32c, { ...EXPECT, generation: 4 })
    const { free: _, ...frame } = HEADER
    t.match(trailer, { ...frame, lastBatch: 99 + count, batchCount: count, endBlock: 1 + 2 * count, flags: 1 })
    t.same(decodeSummary(summary, trailer!, crc32c), entriesOf(count))
  }
  t.end()
})

t.test('trailer: another generation, another place or too long for the segment is none', (t) => {
  const { block } = parts(encodeSeal(sealOf(2), crc32c))
  t.equal(decodeTrailer(block, crc32c, { ...EXPECT, generation: 5 }), undefined)
  t.equal(decodeTrailer(block, crc32c, { ...EXPECT, segment: 1 }), undefined)
  t.equal(decodeTrailer(block, crc32c, { ...EXPECT, segmentBlocks: 6 }), undefined)
  t.ok(decodeTrailer(block, crc32c, { ...EXPECT, segmentBlocks: 7 }))
  for (const { name, bytes } of damagedCopies(block)) t.equal(decodeTrailer(bytes, crc32c, EXPECT), undefined, name)
  t.end()
})

t.test('summary: every damaged sector that holds entries is rejected', (t) => {
  const { summary, block } = parts(encodeSeal(sealOf(256), crc32c))
  const trailer = decodeTrailer(block, crc32c, EXPECT)!
  for (const { name, bytes } of damagedCopies(summary)) t.equal(decodeSummary(bytes, trailer, crc32c), undefined, name)
  t.equal(decodeSummary(summary.subarray(0, 100), trailer, crc32c), undefined, 'too short')
  t.end()
})

t.test('garbage behind a whole checksum never throws', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 40, maxLength: 40 }), (noise) => {
      const { summary, block } = parts(encodeSeal(sealOf(2), crc32c))
      block.set(noise, 40)
      seal(block, crc32c)
      const trailer = decodeTrailer(block, crc32c, EXPECT)
      if (trailer !== undefined) decodeSummary(summary, trailer, crc32c)
    }),
  )
  t.end()
})
