/**
 * Risk: a node of the cluster that has no copy of a volume stops whoever leads it by naming a higher epoch, as often as
 * it likes (SPEC C6). But a member that its primary has not read of yet has to be heard.
 */
import t from 'tap'
import { reportOf } from '../../../engine/replication/peer-reports.ts'
import type { PeerMessage } from '../../../engine/replication/messages.ts'
import { written } from './copies.ts'
import type { Copies } from './copies.ts'

const NAMED = 50
const PRIMARY = 'n1'

/** Of each kind that can name a higher epoch, one. */
function messagesOf(copies: Copies, from: string): PeerMessage[] {
  const { config } = copies
  const { state } = copies.node(PRIMARY)
  const members = { ...config.members, [from]: { copyId: `c-${from}`, state: 'in-sync' as const } }
  const claimed = { ...config, epoch: NAMED, primary: from, inSync: [from, PRIMARY], members, nonce: 'claimed' }
  const report = { ...reportOf(state), copyId: `c-${from}`, promised: { epoch: NAMED, primary: from } }
  const previous = { epoch: state.log.epochs.at(-1)![0], seq: state.log.tail }
  const fence = { brokenGeneration: 0, incarnations: [] }
  const epoch = NAMED
  return [
    { type: 'new-epoch', epoch, config: claimed, since: epoch, token: 7 },
    { type: 'hello', epoch, ...report },
    { type: 'join', ...report },
    { type: 'promised', epoch, ...report },
    { type: 'append', epoch, previous, records: [], commitSeq: 0 },
    { type: 'reconcile', epoch, fork: previous, records: [], commitSeq: 0 },
    { type: 'sync', epoch, seq: 1 },
    { type: 'confirm', epoch, token: 7 },
    { type: 'fetch-log', epoch, aboveSeq: 0 },
    { type: 'fence', epoch, fence },
  ]
}

const ALL = messagesOf(written(), 'n9')

for (const [at, { type }] of ALL.entries()) {
  t.test(`C6: ${type} under a higher epoch of who is no member ends no lead`, (t) => {
    for (const from of ['n9', 'constructor']) {
      const copies = written()
      const { epoch } = copies.config
      const message = messagesOf(copies, from)[at]!
      copies.event(PRIMARY, { type: 'message', from, instance: `${from}#1`, message })
      t.equal(copies.node(PRIMARY).state.role, 'primary')
      copies.run(1000)
      t.match(copies.config, { epoch, primary: PRIMARY })
      t.equal(copies.node(PRIMARY).state.promise.primary, PRIMARY)
      t.equal(copies.read(3), 33)
    }
    t.end()
  })

  t.test(`C6: ${type} under a higher epoch of a member does, at once`, (t) => {
    const copies = written()
    copies.storeIsOut = true
    const message = messagesOf(copies, 'n3')[at]!
    copies.event(PRIMARY, { type: 'message', from: 'n3', instance: 'n3#1', message })
    t.equal(copies.node(PRIMARY).state.primary, undefined)
    t.end()
  })

  t.test(`C6: behind ${type} of a node that it does not know a primary reads who leads`, (t) => {
    const copies = written()
    const message = messagesOf(copies, 'n9')[at]!
    const { config } = copies
    const members = { ...config.members, n9: { copyId: 'c-n9', state: 'in-sync' as const } }
    // Its hint is late.
    copies.config = { ...config, epoch: NAMED, primary: 'n9', inSync: ['n9', 'n1'], members, nonce: 'named' }
    copies.version++
    copies.event(PRIMARY, { type: 'message', from: 'n9', instance: 'n9#1', message })
    copies.settle()
    t.equal(copies.node(PRIMARY).state.primary, undefined)
    t.end()
  })
}

t.test('C6: nor does a refusal of who was a member in this term', (t) => {
  const copies = written()
  copies.kill('n3')
  copies.run(5000)
  t.same(copies.config.inSync, ['n1', 'n2'])
  const { n3: _, ...members } = copies.config.members
  copies.change({ ...copies.config, members, nonce: 'without n3' })
  copies.run(500)
  const { epoch } = copies.config
  const message = {
    type: 'refused' as const, epoch, promised: { epoch: NAMED, primary: 'n3' }, tail: { epoch: 1, seq: 1 },
    why: 'epoch' as const,
  }
  copies.event(PRIMARY, { type: 'message', from: 'n3', instance: 'n3#1', message })
  t.equal(copies.node(PRIMARY).state.role, 'primary')
  copies.run(1000)
  t.match(copies.config, { epoch, primary: PRIMARY })
  t.equal(copies.read(3), 33)
  t.end()
})
