/** Copies that are made before the configuration that names them wait for it (C10), however long that takes. */
import t from 'tap'
import { Copies } from './copies.ts'

t.test('copies of a volume that has no configuration yet', (t) => {
  const copies = new Copies({ isUnconfigured: true })
  copies.run(20_000)
  for (const { state, wakeAtMs } of copies.nodes.values()) {
    t.equal(state.role, 'starting')
    t.ok(wakeAtMs >= copies.nowMs + 100, 'it looks now and then, and does nothing else')
  }
  copies.change(copies.config)
  copies.run(1000)
  t.ok(copies.open(), 'the one that it names leads')
  const one = copies.write(3, 33)
  copies.settle()
  t.match(copies.answerOf(one), { ok: true })
  t.end()
})

t.test('a copy that is made for a volume that others serve', (t) => {
  const copies = new Copies()
  copies.kill('n3')
  const { n3: _, ...members } = copies.config.members
  copies.change({ ...copies.config, members, inSync: ['n1', 'n2'], epoch: 2, nonce: 'without' })
  copies.node('n3').store.state.copyId = 'another'
  copies.start('n3')
  copies.run(6000)
  copies.open()
  copies.write(3, 33)
  copies.run(6000)
  t.equal(copies.node('n3').state.role, 'starting', 'it is not named, and waits')
  const { config } = copies
  const n3 = { copyId: 'another', state: 'catching-up' as const }
  copies.change({ ...config, members: { ...config.members, n3 }, nonce: 'named' })
  copies.run(6000)
  t.same([...copies.config.inSync].sort(), ['n1', 'n2', 'n3'], 'named, it is filled and taken in')
  t.end()
})

t.test('a copy that had a part is fenced when the volume is removed', (t) => {
  const copies = new Copies()
  copies.run(500)
  copies.open()
  copies.write(3, 33)
  copies.settle()
  copies.isUnconfigured = true
  copies.kill('n2')
  copies.start('n2')
  copies.run(500)
  t.match(copies.node('n2').state, { role: 'fenced', fencedBecause: 'the volume was removed' })
  t.end()
})

t.test('a copy that was made where another was erased promises nothing to who knows the other', (t) => {
  for (const [copyId, epoch] of [['erased', 0], ['c-n2', 3]] as const) {
    const copies = new Copies({ nodes: 2, isUnconfigured: true })
    copies.run(6000)
    copies.kill('n1')
    const members = { ...copies.config.members, n2: { copyId, state: 'in-sync' as const } }
    const named = { ...copies.config, epoch: 3, members }
    // What the store has by now: the copy that is there is named.
    copies.config = { ...copies.config, epoch: 3 }
    copies.isUnconfigured = false
    const message = { type: 'new-epoch', epoch: 3, config: named, since: 3, token: 7 } as const
    copies.event('n2', { type: 'message', from: 'n1', instance: 'n1#1', message })
    copies.run(100)
    t.equal(copies.node('n2').state.promise.epoch, epoch, copyId)
  }
  t.end()
})
