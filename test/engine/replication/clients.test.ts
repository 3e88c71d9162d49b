/**
 * What clients rely on: each request once, narrow writes, flush, sessions, reads under leases, a planned hand-over.
 */
import t from 'tap'
import { Copies, serving } from './copies.ts'

t.test('a request that is sent again after a promotion is answered and not applied again', (t) => {
  const copies = serving()
  const one = copies.write(1, 11)
  const two = copies.write(1, 12)
  copies.settle()
  copies.kill('n1')
  copies.run(8000)
  t.ok(copies.open())
  copies.replies = []
  const payload = { bytes: 4096, data: 11 }
  copies.ask({ type: 'write', lba: 1, blockCount: 1, payload, fua: false, edges: [] }, { number: one })
  copies.settle()
  t.match(copies.answerOf(one), { ok: true })
  t.equal(copies.read(1), 12)
  t.equal(two, one + 1)
  t.end()
})

const beyond = (copies: Copies): Parameters<Copies['ask']>[0] => {
  const lba = copies.node('n1').state.sizeBytes / 4096
  return { type: 'write', lba, blockCount: 1, payload: { bytes: 4096, data: 11 }, fua: false, edges: [] }
}

function grow(copies: Copies, at: string): void {
  const sizeBytes = copies.node(at).state.sizeBytes + (1 << 20)
  const token = copies.command(at, { type: 'change', change: { operation: 'resize', sizeBytes } })
  copies.settle()
  t.match(copies.results.get(token), { ok: true })
}

t.test('S1: what was refused stays so: a copy of it that comes when it is possible is refused as well', (t) => {
  const copies = serving()
  const late = beyond(copies)
  const one = copies.ask(late)
  copies.settle()
  t.same(copies.answerOf(one), { ok: false, code: 'range' })
  grow(copies, 'n1')
  const { tail } = copies.node('n1').state.log
  copies.replies = []
  copies.ask(late, { number: one })
  copies.settle()
  t.equal(copies.node('n1').state.log.tail, tail, 'it is not ordered')
  t.same(copies.answerOf(one), { ok: false, code: 'range' })
  const two = copies.ask(late)
  copies.settle()
  t.match(copies.answerOf(two), { ok: true }, 'another one is served')
  t.end()
})

t.test('S1: a copy of what was refused in a former term comes to its primary when that leads again', (t) => {
  const copies = serving()
  const late = beyond(copies)
  const { epoch } = copies.config
  const one = copies.ask(late)
  copies.settle()
  t.same(copies.answerOf(one), { ok: false, code: 'range' })
  copies.command('n1', { type: 'hand-over', to: 'n3' })
  copies.run(1000)
  t.equal(copies.config.primary, 'n3')
  copies.open()
  grow(copies, 'n3')
  copies.command('n3', { type: 'hand-over', to: 'n1' })
  copies.run(1000)
  t.equal(copies.config.primary, 'n1')
  t.ok(copies.open())
  const { tail } = copies.node('n1').state.log
  copies.replies = []
  copies.ask(late, { number: one, epoch })
  copies.settle()
  t.equal(copies.node('n1').state.log.tail, tail, 'it is not ordered')
  t.match(copies.replies, [{ message: { type: 'redirect' } }], 'who waits for it opens his session here again')
  copies.ask(late, { number: one })
  copies.settle()
  t.match(copies.answerOf(one), { ok: true }, 'who sends it now was not answered then')
  t.end()
})

t.test('S1: refused for want of room while a copy of it waits for its edges', (t) => {
  const copies = serving()
  const { store } = copies.node('n1')
  const payload = { bytes: 4096, data: 11 }
  const edges: Array<[number, number]> = [[1, 0]]
  const narrow = { type: 'write' as const, lba: 1, blockCount: 1, payload, fua: false, edges }
  const { tail } = copies.node('n1').state.log
  const one = copies.ask(narrow)
  Object.assign(store, { roomFor: () => 'refuse' })
  copies.ask(narrow, { number: one })
  t.same(copies.answerOf(one), { ok: false, code: 'no-space' })
  copies.settle()
  t.equal(copies.node('n1').state.log.tail, tail, 'it is not ordered')
  t.end()
})

t.test('a narrow write whose edge changed is refused, also while the change is on its way', (t) => {
  const copies = serving()
  copies.write(1, 11)
  copies.settle()
  const seq = copies.node('n1').state.log.tail
  const right = copies.write(1, 12, 'n1', [[1, seq]])
  copies.settle()
  t.match(copies.answerOf(right), { ok: true })
  const wrong = copies.write(1, 13, 'n1', [[1, seq]])
  copies.settle()
  t.match(copies.answerOf(wrong), { ok: false, code: 'edge-changed' })
  const now = copies.node('n1').state.log.tail
  copies.write(1, 14)
  const late = copies.write(1, 15, 'n1', [[1, now]])
  copies.settle()
  t.match(copies.answerOf(late), { ok: false, code: 'edge-changed' })
  t.equal(copies.read(1), 14)
  t.end()
})

t.test('reads wait when leases ran out, and go on without the member that is gone', (t) => {
  const copies = serving()
  copies.write(1, 11)
  copies.run(1000)
  t.equal(copies.read(1), 11)
  copies.isolate('n3')
  copies.nowMs += 2500
  t.equal(copies.read(1), undefined, 'no lease of n3')
  copies.run(2500)
  t.equal(copies.read(1), 11)
  t.end()
})

t.test('what is sent again while a member is away waits once, and is read once when it is back', (t) => {
  const copies = serving({ nodes: 2, minInSync: 2 })
  copies.write(1, 11)
  copies.settle()
  copies.kill('n2')
  copies.run(5000)
  const read = copies.ask({ type: 'read', lba: 1, blockCount: 1 })
  const flush = copies.ask({ type: 'flush' })
  for (let i = 0; i < 100; i++) {
    copies.run(100)
    copies.ask({ type: 'read', lba: 1, blockCount: 1 }, { number: read })
    copies.ask({ type: 'flush' }, { number: flush })
  }
  const { waitingReads, round } = copies.node('n1').state.primary!
  t.equal(waitingReads.length + round!.reads.length, 2)
  copies.start('n2')
  copies.run(10_000)
  t.match(copies.answerOf(read), { ok: true })
  t.match(copies.answerOf(flush), { ok: true })
  t.end()
})

t.test('a primary that is cut off serves no read once another one leads', (t) => {
  const copies = serving()
  copies.write(1, 11)
  copies.run(500)
  copies.isolate('n1')
  copies.storeIsOut = false
  copies.run(9000)
  t.not(copies.config.primary, 'n1')
  t.ok(copies.open())
  const one = copies.write(1, 12)
  copies.settle()
  t.match(copies.answerOf(one), { ok: true })
  t.not(copies.read(1, 'n1'), 11)
  copies.cut.clear()
  copies.run(5000)
  t.equal(copies.node('n1').state.role, 'replica')
  t.end()
})

t.test('readCheck confirm: each batch asks', (t) => {
  const copies = serving({ copy: { readCheck: 'confirm' } })
  copies.write(1, 11)
  copies.settle()
  t.equal(copies.read(1), 11)
  copies.cut.add('n1>n3')
  t.equal(copies.read(1), undefined)
  copies.cut.clear()
  copies.run(500)
  t.equal(copies.read(1), 11)
  t.end()
})

t.test('writeback: answered when written, a flush when it is durable everywhere', (t) => {
  const copies = serving({ copy: { mode: 'writeback' } })
  const one = copies.write(1, 11)
  copies.settle()
  t.match(copies.answerOf(one), { ok: true })
  const durable = () => [...copies.nodes.values()].map(({ store }) => store.durableSeq)
  const { tail } = copies.node('n1').state.log
  t.ok(durable().some((seq) => seq < tail))
  const flush = copies.ask({ type: 'flush' })
  copies.settle()
  t.match(copies.answerOf(flush), { ok: true })
  t.ok(durable().every((seq) => seq >= tail))
  const payload = { bytes: 4096, data: 12 }
  const fua = copies.ask({ type: 'write', lba: 1, blockCount: 1, payload, fua: true, edges: [] })
  copies.settle()
  t.match(copies.answerOf(fua), { ok: true })
  t.ok(durable().every((seq) => seq >= tail + 1))
  t.end()
})

t.test('writeback: a replica that lost power is let go and filled', (t) => {
  const copies = serving({ copy: { mode: 'writeback' } })
  for (let i = 0; i < 10; i++) copies.write(i, i)
  copies.settle()
  copies.kill('n2', { isPowerCut: true })
  copies.start('n2')
  copies.run(8000)
  t.same([...copies.config.inSync].sort(), ['n1', 'n2', 'n3'])
  t.equal(copies.node('n2').store.view.blocks.get(9)?.at(-1)?.payload?.data, 9)
  t.end()
})

t.test('writeback: a member that lost power and may not be let go is filled where it is', (t) => {
  const copies = serving({ nodes: 2, minInSync: 2, copy: { mode: 'writeback' } })
  for (let i = 0; i < 10; i++) copies.write(i, i)
  copies.settle()
  copies.kill('n2', { isPowerCut: true })
  copies.start('n2')
  copies.run(8000)
  const one = copies.write(1, 11)
  copies.run(500)
  t.match(copies.answerOf(one), { ok: true })
  t.same(copies.config.inSync, ['n1', 'n2'])
  t.equal(copies.node('n2').store.view.blocks.get(9)?.at(-1)?.payload?.data, 9)
  t.end()
})

t.test('writeback: the primary loses power, the others have everything', (t) => {
  const copies = serving({ copy: { mode: 'writeback' } })
  for (let i = 0; i < 10; i++) copies.write(i, i)
  copies.settle()
  copies.kill('n1', { isPowerCut: true })
  copies.start('n1')
  copies.run(15000)
  t.ok(copies.open())
  for (let i = 0; i < 10; i++) t.equal(copies.read(i), i)
  t.end()
})

t.test('writeback: all lose power with unflushed answers: the session is broken, and says so', (t) => {
  const copies = serving({ copy: { mode: 'writeback' } })
  copies.write(1, 11)
  copies.settle()
  for (const name of ['n1', 'n2', 'n3']) copies.kill(name, { isPowerCut: true })
  for (const name of ['n1', 'n2', 'n3']) copies.start(name)
  copies.run(15000)
  copies.replies = []
  t.notOk(copies.open())
  t.match(copies.replies.at(-1)?.message, { type: 'reply', result: { ok: false, code: 'session-broken' } })
  t.end()
})

t.test('a newer session ends the older one, also at the next primary', (t) => {
  const copies = serving()
  copies.write(1, 11)
  copies.settle()
  const old = copies.session
  copies.session = { generation: 1, incarnation: 2 }
  t.ok(copies.open())
  copies.settle()
  copies.kill('n1')
  copies.run(8000)
  copies.session = old
  copies.replies = []
  copies.open()
  t.match(copies.replies.at(-1)?.message, { type: 'reply', result: { ok: false, code: 'stale-session' } })
  t.end()
})

for (const mode of ['single', 'open'] as const) {
  t.test(`S2, mode ${mode}: former sessions are refused for ever, whoever leads`, (t) => {
    const copies = new Copies()
    const holders = mode === 'single' ? copies.config.attach.holders : {}
    copies.change({ ...copies.config, attach: { generation: 1, mode, holders } })
    copies.run(500)
    let first = 0
    for (let incarnation = 1; incarnation <= 20; incarnation++) {
      copies.session = { generation: 1, incarnation }
      copies.replies = []
      t.ok(copies.open())
      const request = copies.write(1, incarnation)
      if (incarnation === 1) first = request
      copies.settle()
      t.match(copies.answerOf(request), { ok: true })
    }
    copies.run(1000)
    copies.kill('n1')
    copies.run(8000)
    copies.session = { generation: 1, incarnation: 1 }
    copies.replies = []
    copies.open()
    const payload = { bytes: 4096, data: 1 }
    copies.ask({ type: 'write', lba: 1, blockCount: 1, payload, fua: false, edges: [] }, { number: first })
    copies.settle()
    t.match(copies.answerOf(first), { ok: false, code: 'stale-session' })
    copies.session = { generation: 1, incarnation: 20 }
    t.ok(copies.open())
    t.equal(copies.read(1), 20)
    t.end()
  })
}

t.test('a planned hand-over: the target leads, nothing is lost, the set stays', (t) => {
  const copies = serving()
  copies.write(1, 11)
  copies.settle()
  const token = copies.command('n1', { type: 'hand-over', to: 'n3' })
  copies.run(1000)
  t.match(copies.results.get(token), { ok: true })
  t.equal(copies.config.primary, 'n3')
  t.equal(copies.config.inSync.length, 3)
  t.equal(copies.node('n3').state.role, 'primary')
  t.ok(copies.open())
  t.equal(copies.read(1), 11)
  t.end()
})

t.test('a hand-over that is not won: the primary serves on, under another epoch', (t) => {
  const copies = serving()
  copies.write(1, 11)
  copies.settle()
  copies.casFate = ['lost-request']
  const event = { type: 'command', token: 5, command: { type: 'hand-over', to: 'n3' } } as const
  copies.event('n1', event)
  // Somebody else changes the configuration meanwhile.
  copies.config = { ...copies.config, nonce: 'another' }
  copies.version++
  copies.run(4000)
  t.match(copies.results.get(5), { ok: false })
  t.ok(copies.open())
  t.equal(copies.read(1), 11)
  t.end()
})

t.test('a disk that fails under the primary: another copy leads at once', (t) => {
  const copies = serving()
  copies.write(1, 11)
  copies.settle()
  copies.event('n1', { type: 'store-failed', reason: 'EIO' })
  copies.run(3000)
  t.equal(copies.node('n1').state.role, 'fenced')
  t.not(copies.config.primary, 'n1')
  t.ok(copies.open())
  t.equal(copies.read(1), 11)
  t.end()
})

t.test('control records are the same on every copy', (t) => {
  const copies = serving()
  copies.write(1, 11)
  const token = copies.command('n1', { type: 'change', change: { operation: 'snapshot', id: 's1' } })
  t.match(copies.results.get(token), { ok: true })
  copies.write(1, 12)
  copies.run(500)
  const snapshots = ['n1', 'n2', 'n3'].map((name) => copies.node(name).store.view.snapshots)
  t.same(snapshots[1], snapshots[0])
  t.same(snapshots[2], snapshots[0])
  t.end()
})
