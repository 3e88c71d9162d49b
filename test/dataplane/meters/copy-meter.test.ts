/** Phases read off the positions of a copy: what a term passed is observed once, with the time of the turn. */
import t from 'tap'
import { CopyMeter } from '../../../dataplane/meters/copy-meter.ts'
import type { LatencyHistogram } from '../../../dataplane/meters/latency-histogram.ts'
import type { CopyState } from '../../../engine/replication/copy-state.ts'
import { newPeer, newPrimary } from '../../../engine/replication/primary-state.ts'
import { emptyWindow, pushRecord } from '../../../engine/replication/record-window.ts'

const REQUEST = { generation: 1, incarnation: 1, request: 1, part: 0, parts: 1, answeredBelow: 1 }

function scene(required: string[]) {
  const primary = newPrimary(3)
  for (const node of ['n2', 'n3']) primary.peers.set(node, newPeer(node))
  primary.required = required
  const log = { tail: 0, writtenSeq: 0, durableSeq: 0, commitSeq: 0, durabilities: [], window: emptyWindow(1) }
  const state = {
    isRecovered: true, role: 'primary', primary, promise: { epoch: 3 }, log, durability: 'durable',
  } as unknown as CopyState
  const order = (count: number) => {
    for (let i = 0; i < count; i++) {
      pushRecord(log.window, { epoch: 3, seq: ++log.tail, kind: 'zero', lba: 0, blockCount: 1, request: REQUEST })
    }
  }
  return { state, log, primary, order, meter: new CopyMeter() }
}

const seen = (histogram: LatencyHistogram) => {
  const { counts, sumMs } = histogram.figures()
  return { count: counts.reduce((sum, count) => sum + count), sumMs }
}

t.test('append, replicate and commit of many records', async (t) => {
  const { state, log, primary, order, meter } = scene(['n2', 'n3'])
  meter.note(state, 0)
  // More than it has places for at first.
  order(200)
  meter.note(state, 10)
  log.durableSeq = 200
  meter.note(state, 13)
  primary.peers.get('n2')!.storedSeq = 200
  primary.peers.get('n3')!.storedSeq = 150
  log.commitSeq = 150
  meter.note(state, 20)
  t.same(seen(meter.append), { count: 200, sumMs: 600 })
  t.same(seen(meter.replicate), { count: 150, sumMs: 1500 }, 'the slowest copy counts')
  t.same(seen(meter.commit), { count: 150, sumMs: 1500 })
  // It is let go.
  primary.required = ['n2']
  log.commitSeq = 200
  meter.note(state, 1010)
  t.same(seen(meter.replicate), { count: 200, sumMs: 1500 + 50_000 })
  t.same(seen(meter.commit), { count: 200, sumMs: 1500 + 50_000 })
})

t.test('alone there is nothing to wait for; another term begins anew', async (t) => {
  const { state, log, order, meter } = scene([])
  meter.note(state, 0)
  order(1)
  meter.note(state, 1)
  log.durableSeq = log.commitSeq = 1
  meter.note(state, 2)
  t.same([meter.append, meter.replicate, meter.commit].map((one) => seen(one).count), [1, 0, 1])
  order(1)
  meter.note(state, 3)
  const next = newPrimary(5)
  Object.assign(state, { primary: next, promise: { epoch: 5 } })
  meter.note(state, 4)
  log.durableSeq = log.commitSeq = 2
  meter.note(state, 5)
  t.same([meter.append, meter.commit].map((one) => seen(one).count), [1, 1], 'what the former term ordered is not its')
  t.equal(meter.epochChanges, 1)
})
