/**
 * Risk: a block does not come back as it was, or bytes that somebody else made are written or read beyond the ends of
 * what they are given. `reference` was compressed by another implementation of the format.
 */
import fc from 'fast-check'
import t from 'tap'
import { compressBlock, decompressBlock } from '../../../engine/transform/lz4-block.ts'
import { BLOCK_BYTES } from '../../../engine/units.ts'

const REFERENCE =
  '/xZob2xkZmFzdCBrZWVwcyB3aGF0IGl0IGFja25vd2xlZGdlcy4gJQD//////////////4s/eHl6AwD/////MGB5enh5eng='

const noise = fc.uint8Array({ minLength: BLOCK_BYTES, maxLength: BLOCK_BYTES })

/** Of pieces that are noise, one byte many times, or what stood there before: each has matches of another kind. */
const block = fc
  .array(
    fc.record({
      length: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 2000 })),
      kind: fc.constantFrom('noise', 'byte', 'before'),
      back: fc.oneof(fc.integer({ min: 1, max: 16 }), fc.integer({ min: 1, max: 4095 })),
      seed: fc.integer(),
    }),
    { minLength: 1, maxLength: 60 },
  )
  .map((pieces) => {
    const bytes = new Uint8Array(BLOCK_BYTES)
    let at = 0
    for (let i = 0; at < BLOCK_BYTES; i = (i + 1) % pieces.length) {
      const { length, kind, back, seed } = pieces[i]!
      let word = seed | 1
      for (const end = Math.min(BLOCK_BYTES, at + length); at < end; at++) {
        word = Math.imul(word ^ (word >>> 15), 0x2c1b3c6d) + i
        bytes[at] = kind === 'noise' ? word >>> 24 : kind === 'byte' ? seed : (bytes[at - back] ?? 0)
      }
    }
    return bytes
  })

/** Memory with a fence on both sides, which nobody may touch. */
function fenced(lengthBytes: number): { bytes: Uint8Array; isWhole: () => boolean } {
  const all = new Uint8Array(lengthBytes + 128).fill(0xee)
  const isWhole = (): boolean => all.every((byte, at) => (at >= 64 && at < 64 + lengthBytes) || byte === 0xee)
  return { bytes: all.subarray(64, 64 + lengthBytes), isWhole }
}

t.test('what was compressed comes back, with zeroes behind it too', async () => {
  fc.assert(
    fc.property(fc.oneof(block, noise), fc.integer({ min: 0, max: 4200 }), fc.nat(200), (bytes, room, zeroes) => {
      const into = fenced(room)
      const used = compressBlock(bytes, into.bytes)
      if (!into.isWhole() || used > room) return false
      if (used === 0) return true
      const blob = new Uint8Array(used + zeroes)
      blob.set(into.bytes.subarray(0, used))
      const back = fenced(BLOCK_BYTES)
      return decompressBlock(blob, back.bytes) && back.isWhole() && Buffer.compare(back.bytes, bytes) === 0
    }),
    { numRuns: 2000 },
  )
})

t.test('any block has room in 4,114 bytes', async () => {
  fc.assert(fc.property(fc.oneof(block, noise), (bytes) => compressBlock(bytes, new Uint8Array(4114)) > 0))
})

t.test('no bytes make it leave its memory, or say that they are a block when they are another length', async () => {
  const mutated = fc.tuple(block, fc.array(fc.tuple(fc.nat(4095), fc.nat(255)), { maxLength: 6 }), fc.nat(4095)).map(
    ([bytes, changes, cut]) => {
      const blob = new Uint8Array(4114)
      const used = compressBlock(bytes, blob)
      for (const [at, byte] of changes) blob[at % used] = byte
      return blob.subarray(0, cut % 3 === 0 ? Math.min(used, cut) : used)
    },
  )
  fc.assert(
    fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 300 })), (blob) => {
      const back = fenced(BLOCK_BYTES)
      decompressBlock(blob, back.bytes)
      return back.isWhole()
    }),
    { numRuns: 5000 },
  )
})

t.test('what is refused', async (t) => {
  const into = new Uint8Array(BLOCK_BYTES)
  const zeroes = new Uint8Array(64)
  const used = compressBlock(new Uint8Array(BLOCK_BYTES), zeroes)
  const blob = zeroes.slice(0, used)
  t.ok(decompressBlock(blob, into))
  for (let end = 0; end < used; end++) t.notOk(decompressBlock(blob.subarray(0, end), into), `cut off after ${end}`)
  t.notOk(decompressBlock(Uint8Array.of(...blob, 0, 1), into), 'something lies behind it')
  t.notOk(decompressBlock(Uint8Array.of(0x00, 1, 0), into), 'a match before the first byte')
  t.notOk(decompressBlock(Uint8Array.of(0x10, 7, 0, 0), into), 'an offset of 0')
  t.notOk(decompressBlock(Uint8Array.of(0x1f, 7, 1, 0, ...new Uint8Array(20).fill(255), 0), into), 'a match too long')
  t.notOk(decompressBlock(new Uint8Array(5000).fill(255), into), 'a length that does not end')
})

t.test('blocks that another implementation compressed', async (t) => {
  const into = new Uint8Array(BLOCK_BYTES)
  const reference = Buffer.from(REFERENCE, 'base64')
  t.ok(decompressBlock(reference, into))
  const text = Buffer.from(into).toString()
  t.equal(text, 'holdfast keeps what it acknowledges. '.repeat(200).slice(0, 3000).padEnd(BLOCK_BYTES, 'xyz'))
})
