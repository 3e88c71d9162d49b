/** Risk: each byte of a write is moved once more on its way into a replica, because frames begin where no room is. */
import t from 'tap'
import { FrameParser } from '../../../dataplane/peer/frame-parser.ts'
import { VERSION_GREATEST } from '../../../dataplane/peer/protocol.ts'
import { SlabPool } from '../../../dataplane/slab-pool.ts'
import { blocks } from './any-message.ts'
import { bytesOf, SEED } from './wire.ts'

const READ_BYTES = 64 * 1024

/** Frames that arrive one by one, each with a write of so many blocks. @returns bytes of them that were moved */
function movedBytes(blockCount: number, frames: number): number {
  const payload = blocks(blockCount, 1)
  const pool = new SlabPool()
  const bytes = bytesOf(Array.from({ length: frames }, (_, i) => ({
    type: 'append', epoch: 1, previous: { epoch: 1, seq: i }, commitSeq: 0,
    records: [{ epoch: 1, seq: i + 1, request: undefined, kind: 'write', lba: i * 256, blockCount, payload }],
  })))
  const parser = new FrameParser({
    pool, rules: { version: VERSION_GREATEST, seed: SEED, lane: 'data' }, admit: () => undefined,
  })
  const frameBytes = bytes.length / frames
  let moved = 0
  for (let frame = 0; frame < frames; frame++) {
    const places: Array<[memory: ArrayBufferLike, bytes: number]> = []
    for (let at = 0; at < frameBytes; ) {
      const space = parser.space()
      const count = Math.min(space.length, READ_BYTES, frameBytes - at)
      space.set(bytes.subarray(frame * frameBytes + at, frame * frameBytes + at + count))
      places.push([space.buffer, count])
      parser.received(count)
      at += count
      if (at < frameBytes && parser.next() !== 'more') throw new Error('half a frame is none')
    }
    if (parser.next() !== 'frame') throw new Error(parser.problem)
    // Its records refer to it: nothing comes from the front again.
    const { body } = parser.take()!
    for (const [memory, count] of places) if (memory !== body.bytes.buffer) moved += count
  }
  parser.close()
  return moved
}

t.test('frames as large as the one before lie where they arrive', (t) => {
  for (const blockCount of [8, 31, 100, 150, 250]) {
    const moved = movedBytes(blockCount, 12)
    // Nobody knows how large the first one is before its header is here.
    t.ok(moved <= READ_BYTES, `${moved} bytes of twelve frames of ${blockCount} blocks were moved`)
  }
  t.end()
})
