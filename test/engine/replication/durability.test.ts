/**
 * Risk: a volume that was changed to `durable` loses an answered write when all lose power, breaks sessions that lost
 * nothing, or answers a FLUSH too early while it changes (SPEC W10, DURABILITY.md).
 */
import t from 'tap'
import type { Durability } from '../../../engine/replication/record.ts'
import { Copies } from './copies.ts'

const NODES = ['n1', 'n2', 'n3']

function serving(mode: Durability, options: ConstructorParameters<typeof Copies>[0] = {}): Copies {
  const copies = new Copies({ ...options, copy: { mode, ...options.copy } })
  copies.run(500)
  copies.open()
  return copies
}

const set = (copies: Copies, to: Durability, at = copies.config.primary): number =>
  copies.command(at, { type: 'change', change: { operation: 'durability', to } })

function isSet(copies: Copies, to: Durability): boolean {
  const token = set(copies, to)
  copies.run(500)
  return copies.results.get(token)?.ok === true && NODES.every((name) => copies.node(name).state.durability === to)
}

/** Asked for, and nothing done about it yet. */
function post(copies: Copies, to: Durability): void {
  const command = { type: 'change' as const, change: { operation: 'durability' as const, to } }
  copies.event('n1', { type: 'command', token: copies.results.size + 1, command })
}

function flush(copies: Copies): void {
  copies.ask({ type: 'flush' })
  copies.settle()
}

/** So many things happen, and no more. */
function advance(copies: Copies, steps: number): void {
  try {
    copies.settle(steps)
  } catch {}
}

const storesOf = (copies: Copies) => NODES.map((name) => copies.node(name).store)
const durableOf = (copies: Copies): number[] => storesOf(copies).map(({ durableSeq }) => durableSeq)

function powerCut(copies: Copies, names: readonly string[] = NODES): void {
  for (const name of names) copies.kill(name, { isPowerCut: true })
  for (const name of names) copies.start(name)
}

const isBroken = ({ replies }: Copies): boolean =>
  replies.some(({ message: one }) => one.type === 'reply' && !one.result.ok && one.result.code === 'session-broken')

t.test('to durable: what was answered before is durable everywhere when it is answered, and all behind it', (t) => {
  const copies = serving('writeback')
  copies.write(1, 11)
  copies.settle()
  const { tail } = copies.node('n1').state.log
  t.ok(durableOf(copies).some((seq) => seq < tail), 'written back')
  t.ok(isSet(copies, 'durable'))
  t.ok(durableOf(copies).every((seq) => seq > tail))
  const two = copies.write(2, 12)
  copies.settle()
  t.match(copies.answerOf(two), { ok: true })
  t.ok(durableOf(copies).every((seq) => seq === copies.node('n1').state.log.tail), 'without a flush')
  powerCut(copies)
  copies.run(15_000)
  copies.replies = []
  t.ok(copies.open())
  t.notOk(isBroken(copies))
  t.same([copies.read(1), copies.read(2)], [11, 12])
  t.ok(NODES.every((name) => copies.node(name).state.durability === 'durable'), 'and it is so for good')
  t.end()
})

t.test('to writeback: answered when written, and what was answered before stays', (t) => {
  const copies = serving('durable')
  copies.write(1, 11)
  copies.settle()
  t.ok(isSet(copies, 'writeback'))
  const before = copies.node('n1').state.log.tail
  t.ok(durableOf(copies).every((seq) => seq >= before))
  const two = copies.write(2, 12)
  copies.settle()
  t.match(copies.answerOf(two), { ok: true })
  t.ok(durableOf(copies).some((seq) => seq <= before), 'answered before it is durable')
  powerCut(copies)
  copies.run(15_000)
  copies.replies = []
  t.notOk(copies.open())
  t.ok(isBroken(copies), 'what may be gone is told')
  t.end()
})

t.test('a process that is killed behind a change to writeback lost nothing', (t) => {
  const copies = serving('durable')
  t.ok(isSet(copies, 'writeback'))
  copies.write(2, 12)
  copies.settle()
  for (const name of NODES) copies.kill(name)
  for (const name of NODES) copies.start(name)
  copies.run(15_000)
  copies.replies = []
  t.ok(copies.open())
  t.equal(copies.read(2), 12)
  t.end()
})

t.test('the order waits until everything is synced that was answered before', (t) => {
  const copies = serving('writeback')
  copies.write(1, 11)
  copies.settle()
  copies.cut.add('n1>n2')
  const token = set(copies, 'durable')
  t.equal(copies.node('n1').state.log.durabilities.length, 0)
  t.equal(copies.results.get(token), undefined)
  const two = copies.write(2, 12)
  copies.cut.clear()
  copies.run(500)
  t.match(copies.answerOf(two), { ok: true })
  t.match(copies.results.get(token), { ok: true })
  t.ok(durableOf(copies).every((seq) => seq === copies.node('n1').state.log.tail))
  t.end()
})

t.test('no record behind a change to durable counts before that is durable', (t) => {
  const copies = serving('writeback')
  copies.write(1, 11)
  copies.settle()
  flush(copies)
  // Its disk writes and syncs nothing for now, the others do.
  copies.isStalled = ({ name }) => name === 'n3'
  post(copies, 'durable')
  const two = copies.write(2, 12)
  copies.settle()
  const { log, durability } = copies.node('n1').state
  t.equal(log.durabilities.length, 1, 'it is ordered')
  t.equal(durability, 'writeback')
  t.equal(copies.answerOf(two), undefined)
  copies.isStalled = () => false
  copies.settle()
  copies.run(500)
  t.match(copies.answerOf(two), { ok: true })
  t.equal(copies.node('n1').state.durability, 'durable')
  t.end()
})

t.test('one that was away with the former durability takes over the present one', (t) => {
  for (const [from, to] of [['durable', 'writeback'], ['writeback', 'durable']] as const) {
    const copies = serving(from)
    copies.write(1, 11)
    copies.settle()
    copies.kill('n3', { isPowerCut: true })
    copies.run(8000)
    const token = set(copies, to)
    copies.run(500)
    t.match(copies.results.get(token), { ok: true })
    for (let i = 0; i < 200; i++) {
      copies.write(i % 16, i)
      copies.settle()
    }
    copies.start('n3')
    copies.run(10_000)
    t.same([...copies.config.inSync].sort(), NODES)
    t.equal(copies.node('n3').state.durability, to)
    t.equal(copies.node('n3').store.view.durability, to, 'as its store has it')
  }
  t.end()
})

t.test('power of all fails at any step of a change, and nothing is lost that may not be', (t) => {
  for (const to of ['durable', 'writeback'] as const) {
    for (let steps = 0; steps < 60; steps++) {
      const copies = serving(to === 'durable' ? 'writeback' : 'durable', { seed: steps })
      const one = copies.write(1, 11)
      copies.settle()
      flush(copies)
      post(copies, to)
      const two = copies.write(2, 12)
      advance(copies, steps)
      const isTold = copies.results.size > 0 && [...copies.results.values()].at(-1)!.ok
      const isAnswered = copies.answerOf(two) !== undefined
      powerCut(copies)
      copies.run(20_000)
      copies.replies = []
      copies.open()
      const broken = isBroken(copies)
      if (to === 'durable' && isTold) t.notOk(broken, `after ${steps} steps`)
      if (broken) {
        copies.session = { generation: 2, incarnation: 1 }
        continue
      }
      t.equal(copies.read(1), 11, `${to} after ${steps} steps: ${one}`)
      if (isAnswered && to === 'durable' && isTold) t.equal(copies.read(2), 12, `${to} after ${steps} steps`)
    }
  }
  t.end()
})

t.test('a flush of a durable volume waits like a read: somebody else may have changed it', (t) => {
  const copies = serving('durable')
  copies.isolate('n1')
  copies.nowMs += 3000
  const flush = copies.ask({ type: 'flush' }, { at: 'n1' })
  copies.settle()
  t.equal(copies.answerOf(flush), undefined)
  copies.cut.clear()
  copies.run(500)
  t.match(copies.answerOf(flush), { ok: true })
  t.end()
})

t.test('a change that was ordered and is cut: the volume is as before, also for who had it durable', (t) => {
  const copies = serving('writeback')
  copies.write(1, 11)
  copies.settle()
  flush(copies)
  // Only its own disk has it.
  copies.isolate('n1')
  post(copies, 'durable')
  copies.settle()
  t.equal(copies.node('n1').state.log.durabilities.length, 1)
  copies.run(10_000)
  copies.cut.clear()
  copies.run(10_000)
  t.ok(NODES.every((name) => copies.node(name).state.durability === 'writeback'))
  t.equal(copies.node('n1').state.log.durabilities.length, 0)
  t.end()
})

t.test('three changes, one behind the other, and a primary that is killed between', (t) => {
  const copies = serving('durable')
  for (const to of ['writeback', 'durable', 'writeback', 'durable'] as const) post(copies, to)
  advance(copies, 7)
  copies.kill('n1', { isPowerCut: true })
  copies.run(10_000)
  copies.start('n1')
  copies.run(10_000)
  const [first, ...others] = NODES.map((name) => copies.node(name).state.durability)
  t.ok(others.every((one) => one === first), 'all have the same')
  const now = copies.config.primary
  t.ok(copies.open(now))
  t.ok(isSet(copies, 'durable'))
  t.end()
})

t.test('a copy is as whole as what it is filled from, whatever its log ends in meanwhile', (t) => {
  const copies = new Copies({ members: ['n1', 'n2'], minInSync: 1 })
  copies.isolate('n3')
  copies.run(500)
  copies.open()
  copies.write(1, 11)
  copies.settle()
  const deliver = copies.deliver.bind(copies)
  copies.deliver = (letter) => {
    const { message } = letter
    // Its source has a change to writeback behind the target, and lost its power since; the filling takes its time.
    if (message.type === 'fill-start') deliver({ ...letter, message: { ...message, isWhole: false } })
    else if (message.type !== 'fill') deliver(letter)
  }
  copies.cut.clear()
  copies.run(1000)
  copies.write(2, 12)
  copies.run(500)
  const { state } = copies.node('n3')
  t.equal(state.consistency.state, 'filling')
  t.ok(state.log.durableSeq > state.consistency.target!, 'it has durable records above the target')
  t.notOk(state.isWhole)
  t.end()
})

t.test('a change is ended also when its primary goes on under another epoch', (t) => {
  const copies = serving('writeback')
  copies.write(1, 11)
  copies.settle()
  const deliver = copies.deliver.bind(copies)
  copies.deliver = (letter) => {
    if (letter.message.type !== 'sync') deliver(letter)
  }
  // It waits until what was answered before is synced everywhere, and nothing is left to be committed.
  const waiting = set(copies, 'durable', 'n1')
  t.equal(copies.results.get(waiting), undefined)
  copies.casFate.push('lost-request')
  const event = { type: 'command', token: 50, command: { type: 'hand-over', to: 'n3' } } as const
  copies.event('n1', event)
  t.ok(copies.node('n1').state.primary!.handingOver!.isReleased)
  copies.config = { ...copies.config, nonce: 'of somebody else' }
  copies.version++
  copies.run(3000)
  t.match(copies.results.get(50), { ok: false, code: 'lost' })
  t.equal(copies.config.primary, 'n1')
  t.ok(copies.config.epoch > 1, 'it goes on')
  t.match(copies.results.get(waiting), { ok: false, code: 'not-primary' })
  t.end()
})
