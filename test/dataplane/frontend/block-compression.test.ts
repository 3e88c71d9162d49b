/**
 * Risk: a block does not come back as it was written, a blob is not what its table says, or data that does not compress
 * is slower for it.
 */
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { crc32c } from '../../../dataplane/checksum.ts'
import { BlockCompression } from '../../../dataplane/frontend/block-compression.ts'
import { asWritten, restoredAnswer } from '../../../dataplane/frontend/block-bytes.ts'
import type { FrontendMessage } from '../../../engine/replication/messages.ts'
import type { BlockVersion, Payload } from '../../../engine/replication/record.ts'
import { BLOCK_BYTES, UNIT_BYTES, UNITS_PER_BLOCK } from '../../../engine/units.ts'
import { blobsOf } from '../../../engine/volume/copy-headers.ts'
import { restored } from '../../../engine/volume/restored-blocks.ts'

const text = (byte: number): Uint8Array => new Uint8Array(BLOCK_BYTES).fill(byte, 0, 2000)
const noise = (): Uint8Array => randomBytes(BLOCK_BYTES)

/** One version a block, as a copy reads them. */
function versionsOf(payload: Payload): BlockVersion[] {
  const { bytes, crcs, stored } = blobsOf(payload)
  const units = stored === undefined ? Array.from(crcs, () => UNITS_PER_BLOCK) : Array.from(stored.units)
  let at = 0
  return units.map((count, lba) => {
    const blob = bytes.subarray(at, (at += count * UNIT_BYTES))
    t.equal(crc32c(blob) >>> 0, crcs[lba]! >>> 0, 'each blob has its checksum')
    const form = stored && { transform: stored.transform, units: [count] }
    const data = { bytes: blob, crcs: [crcs[lba]!], stored: form }
    return { epoch: 1, seq: 1, lba, kind: 'write', payload: { bytes: blob.length, data } }
  })
}

const bytesOf = (versions: BlockVersion[] | undefined): Buffer =>
  Buffer.concat((versions ?? []).map(({ payload }) => blobsOf(payload!).bytes))

t.test('blocks of both sorts, in any order, come back', async (t) => {
  for (const sorts of ['t', 'n', 'tn', 'nt', 'nnt', 'tnt', 'ntnnttn', 't'.repeat(32), 'n'.repeat(32)]) {
    const compression = new BlockCompression('lz4')
    const blocks = [...sorts].map((sort, i) => (sort === 't' ? text(i + 1) : noise()))
    const written = Buffer.concat(blocks)
    const payload = compression.payloadOf(written)
    t.equal(payload.bytes, blobsOf(payload).bytes.length)
    t.ok(bytesOf(restored(versionsOf(payload))).equals(written), sorts)
    const { stored, bytes } = blobsOf(payload)
    if (sorts.includes('t')) t.equal(stored?.units[sorts.indexOf('t')], 1, 'zeroes and one byte take a unit')
    else t.equal(bytes.buffer, written.buffer, 'what does not compress is not copied')
    t.same([compression.writtenBytes, compression.storedBytes], [written.length, payload.bytes])
  }
})

t.test('many payloads, more than a piece of memory holds, stay what they were', async (t) => {
  const compression = new BlockCompression('lz4')
  const blocks = Array.from({ length: 3000 }, (_, i) => {
    const block = text(i)
    block.set(randomBytes(1 + (i % 3000)), 1000)
    return block
  })
  const payloads = blocks.map((block) => compression.payloadOf(block))
  const wrong = payloads.filter((payload, i) => !bytesOf(restored(versionsOf(payload))).equals(blocks[i]!))
  t.equal(wrong.length, 0)
})

t.test('the mode counts for what is written from then on', async (t) => {
  const compression = new BlockCompression('none')
  t.equal(blobsOf(compression.payloadOf(text(1))).stored, undefined)
  compression.mode = 'lz4'
  t.same(blobsOf(compression.payloadOf(text(1))).stored, { transform: 1, units: Uint8Array.of(1) })
  compression.mode = 'none'
  t.equal(blobsOf(compression.payloadOf(text(1))).stored, undefined)
})

t.test('what does not compress is hardly tried, and what compresses again soon is', async (t) => {
  const compression = new BlockCompression('lz4')
  for (let i = 0; i < 5000; i++) compression.payloadOf(noise())
  t.ok(compression.tries < 50, `${compression.tries} of 5,000 were tried`)
  let raw = 0
  while (blobsOf(compression.payloadOf(text(1))).stored === undefined) raw++
  t.ok(raw <= 256, `${raw} blocks later`)
  for (let i = 0; i < 100; i++) t.ok(blobsOf(compression.payloadOf(text(1))).stored, 'from then on every one is')
})

t.test('a blob with the right checksum that is no block is damage, and never other data', async (t) => {
  const bytes = new Uint8Array(UNIT_BYTES).fill(255)
  const bad = (transform: number): BlockVersion => ({
    epoch: 1, seq: 1, lba: 0, kind: 'write',
    payload: { bytes: UNIT_BYTES, data: { bytes, crcs: [0], stored: { transform, units: [1] } } },
  })
  const id = { generation: 1, incarnation: 1, request: 1, part: 0, parts: 1 }
  for (const transform of [0, 1, 2, 3]) {
    t.equal(restored([bad(transform)]), undefined, `transform ${transform}`)
    const result = { ok: true as const, versions: [bad(transform)] }
    const reply: FrontendMessage = { type: 'reply', id, epoch: 1, result }
    t.same(restoredAnswer(reply), { type: 'reply', id, epoch: 1, result: { ok: false, code: 'damaged' } })
    const asked = { reader: 1, number: 2, epoch: 3 }
    const blocks: FrontendMessage = { type: 'snapshot-blocks', ...asked, versions: result.versions }
    t.same(restoredAnswer(blocks), { type: 'snapshot-refused', ...asked, code: 'damaged' })
  }
})

t.test('an answer of blocks as they are is handed on as it came', async (t) => {
  const id = { generation: 1, incarnation: 1, request: 1, part: 0, parts: 1 }
  const versions: BlockVersion[] = [{ epoch: 1, seq: 1, lba: 0, kind: 'zero', payload: undefined }]
  const message: FrontendMessage = { type: 'reply', id, epoch: 1, result: { ok: true, versions } }
  const event = { type: 'message', from: 'n1', message }
  t.equal(asWritten(event), event)
})
