/**
 * What an append and its answer cost in our own code, the socket taken away: laid, sealed, checked, and made a message
 * again. The copy of the bytes into the receiver's slab, which the kernel makes in life, is part of the figures. Run
 * alone, on an otherwise idle machine: `node bench/micro/peer-codec.ts`.
 */
import { Packr } from 'msgpackr'
import { crc32c } from '../../dataplane/checksum.ts'
import { SlabPool } from '../../dataplane/slab-pool.ts'
import { FrameParser } from '../../dataplane/peer/frame-parser.ts'
import { decodeMessage } from '../../dataplane/peer/message-codec.ts'
import type { WireMessage } from '../../dataplane/peer/message-codec.ts'
import { SendQueue } from '../../dataplane/peer/send-queue.ts'
import { payloadOf } from '../../engine/volume/copy-headers.ts'

const ROUNDS = 7
const VOLUME = new Uint8Array(16).fill(7)
const SEED = 99

function report(name: string, times: number[]): void {
  times.sort((a, b) => a - b)
  console.log(`${name.padEnd(56)} ${times[times.length >> 1]!.toFixed(3)} us (best ${times[0]!.toFixed(3)})`)
}

/** `batch` messages leave and arrive together, as those of one turn do. */
function measure(name: string, message: WireMessage, { batch, turns }: { batch: number; turns: number }): void {
  const pool = new SlabPool()
  const queue = new SendQueue({ pool, rules: { version: 1, seed: SEED }, windowBytes: Number.MAX_SAFE_INTEGER })
  const rules = { version: 1, seed: SEED, lane: 'data' as const }
  const parser = new FrameParser({ pool, rules, admit: () => undefined })
  const times: number[][] = [[], []]
  for (let round = 0; round < ROUNDS; round++) {
    let encodeNs = 0n
    let decodeNs = 0n
    for (let turn = 0; turn < turns; turn++) {
      const begin = process.hrtime.bigint()
      for (let i = 0; i < batch; i++) queue.push(VOLUME, message)
      const out = queue.take([])
      const sealed = process.hrtime.bigint()
      let got = 0
      for (const piece of out.pieces) {
        for (let at = 0; at < piece.length; ) {
          const space = parser.space()
          const count = Math.min(space.length, piece.length - at)
          space.set(piece.subarray(at, at + count))
          parser.received(count)
          at += count
          while (parser.next() === 'frame') {
            const { body, slab } = parser.take()!
            const decoded = decodeMessage(parser.header.type, parser.header.epoch, body)
            if (typeof decoded === 'string') throw new Error(decoded)
            pool.release(slab)
            got++
          }
        }
      }
      queue.sent(out)
      if (got !== batch) throw new Error(`${got} of ${batch} came`)
      encodeNs += sealed - begin
      decodeNs += process.hrtime.bigint() - sealed
    }
    times[0]!.push(Number(encodeNs) / 1000 / (turns * batch))
    times[1]!.push(Number(decodeNs) / 1000 / (turns * batch))
  }
  report(`${name}: encode`, times[0]!)
  report(`${name}: copy in, check, decode`, times[1]!)
}

function append(blockCount: number): WireMessage {
  const payload = payloadOf(crc32c, new Uint8Array(blockCount * 4096).fill(5))
  const request = { generation: 1, incarnation: 2, request: 3, part: 0, parts: 1, answeredBelow: 1 }
  const record = { epoch: 3, seq: 70_000, request, kind: 'write' as const, lba: 123_456, blockCount, payload }
  return { type: 'append', epoch: 3, previous: { epoch: 3, seq: 69_999 }, records: [record], commitSeq: 69_990 }
}

const stored: WireMessage = { type: 'stored', epoch: 3, seq: 70_000, durableSeq: 70_000 }

measure('append of 1 block, 32 a turn', append(1), { batch: 32, turns: 1000 })
measure('append of 1 block, 1 a turn', append(1), { batch: 1, turns: 20_000 })
measure('append of 32 blocks, 4 a turn', append(32), { batch: 4, turns: 500 })
measure('stored, 32 a turn', stored, { batch: 32, turns: 2000 })
measure('confirm (msgpack), 32 a turn', { type: 'confirm', epoch: 3, token: 5 }, { batch: 32, turns: 1000 })

/** What the hand-laid answer is held against: msgpackr with everything that makes it fast. */
{
  const packr = new Packr({ useRecords: false })
  const times: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const begin = process.hrtime.bigint()
    for (let i = 0; i < 50_000; i++) packr.unpack(packr.pack(stored))
    times.push(Number(process.hrtime.bigint() - begin) / 1000 / 50_000)
  }
  report('stored as a msgpack map, without header and checks', times)
}
