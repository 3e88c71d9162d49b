/** Appends of a turn become one, and nothing else changes: neither order nor content. */
import t from 'tap'
import type { PeerMessage } from '../../../engine/replication/messages.ts'
import type { ReplicatedRecord } from '../../../engine/replication/record.ts'
import { sendMerged } from '../../../dataplane/copy/merged-appends.ts'

const record = (seq: number, epoch = 1, bytes = 4096): ReplicatedRecord => ({
  epoch, seq, request: undefined, kind: 'write', lba: seq, blockCount: bytes / 4096, payload: { bytes, data: seq },
})

const append = (previous: number, records: ReplicatedRecord[], epoch = 1, of = 1): PeerMessage => ({
  type: 'append', epoch, previous: { epoch: of, seq: previous }, records, commitSeq: previous,
})

function sent(messages: PeerMessage[]): PeerMessage[] {
  const out: PeerMessage[] = []
  sendMerged(messages, (message) => out.push(message))
  t.equal(messages.length, 0, 'nothing is left')
  return out
}

t.test('those that follow one another become one, and the core keeps its arrays', async (t) => {
  const first = append(4, [record(5)])
  const out = sent([first, append(5, [record(6), record(7)]), append(7, [])])
  t.match(out, [{ type: 'append', previous: { seq: 4 }, commitSeq: 7 }])
  t.same((out[0] as { records: ReplicatedRecord[] }).records.map(({ seq }) => seq), [5, 6, 7])
  t.equal((first as { records: ReplicatedRecord[] }).records.length, 1)
})

t.test('a gap, a repetition, another epoch and another message keep them apart', async (t) => {
  t.equal(sent([append(4, [record(5)]), append(6, [record(7)])]).length, 2, 'a gap')
  t.equal(sent([append(4, [record(5)]), append(4, [record(5)])]).length, 2, 'a repetition')
  t.equal(sent([append(4, [record(5)]), append(5, [record(6, 2)], 2)]).length, 2, 'another epoch')
  const out = sent([append(4, [record(5)]), { type: 'sync', epoch: 1, seq: 5 }, append(5, [record(6)])])
  t.same(out.map(({ type }) => type), ['append', 'sync', 'append'], 'in order')
})

t.test('one does not grow without bound', async (t) => {
  const messages = Array.from({ length: 40 }, (_, i) => append(i, [record(i + 1, 1, 1 << 17)]))
  const out = sent(messages)
  const bytes = out.map((one) => (one as { records: ReplicatedRecord[] }).records.length * (1 << 17))
  t.ok(bytes.every((one) => one <= 2 << 20), 'at most 2 MiB each')
  t.equal(bytes.reduce((sum, one) => sum + one, 0), 40 * (1 << 17), 'and all of it')
})
