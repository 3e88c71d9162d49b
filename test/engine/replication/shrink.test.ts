/**
 * Risk: a volume becomes smaller over a write that was acknowledged, or a write comes behind its end (SPEC W9, I26).
 */
import t from 'tap'
import { serving } from './copies.ts'
import type { Copies } from './copies.ts'

const BLOCK_BYTES = 4096

type Ask = Parameters<Copies['ask']>[0]

const payload = { bytes: BLOCK_BYTES, data: 11 }
const writeAt = (lba: number): Ask => ({ type: 'write', lba, blockCount: 1, payload, fua: false, edges: [] })
const trimAt = (lba: number): Ask => ({ type: 'trim', lba, blockCount: 1, fua: false })

function order(copies: Copies, blocks: number, at = copies.config.primary): number {
  return copies.command(at, { type: 'change', change: { operation: 'shrink', sizeBytes: blocks * BLOCK_BYTES } })
}

/** When replicas have heard what is committed. */
function sizesOf(copies: Copies): number[] {
  copies.run(2000)
  return copies.config.inSync.map((name) => copies.node(name).state.sizeBytes / BLOCK_BYTES)
}

t.test('W9: over data it is refused, in words, and done when they are discarded', (t) => {
  const copies = serving()
  copies.write(40, 11)
  copies.settle()
  const refused = order(copies, 32)
  copies.settle()
  t.match(copies.results.get(refused), { ok: false, code: 'occupied', why: /^4096 bytes of data live beyond/ })
  copies.ask(trimAt(40))
  copies.settle()
  const done = order(copies, 32)
  copies.settle()
  t.match(copies.results.get(done), { ok: true })
  t.same(sizesOf(copies), [32, 32, 32])
  const again = order(copies, 32)
  copies.settle()
  t.match(copies.results.get(again), { ok: true }, 'once more')
  const larger = order(copies, 33)
  copies.settle()
  t.match(copies.results.get(larger), { ok: false, code: 'refused', why: /does not grow/ })
  t.end()
})

t.test('I26: what comes behind it is refused for good, and what lies inside is served', (t) => {
  const copies = serving()
  order(copies, 32)
  copies.settle()
  const numbers = [31, 32].map((lba) => copies.ask(writeAt(lba)))
  copies.settle()
  t.match(copies.answerOf(numbers[0]!), { ok: true })
  t.same(copies.answerOf(numbers[1]!), { ok: false, code: 'range' })
  const change = { operation: 'resize', sizeBytes: 64 * BLOCK_BYTES } as const
  copies.command('n1', { type: 'change', change })
  copies.settle()
  copies.replies = []
  copies.ask(writeAt(32), { number: numbers[1]! })
  copies.settle()
  t.same(copies.answerOf(numbers[1]!), { ok: false, code: 'range' }, 'also when there is room again (S1)')
  t.equal(copies.read(32), 'nothing')
  t.end()
})

t.test('W9: a write that is ordered before the data are counted is seen', (t) => {
  const copies = serving()
  const { state } = copies.node('n1')
  copies.isStalled = ({ name }) => name === 'n2'
  const before = copies.ask(writeAt(40))
  const token = order(copies, 32)
  copies.settle()
  t.equal(copies.results.get(token), undefined, 'it waits for what is ordered')
  t.equal(state.primary!.shrinking?.countToken, undefined)
  copies.isStalled = () => false
  copies.settle()
  t.match(copies.answerOf(before), { ok: true })
  t.match(copies.results.get(token), { ok: false, code: 'occupied' })
  t.end()
})

t.test('W9: a write beyond, ordered while it is judged, ends it, and is served', (t) => {
  const copies = serving()
  copies.isStalled = ({ name }) => name === 'n2'
  copies.ask(writeAt(1))
  const token = order(copies, 32)
  const beyond = copies.ask(writeAt(40))
  copies.ask(trimAt(40))
  copies.settle()
  copies.isStalled = () => false
  copies.settle()
  t.match(copies.answerOf(beyond), { ok: true })
  t.match(copies.results.get(token), { ok: false, code: 'occupied' })
  t.same(sizesOf(copies), [64, 64, 64])
  t.end()
})

t.test('W9: another change of the volume, or the same order again, takes its place', (t) => {
  const copies = serving()
  copies.isStalled = ({ name }) => name === 'n2'
  copies.ask(writeAt(1))
  const first = order(copies, 32)
  const second = order(copies, 32)
  t.match(copies.results.get(first), { ok: false, code: 'superseded' })
  copies.isStalled = () => false
  copies.settle()
  t.match(copies.results.get(second), { ok: true })
  copies.isStalled = ({ name }) => name === 'n2'
  copies.ask(writeAt(1))
  const third = order(copies, 16)
  copies.command('n1', { type: 'change', change: { operation: 'snapshot', id: 's' } })
  copies.isStalled = () => false
  copies.settle()
  t.match(copies.results.get(third), { ok: false, code: 'superseded', why: /another change/ })
  t.end()
})

t.test('I26: while it may still be cut, what reaches beyond is neither ordered nor answered', (t) => {
  const copies = serving()
  const { state } = copies.node('n1')
  // What was ordered is applied, so the store is asked at once, and the order waits for n2.
  copies.isStalled = ({ name }) => name === 'n2'
  const token = order(copies, 32)
  copies.settle()
  t.equal(copies.results.get(token), undefined, 'it is not durable everywhere')
  t.same(state.primary!.resized?.sizeBytes, 32 * BLOCK_BYTES)
  const { tail } = state.log
  const beyond = copies.ask(writeAt(40))
  copies.settle()
  t.equal(state.log.tail, tail)
  t.equal(copies.answerOf(beyond), undefined)
  copies.isStalled = () => false
  copies.settle()
  t.match(copies.results.get(token), { ok: true })
  copies.ask(writeAt(40), { number: beyond })
  copies.settle()
  t.same(copies.answerOf(beyond), { ok: false, code: 'range' }, 'it is sent again')
  t.end()
})

t.test('W9: a request that was done before is answered so, wherever the volume ends now', (t) => {
  const copies = serving()
  const one = copies.ask(writeAt(40))
  copies.settle()
  copies.ask(trimAt(40))
  order(copies, 32)
  copies.settle()
  t.same(sizesOf(copies), [32, 32, 32])
  copies.replies = []
  copies.ask(writeAt(40), { number: one })
  copies.settle()
  t.match(copies.answerOf(one), { ok: true })
  t.end()
})

t.test('I26: a rollback to a snapshot that is larger is refused until the volume is as large', (t) => {
  const copies = serving()
  copies.write(40, 11)
  copies.command('n1', { type: 'change', change: { operation: 'snapshot', id: 's' } })
  copies.settle()
  copies.ask(trimAt(40))
  copies.settle()
  order(copies, 32)
  copies.settle()
  const change = { operation: 'rollback', to: 's' } as const
  const refused = copies.command('n1', { type: 'change', change })
  copies.settle()
  t.match(copies.results.get(refused), { ok: false, code: 'refused', why: /its snapshot has 262144 bytes/ })
  copies.command('n1', { type: 'change', change: { operation: 'resize', sizeBytes: 64 * BLOCK_BYTES } })
  copies.settle()
  t.equal(copies.read(40), 'nothing', 'what was trimmed is not back')
  const done = copies.command('n1', { type: 'change', change })
  copies.settle()
  t.match(copies.results.get(done), { ok: true })
  t.equal(copies.read(40), 11)
  t.end()
})

t.test('F2: a copy that is filled gets what only a larger snapshot shows', (t) => {
  const copies = serving()
  copies.kill('n3')
  copies.run(3000)
  t.same(copies.config.inSync, ['n1', 'n2'])
  copies.write(40, 11)
  copies.command('n1', { type: 'change', change: { operation: 'snapshot', id: 's' } })
  copies.settle()
  copies.ask(trimAt(40))
  copies.settle()
  order(copies, 16)
  copies.settle()
  t.same(sizesOf(copies), [16, 16])
  copies.start('n3')
  copies.run(20_000)
  t.ok(copies.config.inSync.includes('n3'))
  const { store } = copies.node('n3')
  t.equal(store.snapshot('s')?.sizeBytes, 64 * BLOCK_BYTES)
  t.same(store.view.blocks.get(40)?.map(({ payload }) => payload?.data).filter((data) => data !== undefined), [11])
  t.end()
})

t.test('a term that ends before it is ordered leaves nothing of it', (t) => {
  const copies = serving()
  copies.isStalled = ({ name }) => name === 'n2'
  copies.ask(writeAt(1))
  const token = order(copies, 32)
  copies.isStalled = () => false
  copies.node('n1').state.primary!.shrinking!.afterSeq = Infinity
  copies.command('n1', { type: 'hand-over', to: 'n2' })
  copies.run(3000)
  t.equal(copies.config.primary, 'n2')
  t.match(copies.results.get(token), { ok: false, code: 'not-primary' })
  t.same(sizesOf(copies), [64, 64, 64])
  t.end()
})
