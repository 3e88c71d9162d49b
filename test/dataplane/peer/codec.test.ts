/** Risk: a message means something else at the other end, or depends on how its bytes were cut on their way. */
import fc from 'fast-check'
import t from 'tap'
import { DESCRIPTIONS_BYTES_MAX } from '../../../cluster/reconcile/snapshot-control.ts'
import { isSayable } from '../../../dataplane/peer/message-codec.ts'
import type { WireMessage } from '../../../dataplane/peer/message-codec.ts'
import { anyOf, blocks, MESSAGE_TYPES } from './any-message.ts'
import { bytesOf, laneOf, read, textOf } from './wire.ts'

for (const type of MESSAGE_TYPES) {
  t.test(`${type} comes out as it went in`, async (t) => {
    const property = fc.property(fc.array(anyOf(type), { minLength: 1, maxLength: 3 }), (messages) => {
      const { messages: got, problem } = read(bytesOf(messages), { lane: laneOf(messages[0]!) })
      if (problem !== undefined) throw new Error(problem)
      const [came, went] = [got.map(textOf).join(), messages.map(textOf).join()]
      if (came !== went) throw new Error(`another message: ${came}`)
    })
    fc.assert(property, { numRuns: 60, seed: 7 })
    t.pass('60 runs')
  })

  t.test(`${type}, its bytes cut at every place`, async (t) => {
    const messages = fc.sample(anyOf(type), { numRuns: 3, seed: 11 })
    const bytes = bytesOf(messages)
    const whole = messages.map(textOf).join()
    const lane = laneOf(messages[0]!)
    const oneByOne = read(bytes, { lane, chunk: () => 1 })
    t.equal(oneByOne.messages.map(textOf).join(), whole, 'byte by byte')
    // Every cut in the control parts, and around every border of a block.
    const step = bytes.length > 3000 ? 37 : 1
    for (let cut = 1; cut < bytes.length; cut += step) {
      const { messages: got, problem } = read(bytes, { lane, chunk: (at) => (at < cut ? cut - at : bytes.length) })
      if (problem !== undefined || got.length !== messages.length) t.fail(`cut at ${cut}: ${problem}`)
    }
  })
}

t.test('what is outside of its bounds is known for that before it is sent', async (t) => {
  type NewEpoch = Extract<WireMessage, { type: 'new-epoch' }>
  const [newEpoch] = fc.sample(anyOf('new-epoch'), { numRuns: 1, seed: 5 }) as [NewEpoch]
  const text = (max: number) => fc.string({ minLength: max - 1, maxLength: max + 1, unit: 'grapheme' })
  const place = { id: 'a'.repeat(32), epoch: 1, seq: 2 }
  const wide: Array<fc.Arbitrary<WireMessage>> = [
    text(64).map((wanted) => ({ type: 'snapshot-open', reader: 1, wanted })),
    text(64).map((name) => ({
      type: 'snapshot-opened', reader: 1, epoch: 1, snapshot: { ...place, name, sizeBytes: 4096 },
    })),
    text(128).map((nonce) => ({ ...newEpoch, config: { ...newEpoch.config, nonce } })),
    text(63).map((primary) => ({ ...newEpoch, config: { ...newEpoch.config, primary } })),
    fc.constantFrom(1023, 1024, 1025).map((nodes) => {
      const holders = Object.fromEntries(Array.from({ length: nodes }, (_, i) => [`n${i}`, i]))
      return { ...newEpoch, config: { ...newEpoch.config, attach: { generation: 1025, mode: 'shared', holders } } }
    }),
  ]
  const said = [0, 0]
  for (const messages of wide) {
    for (const message of fc.sample(messages, { numRuns: 40, seed: 13 })) {
      const { problem } = read(bytesOf([message]), { lane: laneOf(message) })
      if (isSayable(message) !== (problem === undefined)) t.fail(`${textOf(message)}: ${problem}`)
      said[Number(isSayable(message))]!++
    }
  }
  t.ok(said.every((count) => count > 20), `${said[1]} of ${said[0]! + said[1]!}`)
  for (const type of MESSAGE_TYPES) for (const message of fc.sample(anyOf(type), { numRuns: 20, seed: 17 }))
    if (!isSayable(message)) t.fail(textOf(message))
})

t.test('a filling tells as many snapshots as a volume may have', async (t) => {
  const snapshots: unknown[] = []
  for (let bytes = 0, seq = 1; bytes < DESCRIPTIONS_BYTES_MAX; seq++) {
    // Many short values take most room here for what they are as JSON.
    const labels = Object.fromEntries(Array.from({ length: 8 }, (_, i) => [String.fromCharCode(97 + i), '']))
    const title = { name: `s${seq}`, createdAtMs: 1_800_000_000_000, labels: seq % 2 === 0 ? labels : {} }
    const id = String(seq).padStart(32, '0')
    snapshots.push({ id, seq: 2 ** 47 + seq, pinnedBy: null, sizeBytes: 2 ** 46, title })
    bytes += JSON.stringify(snapshots.at(-1)).length + 1
  }
  const [message] = fc.sample(anyOf('fill-start'), { numRuns: 1, seed: 3 }) as [WireMessage]
  const full = { ...message, descriptor: { snapshots, rollbacks: [] } } as WireMessage
  const { messages: got, problem } = read(bytesOf([full]), { lane: laneOf(full) })
  t.equal(problem, undefined)
  t.equal(got.map(textOf).join(), textOf(full))
})

t.test('a list of records larger than a frame comes in pieces and out as one', async (t) => {
  const records = Array.from({ length: 40 }, (_, i) => ({
    epoch: 3, seq: 100 + i, request: undefined, kind: 'write' as const, lba: i * 256, blockCount: 256,
    payload: blocks(256, i),
  }))
  const log: WireMessage = { type: 'log', epoch: 3, records }
  const append: WireMessage = { type: 'append', epoch: 3, previous: { epoch: 2, seq: 99 }, records, commitSeq: 50 }
  let frames = 0
  const { messages, problem } = read(bytesOf([log, append]), { lane: 'data', onHeader: () => frames++ })
  t.equal(problem, undefined)
  t.equal(messages.length, 2)
  t.equal(frames, 10, 'five pieces of 8 MiB each')
  t.same((messages[1] as typeof append & { records: unknown[] }).records.length, 40)
  t.equal(textOf(messages[0]!), textOf(log))
})

t.test('a write that lies on two pages of the map is no message', async (t) => {
  const write = { kind: 'write' as const, lba: 255, blockCount: 2, payload: blocks(2, 1) }
  const record = { epoch: 3, seq: 100, request: undefined, ...write }
  const previous = { epoch: 2, seq: 99 }
  const append: WireMessage = { type: 'append', epoch: 3, previous, records: [record], commitSeq: 5 }
  const id = { generation: 1, incarnation: 2, request: 3, part: 0, parts: 1 }
  const operation = { ...write, type: 'write' as const, fua: false, edges: [] }
  const request: WireMessage = { type: 'request', id, epoch: 6, operation, answeredBelow: 1 }
  for (const message of [append, request]) {
    const { messages, problem } = read(bytesOf([message]), { lane: 'data' })
    t.match(problem, /lies on two pages/)
    t.equal(messages.length, 0)
  }
})

t.test('blocks that touch each other leave as one piece, and none is copied', async (t) => {
  const { ControlWriter } = await import('../../../dataplane/peer/control-writer.ts')
  const { SlabPool } = await import('../../../dataplane/slab-pool.ts')
  const out = new ControlWriter(new SlabPool())
  const bytes = new Uint8Array(4 * 4096)
  out.begin()
  for (let i = 0; i < 4; i++) out.payload(bytes.subarray(i * 4096, (i + 1) * 4096))
  const { pieces } = out.end()
  t.equal(pieces.length, 1)
  t.equal(pieces[0]!.buffer, bytes.buffer)
})
