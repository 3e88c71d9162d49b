/**
 * Risk: an order that is late or sent twice changes the volume after it was judged on something else (SPEC W7), or a
 * rollback comes between what a client read and what it writes (S7).
 */
import t from 'tap'
import type { RecordId } from '../../../engine/replication/record-id.ts'
import { serving } from './copies.ts'
import type { Copies } from './copies.ts'

const changedAt = (copies: Copies, node = copies.config.primary): RecordId => copies.node(node).state.primary!.changed

const snapshot = (copies: Copies, id: string, expected: RecordId, node = copies.config.primary) =>
  copies.results.get(copies.command(node, { type: 'change', change: { operation: 'snapshot', id }, expected }))

const idsOf = (copies: Copies, node = copies.config.primary) =>
  copies.node(node).store.view.snapshots.map(({ id }) => id)

t.test('W7: a change is ordered once, and not behind another one', (t) => {
  const copies = serving()
  const first = changedAt(copies)
  t.match(snapshot(copies, 'a', first), { ok: true })
  t.match(snapshot(copies, 'a', first), { ok: false, code: 'superseded' }, 'the same order once more')
  const second = changedAt(copies)
  t.match(snapshot(copies, 'b', { ...second, epoch: 7 }), { ok: false, code: 'superseded' }, 'of another epoch')
  copies.write(1, 11)
  copies.settle()
  t.match(snapshot(copies, 'b', second), { ok: true }, 'writes are no changes of the volume')
  const change = { operation: 'snapshot-delete', id: 'a' } as const
  t.match(copies.results.get(copies.command('n1', { type: 'change', change })), { ok: true })
  t.match(snapshot(copies, 'a', first), { ok: false, code: 'superseded' }, 'late, behind its deletion')
  t.same(idsOf(copies), ['b'])
  t.end()
})

t.test('W7: an order of a former term is void, wherever the lead went, also back to where it was', (t) => {
  const copies = serving()
  const before = changedAt(copies)
  const hand = (from: string, to: string) => copies.command(from, { type: 'hand-over', to })
  hand('n1', 'n2')
  copies.run(3000)
  t.equal(copies.config.primary, 'n2')
  t.match(snapshot(copies, 'a', before), { ok: false, code: 'superseded' })
  const inBetween = changedAt(copies)
  hand('n2', 'n1')
  copies.run(3000)
  t.equal(copies.config.primary, 'n1')
  t.match(snapshot(copies, 'a', before), { ok: false, code: 'superseded' })
  t.match(snapshot(copies, 'a', inBetween), { ok: false, code: 'superseded' })
  t.match(snapshot(copies, 'a', changedAt(copies)), { ok: true })
  t.end()
})

t.test('W7: what was ordered and cut does not lend its id to the next term', (t) => {
  const copies = serving()
  copies.isolate('n1')
  const before = changedAt(copies)
  const token = copies.command('n1', {
    type: 'change', change: { operation: 'snapshot', id: 'a' }, expected: before,
  })
  const ordered = changedAt(copies, 'n1')
  t.equal(ordered.seq, before.seq + 1)
  copies.run(9000)
  copies.cut.clear()
  copies.run(9000)
  t.match(copies.results.get(token), { ok: false, code: 'lost' })
  t.not(copies.config.primary, 'n1')
  const now = changedAt(copies)
  t.equal(now.seq, ordered.seq, 'the next term begins at the very place')
  t.match(snapshot(copies, 'b', ordered), { ok: false, code: 'superseded' })
  t.match(snapshot(copies, 'b', now), { ok: true })
  t.same(idsOf(copies), ['b'])
  t.end()
})

t.test('W7: a change of the set under one primary leaves an order as it is', (t) => {
  const copies = serving()
  const before = changedAt(copies)
  copies.kill('n3')
  copies.run(4000)
  t.ok(copies.config.epoch > before.epoch)
  t.match(snapshot(copies, 'a', before), { ok: true })
  t.end()
})

function opens(copies: Copies, generation: number, incarnation: number): boolean {
  copies.settle()
  copies.session = { generation, incarnation }
  copies.replies = []
  return copies.open()
}

function rollBack(copies: Copies, unusedSince: number) {
  const change = { operation: 'rollback', to: 's', kept: { id: `kept-${copies.results.size}` } } as const
  const result = copies.results.get(copies.command('n1', { type: 'change', change, unusedSince }))
  copies.settle()
  return result
}

t.test('S7: nobody who holds the volume is rolled back under', (t) => {
  const copies = serving()
  copies.write(1, 11)
  snapshot(copies, 's', changedAt(copies))
  copies.write(1, 12)
  copies.settle()
  t.match(rollBack(copies, 1), { ok: false, code: 'in-use' })
  const { attach } = copies.config
  const free = { ...copies.config, attach: { ...attach, holders: {} }, nonce: 'free' }
  // The primary has not heard of it: it reads, and is asked again.
  copies.config = free
  copies.version++
  t.match(rollBack(copies, 1), { ok: false, code: 'in-use' })
  t.match(rollBack(copies, 1), { ok: true })
  const held = { ...free, attach: { ...attach, generation: 2, holders: { front: 2 } }, nonce: 'held' }
  copies.change(held)
  t.ok(opens(copies, 2, 1))
  t.equal(copies.read(1), 11)
  t.match(rollBack(copies, 2), { ok: false, code: 'in-use' })
  t.end()
})

t.test('S7: mode open is fenced by a generation of its own, in every later term', (t) => {
  const copies = serving()
  const opened = (generation: number) =>
    copies.change({ ...copies.config, attach: { generation, mode: 'open', holders: {} }, nonce: `open ${generation}` })
  opened(2)
  t.ok(opens(copies, 2, 1))
  snapshot(copies, 's', changedAt(copies))
  t.match(rollBack(copies, 2), { ok: false, code: 'in-use' }, 'somebody is served under it')
  t.match(rollBack(copies, 3), { ok: false, code: 'superseded' }, 'of a generation that nobody has heard of')
  opened(3)
  copies.settle()
  const late = copies.write(1, 13)
  copies.settle()
  t.match(copies.answerOf(late), { ok: false, code: 'stale-session' })
  t.match(rollBack(copies, 3), { ok: true })
  t.ok(opens(copies, 3, 2))
  t.match(rollBack(copies, 3), { ok: false, code: 'in-use' })
  copies.command('n1', { type: 'hand-over', to: 'n2' })
  copies.run(3000)
  copies.command('n2', { type: 'hand-over', to: 'n1' })
  copies.run(3000)
  t.equal(copies.config.primary, 'n1')
  t.match(rollBack(copies, 3), { ok: false, code: 'in-use' }, 'the fence went with the lead')
  t.end()
})
