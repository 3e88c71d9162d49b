/** The superblock: fixed bytes, damage, and how blank, foreign, damaged and newer disks are told apart. */
import fc from 'fast-check'
import t from 'tap'
import { seal } from '../../../engine/log/block-seal.ts'
import { viewOf } from '../../../engine/log/bytes.ts'
import { chooseSuperblock, decodeSuperblock, encodeSuperblock } from '../../../engine/log/superblock.ts'
import type { Superblock } from '../../../engine/log/superblock.ts'
import { U48_MAX } from '../../../engine/units.ts'
import { CLUSTER_ID, crc32c, damagedCopies, DISK_UUID, golden, NODE_ID } from './damage.ts'

const SUPERBLOCK: Superblock = {
  featuresCompatible: 5, featuresReadOnly: 6, featuresIncompatible: 0,
  clusterId: CLUSTER_ID, nodeId: NODE_ID, diskUuid: DISK_UUID,
  generation: 7, createdMs: 1_700_000_000_000, segmentBytes: 65536, segmentCount: 20, streamCount: 2,
  nodeName: 'n1', pool: 'default', tags: ['ssd', 'fast'],
}
const BLANK = new Uint8Array(4096)
const FOREIGN = new Uint8Array(4096).fill(0x53)
const copy = (change: Partial<Superblock>) => encodeSuperblock({ ...SUPERBLOCK, ...change }, crc32c)
const versioned = (version: number) => {
  const bytes = copy({ generation: 1 })
  viewOf(bytes).setUint32(8, version, true)
  seal(bytes, crc32c)
  return bytes
}

const GOLDEN = [
  '0000: 484f4c44464153540100000005000000',
  '0016: 06000000000000000001020304050607',
  '0032: 08090a0b0c0d0e0f1011121314151617',
  '0048: 18191a1b1c1d1e1fd0d1d2d3d4d5d6d7',
  '0064: d8d9dadbdcdddedf0700000000000000',
  '0080: 0068e5cf8b0100000000010014000000',
  '0096: 02000000000000000000000000000000',
  '0160: 6e310000000000000000000000000000',
  '0416: 64656661756c74000000000000000000',
  '0480: 7373642b666173740000000000000000',
  '4080: 0000000000000000000000003c1a85d3',
]

t.test('golden bytes', (t) => {
  t.same(golden(copy({})), GOLDEN)
  t.end()
})

t.test('comes back at the extremes', (t) => {
  const extremes: Array<Partial<Superblock>> = [
    {},
    { generation: U48_MAX, createdMs: U48_MAX, segmentCount: 2 ** 32 - 1, segmentBytes: 2 ** 32 - 65536 },
    { tags: [], nodeName: '', pool: '' }, { tags: ['x'.repeat(256)], nodeName: 'n'.repeat(256), pool: 'p'.repeat(64) },
  ]
  for (const change of extremes) {
    t.same(decodeSuperblock(copy(change), crc32c), { ok: true, value: { ...SUPERBLOCK, ...change } })
  }
  const refused = [{ streamCount: 65 }, { streamCount: 0 }, { segmentBytes: 4096 }, { tags: ['a+b'] }, { tags: [''] }]
  for (const change of refused) {
    t.throws(() => copy(change), JSON.stringify(change))
  }
  t.end()
})

t.test('every damaged sector is rejected', (t) => {
  for (const { name, bytes } of damagedCopies(copy({}))) t.equal(decodeSuperblock(bytes, crc32c).ok, false, name)
  t.end()
})

t.test('what is there is named: blank, foreign, damaged, newer', (t) => {
  t.same(decodeSuperblock(BLANK, crc32c), { ok: false, reason: 'blank' })
  t.same(decodeSuperblock(FOREIGN, crc32c), { ok: false, reason: 'foreign' })
  const damaged = copy({})
  damaged[300]! ^= 1
  t.same(decodeSuperblock(damaged, crc32c), { ok: false, reason: 'damaged' })
  t.same(decodeSuperblock(versioned(2), crc32c), { ok: false, reason: 'newer', version: '2', known: '1' })
  t.same(decodeSuperblock(copy({ featuresIncompatible: 129 }), crc32c), {
    ok: false, reason: 'newer', version: '1 with features 0, 7', known: '1 with features 0, 1, 2, 3, 4, 5, 6',
  })
  const flippedVersion = copy({})
  flippedVersion[8] = 3
  t.same(decodeSuperblock(flippedVersion, crc32c), { ok: false, reason: 'damaged' }, 'a flipped version is no version')
  t.end()
})

t.test('of the copies the newest valid one counts, and a newer version refuses the disk', (t) => {
  const chosen = (copies: Uint8Array[]) => {
    const result = chooseSuperblock(copies, crc32c)
    return result.ok ? result.value.generation : result.reason
  }
  const [old, young, damaged] = [copy({ generation: 7 }), copy({ generation: 8 }), copy({ generation: 9 })]
  damaged[500]! ^= 1
  t.equal(chosen([old, young, old, old]), 8)
  t.equal(chosen([damaged, FOREIGN, BLANK, old]), 7)
  t.equal(chosen([damaged, versioned(2), young, young]), 'newer')
  t.equal(chosen([BLANK, FOREIGN, damaged, BLANK]), 'damaged')
  t.equal(chosen([BLANK, FOREIGN, BLANK, BLANK]), 'foreign')
  t.equal(chosen([BLANK, BLANK, BLANK, BLANK]), 'blank')
  t.end()
})

t.test('garbage behind a whole checksum never throws', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 750, maxLength: 750 }), (noise) => {
      const bytes = copy({})
      bytes.set(noise, 12)
      seal(bytes, crc32c)
      decodeSuperblock(bytes, crc32c)
    }),
  )
  t.end()
})
