/**
 * What stands compressed or in LevelDB's own forms: blocks of volumes, tables and manifests of indexes. Promises: a
 * decoder answers a value or that it is none, and takes no more memory than what it says it bounds.
 */
import { assert } from '../../../engine/assert.ts'
import { crc32c } from '../../../dataplane/checksum.ts'
import { databaseDamage } from '../../../engine/level/database-damage.ts'
import { liveTables } from '../../../engine/level/manifest.ts'
import { snappyDecoded } from '../../../engine/level/snappy.ts'
import { tableDamage } from '../../../engine/level/table-blocks.ts'
import { compressBlock, decompressBlock } from '../../../engine/transform/lz4-block.ts'
import { BLOCK_BYTES } from '../../../engine/units.ts'
import { chosen, oneOf } from '../target.ts'
import type { Target } from '../target.ts'

const block = new Uint8Array(BLOCK_BYTES)
const packed = new Uint8Array(2 * BLOCK_BYTES)
/** Checksums are looked at, and fit: 0 is that of everything. */
const anyCrc = (): number => 0
const MASKED_ZERO = Buffer.from([0xd8, 0xea, 0x82, 0xa2])

function roundTrip(bytes: Buffer): void {
  block.fill(0)
  block.set(bytes.subarray(0, BLOCK_BYTES))
  const before = block.slice()
  const length = compressBlock(block, packed)
  if (length === 0 || length > packed.length) return
  assert(decompressBlock(packed.subarray(0, length), block), 'what was compressed is decompressed')
  assert(Buffer.compare(before, block) === 0, 'to what it was')
}

const DECODERS = [
  (bytes: Buffer) => decompressBlock(bytes, block),
  roundTrip,
  snappyDecoded,
  (bytes: Buffer) => liveTables(bytes, anyCrc),
  (bytes: Buffer) => tableDamage(bytes, anyCrc),
  (bytes: Buffer) => databaseDamage((name) => {
    if (name === 'CURRENT') return Buffer.from('MANIFEST-000001\n')
    return name.startsWith('MANIFEST') ? bytes.subarray(0, 100) : bytes.subarray(100)
  }, crc32c),
] as const

function tableSeed(): Buffer {
  const list = Buffer.from([0, 1, 2, 0x61, 0, 4, 0, 0, 0, 0, 1, 0, 0, 0])
  const blockOf = (content: Buffer): Buffer => Buffer.concat([content, Buffer.of(0), MASKED_ZERO])
  const parts = [blockOf(Buffer.from('data')), blockOf(Buffer.from([0, 0, 0, 0, 1, 0, 0, 0])), blockOf(list)]
  const filtersAt = parts[0]!.length
  const blocksAt = filtersAt + parts[1]!.length
  const footer = Buffer.alloc(48)
  footer.set([filtersAt, 8, blocksAt, list.length])
  footer.set([0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb], 40)
  return Buffer.concat([...parts, footer])
}

function manifestSeed(): Buffer {
  const record = Buffer.from([1, 1, 0x61, 2, 5, 3, 9, 4, 7, 7, 0, 5, 10, 1, 0x61, 1, 0x62, 6, 0, 5])
  return Buffer.concat([MASKED_ZERO, Buffer.of(record.length, 0, 1), record, MASKED_ZERO, Buffer.of(2, 0, 4, 2, 5)])
}

export const target: Target = {
  parsers: [
    'engine/transform/lz4-block.ts', 'engine/level/snappy.ts', 'engine/level/manifest.ts',
    'engine/level/table-blocks.ts', 'engine/level/byte-cursor.ts', 'engine/level/database-damage.ts',
  ],
  seeds: () => {
    const text = Buffer.from('the quick brown fox '.repeat(205)).subarray(0, BLOCK_BYTES)
    const length = compressBlock(text, packed)
    return [
      chosen(0, packed.slice(0, length)), chosen(1, text.subarray(0, 600)),
      chosen(2, Buffer.from([10, 8, 0x61, 0x62, 0x63, 25, 3])),
      chosen(3, manifestSeed()), chosen(4, tableSeed()),
    ]
  },
  execute: (input) => oneOf(input, DECODERS),
}
