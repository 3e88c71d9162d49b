/** Records: every field at its extremes, fixed bytes, and garbage that must neither throw nor be read as a record. */
import fc from 'fast-check'
import t from 'tap'
import { viewOf } from '../../../engine/log/bytes.ts'
import {
  decodeRecord, encodeRecord, OPERATION, RECORD_BYTES_MAX, RECORD_FLAG, RECORD_KIND, recordBytes,
} from '../../../engine/log/record.ts'
import type { RecordHeader } from '../../../engine/log/record.ts'
import { U48_MAX } from '../../../engine/units.ts'
import { golden } from './damage.ts'

const VOLUME_ID = new Uint8Array(16).map((_, i) => 0xa0 + i)
const { write, zero, trim, control } = RECORD_KIND
const { moved, meta } = RECORD_FLAG

/** A record whose every field holds something else. */
function recordOf(change: Partial<RecordHeader>): RecordHeader {
  const kind = change.kind ?? write
  const flags = change.flags ?? 0
  const blockCount = change.blockCount ?? (kind === control ? 0 : 1)
  const tableBlocks = kind === write ? blockCount : 0
  const isMovedWrite = kind === write && (flags & moved) !== 0
  return {
    kind, flags, blockCount, volumeId: VOLUME_ID, lba: kind === control ? 0 : 0x0102_0304_0500, part: 1, parts: 2,
    seq: 0x1112_1314_1516, epoch: 0x21222324, attachGeneration: 0x31323334, previousSeq: 0x4142_4344_4546,
    transform: 0, operation: kind === control ? OPERATION.snapshot : 0, frontendIncarnation: 0x51525354,
    keyId: 0x61626364,
    requestNumber: 0x7172_7374_7576, sliceGeneration: 0x81828384, payloadUnits: 64,
    fromSegment: isMovedWrite ? 0x91929394 : 0, fromGeneration: isMovedWrite ? 5 : 0, fromUnits: isMovedWrite ? 6 : 0,
    bornBatch: 0xa1a2_a3a4_a5a6, bodyBytes: kind === control ? 300 : 0,
    bodyCrc: kind === control ? 0xb1b2b3b4 : 0,
    crcs: new Uint32Array(tableBlocks).map((_, i) => 0xfffffff0 + i),
    storedUnits: new Uint8Array(tableBlocks).map((_, i) => 64 - (i % 64)),
    ...((flags & meta) === 0 ? {} : { meta: new Uint8Array(32 * blockCount).map((_, i) => i) }),
    ...change,
  }
}

function encoded(record: RecordHeader): Uint8Array {
  // Dirty room around the record, because header buffers are reused.
  const bytes = new Uint8Array(RECORD_BYTES_MAX + 16).fill(0xee)
  const lengthBytes = encodeRecord(viewOf(bytes), 8, record)
  if (lengthBytes !== recordBytes(record) || lengthBytes % 8 !== 0) throw new Error('length')
  if (bytes.subarray(0, 8).some((b) => b !== 0xee)) throw new Error('wrote before its place')
  if (bytes.subarray(8 + lengthBytes).some((b) => b !== 0xee)) throw new Error('wrote behind its place')
  return bytes.slice(8, 8 + lengthBytes)
}
const decoded = (bytes: Uint8Array) => decodeRecord(viewOf(bytes), 0, bytes.length)

const EXTREMES: Record<string, Partial<RecordHeader>> = {
  'write of one block': {},
  'the greatest incarnation': { frontendIncarnation: 2 ** 53 - 1, attachGeneration: 2 ** 32 - 1 },
  'the last block there is': { lba: U48_MAX, seq: U48_MAX, previousSeq: U48_MAX, part: 65535, parts: 65535 },
  'write of 256 blocks': { lba: 2 ** 40, blockCount: 256 },
  'moved write of 256 blocks with meta': { lba: U48_MAX - 255, blockCount: 256, flags: moved | meta, transform: 3 },
  'moved write at the far end of a segment': { flags: moved, fromUnits: 2 ** 32 - 1, fromSegment: 2 ** 32 - 1 },
  'zero of a whole slice': { kind: zero, lba: 262144 * 3, blockCount: 262144 },
  'moved trim at the end': { kind: trim, flags: moved, lba: U48_MAX - 9, blockCount: 10, bornBatch: U48_MAX },
  'control with the greatest revision': { kind: control, lba: U48_MAX, requestNumber: U48_MAX },
  'moved control': { kind: control, flags: moved, operation: OPERATION.change, bodyBytes: 2 ** 32 - 1 },
}

const GOLDEN_WRITE = [
  '0000: 0103b80002000000a0a1a2a3a4a5a6a7',
  '0016: a8a9aaabacadaeaf0005040302010100',
  '0032: 16151413121102002423222134333231',
  '0048: 46454443424100005453525164636261',
  '0064: 76757473727100008483828140000000',
  '0080: 94939291050000000600000000000000',
  '0096: a6a5a4a3a2a10000f0ffffff40000000',
  '0112: f1ffffff3f0000000001020304050607',
  '0128: 08090a0b0c0d0e0f1011121314151617',
  '0144: 18191a1b1c1d1e1f2021222324252627',
  '0160: 28292a2b2c2d2e2f3031323334353637',
  '0176: 38393a3b3c3d3e3f',
]
const GOLDEN_TRIM = [
  '0000: 0300680009000000a0a1a2a3a4a5a6a7',
  '0016: a8a9aaabacadaeaf0005040302010100',
  '0032: 16151413121102002423222134333231',
  '0048: 46454443424100005453525164636261',
  '0064: 76757473727100008483828140000000',
  '0096: a6a5a4a3a2a10000',
]
const GOLDEN_CONTROL = [
  '0000: 0400700000000000a0a1a2a3a4a5a6a7',
  '0016: a8a9aaabacadaeaf0000000000000100',
  '0032: 16151413121102002423222134333231',
  '0048: 46454443424100035453525164636261',
  '0064: 76757473727100008483828140000000',
  '0096: a6a5a4a3a2a100002c010000b4b3b2b1',
]

t.test('comes back at the extremes', (t) => {
  for (const [name, change] of Object.entries(EXTREMES)) {
    t.same(decoded(encoded(recordOf(change))), recordOf(change), name)
  }
  t.end()
})

t.test('golden bytes', (t) => {
  const write2 = recordOf({ blockCount: 2, flags: moved | meta })
  t.same(golden(encoded(write2)), GOLDEN_WRITE)
  t.same(golden(encoded(recordOf({ kind: trim, blockCount: 9 }))), GOLDEN_TRIM)
  t.same(golden(encoded(recordOf({ kind: control }))), GOLDEN_CONTROL)
  t.end()
})

t.test('any record comes back', (t) => {
  const u48 = fc.maxSafeNat().map((value) => value % (U48_MAX + 1))
  const u32 = fc.nat({ max: 2 ** 32 - 1 })
  const u16 = fc.nat({ max: 65535 })
  const any = fc
    .record({
      kind: fc.constantFrom(write, zero, trim, control), isMoved: fc.boolean(), isMeta: fc.boolean(),
      count: fc.nat({ max: 255 }),
      page: fc.nat({ max: 2 ** 40 - 1 }), within: fc.nat({ max: 255 }), seq: u48, epoch: u32, previousSeq: u48,
      part: u16,
      requestNumber: u48, payloadUnits: u32, bornBatch: u48,
    })
    .map(({ kind, isMoved, isMeta, count, page, within, bornBatch, ...rest }) => {
      const flags = (isMoved ? moved : 0) | (isMeta && kind === write ? meta : 0)
      const blockCount = kind === control ? 0 : 1 + (count % (256 - within))
      const lba = kind === control ? 0 : page * 256 + within
      return recordOf({ kind, flags, blockCount, lba, bornBatch, ...rest })
    })
  fc.assert(fc.property(any, (record) => void t.same(decoded(encoded(record)), record)), { numRuns: 300 })
  t.end()
})

t.test('what no record can be is not read, and is not written', (t) => {
  const bad: Record<string, [at: number, value: number]> = {
    'kind 0': [0, 0], 'kind 5': [0, 5], 'unknown flag': [1, 8], 'wrong length': [2, 96], 'no blocks': [4, 0],
    'more blocks than a page': [5, 2], 'a transform that is reserved': [54, 8], 'a write with an operation': [55, 1],
    'a blob of no units': [108, 0], 'a blob over a block': [108, 65],
  }
  for (const [name, [at, value]] of Object.entries(bad)) {
    const bytes = encoded(recordOf({}))
    bytes[at] = value
    t.equal(decoded(bytes), undefined, name)
  }
  for (const transform of [2, 3]) {
    t.equal(decoded(encoded(recordOf({ storedUnits: [65], transform })))?.storedUnits[0], 65, 'an encrypted one')
  }
  const refused: Array<Partial<RecordHeader>> = [
    { blockCount: 0 }, { blockCount: 257, lba: 0 }, { blockCount: 2, lba: 255 }, { lba: U48_MAX + 1 },
    { kind: trim, flags: meta },
    { kind: zero, blockCount: 262145, lba: 0 }, { kind: zero, blockCount: 2, lba: 262143 },
    { kind: control, blockCount: 1 },
    { storedUnits: [0] }, { storedUnits: [65] }, { storedUnits: [65], transform: 1 },
    { storedUnits: [66], transform: 2 }, { flags: meta, meta: new Uint8Array(31) },
  ]
  for (const change of refused) t.throws(() => encoded(recordOf(change)), JSON.stringify(change))
  t.end()
})

t.test('cut at every byte: undefined, and nothing outside the bounds is read', (t) => {
  const bytes = encoded(recordOf({ blockCount: 3, flags: meta }))
  for (let end = 0; end < bytes.length; end++) {
    if (decodeRecord(viewOf(bytes), 0, end) !== undefined) t.fail(`read with end ${end}`)
    const short = bytes.slice(0, end)
    if (decodeRecord(viewOf(short), 0, bytes.length) !== undefined) t.fail(`read a buffer of ${end}`)
  }
  t.equal(decodeRecord(viewOf(bytes), bytes.length, bytes.length), undefined)
  t.end()
})

t.test('the result shares no memory with the view', (t) => {
  const record = recordOf({ flags: meta })
  const bytes = encoded(record)
  const result = decoded(bytes)
  bytes.fill(0)
  t.same(result, record)
  t.end()
})

t.test('garbage never throws', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat({ max: 300 }), fc.nat({ max: 5 }), (noise, at, kind) => {
      if (noise.length > 8) noise.set([kind, 0, noise[2]! & 0x7f, 0, 1, 0, 0, 0], 0)
      decodeRecord(viewOf(noise), 0, noise.length)
      decodeRecord(viewOf(noise), at, noise.length)
    }),
    { numRuns: 3000 },
  )
  t.end()
})
