/**
 * What the NBD server's own code costs per request, sockets and volume taken away: parse, check, and build the reply.
 * The copy of the request's bytes into place, which the kernel makes in life, is part of the figures of writes.
 * Run alone, on an otherwise idle machine: `node bench/micro/nbd-parser.ts`. The goal is < 4 us for a 4 KiB read.
 */
import { NBD_CMD_READ, NBD_CMD_WRITE } from '../../dataplane/nbd/protocol.ts'
import { ReplyWriter } from '../../dataplane/nbd/reply-writer.ts'
import { RequestParser, emptyHeader, encodeRequest } from '../../dataplane/nbd/request-parser.ts'
import { SlabPool } from '../../dataplane/slab-pool.ts'
import { validate } from '../../dataplane/nbd/validate.ts'

const ROUNDS = 7
const volume = { sizeBytes: 2 ** 40, readOnly: false }
const session = { chunkedReplies: true, extendedHeaders: false, blockStatus: true }

/** One data event after another, each with `depth` requests, as a client with that queue depth causes them. */
function measure(name: string, options: { type: number; lengthBytes: number; depth: number; events: number }): void {
  const { type, lengthBytes, depth, events } = options
  const header = { ...emptyHeader(), type, lengthBytes, offsetLow: 4096 }
  const payload = Buffer.alloc(type === NBD_CMD_WRITE ? lengthBytes : 0, 1)
  const one = Buffer.concat([encodeRequest(header, false), payload])
  const packet = Buffer.concat(Array.from({ length: depth }, () => one))
  const pool = new SlabPool()
  const writer = new ReplyWriter({ style: 'structured', pool })
  const parser = new RequestParser({
    extended: false,
    pool,
    admit: (header) => validate(header, volume, session) === undefined ? 'take' : 'skip',
  })
  const times: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const start = process.hrtime.bigint()
    for (let event = 0; event < events; event++) {
      for (let at = 0; at < packet.length;) {
        const count = Math.min(packet.length - at, parser.space().length)
        parser.space().set(packet.subarray(at, at + count))
        parser.received(count)
        at += count
        while (parser.next() === 'request') answer(parser, writer, pool)
      }
      writer.sent(writer.take())
    }
    times.push(Number(process.hrtime.bigint() - start) / 1000 / (events * depth))
  }
  times.sort((a, b) => a - b)
  console.log(`${name.padEnd(44)} ${times[ROUNDS >> 1]!.toFixed(3)} us (best ${times[0]!.toFixed(3)})`)
}

function answer(parser: RequestParser, writer: ReplyWriter, pool: SlabPool): void {
  const { header } = parser
  if (header.type === NBD_CMD_WRITE) {
    pool.release(parser.payloadSlab!)
    return writer.success(header)
  }
  const bytes = writer.readHeaderBytes + header.lengthBytes
  const at = writer.reserve(bytes)
  const slab = writer.slab!
  slab.bytes.subarray(at + writer.readHeaderBytes, at + bytes)
  writer.readHeader(slab, at, header, header.lengthBytes)
  writer.commit(slab, at, at + bytes)
}

measure('4 KiB read, queue depth 32', { type: NBD_CMD_READ, lengthBytes: 4096, depth: 32, events: 5000 })
measure('4 KiB write, queue depth 32', { type: NBD_CMD_WRITE, lengthBytes: 4096, depth: 32, events: 5000 })
measure('4 KiB read, queue depth 1', { type: NBD_CMD_READ, lengthBytes: 4096, depth: 1, events: 50_000 })
measure('4 KiB write, queue depth 1', { type: NBD_CMD_WRITE, lengthBytes: 4096, depth: 1, events: 50_000 })
measure('128 KiB write, queue depth 8', { type: NBD_CMD_WRITE, lengthBytes: 131072, depth: 8, events: 500 })
