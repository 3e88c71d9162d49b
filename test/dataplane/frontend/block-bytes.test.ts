/** Bytes of clients and blocks of copies, both ways, against plain arrays. */
import t from 'tap'
import type { ComposedWrite } from '../../../engine/replication/frontend-port.ts'
import type { BlockVersion, Payload } from '../../../engine/replication/record.ts'
import { BLOCK_BYTES } from '../../../engine/units.ts'
import { blobsOf, payloadOf } from '../../../engine/volume/copy-headers.ts'
import { crc32c } from '../../../dataplane/checksum.ts'
import { composeBlocks, fillFrom } from '../../../dataplane/frontend/block-bytes.ts'

const composed = (write: ComposedWrite): Payload => composeBlocks(write, (bytes) => payloadOf(crc32c, bytes))

const bytesOf = (payload: Payload): Uint8Array => blobsOf(payload).bytes

const version = (lba: number, byte: number | undefined): BlockVersion => ({
  epoch: 1, seq: 1, lba, kind: byte === undefined ? 'trim' : 'write',
  payload: byte === undefined ? undefined : payloadOf(crc32c, new Uint8Array(BLOCK_BYTES).fill(byte)),
})

t.test('whole blocks are not copied, and come with their checksums', async (t) => {
  const data = new Uint8Array(4 * BLOCK_BYTES).fill(7)
  const payload = composed({
    data, fromBytes: BLOCK_BYTES, skipBytes: 0, lengthBytes: 2 * BLOCK_BYTES, lba: 1, blockCount: 2, old: [],
  })
  t.equal(bytesOf(payload).buffer, data.buffer)
  t.equal(bytesOf(payload).byteOffset, data.byteOffset + BLOCK_BYTES)
  t.equal(blobsOf(payload).crcs[1], crc32c(data.subarray(0, BLOCK_BYTES)))
})

t.test('what is narrower is laid over the old edges', async (t) => {
  const data = new Uint8Array(BLOCK_BYTES).fill(9)
  const payload = composed({
    data, fromBytes: 0, skipBytes: 512, lengthBytes: BLOCK_BYTES, lba: 10, blockCount: 2, old: [version(11, 3)],
  })
  const expected = new Uint8Array(2 * BLOCK_BYTES).fill(3, BLOCK_BYTES)
  expected.set(data, 512)
  t.ok(Buffer.from(bytesOf(payload)).equals(expected), 'an edge without a version is zeroes')
})

t.test('the edge of a trim becomes zeroes over the old block', async (t) => {
  const payload = composed({
    data: undefined, fromBytes: 0, skipBytes: 100, lengthBytes: 50, lba: 5, blockCount: 1, old: [version(5, 4)],
  })
  const expected = new Uint8Array(BLOCK_BYTES).fill(4)
  expected.fill(0, 100, 150)
  t.ok(Buffer.from(bytesOf(payload)).equals(expected))
})

t.test('a read is filled from any alignment; what has no bytes is zeroes', async (t) => {
  const versions = [version(10, 1), version(11, undefined), version(12, 3)]
  const whole = new Uint8Array(3 * BLOCK_BYTES).fill(1, 0, BLOCK_BYTES).fill(3, 2 * BLOCK_BYTES)
  for (const [skip, lengthBytes, count] of [
    [0, 3 * BLOCK_BYTES, 3], [100, 50, 1], [4000, 5000, 3], [511, 3 * BLOCK_BYTES - 511, 3],
  ] as const) {
    const into = new Uint8Array(lengthBytes).fill(255)
    t.ok(fillFrom(versions.slice(0, count), 10 * BLOCK_BYTES + skip, into))
    t.ok(Buffer.from(into).equals(whole.subarray(skip, skip + lengthBytes)), `${skip} + ${lengthBytes}`)
  }
})

t.test('an answer with blocks that were not asked for, or one twice, shows nothing of what lay there', async (t) => {
  for (const lbas of [[10, 10], [10, 999], [9, 10, 11], [11, 10], [10, 11, 12], [10, 11, 11], [10, 2 ** 40]]) {
    for (const [skip, lengthBytes] of [[0, 2 * BLOCK_BYTES], [512, 2 * BLOCK_BYTES - 1024]] as const) {
      const into = new Uint8Array(lengthBytes).fill(255)
      t.notOk(fillFrom(lbas.map((lba) => version(lba, 1)), 10 * BLOCK_BYTES + skip, into), lbas.join())
      t.ok(into.every((byte) => byte === 0), 'it is zeroes')
    }
  }
})
