/**
 * Links between nodes: what an acknowledgement is worth, who is told that a copy left, when clocks are doubted.
 */
import t from 'tap'
import { createLinks, stepLinks } from '../../../engine/replication/leases.ts'
import { Copies } from './copies.ts'
import type { Beacon, LinksPort, LinksState } from '../../../engine/replication/leases.ts'

interface Desk {
  state: LinksState
  sent: Beacon[]
  acknowledged: Array<{ sentAtMs: number; left: readonly string[] }>
  beacons: Beacon['commits'][]
  doubts: number
  wakeAtMs: number
  port: LinksPort
}

function desk(node: string): Desk {
  const one: Desk = {
    state: createLinks({ node, instance: `${node}#1`, beaconMs: 500, leaseMs: 2000, joinMs: 250 }),
    sent: [],
    acknowledged: [],
    beacons: [],
    doubts: 0,
    wakeAtMs: Infinity,
    port: {
      send: (beacon) => void one.sent.push(beacon),
      wakeAt: (atMs) => void (one.wakeAtMs = atMs),
      beacon: ({ commits }) => void one.beacons.push(commits),
      acknowledged: ({ sentAtMs, left }) => void one.acknowledged.push({ sentAtMs, left }),
      clockDoubt: () => void one.doubts++,
    },
  }
  return one
}

function pair(): { a: Desk; b: Desk; turn: (nowMs: number) => void } {
  const a = desk('a')
  const b = desk('b')
  stepLinks(a.state, { type: 'peers', nodes: ['b'] }, 0, a.port)
  stepLinks(b.state, { type: 'peers', nodes: ['a'] }, 0, b.port)
  const turn = (nowMs: number): void => {
    stepLinks(a.state, { type: 'tick', wallMs: nowMs }, nowMs, a.port)
    for (const beacon of a.sent.splice(0)) stepLinks(b.state, { type: 'beacon', beacon }, nowMs + 10, b.port)
    stepLinks(b.state, { type: 'tick', wallMs: nowMs + 20 }, nowMs + 20, b.port)
    for (const beacon of b.sent.splice(0)) stepLinks(a.state, { type: 'beacon', beacon }, nowMs + 30, a.port)
  }
  return { a, b, turn }
}

t.test('a lease counts from when the beacon was sent, not from its acknowledgement', (t) => {
  const { a, turn } = pair()
  turn(1000)
  t.same(a.acknowledged, [{ sentAtMs: 1000, left: [] }])
  turn(1500)
  t.equal(a.acknowledged.at(-1)?.sentAtMs, 1500)
  t.end()
})

t.test('who hears a beacon shortly before its own are due sends them with it, and not before that step', (t) => {
  const { a, b, turn } = pair()
  turn(1000)
  stepLinks(a.state, { type: 'tick', wallMs: 1500 }, 1500, a.port)
  const [first] = a.sent.splice(0)
  const soonMs = b.state.nextBeaconMs
  stepLinks(b.state, { type: 'beacon', beacon: first! }, soonMs - 251, b.port)
  t.equal(b.state.nextBeaconMs, soonMs, 'ours are not due soon')
  stepLinks(a.state, { type: 'tick', wallMs: 2000 }, 2000, a.port)
  const [second] = a.sent.splice(0)
  b.wakeAtMs = Infinity
  stepLinks(b.state, { type: 'beacon', beacon: second! }, soonMs - 250, b.port)
  t.same(b.sent, [], 'who leaves because of it is still to be named')
  t.equal(b.wakeAtMs, soonMs - 250)
  stepLinks(b.state, { type: 'left', volumeId: 'v', node: 'a' }, soonMs - 250, b.port)
  stepLinks(b.state, { type: 'tick', wallMs: soonMs - 250 }, soonMs - 250, b.port)
  t.match(b.sent, [{ got: { number: second!.number }, left: ['v'] }])
  t.equal(b.state.nextBeaconMs, soonMs + 250, 'the next ones an interval later')
  t.equal(b.doubts, 0)
  t.end()
})

t.test('of beacons and acknowledgements a copy heeds those of whom it follows, or leads', (t) => {
  const copies = new Copies()
  copies.run(500)
  copies.open()
  copies.unheeded = 0
  copies.run(copies.beaconMs)
  // Beacons: two to the primary, one to each replica, from the other one. Acknowledgements: two to each replica.
  t.equal(copies.unheeded, 2 + 2 + 4)
  copies.start('n1')
  copies.run(10_000)
  copies.write(3, 33)
  copies.run(1000)
  t.end()
})

t.test('a copy that left is named until the other side has shown that it knows', (t) => {
  const { a, b, turn } = pair()
  turn(1000)
  stepLinks(b.state, { type: 'left', volumeId: 'v', node: 'a' }, 1100, b.port)
  // The first beacon that names it gets lost.
  stepLinks(b.state, { type: 'tick', wallMs: 1520 }, 1520, b.port)
  b.sent = []
  turn(2100)
  t.same(a.acknowledged.at(-1)?.left, ['v'])
  turn(2700)
  turn(3300)
  t.same(a.acknowledged.at(-1)?.left, [])
  t.end()
})

t.test('a late beacon, and one that got an earlier process of ours, acknowledge nothing', (t) => {
  const { a, turn } = pair()
  turn(1000)
  const count = a.acknowledged.length
  const late: Beacon = {
    from: 'b',
    instance: 'b#1',
    to: 'a',
    number: 1,
    got: { instance: 'a#1', number: 1 },
    left: [],
    commits: [],
  }
  stepLinks(a.state, { type: 'beacon', beacon: late }, 5000, a.port)
  const former = { ...late, number: 9, got: { instance: 'a#0', number: 40 } }
  stepLinks(a.state, { type: 'beacon', beacon: former }, 5000, a.port)
  t.equal(a.acknowledged.length, count)
  t.end()
})

t.test('clocks that move apart, and a loop that stood still, are doubted', (t) => {
  const { a, turn } = pair()
  turn(1000)
  turn(1500)
  t.equal(a.doubts, 0)
  stepLinks(a.state, { type: 'tick', wallMs: 9000 }, 2000, a.port)
  t.equal(a.doubts, 1, 'the wall clock jumped')
  stepLinks(a.state, { type: 'tick', wallMs: 9000 + 1500 }, 3500, a.port)
  t.equal(a.doubts, 2, 'the loop stood still')
  t.end()
})

t.test('commit points of idle volumes travel with the next beacon, once', (t) => {
  const { a, b, turn } = pair()
  stepLinks(a.state, { type: 'committed', volumeId: 'v', node: 'b', epoch: 3, commitSeq: 17 }, 900, a.port)
  turn(1000)
  turn(1500)
  t.same(b.beacons, [[['v', 3, 17]], []])
  t.end()
})

t.test('a member that was let go when its lease ended is not let go for that once more when it is back', (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const copies = new Copies({ seed })
    copies.run(500)
    t.ok(copies.open())
    copies.isolate('n3')
    copies.run(8000)
    t.notOk(copies.config.inSync.includes('n3'))
    const { epoch } = copies.config
    copies.cut.clear()
    copies.run(8000)
    t.ok(copies.config.inSync.includes('n3'))
    t.equal(copies.config.epoch, epoch + 1, `seed ${seed}: it joined once`)
  }
  t.end()
})
