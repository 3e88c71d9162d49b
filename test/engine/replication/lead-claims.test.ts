/**
 * Risk: a node of the cluster that was broken into says that it leads a volume, which no record of the cluster store
 * says, and the copies let their primary go for it and take what it sends (SPEC C12).
 */
import t from 'tap'
import { Copies, written } from './copies.ts'

const CLAIMED = 50

/** A node says so to a copy again and again; in the end it sends records as a primary does. */
function claim(copies: Copies, from: string, to: string, forMs: number, epoch = CLAIMED): void {
  const { config } = copies
  const members = { ...config.members, [from]: { copyId: `c-${from}`, state: 'in-sync' as const } }
  const claimed = { ...config, epoch, primary: from, inSync: [from, to], members, nonce: 'claimed' }
  const says = { type: 'message', from, instance: `${from}#1` } as const
  for (const endMs = copies.nowMs + forMs; copies.nowMs < endMs; copies.run(100)) {
    copies.event(to, { ...says, message: { type: 'new-epoch', epoch, config: claimed, since: epoch, token: 7 } })
  }
  const { log } = copies.node(to).state
  const seq = log.tail + 1
  const epochs = [...log.epochs, [epoch, seq] as const]
  const record = {
    epoch, seq, request: undefined, kind: 'control' as const, change: { operation: 'epoch' as const, epochs },
  }
  const fork = { epoch: log.epochs.at(-1)![0], seq: log.tail }
  copies.event(to, { ...says, message: { type: 'reconcile', epoch, fork, records: [record], commitSeq: seq } })
  copies.run(100)
}

t.test('C12: a node without a copy that names itself is promised nothing, and what it sends is not stored', (t) => {
  const copies = written()
  const { tail } = copies.node('n2').state.log
  const { epoch } = copies.config
  for (const name of ['n2', 'n3']) claim(copies, 'n9', name, 10_000)
  for (const name of ['n2', 'n3']) {
    t.match(copies.node(name).state.promise, { epoch, primary: 'n1' })
    t.equal(copies.node(name).state.log.tail, tail)
  }
  t.equal(copies.left.size, 0, 'they stay bound to their primary')
  t.match(copies.config, { epoch, primary: 'n1' })
  t.equal(copies.read(3), 33)
  t.end()
})

t.test('C12: nor while the cluster store is away, however long', (t) => {
  const copies = written()
  const { tail } = copies.node('n2').state.log
  copies.storeIsOut = true
  claim(copies, 'n9', 'n2', 20_000)
  t.equal(copies.node('n2').state.promise.primary, 'n1')
  t.equal(copies.node('n2').state.log.tail, tail)
  t.equal(copies.read(3), 33)
  t.end()
})

t.test('C12: a member that the record does not name leads nobody, and who left for it comes back', (t) => {
  const copies = written()
  const { tail } = copies.node('n2').state.log
  claim(copies, 'n3', 'n2', 10_000)
  t.equal(copies.node('n2').state.promise.primary, 'n1')
  t.equal(copies.node('n2').state.log.tail, tail)
  t.equal(copies.node('n2').state.grace.waiting, undefined)
  copies.run(1000)
  t.equal(copies.node('n2').state.grace.hasLeft, false)
  t.same([...copies.config.inSync].sort(), ['n1', 'n2', 'n3'])
  t.equal(copies.read(3), 33)
  t.end()
})

t.test('C12: under an epoch that the record is beyond only its primary is promised anything', (t) => {
  const copies = written()
  copies.change({ ...copies.config, epoch: CLAIMED + 1, nonce: 'later' })
  copies.isolate('n1')
  copies.run(100)
  copies.event('n2', { type: 'config-hint', value: copies.value() })
  copies.run(100)
  claim(copies, 'n3', 'n2', 200)
  t.equal(copies.node('n2').state.promise.primary, 'n1')
  t.equal(copies.node('n2').state.grace.waiting, undefined)
  t.end()
})

t.test('C6: who leads stops in the step in which a higher epoch is claimed, also without the store', (t) => {
  const copies = written()
  copies.storeIsOut = true
  const { config } = copies
  const message = {
    type: 'new-epoch' as const, epoch: CLAIMED, config: { ...config, epoch: CLAIMED, primary: 'n3' }, token: 7,
  }
  copies.event('n1', { type: 'message', from: 'n3', instance: 'n3#1', message })
  t.equal(copies.node('n1').state.primary, undefined)
  copies.run(500)
  t.equal(copies.node('n1').state.promise.primary, 'n1', 'it waits for a word of the store')
  copies.run(copies.node('n1').state.options.graceMs)
  t.match(copies.node('n1').state.promise, { epoch: CLAIMED, primary: 'n3' })
  t.same(copies.node('n1').state.told, { epoch: CLAIMED, members: ['n1', 'n2', 'n3'] })
  t.end()
})

/** The primary is gone and another copy has won its place, but the third one hears nothing of the store. */
function succeeded() {
  const copies = written()
  copies.kill('n1')
  copies.slowReader = 'n3'
  const { state } = copies.node('n3')
  for (let i = 0; i < 200 && state.grace.waiting === undefined; i++) copies.run(50)
  t.match(state.grace.waiting, { promise: { primary: 'n2' }, isNamed: false })
  t.equal(copies.config.primary, 'n2')
  return { copies, state }
}

t.test('C12: who leads is promised to as soon as the record was read', (t) => {
  const { copies, state } = succeeded()
  copies.run(500)
  t.equal(state.promise.primary, 'n1')
  copies.letReadsGo()
  copies.settle()
  t.equal(state.promise.primary, 'n2')
  copies.run(500)
  t.equal(copies.node('n2').state.role, 'primary')
  t.end()
})

t.test('C12: a member is believed when the store was silent for a grace: the failover goes on', (t) => {
  const { copies, state } = succeeded()
  const { heardAtMs } = state.grace.waiting!
  copies.run(heardAtMs + state.options.graceMs - copies.nowMs - 50)
  t.equal(state.promise.primary, 'n1')
  copies.run(1000)
  t.equal(state.promise.primary, 'n2')
  t.equal(copies.node('n2').state.role, 'primary')
  t.match(copies.config.inSync, ['n2', 'n3'])
  t.end()
})

/** Two copies, of which n3 hears nothing of the store any more, and n2, which joined since. */
function joinedSince() {
  const copies = new Copies({ members: ['n1', 'n3'], minInSync: 2, isUnconfigured: true })
  const { n2: added, ...others } = copies.config.members
  copies.run(500)
  copies.change({ ...copies.config, members: others })
  copies.run(500)
  copies.open()
  copies.write(3, 33)
  copies.run(500)
  copies.slowReader = 'n3'
  copies.change({ ...copies.config, members: { ...others, n2: added! }, nonce: 'more' })
  copies.run(3000)
  const { state } = copies.node('n3')
  t.match(copies.config, { primary: 'n1', inSync: ['n1', 'n3', 'n2'] })
  t.same(Object.keys(state.config!.config.members), ['n1', 'n3'])
  t.match(state.promise, { epoch: copies.config.epoch, primary: 'n1' })
  t.same(state.told, { epoch: copies.config.epoch, members: ['n1', 'n3', 'n2'] })
  return { copies, state }
}

t.test('C12: who joined since the store was heard is believed after a grace, too: nobody can let it go', (t) => {
  const { copies, state } = joinedSince()
  // As when records of the epoch came first.
  state.told = undefined
  const { epoch } = state.promise
  const message = { type: 'new-epoch' as const, epoch, config: copies.config, since: epoch, token: 7 }
  copies.event('n3', { type: 'message', from: 'n1', instance: 'n1#1', message })
  copies.kill('n1')
  for (let i = 0; i < 200 && copies.config.primary === 'n1'; i++) copies.run(50)
  t.match(copies.config, { primary: 'n2', inSync: ['n3', 'n2'] })
  t.equal(state.promise.primary, 'n1')
  copies.run(state.options.graceMs - 100)
  t.equal(state.promise.primary, 'n1', 'it waits for a word of the store')
  copies.run(1000)
  t.equal(state.promise.primary, 'n2')
  t.equal(copies.node('n2').state.role, 'primary')
  t.ok(copies.open())
  t.equal(copies.read(3), 33)
  t.end()
})

t.test('C12: whom the primary named is no member of a later record that does not have it', (t) => {
  const { copies, state } = joinedSince()
  copies.letReadsGo()
  copies.run(100)
  t.equal(state.config!.config.epoch, copies.config.epoch)
  t.equal(state.told, undefined)
  const { n2: removed, ...members } = copies.config.members
  t.ok(removed)
  copies.change({ ...copies.config, epoch: copies.config.epoch + 1, inSync: ['n1', 'n3'], members, nonce: 'less' })
  copies.run(5000)
  t.ok(copies.open())
  copies.storeIsOut = true
  claim(copies, 'n2', 'n3', 20_000)
  t.equal(state.promise.primary, 'n1')
  t.equal(copies.read(3), 33)
  t.end()
})
