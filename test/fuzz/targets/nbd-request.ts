/**
 * The request parser with its checks, fed a session that is valid at first and then damaged, cut at random and partly
 * from foreign memory, with a volume that keeps payloads for a while.
 *
 * Promises: nothing throws; an undamaged session comes out request by request, byte by byte; a kept payload never
 * changes; memory stays below what was admitted plus a few slabs.
 */
import { assert } from '../../../engine/assert.ts'
import { NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_WRITE } from '../../../dataplane/nbd/protocol.ts'
import { RequestParser, emptyHeader, encodeRequest, hasPayload } from '../../../dataplane/nbd/request-parser.ts'
import type { RequestHeader } from '../../../dataplane/nbd/request-parser.ts'
import type { Slab } from '../../../dataplane/slab-pool.ts'
import { SlabPool } from '../../../dataplane/slab-pool.ts'
import { validate } from '../../../dataplane/nbd/validate.ts'
import type { Random } from '../../sim/random.ts'
import { DrawnFrom } from '../target.ts'
import type { Target } from '../target.ts'

const SIZE = 2 ** 40
const PAYLOAD_MAX = 400_000
/** One for all executions: making slabs costs more than parsing what lies in them. */
const pool = new SlabPool()

export const target: Target = {
  parsers: ['dataplane/nbd/request-parser.ts', 'dataplane/nbd/validate.ts'],
  seeds: () => [64, 256].map((length) => new Uint8Array(length)),
  execute: (input) => fuzz(new DrawnFrom(input)),
}

function fuzz(random: Random): void {
  const extended = random.int(2) === 0
  const damaged = random.int(2) === 0
  const sent: { header: RequestHeader; payload: Buffer }[] = []
  for (let i = random.between(1, 30); i > 0; i--) sent.push(makeRequest(random, extended))
  const stream = Buffer.concat(sent.flatMap(({ header, payload }) => [encodeRequest(header, extended), payload]))
  if (damaged) {
    for (let i = random.between(1, 8); i > 0; i--) stream[random.int(stream.length)] = random.int(256)
  }
  const got = feed(random, stream, extended)
  if (damaged) return
  assert(got.length === sent.length, 'every request comes out')
  sent.forEach(({ header, payload }, i) => {
    assert(got[i]!.cookieLow === header.cookieLow && got[i]!.type === header.type, 'in order')
    assert(got[i]!.payload === undefined || payload.equals(got[i]!.payload!), 'with its payload')
  })
}

function makeRequest(random: Random, extended: boolean): { header: RequestHeader; payload: Buffer } {
  const type = random.int(3) === 0 ? random.int(10) : NBD_CMD_WRITE
  const header = { ...emptyHeader(), type, cookieLow: random.u32(), offsetLow: random.u32() }
  header.flags = random.int(4) === 0 ? random.int(32) : 0
  if (extended && type === NBD_CMD_WRITE) header.flags |= NBD_CMD_FLAG_PAYLOAD_LEN
  const payload = hasPayload(header, extended)
  header.lengthBytes = payload ? random.int(random.int(100) === 0 ? PAYLOAD_MAX : 3000) : random.u32()
  const bytes = Buffer.alloc(payload ? header.lengthBytes : 0)
  for (let at = 0; at < bytes.length; at += 97) bytes[at] = random.int(256)
  return { header, payload: bytes }
}

function feed(random: Random, stream: Buffer, extended: boolean) {
  const session = { chunkedReplies: true, extendedHeaders: extended, blockStatus: true }
  const got: { cookieLow: number; type: number; payload: Buffer | undefined }[] = []
  const kept: { view: Uint8Array; copy: Buffer; slab: Slab }[] = []
  let admittedBytes = 0
  const parser = new RequestParser({
    extended,
    pool,
    admit: (header, payloadBytes) => {
      if (payloadBytes > PAYLOAD_MAX) return 'close'
      if (random.int(5) === 0) return 'wait'
      if (validate(header, { sizeBytes: SIZE, readOnly: false }, session) !== undefined) return 'skip'
      admittedBytes = payloadBytes
      return 'take'
    },
  })
  let broken = false
  const drain = () => {
    for (let idle = 0; idle < 20 && !broken;) {
      const progress = parser.next()
      if (progress === 'more') return
      if (progress === 'wait') idle++
      if (progress === 'broken') broken = true
      if (progress !== 'request') continue
      const { payload, payloadSlab, header } = parser
      got.push({
        cookieLow: header.cookieLow, type: header.type, payload: payloadSlab && Buffer.from(payload),
      })
      if (payloadSlab !== undefined) kept.push({ view: payload, copy: Buffer.from(payload), slab: payloadSlab })
      while (kept.length > random.int(6)) {
        const { view, copy, slab } = kept.shift()!
        assert(copy.equals(view), 'a kept payload does not change')
        pool.release(slab)
      }
    }
  }
  for (let at = 0; at < stream.length && !broken;) {
    const space = parser.space()
    assert(space.length > 0, 'there is always room to read into')
    assert(space.length <= Math.max(admittedBytes, 8 * 1024 * 1024), 'no memory without admission')
    const count = Math.min(stream.length - at, random.between(1, random.int(3) === 0 ? 200_000 : 3000), space.length)
    // Parsing may go on between asking for room and receiving, when a held connection is freed.
    if (random.int(4) === 0) drain()
    space.set(stream.subarray(at, at + count))
    at += count
    let foreign = parser.received(count)
    while (foreign.length > 0 && !broken) {
      foreign = foreign.subarray(parser.append(foreign))
      drain()
    }
    drain()
  }
  for (let i = 0; i < 50 && !broken; i++) drain()
  for (const { slab } of kept) pool.release(slab)
  parser.close()
  return got
}
