/** One direction of a connection without a socket: messages -> bytes -> messages. */
import type { Payload } from '../../../engine/replication/record.ts'
import type { Blobs } from '../../../engine/volume/copy-headers.ts'
import { FrameParser } from '../../../dataplane/peer/frame-parser.ts'
import type { FrameHeader } from '../../../dataplane/peer/frame-header.ts'
import { decodeMessage, familyOf, FRAME_TYPE } from '../../../dataplane/peer/message-codec.ts'
import type { WireMessage } from '../../../dataplane/peer/message-codec.ts'
import { MessageJoin } from '../../../dataplane/peer/message-join.ts'
import { VERSION_GREATEST } from '../../../dataplane/peer/protocol.ts'
import type { Lane } from '../../../dataplane/peer/protocol.ts'
import { SendQueue } from '../../../dataplane/peer/send-queue.ts'
import type { Slab } from '../../../dataplane/slab-pool.ts'
import { SlabPool } from '../../../dataplane/slab-pool.ts'

export const VOLUME = Buffer.from('00112233445566778899aabbccddeeff', 'hex')
export const SEED = 0x1234_5678

export const laneOf = (message: WireMessage): Lane =>
  familyOf(FRAME_TYPE[message.type]) === 'link' ? 'urgent' : 'data'

/** As the socket would be given them, in one piece. */
export function bytesOf(
  messages: readonly WireMessage[],
  options: { seed?: number; pool?: SlabPool; version?: number } = {},
): Buffer {
  const pool = options.pool ?? new SlabPool()
  const rules = { version: options.version ?? VERSION_GREATEST, seed: options.seed ?? SEED }
  const queue = new SendQueue({ pool, rules, windowBytes: Number.MAX_SAFE_INTEGER })
  for (const message of messages) queue.push(laneOf(message) === 'urgent' ? undefined : VOLUME, message)
  const parts: Uint8Array[] = []
  while (queue.canTake) {
    const batch = queue.take([])
    parts.push(Buffer.concat(batch.pieces))
    queue.sent(batch)
  }
  queue.close()
  return Buffer.concat(parts)
}

export interface Reading {
  messages: WireMessage[]
  /** What their bytes lie in: the reader's, to be released. */
  slabs: Slab[]
  /** Why it ended, undefined when it did not. */
  problem: string | undefined
}

/** Reads bytes as they come in chunks of the lengths that `chunk` says. */
export function read(
  bytes: Uint8Array,
  options: {
    lane: Lane
    chunk?: (at: number) => number
    seed?: number
    pool?: SlabPool
    onHeader?: (header: FrameHeader) => void
    version?: number
  },
): Reading {
  const pool = options.pool ?? new SlabPool()
  const join = new MessageJoin(pool)
  const messages: WireMessage[] = []
  const slabs: Slab[] = []
  let problem: string | undefined
  const parser = new FrameParser({
    pool,
    rules: { version: options.version ?? VERSION_GREATEST, seed: options.seed ?? SEED, lane: options.lane },
    admit: (header) => {
      options.onHeader?.(header)
      return undefined
    },
  })
  const drain = (): void => {
    while (problem === undefined) {
      const progress = parser.next()
      if (progress === 'more') return
      const taken = progress === 'frame' ? parser.take() : undefined
      if (taken === undefined) {
        problem = parser.problem
        return
      }
      const { header } = parser
      const message = decodeMessage(header.type, header.epoch, taken.body)
      if (typeof message === 'string') {
        problem = message
        return
      }
      const bytes = header.controlBytes + header.payloadBytes
      const piece = { message, volumeId: '', slab: taken.slab, bytes, header }
      const joined = join.add(piece)
      if (joined !== undefined && 'refused' in joined) problem = joined.refused
      else if (joined !== undefined) {
        messages.push(joined.message)
        slabs.push(...joined.slabs)
      }
    }
  }
  for (let at = 0; at < bytes.length && problem === undefined; ) {
    const space = parser.space()
    const count = Math.min(space.length, bytes.length - at, options.chunk?.(at) ?? bytes.length)
    space.set(bytes.subarray(at, at + count))
    parser.received(count)
    at += count
    drain()
  }
  parser.close()
  join.close()
  return { messages, slabs, problem }
}

/** A message as text: its bytes too, and whatever the order of its keys. */
export function textOf(message: WireMessage): string {
  return JSON.stringify(message, (key, value: unknown) => {
    if (key === 'payload' && value !== undefined) {
      const { bytes, data } = value as Payload
      const blobs = data as Blobs
      const { crcs, stored } = blobs
      const form = stored && { transform: stored.transform, units: Array.from(stored.units) }
      return { bytes, crcs: Array.from(crcs), data: Buffer.from(blobs.bytes).toString('base64'), ...form }
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
  })
}
