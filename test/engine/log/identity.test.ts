/** The identity in a block checksum: fixed values, and no two ids that are near each other share one. */
import fc from 'fast-check'
import t from 'tap'
import { blockIdentity, recordSeed, volumeTag } from '../../../engine/log/identity.ts'
import { U48_MAX } from '../../../engine/units.ts'
import { crc32c } from './damage.ts'

const VOLUME = new Uint8Array(16).map((_, i) => i)
const identity = (volume: Uint8Array, epoch: number, seq: number, lba: number) =>
  blockIdentity(recordSeed(volumeTag(crc32c, volume), epoch, seq), lba)

const GOLDEN_TAG = 0xd9c908eb
const GOLDEN_IDENTITIES = [0x510c0375, 0x12d7f0cd, 0xe3fb4ac6]

t.test('golden values', (t) => {
  t.equal(volumeTag(crc32c, VOLUME), GOLDEN_TAG)
  t.same(
    [identity(VOLUME, 1, 1, 0), identity(VOLUME, 1, U48_MAX, U48_MAX), identity(VOLUME, 2 ** 32 - 1, 2 ** 32, 2 ** 32)],
    GOLDEN_IDENTITIES,
  )
  t.end()
})

t.test('always a u32, never equal when one word of the id differs', (t) => {
  const u48 = fc.oneof(
    fc.constantFrom(0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, U48_MAX),
    fc.maxSafeNat().map((value) => value % (U48_MAX + 1)),
  )
  const differInOneWord = (a: number, b: number) =>
    a !== b && (a % 2 ** 32 === b % 2 ** 32 || Math.floor(a / 2 ** 32) === Math.floor(b / 2 ** 32))
  fc.assert(
    fc.property(u48, u48, u48, u48, fc.nat(), (seq, lba, otherSeq, otherLba, epoch) => {
      const own = identity(VOLUME, epoch, seq, lba)
      if (!Number.isInteger(own) || own < 0 || own >= 2 ** 32) return false
      if (differInOneWord(lba, otherLba) && identity(VOLUME, epoch, seq, otherLba) === own) return false
      if (differInOneWord(seq, otherSeq) && identity(VOLUME, epoch, otherSeq, lba) === own) return false
      return identity(VOLUME, epoch + 1, seq, lba) !== own
    }),
    { numRuns: 2000 },
  )
  t.end()
})

t.test('neighbours in every direction are told apart', (t) => {
  const seen = new Set<number>()
  for (let seq = 1; seq <= 200; seq++) for (let lba = 0; lba < 200; lba++) seen.add(identity(VOLUME, 1, seq, lba))
  // 40,000 random u32 collide 0.19 times on average.
  t.ok(seen.size >= 39_990, `${40_000 - seen.size} collisions`)
  t.end()
})
