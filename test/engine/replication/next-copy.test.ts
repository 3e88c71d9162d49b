/**
 * Risk: what was said of a copy that is gone counts of the next one on the same node, which is the same instance: its
 * beacons bind nobody, so that leads are taken from it, and it serves reads on leases that are worth nothing (I8).
 */
import t from 'tap'
import { Copies } from './copies.ts'

/** The disk of n1, which led, failed; another copy was made there by the same daemon, and leads by now. */
function leadsAgain(): Copies {
  const copies = new Copies()
  copies.run(500)
  t.ok(copies.open())
  copies.write(1, 10)
  copies.settle()
  copies.event('n1', { type: 'store-failed', reason: 'a write failed' })
  copies.run(10_000)
  t.not(copies.config.primary, 'n1')
  const { n1: _, ...members } = copies.config.members
  copies.change({ ...copies.config, epoch: copies.config.epoch + 1, members, nonce: 'gone' })
  copies.run(1000)
  copies.remake('n1', 'c2')
  const another = { ...members, n1: { copyId: 'c2', state: 'catching-up' as const } }
  copies.change({ ...copies.config, epoch: copies.config.epoch + 1, members: another, nonce: 'another' })
  copies.run(20_000)
  t.ok(copies.config.inSync.includes('n1'), 'it is in the set')
  const token = copies.command(copies.config.primary, { type: 'hand-over', to: 'n1' })
  copies.run(1000)
  t.match(copies.results.get(token), { ok: true })
  t.equal(copies.primary?.name, 'n1')
  return copies
}

t.test('it goes on leading', (t) => {
  const copies = leadsAgain()
  const { epoch } = copies.config
  copies.run(20_000)
  t.equal(copies.primary?.name, 'n1')
  t.equal(copies.config.epoch, epoch)
  t.end()
})

t.test('I8: when it is cut off nobody takes its place while it serves reads', (t) => {
  const copies = leadsAgain()
  copies.run(2800)
  t.ok(copies.open('n1'))
  copies.isolate('n1')
  for (let waitedMs = 0; copies.config.primary === 'n1' && waitedMs < 20_000; waitedMs += 10) copies.run(10)
  t.not(copies.config.primary, 'n1', 'somebody does')
  t.equal(copies.read(1, 'n1'), undefined)
  t.end()
})

t.test('a primary whose disk fails while it lets a member go is waited for under neither epoch', (t) => {
  const copies = new Copies({ minInSync: 1 })
  copies.run(500)
  t.ok(copies.open())
  copies.kill('n3')
  copies.write(1, 10)
  copies.casFate.push('lost-answer')
  // It does not get to know that it has let it go.
  copies.slowReader = 'n1'
  const { epoch } = copies.config
  for (let waitedMs = 0; copies.config.epoch === epoch && waitedMs < 20_000; waitedMs += 10) copies.run(10)
  t.same(copies.config.inSync, ['n1', 'n2'])
  t.equal(copies.node('n1').state.config?.config.epoch, epoch)
  copies.event('n1', { type: 'store-failed', reason: 'a write failed' })
  copies.run(20_000)
  t.equal(copies.primary?.name, 'n2')
  t.end()
})

t.test('a primary that is fenced is waited for under no later epoch that still names it', (t) => {
  const copies = new Copies()
  copies.run(500)
  t.ok(copies.open())
  copies.write(1, 10)
  copies.settle()
  for (const name of ['n2', 'n3']) copies.cut.add(`n1>${name}`)
  copies.event('n1', { type: 'store-failed', reason: 'a write failed' })
  copies.settle()
  copies.change({ ...copies.config, epoch: copies.config.epoch + 1, inSync: ['n1', 'n2'], nonce: 'without n3' })
  copies.run(500)
  copies.cut.clear()
  copies.run(20_000)
  t.not(copies.config.primary, 'n1')
  t.equal(copies.primary?.name, copies.config.primary, 'another one serves')
  t.end()
})

t.test('the next copy that is heard behind what the former one said leads on', (t) => {
  const copies = leadsAgain()
  const { epoch } = copies.config
  const promised = copies.node('n1').state.promise
  const message = {
    type: 'refused' as const, epoch: 1, promised, tail: { epoch: 1, seq: 1 }, why: 'fenced' as const,
  }
  for (const name of ['n2', 'n3']) copies.event(name, { type: 'message', from: 'n1', instance: 'n1#1', message })
  copies.run(20_000)
  t.equal(copies.primary?.name, 'n1')
  t.equal(copies.config.epoch, epoch)
  t.equal(copies.left.size, 0)
  t.end()
})
