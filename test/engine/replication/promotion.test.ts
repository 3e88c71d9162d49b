/**
 * Members fail, the primary fails, everybody comes back: nothing answered is lost, and one copy leads at a time.
 */
import t from 'tap'
import { reportOf } from '../../../engine/replication/peer-reports.ts'
import { crashed, MemoryStore } from '../../sim/cluster/memory-store.ts'
import { serving } from './copies.ts'

t.test('a silent member is evicted before anything is answered without it', (t) => {
  const copies = serving()
  copies.isolate('n3')
  const one = copies.write(3, 33)
  copies.settle()
  t.equal(copies.answerOf(one), undefined)
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'])
  copies.run(2500)
  t.same(copies.config.inSync, ['n1', 'n2'])
  t.match(copies.answerOf(one), { ok: true })
  t.equal(copies.read(3), 33)
  t.end()
})

t.test('an eviction whose outcome is unknown: nothing is answered before it is known, both ways', (t) => {
  for (const fate of ['lost-answer', 'lost-request'] as const) {
    const copies = serving()
    copies.isolate('n3')
    copies.casFate = [fate]
    const one = copies.write(3, 33)
    copies.run(2500)
    t.same([...copies.config.inSync].sort(), ['n1', 'n2'], fate)
    t.match(copies.answerOf(one), { ok: true })
    t.equal(copies.node('n1').state.change, undefined)
  }
  t.end()
})

t.test('below minInSync nobody is evicted and nothing is answered, until the member is back', (t) => {
  const copies = serving()
  copies.isolate('n3')
  copies.run(3000)
  copies.isolate('n2')
  const one = copies.write(3, 33)
  copies.run(6000)
  t.equal(copies.answerOf(one), undefined)
  copies.cut.clear()
  copies.run(8000)
  copies.open()
  t.ok(copies.primary !== undefined, 'somebody leads')
  const two = copies.write(4, 44)
  copies.settle()
  t.match(copies.answerOf(two), { ok: true })
  t.end()
})

t.test('the primary dies: a replica leads, and has every answered write', (t) => {
  const copies = serving()
  for (let i = 0; i < 10; i++) copies.write(i, 100 + i)
  copies.settle()
  copies.kill('n1')
  copies.run(8000)
  t.not(copies.config.primary, 'n1')
  t.ok(copies.open())
  for (let i = 0; i < 10; i++) t.equal(copies.read(i), 100 + i)
  const one = copies.write(3, 33)
  copies.settle()
  t.match(copies.answerOf(one), { ok: true })
  copies.start('n1')
  copies.run(4000)
  t.same([...copies.config.inSync].sort(), ['n1', 'n2', 'n3'], 'the old primary joined again')
  t.equal(copies.node('n1').store.view.blocks.get(3)?.at(-1)?.payload?.data, 33)
  t.end()
})

t.test('different tails: one log is chosen, the others are cut back', (t) => {
  const copies = serving()
  copies.write(1, 11)
  copies.settle()
  // n3 gets records that n2 does not, n1 dies with them unanswered.
  copies.cut.add('n1>n2')
  const late = copies.write(1, 12)
  copies.settle()
  t.equal(copies.answerOf(late), undefined)
  copies.kill('n1')
  copies.cut.clear()
  copies.run(8000)
  t.ok(copies.open())
  t.equal(copies.read(1), 12, 'the longest log of the set is chosen, so an unanswered write may survive')
  copies.run(1000)
  const tails = ['n2', 'n3'].map((name) => copies.node(name).state.log.epochs)
  t.same(tails[0], tails[1])
  t.end()
})

t.test('what only the old primary had is cut back when it returns', (t) => {
  const copies = serving()
  copies.write(1, 11)
  copies.settle()
  copies.cut.add('n1>n2').add('n1>n3')
  copies.write(1, 12)
  copies.settle()
  copies.kill('n1')
  copies.cut.clear()
  copies.run(8000)
  copies.open()
  t.equal(copies.read(1), 11)
  copies.write(2, 22)
  copies.settle()
  copies.start('n1')
  copies.run(5000)
  t.ok(copies.config.inSync.includes('n1'))
  const versions = copies.node('n1').store.view.blocks.get(1)!
  t.equal(versions.at(-1)?.payload?.data, 11)
  t.end()
})

t.test('the primary restarts: it leads again under the next epoch, without waiting for a grace', (t) => {
  const copies = serving()
  copies.write(1, 11)
  copies.settle()
  const { epoch } = copies.config
  copies.kill('n1')
  copies.start('n1')
  copies.run(500)
  t.equal(copies.config.primary, 'n1')
  t.equal(copies.config.epoch, epoch + 1)
  t.ok(copies.open())
  t.equal(copies.read(1), 11)
  t.end()
})

t.test('a replica restarts and goes on', (t) => {
  const copies = serving()
  copies.write(1, 11)
  copies.settle()
  copies.kill('n2')
  copies.start('n2')
  const one = copies.write(2, 22)
  copies.run(1000)
  t.match(copies.answerOf(one), { ok: true })
  t.same(copies.config.inSync, ['n1', 'n2', 'n3'], 'nobody was evicted')
  t.end()
})

t.test('all die at once and come back', (t) => {
  const copies = serving()
  for (let i = 0; i < 5; i++) copies.write(i, 100 + i)
  copies.settle()
  for (const name of ['n1', 'n2', 'n3']) copies.kill(name)
  for (const name of ['n3', 'n2', 'n1']) copies.start(name)
  copies.run(6000)
  t.ok(copies.open())
  for (let i = 0; i < 5; i++) t.equal(copies.read(i), 100 + i)
  t.end()
})

t.test('a promotion whose outcome is unknown', (t) => {
  for (const fate of ['lost-answer', 'lost-request'] as const) {
    const copies = serving({ nodes: 2 })
    copies.write(1, 11)
    copies.settle()
    copies.kill('n1')
    copies.casFate = [fate]
    copies.run(8000)
    t.equal(copies.config.primary, 'n2')
    t.ok(copies.open(), fate)
    t.equal(copies.read(1), 11)
  }
  t.end()
})

t.test('a primary whose disk lied does not let go of who has what it lost', (t) => {
  const copies = serving({ nodes: 2 })
  copies.write(1, 11)
  copies.run(1000)
  copies.kill('n1')
  const lied = copies.node('n1')
  const { state } = lied.store
  lied.store = new MemoryStore(crashed(state, state.entries.findLastIndex(({ type }) => type === 'record'), state.boot))
  const deliver = copies.deliver.bind(copies)
  copies.deliver = (letter) => {
    if (letter.message.type !== 'log') deliver(letter)
  }
  copies.start('n1')
  copies.run(20_000)
  t.same([copies.config.primary, copies.config.inSync], ['n1', ['n1', 'n2']], 'it waits for the log of n2')
  copies.deliver = deliver
  copies.run(1000)
  t.ok(copies.open())
  t.equal(copies.read(1), 11)
  t.end()
})

t.test('an answer to a question of a former instance of the primary names nobody alive', (t) => {
  const copies = serving()
  const n1 = copies.node('n1')
  const report = reportOf(copies.node('n3').state)
  copies.kill('n3')
  copies.run(4000)
  copies.kill('n1')
  copies.start('n1')
  copies.run(500)
  copies.start('n3')
  copies.run(2000)
  t.ok(copies.config.inSync.includes('n3'))
  const { epoch } = report.promised
  // It said hello before it had promised; now it is asked again.
  copies.deliver({ from: 'n3', instance: 'n3#2', to: 'n1', message: { type: 'hello', epoch, ...report } })
  const { probe } = n1.state.primary!.peers.get('n3')!
  const late = { type: 'promised' as const, ...report, epoch, answerTo: probe!.token }
  copies.deliver({ from: 'n3', instance: 'n3#1', to: 'n1', message: late })
  copies.run(2000)
  t.equal(n1.state.primary!.peers.get('n3')!.instance, 'n3#2')
  t.ok(copies.config.inSync.includes('n3'))
  t.end()
})
