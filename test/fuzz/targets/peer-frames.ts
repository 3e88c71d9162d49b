/**
 * What a peer reads, fed messages that are right at first and then damaged on purpose: in the bytes, or in the control
 * part of frames that are sealed again so that the checksums hold. Cut at random.
 *
 * Promises: nothing throws; what was not damaged comes out as it went in; a frame whose checksums fail brings nothing;
 * no more memory is asked for than a frame's; every slab is given back.
 */
import fc from 'fast-check'
import { assert } from '../../../engine/assert.ts'
import { crc32c } from '../../../dataplane/checksum.ts'
import { SlabPool } from '../../../dataplane/slab-pool.ts'
import { HEADER_CRC_AT } from '../../../dataplane/peer/frame-header.ts'
import { FRAME_BYTES_MAX, HEADER_BYTES } from '../../../dataplane/peer/protocol.ts'
import { anyOf, MESSAGE_TYPES } from '../../dataplane/peer/any-message.ts'
import { bytesOf, laneOf, read, SEED, textOf } from '../../dataplane/peer/wire.ts'
import type { Random } from '../../sim/random.ts'
import { DrawnFrom } from '../target.ts'
import type { Target } from '../target.ts'

/** Made once: drawing messages costs more than reading them. */
const POOL = MESSAGE_TYPES.flatMap((type) => fc.sample(anyOf(type), { numRuns: 12, seed: 21 }))

const LANES = new Map(POOL.map((message) => [laneOf(message), POOL.filter((one) => laneOf(one) === laneOf(message))]))
const TEXTS = new Map(POOL.map((message) => [message, textOf(message)]))

/** One for all executions: making slabs costs more than reading what lies in them. */
class CountingPool extends SlabPool {
  largest = 0
  override acquire(bytes: number) {
    this.largest = Math.max(this.largest, bytes)
    return super.acquire(bytes)
  }
}
const pool = new CountingPool()

export const target: Target = {
  parsers: [
    'dataplane/peer/frame-parser.ts', 'dataplane/peer/frame-header.ts', 'dataplane/peer/message-join.ts',
    'dataplane/peer/records-codec.ts', 'dataplane/peer/request-codec.ts', 'dataplane/peer/stored-codec.ts',
    'dataplane/peer/versions-codec.ts',
  ],
  seeds: () => [64, 256].map((length) => new Uint8Array(length)),
  execute: (input) => fuzz(new DrawnFrom(input)),
}

function fuzz(random: Random): void {
  const first = POOL[random.int(POOL.length)]!
  const lane = laneOf(first)
  const others = LANES.get(lane)!
  const messages = Array.from({ length: random.between(1, 6) }, () => others[random.int(others.length)]!)
  const bytes = bytesOf(messages, { pool })
  const how = random.int(3)
  if (how === 1) {
    for (let i = random.between(1, 6); i > 0; i--) bytes[random.int(bytes.length)] = random.int(256)
  } else if (how === 2) damageAndSeal(random, bytes)
  pool.largest = 0
  const chunk = random.int(2) === 0 ? undefined : (): number => random.between(1, random.int(4) === 0 ? 5000 : 90)
  const { messages: got, slabs, problem } = read(bytes, { lane, pool, ...(chunk === undefined ? {} : { chunk }) })
  assert(pool.largest <= FRAME_BYTES_MAX, 'no more memory than a frame has')
  if (how === 0) {
    assert(problem === undefined, `what is right is read: ${problem}`)
    assert(got.length === messages.length, 'all of it')
    assert(got.every((message, i) => textOf(message) === TEXTS.get(messages[i]!)), 'as it was')
  } else if (how === 1) {
    assert(got.every((message, i) => textOf(message) === TEXTS.get(messages[i]!)), 'nothing that is damaged comes out')
  }
  for (const slab of slabs) pool.release(slab)
}

/** Changes a few bytes of the control part of the first frame and makes its checksums good. */
function damageAndSeal(random: Random, bytes: Buffer): void {
  const controlBytes = bytes.readUInt32LE(8)
  const control = bytes.subarray(HEADER_BYTES, HEADER_BYTES + controlBytes)
  for (let i = random.between(1, 4); i > 0 && controlBytes > 0; i--) {
    const at = random.int(controlBytes)
    control[at] = random.int(3) === 0 ? 0xff : random.int(256)
  }
  if (random.int(4) === 0) bytes[5] = random.int(64)
  if (random.int(4) === 0) bytes.writeUInt32LE(random.int(controlBytes + 100), 8)
  const length = bytes.readUInt32LE(8)
  bytes.writeUInt32LE(crc32c(bytes.subarray(HEADER_BYTES, HEADER_BYTES + length), SEED) >>> 0, 48)
  bytes.writeUInt32LE(crc32c(bytes.subarray(0, HEADER_CRC_AT), SEED) >>> 0, HEADER_CRC_AT)
}
