/**
 * A whole session of a client, as it comes from the socket: the handshake, and behind it the transmission phase with
 * its volume, its replies and its end. Promises: nothing throws; whatever comes, the session ends, holds no memory
 * then, and has given the volume nothing that lies outside of it; requests that were valid are answered.
 *
 * The first byte says how the bytes are cut, and whether the client goes away at their end or waits.
 */
import type { TLSSocket } from 'node:tls'
import { assert } from '../../../engine/assert.ts'
import { Handshake } from '../../../dataplane/nbd/handshake.ts'
import { MemoryBudget } from '../../../dataplane/nbd/memory-budget.ts'
import type { Negotiated } from '../../../dataplane/nbd/protocol.ts'
import { Transmission } from '../../../dataplane/nbd/transmission.ts'
import { SlabPool } from '../../../dataplane/slab-pool.ts'
import { MemoryDevice } from '../../memory-device.ts'
import { aTurn, FakeSocket } from '../fake-socket.ts'
import type { Target } from '../target.ts'
import { target as stream } from './nbd-stream.ts'

const info = { name: 'disk', sizeBytes: 2 ** 20, blockSizeBytes: 4096, readOnly: false, description: 'd', worker: 0 }
const directory = { list: () => [info], find: (name: string) => name === 'disk' || name === '' ? info : undefined }
const memory = { pool: new SlabPool(), budget: new MemoryBudget() }
const LIMITS = { inFlightRequestsMax: 8, inFlightBytesMax: 256 * 1024, queuedReplyBytesMax: 64 * 1024 }
const TURNS_MAX = 2000

export const target: Target = {
  parsers: [
    'dataplane/nbd/transmission.ts', 'dataplane/nbd/volume-calls.ts', 'dataplane/nbd/reply-writer.ts',
    'dataplane/nbd/reply-sender.ts', 'dataplane/nbd/block-status.ts', 'dataplane/nbd/in-flight-request.ts',
    'dataplane/nbd/memory-budget.ts',
  ],
  seeds: stream.seeds,
  ...(stream.words === undefined ? {} : { words: stream.words }),
  async execute(input) {
    const how = input[0] ?? 0
    const chunkBytes = (how & 2) === 0 ? 4096 : 1 + (how >> 3)
    const handshake = new Handshake(directory)
    for (let at = 1; at < input.length; at += chunkBytes) {
      let step = handshake.feed(input.subarray(at, at + chunkBytes))
      while (step.hasMore) step = handshake.goOn()
      const { event } = step
      if (event?.type === 'closed') return
      if (event?.type === 'transmission') {
        const rest = input.subarray(Math.min(input.length, at + chunkBytes))
        return transmit(event.negotiated, event.leftover, rest, how)
      }
    }
  },
}

async function transmit(
  negotiated: Negotiated, leftover: Uint8Array, rest: Uint8Array, how: number,
): Promise<void> {
  const socket = new FakeSocket()
  const device = new MemoryDevice({ sizeBytes: info.sizeBytes, pace: (how & 1) === 0 ? 'sync' : 'turn' })
  const chunkBytes = (how & 4) === 0 ? 4096 : 1 + (how >> 4)
  let isClosed = false
  const session = new Transmission({
    fd: -1, secured: socket.asSocket as TLSSocket, negotiated, leftover: leftover.slice(), device, limits: LIMITS,
    memory, onClose: () => (isClosed = true),
  })
  for (let at = 0; at < rest.length && !socket.destroyed; at += chunkBytes) {
    if (socket.isPaused) await aTurn()
    socket.emit('data', rest.slice(at, at + chunkBytes))
  }
  if ((how & 8) === 0) socket.emit('end')
  else session.drain(() => undefined)
  for (let turns = 0; !isClosed; turns++) {
    if (turns === TURNS_MAX) socket.destroy()
    assert(turns < 2 * TURNS_MAX, 'a session ends')
    await aTurn()
  }
  assert(session.heldBytes === 0 && device.pending === 0, 'it holds nothing when it has ended')
}
