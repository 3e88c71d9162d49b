/** Risk: replies overlap, are sent before they are whole, or leak the slab they were built in. */
import fc from 'fast-check'
import t from 'tap'
import { ReplyWriter } from '../../../dataplane/nbd/reply-writer.ts'
import type { Piece, ReplyStyle } from '../../../dataplane/nbd/reply-writer.ts'
import { LARGE_SLAB_BYTES, SLAB_BYTES, SlabPool } from '../../../dataplane/slab-pool.ts'
import type { Slab } from '../../../dataplane/slab-pool.ts'

const to = (n: number) => ({ cookieHigh: 0xaabbccdd, cookieLow: n, offsetHigh: 1, offsetLow: 2 })
const bytesOf = (pieces: Piece[]) => Buffer.concat(pieces.map(({ slab, from, to }) => slab.bytes.subarray(from, to)))

t.test('headers, byte by byte', async (t) => {
  const expected: Record<ReplyStyle, [success: string, error: string]> = {
    simple: ['67446698' + '00000000' + 'aabbccdd00000009', '67446698' + '00000016' + 'aabbccdd00000009'],
    structured: [
      '67446698' + '00000000' + 'aabbccdd00000009',
      '668e33ef' + '0001' + '8001' + 'aabbccdd00000009' + '00000008' + '00000016' + '0002' + '6e6f',
    ],
    extended: [
      '6e8a278c' + '0001' + '0000' + 'aabbccdd00000009' + '0000000100000002' + '0000000000000000',
      '6e8a278c' + '0001' + '8001' + 'aabbccdd00000009' + '0000000100000002' + '0000000000000008'
        + '00000016' + '0002' + '6e6f',
    ],
  }
  for (const style of ['simple', 'structured', 'extended'] as const) {
    const writer = new ReplyWriter({ style, pool: new SlabPool() })
    writer.success(to(9))
    t.equal(bytesOf(writer.take()).toString('hex'), expected[style][0])
    writer.error(to(9), 22, Buffer.from('no'))
    t.equal(bytesOf(writer.take()).toString('hex'), expected[style][1])
  }
})

t.test('what is answered in order is one buffer', async (t) => {
  const writer = new ReplyWriter({ style: 'structured', pool: new SlabPool() })
  for (let i = 0; i < 32; i++) {
    const bytes = writer.readHeaderBytes + 4096
    const at = writer.reserve(bytes)
    writer.readHeader(writer.slab!, at, to(i), 4096)
    writer.commit(writer.slab!, at, at + bytes)
    writer.success(to(i))
  }
  t.equal(writer.take().length, 1)
})

t.test('a reply that is not ready is never sent and its place is not reused', async (t) => {
  const pool = new SlabPool()
  const writer = new ReplyWriter({ style: 'simple', pool })
  const at = writer.reserve(100)
  const slab = writer.slab!
  slab.bytes.fill(0x5a, at, at + 100)
  writer.success(to(1))
  writer.sent(writer.take())
  for (let i = 0; i < 20_000; i++) writer.success(to(i))
  writer.sent(writer.take())
  writer.commit(slab, at, at + 100)
  t.ok(bytesOf(writer.take()).equals(Buffer.alloc(100, 0x5a)))
})

t.test('random orders of endings: each reply is sent once, whole, and no slab is lost', async (t) => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('reserve' as const), n: fc.integer({ min: 16, max: 70_000 }) }),
    fc.record({ do: fc.constant('end' as const), n: fc.nat() }),
    fc.record({ do: fc.constant('abandon' as const), n: fc.nat() }),
    fc.record({ do: fc.constant('success' as const), n: fc.nat(0xffff) }),
    fc.record({ do: fc.constant('take' as const), n: fc.nat() }),
  )
  fc.assert(fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
    const pool = new SlabPool()
    const writer = new ReplyWriter({ style: 'simple', pool })
    const open: { slab: Slab; at: number; bytes: number; mark: number }[] = []
    const slabs = new Set<Slab>()
    const expected: Buffer[] = []
    const got: Buffer[] = []
    let mark = 0
    const take = () => {
      const pieces = writer.take()
      got.push(bytesOf(pieces))
      writer.sent(pieces)
    }
    const end = (index: number, keep: boolean) => {
      const [one] = open.splice(index % open.length, 1)
      if (!keep) return writer.abandon(one!.slab)
      expected.push(Buffer.alloc(one!.bytes, one!.mark))
      writer.commit(one!.slab, one!.at, one!.at + one!.bytes)
    }
    for (const { do: what, n } of steps) {
      if (what === 'reserve') {
        const at = writer.reserve(n)
        mark = (mark + 1) & 255
        writer.slab!.bytes.fill(mark, at, at + n)
        open.push({ slab: writer.slab!, at, bytes: n, mark })
      } else if (what === 'success') {
        writer.success(to(n))
        const header = Buffer.from('6744669800000000aabbccdd00000000', 'hex')
        header.writeUInt32BE(n, 12)
        expected.push(header)
      } else if (what === 'take') take()
      else if (open.length > 0) end(n, what === 'end')
      if (writer.slab !== undefined) slabs.add(writer.slab)
    }
    while (open.length > 0) end(0, true)
    take()
    writer.close()
    return Buffer.concat(got).equals(Buffer.concat(expected)) && [...slabs].every((slab) => slab.users === 0)
  }), { numRuns: 200, seed: 5 })
  t.pass()
})

t.test('the pool is bounded and forgets odd sizes', async (t) => {
  const pool = new SlabPool({ idleBytesMax: 2 * LARGE_SLAB_BYTES })
  const slabs = [1, LARGE_SLAB_BYTES, LARGE_SLAB_BYTES, 10 * LARGE_SLAB_BYTES].map((bytes) => pool.acquire(bytes))
  const sizes = [SLAB_BYTES, LARGE_SLAB_BYTES, LARGE_SLAB_BYTES, 10 * LARGE_SLAB_BYTES]
  t.same(slabs.map((slab) => slab.bytes.length), sizes)
  for (const slab of slabs.reverse()) pool.release(slab)
  t.equal(pool.idleBytes, 2 * LARGE_SLAB_BYTES)
  t.throws(() => pool.release(slabs[0]!), 'released once more than used')
})
