/**
 * The handshake, fed random option sequences with lengths and contents that lie, cut at random.
 *
 * Promises: nothing throws; no option grows the memory beyond its limit; every option that was read whole has exactly
 * one final reply, or the handshake is over; what is entered is what was asked for, and no byte behind it is lost.
 */
import { assert } from '../../../engine/assert.ts'
import { Handshake } from '../../../dataplane/nbd/handshake.ts'
import { encodeInfoRequest, encodeMetaContextRequest, encodeOption } from '../../../dataplane/nbd/option-data.ts'
import { NBD_REP_ACK } from '../../../dataplane/nbd/protocol.ts'
import type { Random } from '../../sim/random.ts'
import { DrawnFrom } from '../target.ts'
import type { Target } from '../target.ts'

const info = { name: 'disk', sizeBytes: 2 ** 40, blockSizeBytes: 4096, readOnly: false, description: 'd', worker: 0 }
const find = (name: string): typeof info | undefined => name === 'disk' ? info : undefined
/** Lists of one export, and of more than one step sends. */
const DIRECTORIES = [1, 3000].map((count) => {
  const infos = Array.from({ length: count }, (_, i) => (i === 0 ? info : { ...info, name: `disk-${i}` }))
  return { list: () => infos, find }
})
const MANY_EVERY = 16
/** Of the replies to what one step read. */
const STEP_BYTES_MAX = 256 * 1024
const QUERIES = ['base:allocation', 'base:', 'x-other:', '', ':', 'base', 'base:allocation:more']

export const target: Target = {
  parsers: ['dataplane/nbd/handshake.ts', 'dataplane/nbd/option-data.ts'],
  seeds: () => [64, 256].map((length) => new Uint8Array(length)),
  execute: (input) => fuzz(new DrawnFrom(input)),
}

function fuzz(random: Random): void {
  const flags = Buffer.from([0, 0, 0, random.int(8) === 0 ? random.int(256) : random.int(4)])
  const options: Buffer[] = []
  for (let i = random.between(0, 12); i > 0; i--) options.push(makeOption(random))
  const tail = Buffer.alloc(random.int(50), random.int(256))
  const stream = Buffer.concat([flags, ...options, tail])
  const damaged = random.int(2) === 0
  if (damaged) stream[random.int(stream.length)] = random.int(256)
  const handshake = new Handshake(DIRECTORIES[random.int(MANY_EVERY) === 0 ? 1 : 0]!)
  const sent: Buffer[] = []
  for (let at = 0; at < stream.length;) {
    const to = Math.min(stream.length, at + random.between(1, 3000))
    let step = handshake.feed(stream.subarray(at, to))
    sent.push(...step.send)
    while (step.hasMore) {
      step = handshake.goOn()
      assert(step.send.reduce((sum, { length }) => sum + length, 0) <= STEP_BYTES_MAX, 'a step makes no more replies')
      sent.push(...step.send)
    }
    const { event } = step
    at = to
    if (event === undefined) continue
    if (event.type === 'transmission') {
      assert(event.export === info, 'the export that was asked for')
      assert(stream.subarray(to - event.leftover.length, to).equals(event.leftover), 'nothing behind it is lost')
    }
    return
  }
  if (damaged) return
  assert(finalReplies(Buffer.concat(sent)) === options.length, 'one final reply per option')
}

function makeOption(random: Random): Buffer {
  const option = random.int(6) === 0 ? random.u32() : random.int(13)
  const name = Buffer.from(random.int(3) === 0 ? 'x'.repeat(random.int(400)) : 'disk')
  const pick = <T>(from: readonly T[]) => from[random.int(from.length)]!
  const data = [
    () => Buffer.alloc(0),
    () => Buffer.alloc(random.int(random.int(4) === 0 ? 70_000 : 100), random.int(256)),
    () => encodeInfoRequest(name, Array.from({ length: random.int(6) }, () => random.int(5))),
    () => encodeMetaContextRequest(name, Array.from({ length: random.int(5) }, () => pick(QUERIES))),
  ][random.int(4)]!()
  if (data.length > 0 && random.int(4) === 0) data[random.int(data.length)] = random.int(256)
  return encodeOption(option, data)
}

function finalReplies(bytes: Buffer): number {
  let finals = 0
  for (let at = 0; at < bytes.length; at += 20 + bytes.readUInt32BE(at + 16)) {
    const type = bytes.readUInt32BE(at + 12)
    if (type === NBD_REP_ACK || type >= 0x80000000) finals++
  }
  return finals
}
