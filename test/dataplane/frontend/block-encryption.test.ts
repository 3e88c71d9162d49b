/**
 * Risk: two blocks are encrypted under the same key, salt and counter; a block does not come back, or comes back as
 * something that nobody wrote; what a copy answers takes memory, or talks an authenticated volume out of its promise.
 */
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import type { Test } from 'tap'
import type { UnwrappedKeys } from '../../../cluster/keys/data-key.ts'
import { crc32c } from '../../../dataplane/checksum.ts'
import { BlockCompression } from '../../../dataplane/frontend/block-compression.ts'
import { fillFrom, openInto } from '../../../dataplane/frontend/block-bytes.ts'
import { BlockEncryption } from '../../../dataplane/frontend/block-encryption.ts'
import { SESSION_BLOCKS_MAX } from '../../../dataplane/cipher/session-keys.ts'
import type { BlockVersion, Payload } from '../../../engine/replication/record.ts'
import { Secret } from '../../../engine/secret.ts'
import { BLOCK_BYTES, UNIT_BYTES } from '../../../engine/units.ts'
import { blobsOf } from '../../../engine/volume/copy-headers.ts'
import { restored } from '../../../engine/volume/restored-blocks.ts'
import { CIPHERS } from '../../../engine/volume/volume-encryption.ts'
import type { Cipher } from '../../../engine/volume/volume-encryption.ts'

const DATA_KEY = randomBytes(64)
const ORIGIN = 'a0'.repeat(16)
const CLONE = 'b0'.repeat(16)

const keysOf = (cipher: Cipher, volumeIds = [ORIGIN], dataKey = DATA_KEY): UnwrappedKeys =>
  ({ cipher, keys: volumeIds.map((volumeId) => ({ volumeId, dataKey: new Secret(new Uint8Array(dataKey)) })) })

interface Sides {
  written: BlockEncryption
  refused: number[]
}

function begin(t: Test, keys: UnwrappedKeys, sessionBlocksMax = SESSION_BLOCKS_MAX): Sides {
  const refused: number[] = []
  const written = new BlockEncryption(keys, (lba) => refused.push(lba), { sessionBlocksMax })
  t.teardown(() => written.close())
  return { written, refused }
}

const text = (byte: number): Buffer => Buffer.alloc(BLOCK_BYTES).fill(byte, 0, 2000)

const plainOf = (bytes: Uint8Array) => ({ bytes, units: undefined })

/** One version a block, as a copy reads them. */
function versionsOf(payload: Payload, firstLba: number): BlockVersion[] {
  const { bytes, crcs, stored } = blobsOf(payload)
  let at = 0
  return Array.from(stored!.units, (count, i) => {
    const blob = bytes.subarray(at, (at += count * UNIT_BYTES))
    t.equal(crc32c(blob) >>> 0, crcs[i]! >>> 0, 'each blob has its checksum')
    return version(blob, firstLba + i, stored!.transform)
  })
}

const version = (blob: Uint8Array, lba: number, transform = 2): BlockVersion => ({
  epoch: 1, seq: 1, lba, kind: 'write',
  payload: {
    bytes: blob.length, data: { bytes: blob, crcs: [0], stored: { transform, units: [blob.length / UNIT_BYTES] } },
  },
})

const bytesOf = (versions: BlockVersion[] | undefined): Buffer =>
  Buffer.concat((versions ?? []).map(({ payload }) => blobsOf(payload!).bytes))

for (const cipher of CIPHERS) {
  t.test(`${cipher}: blocks, compressed and not, come back through another frontend`, async (t) => {
    const compression = new BlockCompression('lz4')
    const { written } = begin(t, keysOf(cipher))
    const reader = begin(t, keysOf(cipher))
    for (const sorts of ['t', 'n', 'tn', 'nt', 'nnt', 'ntnnttn', 't'.repeat(32), 'n'.repeat(32)]) {
      const blocks = [...sorts].map((sort, i) => (sort === 't' ? text(i + 1) : randomBytes(BLOCK_BYTES)))
      const bytes = Buffer.concat(blocks)
      const lba = 2 ** 33 - 3
      const payload = written.payloadOf(compression.blobsOf(bytes), lba)
      const { stored, bytes: sealed } = blobsOf(payload)
      t.equal(payload.bytes, sealed.length)
      t.same(Array.from(stored!.units), [...sorts].map((sort) => (sort === 'n' ? 65 : 2)), 'a unit more each')
      const versions = versionsOf(payload, lba)
      t.ok(bytesOf(restored(versions, reader.written)).equals(bytes), sorts)
      t.ok(bytesOf(restored(versions.toReversed(), reader.written)).length === bytes.length)
      t.equal(restored(versions), undefined, 'without the keys it is no block')
      const hole: BlockVersion = { ...versions[0]!, kind: 'trim', payload: undefined }
      t.equal(restored([hole, ...versions], reader.written)?.[0], hole)
    }
    t.same(reader.refused, [])
  })

  t.test(`${cipher}: the same block, at one place or another, never becomes the same bytes`, async (t) => {
    const seen = new Set<string>()
    const salts = new Set<string>()
    // A frontend is made anew each time, with the same keys: reattached, restarted, or a second one.
    for (let life = 0; life < 20; life++) {
      const { written } = begin(t, keysOf(cipher), 7)
      for (let i = 0; i < 20; i++) {
        for (const { payload } of versionsOf(written.payloadOf(plainOf(text(1)), 5), 5)) {
          const blob = Buffer.from(blobsOf(payload!).bytes)
          const session = blob.subarray(16, 32).toString('hex')
          const counter = blob.readBigUInt64LE(8)
          t.ok(counter >= 1n && counter <= 7n, 'a session ends after so many blocks')
          salts.add(session)
          seen.add(`${session} ${counter}`)
          seen.add(blob.subarray(64).toString('base64'))
        }
      }
    }
    t.equal(seen.size, 800)
    t.equal(salts.size, 60)
  })

  t.test(`${cipher}: at another place, or of another volume, it is not what was written`, async (t) => {
    const { written } = begin(t, keysOf(cipher))
    const [{ payload }] = versionsOf(written.payloadOf(plainOf(text(3)), 9), 9) as [BlockVersion]
    const blob = blobsOf(payload!).bytes
    const others: Array<[string, Sides, number]> = [
      ['another LBA', begin(t, keysOf(cipher)), 10],
      ['beyond 32 bits', begin(t, keysOf(cipher)), 9 + 2 ** 32],
      ['another volume', begin(t, keysOf(cipher, [CLONE])), 9],
      ['another data key', begin(t, keysOf(cipher, [ORIGIN], randomBytes(64))), 9],
    ]
    for (const [what, reader, lba] of others) {
      const blocks = restored([version(blob, lba)], reader.written)
      if (cipher === 'aes-256-gcm') t.equal(blocks, undefined, what)
      else t.notOk(bytesOf(blocks).includes(Buffer.alloc(16, 3)), what)
      t.same(reader.refused, cipher === 'aes-256-gcm' ? [lba] : [])
    }
  })

  t.test(`${cipher}: a clone reads what its origin wrote, and not the other way`, async (t) => {
    const origin = begin(t, keysOf(cipher))
    const clone = begin(t, keysOf(cipher, [ORIGIN, CLONE]))
    const shared = versionsOf(origin.written.payloadOf(plainOf(text(1)), 4), 4)
    const own = versionsOf(clone.written.payloadOf(plainOf(text(2)), 5), 5)
    t.ok(bytesOf(restored([...shared, ...own], clone.written)).equals(Buffer.concat([text(1), text(2)])))
    t.equal(restored(own, origin.written), undefined, 'its key has a number that the origin has not')
    t.same(origin.refused, [5])
  })

  t.test(`${cipher}: what is no blob of the volume is damage, whatever is in it`, async (t) => {
    const { written, refused } = begin(t, keysOf(cipher))
    const [whole] = versionsOf(written.payloadOf(plainOf(text(3)), 9), 9) as [BlockVersion]
    const blob = Buffer.from(blobsOf(whole.payload!).bytes)
    const changed = (change: (bytes: Buffer) => void): Buffer => {
      const bytes = Buffer.from(blob)
      change(bytes)
      return bytes
    }
    const wrong: Array<[string, Uint8Array, number?]> = [
      ['a plain block', text(3), 0],
      ['a compressed block', new Uint8Array(UNIT_BYTES), 1],
      ['a header alone', blob.subarray(0, 64)],
      ['another format', changed((bytes) => (bytes[0] = 2))],
      ['another cipher', changed((bytes) => (bytes[1] = 3 - bytes[1]!))],
      ['a reserved byte', changed((bytes) => (bytes[2] = 1))],
      ['a reserved byte at the end', changed((bytes) => (bytes[63] = 1))],
      ['no key', changed((bytes) => bytes.writeUInt32LE(0, 4))],
      ['a key that is not there', changed((bytes) => bytes.writeUInt32LE(2, 4))],
      ['short, and not compressed', blob.subarray(0, 64 * 64)],
      ['too long', Buffer.concat([blob, blob])],
    ]
    for (const [what, bytes, transform] of wrong) {
      t.equal(restored([version(bytes, 9, transform)], written), undefined, what)
      t.same(refused.splice(0), [9], 'and is told')
      t.ok(bytesOf(restored([whole], written)).equals(text(3)), 'and what is right is read after that')
    }
  })
}

t.test('what a client reads is opened where it goes, and is the same as what is restored before', async (t) => {
  for (const cipher of CIPHERS) {
    const { written, refused } = begin(t, keysOf(cipher))
    const bytes = Buffer.concat([text(1), randomBytes(BLOCK_BYTES), text(2), randomBytes(BLOCK_BYTES)])
    const blobs = new BlockCompression('lz4').blobsOf(bytes)
    const versions = versionsOf(written.payloadOf(blobs, 8), 8)
    const holes: BlockVersion[] = [versions[0]!, { ...versions[1]!, kind: 'trim', payload: undefined }, versions[3]!]
    for (const [found, firstByte, lengthBytes] of [
      [versions, 0, 4 * BLOCK_BYTES], [versions.slice(0, 1), 512, 512], [versions.slice(0, 3), 4000, 5000],
      [versions.slice(3), 3 * BLOCK_BYTES, 4096], [holes, 0, 4 * BLOCK_BYTES], [holes, 100, 4 * BLOCK_BYTES - 200],
      [[], 0, 4096],
    ] as const) {
      const [into, expected] = [Buffer.alloc(lengthBytes, 7), Buffer.alloc(lengthBytes, 7)]
      t.ok(openInto(found, 8 * BLOCK_BYTES + firstByte, into, written))
      fillFrom(restored([...found], written)!, 8 * BLOCK_BYTES + firstByte, expected)
      t.ok(into.equals(expected), `${lengthBytes} bytes from ${firstByte}`)
    }
    const [first, second, third] = versions as [BlockVersion, BlockVersion, BlockVersion]
    const plain = version(text(3), 9, 0)
    for (const strange of [[first, plain], [first, first], [first, third], [second, first], [first, second, third]]) {
      const into = Buffer.alloc(2 * BLOCK_BYTES, 7)
      t.notOk(openInto(strange, 8 * BLOCK_BYTES, into, written))
      t.same(refused.splice(0), strange.includes(plain) ? [9] : [])
      t.ok(into.every((byte) => byte === 0), 'nothing of an answer that is not whole is shown')
    }
  }
})

t.test('after its end nothing is sealed or opened: its keys are zeroes', async (t) => {
  for (const cipher of CIPHERS) {
    const { written } = begin(t, keysOf(cipher))
    const blob = blobsOf(written.payloadOf(plainOf(text(3)), 9)).bytes.slice()
    written.close()
    t.throws(() => written.payloadOf(plainOf(text(3)), 9), /zeroed/)
    t.throws(() => restored([version(blob, 9)], written), /zeroed/)
    written.close()
  }
})

t.test('aes-256-gcm: any byte that is changed is seen', async (t) => {
  const { written } = begin(t, keysOf('aes-256-gcm'))
  const compressed = new BlockCompression('lz4').blobsOf(text(3))
  const blob = blobsOf(written.payloadOf(compressed, 9)).bytes.slice()
  for (let at = 0; at < blob.length; at++) {
    blob[at]! ^= 0x10
    t.equal(restored([version(blob, 9, 3)], written), undefined, `byte ${at}`)
    blob[at]! ^= 0x10
  }
  t.ok(bytesOf(restored([version(blob, 9, 3)], written)).equals(text(3)))
})

t.test('aes-256-xts: a byte that is changed makes noise of its sixteen, and nothing throws', async (t) => {
  const { written } = begin(t, keysOf('aes-256-xts'))
  const blob = blobsOf(written.payloadOf(plainOf(text(3)), 9)).bytes.slice()
  blob[64 + 100]! ^= 1
  const block = bytesOf(restored([version(blob, 9)], written))
  t.notOk(block.subarray(96, 112).equals(text(3).subarray(96, 112)))
  t.ok(block.subarray(0, 96).equals(text(3).subarray(0, 96)) && block.subarray(112).equals(text(3).subarray(112)))
})

t.test('many sessions are read in any order, with as many contexts as may be', async (t) => {
  const blobs = Array.from({ length: 600 }, (_, i) => {
    const { written } = begin(t, keysOf('aes-256-gcm'))
    return blobsOf(written.payloadOf(plainOf(text(i % 250)), i)).bytes.slice()
  })
  const { written: reader } = begin(t, keysOf('aes-256-gcm'))
  fc.assert(fc.property(fc.nat(599), (i) =>
    bytesOf(restored([version(blobs[i]!, i)], reader)).equals(text(i % 250))), { numRuns: 3000 })
})

t.test('headers of strangers are read without an end', async (t) => {
  for (const cipher of CIPHERS) {
    const { written } = begin(t, keysOf(cipher))
    fc.assert(fc.property(
      fc.uint8Array({ minLength: 64, maxLength: 64 }), fc.integer({ min: 0, max: 66 }), fc.boolean(),
      (header, units, isLikely) => {
        if (isLikely) header.set([1, cipher === 'aes-256-xts' ? 1 : 2, 0, 0, 1, 0, 0, 0])
        if (isLikely) header.fill(0, 48)
        const blocks = restored([version(Buffer.concat([header, Buffer.alloc(units * 64)]), 1)], written)
        return blocks === undefined || (cipher === 'aes-256-xts' && bytesOf(blocks).length === BLOCK_BYTES)
      }), { numRuns: 2000 })
  }
})
