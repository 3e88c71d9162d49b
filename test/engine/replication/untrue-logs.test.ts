/**
 * Risk: a node that was broken into says of its log what cannot be, and a copy elsewhere stops because a promise of
 * its own code seems broken. What it says is refused, and nothing of it is kept.
 */
import t from 'tap'
import { reportOf } from '../../../engine/replication/peer-reports.ts'
import type { PeerMessage } from '../../../engine/replication/messages.ts'
import type { ReplicatedRecord } from '../../../engine/replication/record.ts'
import { written } from './copies.ts'

const trim = (epoch: number, seq: number): ReplicatedRecord =>
  ({ kind: 'trim', epoch, seq, request: undefined, lba: 1, blockCount: 1 })
const epochRecord = (epoch: number, seq: number, epochs: Array<[number, number]>): ReplicatedRecord =>
  ({ kind: 'control', epoch, seq, request: undefined, change: { operation: 'epoch', epochs } })

/** By what is wrong: records behind a tail, of a primary of this epoch. */
const RUNS: Record<string, (epoch: number, tail: number) => ReplicatedRecord[]> = {
  'I5: its records do not follow each other': (epoch, tail) => [trim(epoch, tail + 1), trim(epoch, tail + 3)],
  'I4: a record is of a later epoch than its message': (epoch, tail) => [trim(epoch + 1, tail + 1)],
  'I5: an epoch does not name itself': (epoch, tail) => [epochRecord(epoch, tail + 1, [[epoch, tail]])],
  'I1: its epochs do not grow': (epoch, tail) => [epochRecord(epoch, tail + 1, [[epoch, tail + 1]])],
  'I5: a record is of an epoch that has not begun': (epoch, tail) => [trim(epoch - 1, tail + 1)],
}

for (const [why, run] of Object.entries(RUNS)) {
  t.test(`a replica takes nothing of a primary, if ${why}`, (t) => {
    const copies = written()
    copies.liars.add('n1')
    const { state } = copies.node('n2')
    const { tail } = state.log
    const { epoch } = state.promise
    const previous = { epoch: state.log.epochs.at(-1)![0], seq: tail }
    const records = run(epoch, tail)
    const messages: PeerMessage[] = [
      { type: 'append', epoch, previous, records, commitSeq: 0 },
      { type: 'reconcile', epoch, fork: previous, records, commitSeq: 0 },
    ]
    for (const message of messages) copies.event('n2', { type: 'message', from: 'n1', instance: 'n1#1', message })
    t.strictSame(copies.disbelieved, [why, why])
    t.equal(state.log.tail, tail)
    copies.liars.clear()
    copies.write(4, 44)
    copies.run(500)
    t.equal(copies.read(4), 44)
    t.equal(state.log.tail, copies.node('n1').state.log.tail)
    t.end()
  })
}

t.test('what is committed is not cut back', (t) => {
  const copies = written()
  copies.liars.add('n1')
  const { state } = copies.node('n2')
  const { tail, commitSeq } = state.log
  t.ok(commitSeq > 1)
  state.isFollowing = false
  const epoch = state.promise.epoch + 1
  const records = [epochRecord(epoch, 2, [[state.log.epochs[0]![0], 1], [epoch, 2]])]
  const fork = { epoch: state.log.epochs[0]![0], seq: 1 }
  const message: PeerMessage = { type: 'reconcile', epoch, fork, records, commitSeq: 0 }
  copies.event('n2', { type: 'message', from: 'n1', instance: 'n1#1', message })
  t.strictSame(copies.disbelieved, ['I10: it cuts what is committed'])
  t.equal(state.log.tail, tail)
  t.end()
})

t.test('who says that it stored more than was ordered counts for what it has', (t) => {
  const copies = written()
  copies.liars.add('n2')
  const { state } = copies.node('n1')
  const { tail } = state.log
  const peer = state.primary!.peers.get('n2')!
  for (const [seq, durableSeq] of [[tail + 1, tail + 1], [tail + 1, tail], [tail, tail + 1]] as const) {
    const message: PeerMessage = { type: 'stored', epoch: state.primary!.epoch, seq, durableSeq }
    copies.event('n1', { type: 'message', from: 'n2', instance: 'n2#1', message })
  }
  const why = 'it stored more than was ordered'
  t.strictSame(copies.disbelieved, [why, why, why])
  t.match(peer, { storedSeq: tail, durableSeq: tail })
  copies.liars.clear()
  copies.write(4, 44)
  copies.run(500)
  t.equal(state.role, 'primary')
  t.equal(copies.read(4), 44)
  t.match(peer, { storedSeq: tail + 1, durableSeq: tail + 1 })
  t.end()
})

t.test('a report of another history than the volume has is refused, and its primary goes on', (t) => {
  const copies = written()
  copies.liars.add('n2')
  const { state } = copies.node('n1')
  const report = reportOf(copies.node('n2').state)
  const [epoch, firstSeq] = report.epochs.at(-1)!
  const untrue = [
    { ...report, epochs: [[epoch, firstSeq + 1]] as Array<[number, number]> },
    { ...report, tail: firstSeq - 1, durableSeq: 0 },
    { ...report, durableSeq: report.tail + 1 },
  ]
  for (const one of untrue) {
    const message: PeerMessage = { type: 'hello', epoch: state.promise.epoch, ...one }
    copies.event('n1', { type: 'message', from: 'n2', instance: 'n2#1', message })
  }
  t.strictSame(copies.disbelieved, [
    'its epochs began elsewhere', 'its log ends before what it has of it', 'its log ends before what it has of it',
  ])
  copies.run(500)
  t.equal(state.role, 'primary')
  t.equal(copies.read(3), 33)
  t.end()
})
