/** Risk: a chunk boundary, a full slab or a large payload makes the parser lose, repeat or misplace a byte. */
import fc from 'fast-check'
import t from 'tap'
import {
  NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_READ, NBD_CMD_WRITE, PAYLOAD_BYTES_MAX,
} from '../../../dataplane/nbd/protocol.ts'
import {
  OUT_OF_RANGE, RequestParser, decodeRequest, emptyHeader, encodeRequest,
} from '../../../dataplane/nbd/request-parser.ts'
import type { Admission, RequestHeader } from '../../../dataplane/nbd/request-parser.ts'
import { LARGE_SLAB_BYTES, SLAB_BYTES, SlabPool } from '../../../dataplane/slab-pool.ts'
import type { Slab } from '../../../dataplane/slab-pool.ts'

interface Got {
  header: RequestHeader
  payload: Buffer
}

/** Feeds a parser the way a socket does, or from foreign memory, and collects what comes out. */
class Feeder {
  readonly pool = new SlabPool()
  readonly parser: RequestParser
  readonly got: Got[] = []
  /** Payloads kept by a slow volume; their bytes must not change. */
  readonly kept: { view: Uint8Array; copy: Buffer; slab: Slab }[] = []
  broken = false
  admission: (header: RequestHeader) => Admission = () => 'take'
  keep = false

  constructor(extended: boolean) {
    this.parser = new RequestParser({ extended, pool: this.pool, admit: (header) => this.admission(header) })
  }

  socket(bytes: Uint8Array): void {
    let left = bytes
    while (left.length > 0 && !this.broken) {
      const space = this.parser.space()
      const count = Math.min(space.length, left.length)
      space.set(left.subarray(0, count))
      left = left.subarray(count)
      let foreign = this.parser.received(count)
      this.drain()
      while (foreign.length > 0) {
        foreign = foreign.subarray(this.parser.append(foreign))
        this.drain()
      }
    }
  }

  append(bytes: Uint8Array): void {
    let left = bytes
    while (left.length > 0 && !this.broken) {
      left = left.subarray(this.parser.append(left))
      this.drain()
    }
  }

  drain(): void {
    for (;;) {
      const progress = this.parser.next()
      if (progress === 'broken') this.broken = true
      if (progress !== 'request') return
      const copy = Buffer.from(this.parser.payload)
      this.got.push({ header: { ...this.parser.header }, payload: copy })
      const slab = this.parser.payloadSlab
      if (slab === undefined) continue
      if (this.keep) this.kept.push({ view: this.parser.payload, copy, slab })
      else this.pool.release(slab)
    }
  }
}

function header(fields: Partial<RequestHeader>): RequestHeader {
  return { ...emptyHeader(), ...fields }
}

function write(cookieLow: number, payload: Uint8Array, extended: boolean): Buffer {
  const flags = extended ? NBD_CMD_FLAG_PAYLOAD_LEN : 0
  const fields = header({ type: NBD_CMD_WRITE, flags, cookieLow, lengthBytes: payload.length })
  return Buffer.concat([encodeRequest(fields, extended), payload])
}

function pattern(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + seed * 7 + (i >> 8)) & 255
  return bytes
}

t.test('headers survive a round trip at the extremes', async (t) => {
  for (const extended of [false, true]) {
    for (const word of [0, 1, 0x7fffffff, 0x80000000, 0xffffffff]) {
      const lengthBytes = extended ? word * 0x10000 : word
      const sent = header({
        flags: 0xffff & word, type: 7, cookieHigh: word, cookieLow: (word ^ 0xff) >>> 0, offsetHigh: word >>> 12,
        offsetLow: word, lengthBytes,
      })
      const bytes = encodeRequest(sent, extended)
      const into = emptyHeader()
      t.ok(decodeRequest(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, extended, into))
      t.same(into, { ...sent, offsetBytes: (word >>> 12) * 2 ** 32 + word })
    }
  }
})

t.test('64-bit values that a double cannot hold are out of range, not rounded', async (t) => {
  const bytes = Buffer.alloc(32, 0xff)
  encodeRequest(header({ type: NBD_CMD_READ }), true).copy(bytes, 0, 0, 16)
  const into = emptyHeader()
  decodeRequest(new DataView(bytes.buffer, bytes.byteOffset, 32), 0, true, into)
  t.equal(into.offsetBytes, OUT_OF_RANGE)
  t.equal(into.lengthBytes, OUT_OF_RANGE)
  t.same([into.offsetHigh, into.offsetLow], [0xffffffff, 0xffffffff], 'the words are kept for the reply')
})

t.test('a stream cut in two at every byte parses the same', async (t) => {
  for (const extended of [false, true]) {
    const payloads = [pattern(1, 1), pattern(513, 2), pattern(300, 3)]
    const reads = encodeRequest(header({ type: NBD_CMD_READ, cookieLow: 9, lengthBytes: 4096 }), extended)
    const stream = Buffer.concat([reads, ...payloads.map((payload, i) => write(i, payload, extended)), reads])
    for (let cut = 0; cut <= stream.length; cut++) {
      for (const way of ['socket', 'append'] as const) {
        const feeder = new Feeder(extended)
        feeder[way](stream.subarray(0, cut))
        feeder[way](stream.subarray(cut))
        if (feeder.got.length !== 5 || !payloads.every((payload, i) => payload.equals(feeder.got[i + 1]!.payload))) {
          t.fail(`cut at ${cut} by ${way}, extended ${extended}`)
        }
      }
    }
  }
  t.pass('all cuts')
})

t.test('small payloads stay where they were received, large ones are received into memory of their own', async (t) => {
  const feeder = new Feeder(false)
  feeder.keep = true
  const stream = Buffer.concat([write(1, pattern(4096, 1), false), write(2, pattern(4096, 2), false)])
  feeder.socket(stream)
  t.equal(feeder.kept[0]!.view.buffer, feeder.kept[1]!.view.buffer, 'one slab')
  t.equal(feeder.kept[1]!.view.byteOffset - feeder.kept[0]!.view.byteOffset, 4096 + 28, 'in place')
  const large = pattern(3 * LARGE_SLAB_BYTES, 3)
  feeder.socket(write(3, large, false))
  t.equal(feeder.kept[2]!.slab.bytes.length, large.length, 'exactly as long as the payload')
  for (const { view, copy } of feeder.kept) t.ok(copy.equals(view), 'kept payloads are not overwritten')
})

t.test('memory is reused as soon as nothing lies in it', async (t) => {
  const feeder = new Feeder(false)
  const first = feeder.parser.space()
  for (let i = 0; i < 1000; i++) feeder.socket(write(i, pattern(4096, i), false))
  t.equal(feeder.parser.space().buffer, first.buffer, '4 MB passed through one slab')
  t.equal(feeder.parser.space().byteOffset, first.byteOffset)
})

t.test('a request that must wait is asked about again and not lost', async (t) => {
  const feeder = new Feeder(false)
  let open = false
  feeder.admission = () => open ? 'take' : 'wait'
  const payloads = Array.from({ length: 40 }, (_, i) => pattern(20_000, i))
  for (const [i, payload] of payloads.entries()) feeder.socket(write(i, payload, false))
  t.equal(feeder.got.length, 0)
  t.equal(feeder.parser.unparsedBytes, 40 * 20_028, 'the backlog is kept')
  open = true
  feeder.socket(write(40, pattern(5, 40), false))
  t.same(feeder.got.map(({ header }) => header.cookieLow), Array.from({ length: 41 }, (_, i) => i))
  t.ok(payloads.every((payload, i) => payload.equals(feeder.got[i]!.payload)))
})

t.test('a refused payload is read over without memory', async (t) => {
  const feeder = new Feeder(false)
  feeder.admission = (header) => header.cookieLow === 7 ? 'skip' : 'take'
  const chunk = Buffer.alloc(SLAB_BYTES, 1)
  const before = feeder.parser.space().buffer
  const total = PAYLOAD_BYTES_MAX
  feeder.socket(encodeRequest(header({ type: NBD_CMD_WRITE, cookieLow: 7, lengthBytes: total }), false))
  for (let sent = 0; sent < total; sent += chunk.length) feeder.socket(chunk)
  feeder.socket(write(8, pattern(3, 3), false))
  t.same(feeder.got.map(({ header }) => header.cookieLow), [7, 8])
  t.equal(feeder.got[0]!.payload.length, 0)
  t.equal(feeder.parser.space().buffer, before, 'still the first slab')
})

t.test('random sessions in random chunks, with a slow volume, arrive unchanged', async (t) => {
  const sizes = fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 0, max: 9000 }) },
    { weight: 2, arbitrary: fc.integer({ min: 100_000, max: 300_000 }) },
    { weight: 1, arbitrary: fc.integer({ min: SLAB_BYTES, max: 3 * SLAB_BYTES }) },
  )
  fc.assert(fc.property(
    fc.boolean(),
    fc.array(sizes, { minLength: 1, maxLength: 25 }),
    fc.array(fc.integer({ min: 1, max: 100_000 }), { minLength: 1, maxLength: 10 }),
    fc.array(fc.boolean(), { minLength: 1, maxLength: 5 }),
    (extended, lengths, cuts, ways) => {
      const feeder = new Feeder(extended)
      feeder.keep = true
      let waits = 0
      feeder.admission = () => ++waits % 3 === 0 ? 'wait' : 'take'
      const payloads = lengths.map((length, i) => pattern(length, i))
      const stream = Buffer.concat(payloads.map((payload, i) => write(i, payload, extended)))
      for (let at = 0, i = 0; at < stream.length; i++) {
        const to = Math.min(stream.length, at + cuts[i % cuts.length]!)
        feeder[ways[i % ways.length]! ? 'socket' : 'append'](stream.subarray(at, to))
        at = to
      }
      for (let i = 0; i < lengths.length; i++) feeder.drain()
      return feeder.got.length === payloads.length
        && payloads.every((payload, i) => payload.equals(feeder.got[i]!.payload))
        && feeder.kept.every(({ view, copy }) => copy.equals(view))
    },
  ), { numRuns: 120, seed: 1 })
  t.pass()
})

t.test('garbage never throws and never takes memory for a payload that was not admitted', async (t) => {
  fc.assert(fc.property(
    fc.boolean(),
    fc.array(fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.record({ type: fc.nat(9), flags: fc.nat(63), length: fc.nat() }).map(({ type, flags, length }) =>
        encodeRequest(header({ type, flags, lengthBytes: length }), false)),
      fc.record({ type: fc.nat(9), flags: fc.nat(63), length: fc.nat() }).map(({ type, flags, length }) =>
        encodeRequest(header({ type, flags, lengthBytes: length }), true)),
    ), { maxLength: 20 }),
    (extended, parts) => {
      const feeder = new Feeder(extended)
      feeder.admission = (header) => header.lengthBytes > 100_000 ? 'close' : 'take'
      for (const part of parts) feeder.socket(part)
      return feeder.broken || feeder.parser.space().buffer.byteLength <= LARGE_SLAB_BYTES
    },
  ), { numRuns: 500, seed: 2 })
  t.pass()
})
