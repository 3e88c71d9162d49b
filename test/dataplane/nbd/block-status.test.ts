/** Risk: an extent is longer than its field or its request, or a sparse read leaves bytes out. */
import fc from 'fast-check'
import t from 'tap'
import { encodeBlockStatus, planSparseRead } from '../../../dataplane/nbd/block-status.ts'

const TIB = 1024 ** 4
const extent = (lengthBytes: number, hole: boolean, zero = hole) => ({ lengthBytes, hole, zero })

t.test('32-bit descriptors', async (t) => {
  const payload = Buffer.from(encodeBlockStatus([extent(4096, true), extent(512, false)], 8192, false))
  t.equal(payload.toString('hex'), '00000001' + '00001000' + '00000003' + '00000200' + '00000000')
})

t.test('64-bit descriptors carry terabytes', async (t) => {
  const payload = Buffer.from(encodeBlockStatus([extent(64 * TIB - 1, true), extent(1, false, true)], 64 * TIB, true))
  t.same([payload.readUInt32BE(0), payload.readUInt32BE(4)], [1, 2])
  t.equal(payload.readBigUInt64BE(8), 64n * 2n ** 40n - 1n)
  t.equal(payload.readBigUInt64BE(16), 3n)
  t.equal(payload.readBigUInt64BE(24), 1n)
  t.equal(payload.readBigUInt64BE(32), 2n)
})

t.test('extents are clipped to the request, by subtraction', async (t) => {
  const payload = Buffer.from(encodeBlockStatus([extent(100, false), extent(64 * TIB, true)], 0xffffffff, false))
  t.equal(payload.readUInt32BE(12), 0xffffffff - 100)
  t.equal(encodeBlockStatus([extent(64 * TIB, true), extent(1, false)], 5, false).length, 12, 'none lies behind it')
})

t.test('a plan of a sparse read tiles the range, alternates, and sends every byte that is not zero', async (t) => {
  const extents = fc.array(fc.tuple(fc.integer({ min: 1, max: 5000 }), fc.boolean(), fc.boolean()), { maxLength: 12 })
  fc.assert(fc.property(extents, fc.integer({ min: 1, max: 20_000 }), (list, lengthBytes) => {
    const given = list.map(([length, hole, zero]) => extent(length, hole, zero))
    const parts = planSparseRead(given, { offsetBytes: 7, lengthBytes })
    const zeroAt: boolean[] = []
    for (const { lengthBytes: length, zero } of given) for (let i = 0; i < length; i++) zeroAt.push(zero)
    if (parts === undefined) return !zeroAt.slice(0, lengthBytes).includes(true)
    let at = 7
    let hole: boolean | undefined
    for (const part of parts) {
      if (part.offsetBytes !== at || part.lengthBytes < 1 || part.hole === hole) return false
      for (let i = 0; i < part.lengthBytes; i++) if ((zeroAt[at - 7 + i] ?? false) !== part.hole) return false
      at += part.lengthBytes
      hole = part.hole
    }
    return at === 7 + lengthBytes
  }), { numRuns: 300, seed: 4 })
  t.pass()
})
