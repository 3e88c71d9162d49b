/** Root slots: fixed bytes, damage, and which slot counts. */
import t from 'tap'
import { seal } from '../../../engine/log/block-seal.ts'
import { chooseRoot, decodeRoot, encodeRoot, ROOT_FLAG } from '../../../engine/log/root.ts'
import type { Root } from '../../../engine/log/root.ts'
import { U48_MAX } from '../../../engine/units.ts'
import { BOOT_ID, crc32c, damagedCopies, DISK_UUID, golden, NODE_ID } from './damage.ts'

const ROOT: Root = {
  streamId: 3, diskUuid: DISK_UUID, generation: 11, checkpoint: 12, watermarkBatch: 13,
  incarnation: 14, flags: ROOT_FLAG.clean, bootId: BOOT_ID, indexUuid: NODE_ID,
  salt: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8),
}
const slot = (change: Partial<Root>) => encodeRoot({ ...ROOT, ...change }, crc32c)
const EXPECT = { diskUuid: DISK_UUID, streamId: 3 }

const GOLDEN = [
  '0000: 48465354524f4f540100000003000000',
  '0016: d0d1d2d3d4d5d6d7d8d9dadbdcdddedf',
  '0032: 0b000000000000000c00000000000000',
  '0048: 0d000000000000000e00000001000000',
  '0064: b0b1b2b3b4b5b6b7b8b9babbbcbdbebf',
  '0080: 101112131415161718191a1b1c1d1e1f',
  '0096: 01020304050607080000000000000000',
  '4080: 0000000000000000000000004bb25f18',
]

t.test('golden bytes', (t) => {
  t.same(golden(slot({})), GOLDEN)
  t.end()
})

t.test('comes back at the extremes', (t) => {
  const numbers = { generation: U48_MAX, checkpoint: U48_MAX, watermarkBatch: U48_MAX }
  const extremes = { ...numbers, incarnation: 2 ** 32 - 1, flags: 0 }
  for (const change of [{}, extremes]) t.same(decodeRoot(slot(change), crc32c), { ...ROOT, ...change })
  t.end()
})

t.test('every damaged sector is rejected, and so are zeroes and another version', (t) => {
  for (const { name, bytes } of damagedCopies(slot({}))) t.equal(decodeRoot(bytes, crc32c), undefined, name)
  t.equal(decodeRoot(new Uint8Array(4096), crc32c), undefined)
  const newer = slot({})
  newer[8] = 2
  seal(newer, crc32c)
  t.equal(decodeRoot(newer, crc32c), undefined)
  t.end()
})

t.test('the newest slot of this disk and stream counts', (t) => {
  const torn = slot({ generation: 99 })
  torn[20]! ^= 1
  const generation = (...slots: Uint8Array[]) => chooseRoot(slots, EXPECT, crc32c)?.generation
  t.equal(generation(slot({ generation: 4 }), slot({ generation: 5 })), 5)
  t.equal(generation(slot({ generation: 6 }), slot({ generation: 5 })), 6)
  t.equal(generation(slot({ generation: 6 }), torn), 6)
  t.equal(generation(torn, new Uint8Array(4096)), undefined)
  t.equal(generation(slot({ streamId: 4 }), slot({ diskUuid: NODE_ID })), undefined)
  t.end()
})
