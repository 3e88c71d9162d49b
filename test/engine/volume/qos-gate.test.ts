/** Clients in front of a volume's gate: never too much in all, a turn for each, and a change that wakes who waits. */
import fc from 'fast-check'
import t from 'tap'
import { QosGate } from '../../../engine/volume/qos-gate.ts'
import type { GateMember } from '../../../engine/volume/qos-gate.ts'
import { SimClock } from '../../sim/clock.ts'

const KIB = 1024

class Client implements GateMember {
  passed = 0
  /** Requests that it has yet to ask, each of so many bytes. */
  left: number
  readonly bytes: number
  readonly #gate: QosGate
  readonly #clock: SimClock
  readonly #log: Array<{ atMs: number; bytes: number }>

  constructor(
    { gate, clock, log }: { gate: QosGate; clock: SimClock; log: Array<{ atMs: number; bytes: number }> },
    bytes: number, left = Infinity,
  ) {
    this.#gate = gate
    this.#clock = clock
    this.#log = log
    this.bytes = bytes
    this.left = left
  }

  gateOpened(): void {
    this.#clock.defer(() => this.ask())
  }

  /** As much as it may. */
  ask(): void {
    while (this.left > 0) {
      if (!this.#gate.mayPass(this, this.bytes)) return
      this.#gate.take(this, this.bytes)
      this.#log.push({ atMs: this.#clock.nowMs(), bytes: this.bytes })
      this.passed++
      this.left--
    }
    this.#gate.leave(this)
  }
}

function stand(limits?: Parameters<QosGate['change']>[0]) {
  const clock = new SimClock()
  const gate = new QosGate(clock)
  gate.change(limits)
  const log: Array<{ atMs: number; bytes: number }> = []
  const client = (bytes = 4 * KIB, left = Infinity) => new Client({ gate, clock, log }, bytes, left)
  return { clock, gate, log, client }
}

t.test('without limits everybody passes', async (t) => {
  const { gate, client, clock } = stand()
  const one = client(1 << 30, 1000)
  one.ask()
  t.same([one.passed, gate.waiting], [1000, 0])
  clock.advance(10)
  t.same(gate.waitedMs(), { iops: 0, bandwidth: 0 })
})

t.test('each limit holds by itself, and the time in which it was waited for is counted', async (t) => {
  const { clock, gate, client, log } = stand({ iops: 100, bandwidthBytes: 0, burstMs: 1000 })
  const one = client()
  one.ask()
  t.equal(one.passed, 100, 'a burst at once')
  clock.advance(2000)
  t.equal(one.passed, 300, 'and as many a second behind it')
  t.same(gate.waitedMs(), { iops: 2000, bandwidth: 0 })
  gate.change({ iops: 0, bandwidthBytes: 40 * KIB, burstMs: 1000 })
  log.length = 0
  clock.advance(3000)
  t.equal(log.length, 40, 'four bursts of ten: one was full, three came in')
  const { iops, bandwidth } = gate.waitedMs()
  t.same([iops, Math.round(bandwidth)], [2000, 3000])
})

t.test('what moves no data does not wait for bandwidth that is owed', async (t) => {
  const { gate, client } = stand({ iops: 1000, bandwidthBytes: KIB, burstMs: 1000 })
  const large = client(64 * KIB, 2)
  large.ask()
  t.same([large.passed, gate.waiting], [1, 1])
  gate.leave(large)
  const flush = client(0, 5)
  flush.ask()
  t.equal(flush.passed, 5)
})

t.test('never more than the limits in all, and everybody is served in the end', async (t) => {
  const limits = fc.record({
    iops: fc.oneof(fc.constant(0), fc.integer({ min: 10, max: 5000 })),
    bandwidthBytes: fc.oneof(fc.constant(0), fc.integer({ min: 64 * KIB, max: 64 << 20 })),
    burstMs: fc.integer({ min: 100, max: 3000 }),
  }).filter(({ iops, bandwidthBytes }) => iops + bandwidthBytes > 0)
  const clients = fc.array(fc.record({
    bytes: fc.constantFrom(0, 512, 4 * KIB, 128 * KIB), left: fc.integer({ min: 1, max: 40 }), atMs: fc.nat(500),
  }), { minLength: 1, maxLength: 8 })
  fc.assert(fc.property(limits, clients, ({ iops, bandwidthBytes, burstMs }, wished) => {
    const { clock, gate, log, client } = stand({ iops, bandwidthBytes, burstMs })
    const all = wished.map(({ bytes, left, atMs }) => {
      const one = client(bytes, left)
      clock.after(atMs, () => one.ask())
      return one
    })
    const requests = wished.reduce((sum, { left }) => sum + left, 0)
    const bytes = wished.reduce((sum, one) => sum + one.bytes * one.left, 0)
    // All that is asked, by one limit and then by the other (what waits for one lets the other's go by), and a moment
    // for each turn.
    const neededMs = (iops && (requests * 1000) / iops) + (bandwidthBytes && (bytes * 1000) / bandwidthBytes)
    clock.advance(501 + neededMs + burstMs + 2 * requests)
    if (all.some(({ left }) => left > 0) || gate.waiting > 0) return false
    const largest = Math.max(...wished.map((one) => one.bytes))
    for (const [from, first] of log.entries()) {
      let passed = 0
      for (const [number, { atMs, bytes }] of log.slice(from).entries()) {
        const seconds = (atMs - first.atMs) / 1000
        passed += bytes
        const burst = burstMs / 1000
        if (iops > 0 && number + 1 > iops * seconds + Math.max(1, iops * burst) + 1e-6) return false
        const room = Math.max(largest, bandwidthBytes * burst)
        if (bandwidthBytes > 0 && passed > bandwidthBytes * seconds + room + 1e-3) return false
      }
    }
    return true
  }), { numRuns: 300 })
})

t.test('G2: a turn for each, also beside one that asks all the time', async (t) => {
  const { clock, client } = stand({ iops: 1000, bandwidthBytes: 0, burstMs: 100 })
  const greedy = [client(), client(), client()]
  for (const one of greedy) one.ask()
  const modest = client(4 * KIB, 0)
  const answered: number[] = []
  // One request at a time, the next one when the former has passed.
  const askNext = (): void => {
    const askedMs = clock.nowMs()
    modest.left = 1
    modest.ask()
    const look = (): void => {
      if (modest.left > 0) return void clock.after(1, look)
      answered.push(clock.nowMs() - askedMs)
      clock.after(1, askNext)
    }
    look()
  }
  askNext()
  clock.advance(5000)
  t.ok(answered.length > 400, `${answered.length} requests of it passed`)
  t.ok(Math.max(...answered) <= 10, `the slowest waited for ${Math.max(...answered)} ms`)
  const counts = greedy.map(({ passed }) => passed)
  t.ok(Math.max(...counts) - Math.min(...counts) <= 150, `the others passed ${counts.join(', ')}`)
})

t.test('G2: who asks again too early keeps its place', async (t) => {
  const { clock, gate, client } = stand({ iops: 10, bandwidthBytes: 0, burstMs: 100 })
  const [first, second] = [client(4 * KIB, 2), client(4 * KIB, 1)]
  first.ask()
  second.ask()
  t.same([first.passed, second.passed, gate.waiting], [1, 0, 2])
  for (let turn = 0; turn < 9; turn++) {
    clock.advance(10)
    first.ask()
  }
  clock.advance(11)
  t.same([first.passed, second.passed], [2, 0], 'it was first')
  clock.advance(100)
  t.equal(second.passed, 1)
})

t.test('G3: a change counts at once', async (t) => {
  const { clock, gate, client } = stand({ iops: 10, bandwidthBytes: 0, burstMs: 1000 })
  const one = client(4 * KIB, 20_000)
  one.ask()
  t.equal(one.passed, 10)
  gate.change({ iops: 1000, bandwidthBytes: 0, burstMs: 1000 })
  t.equal(one.passed, 10, 'no gift')
  clock.advance(1000)
  t.ok(one.passed >= 1000, `${one.passed}: who waited is woken by it`)
  gate.change({ iops: 10, bandwidthBytes: 0, burstMs: 1000 })
  const before = one.passed
  clock.advance(1000)
  t.ok(one.passed - before <= 11)
  gate.change(undefined)
  clock.advance(0)
  t.same([one.left, gate.waiting], [0, 0], 'all pass when there are none any more')
})

t.test('who leaves gives its turn to the next', async (t) => {
  const { clock, gate, client } = stand({ iops: 10, bandwidthBytes: 0, burstMs: 100 })
  const [first, gone, last] = [client(), client(), client(4 * KIB, 1)]
  first.ask()
  gone.ask()
  last.ask()
  first.left = 0
  gate.leave(gone)
  gate.leave(gone)
  first.ask()
  t.equal(gate.waiting, 1)
  clock.advance(101)
  t.same([gone.passed, last.passed, gate.waiting], [0, 1, 0])
})
