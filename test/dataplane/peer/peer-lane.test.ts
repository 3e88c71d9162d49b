/** Risk: peers that lost each other come back all at once, or too late; or of two connections the wrong one stays. */
import t from 'tap'
import type { Connection } from '../../../dataplane/peer/connection.ts'
import { PeerLane } from '../../../dataplane/peer/peer-lane.ts'
import type { Preface } from '../../../dataplane/peer/preface.ts'
import { RefusalLog } from '../../../dataplane/peer/refusal-log.ts'
import { until } from './workers.ts'

/** Time that stands until it is moved. */
class TestClock {
  now = 0
  readonly timers: Array<{ atMs: number; run: () => void }> = []
  nowMs = (): number => this.now
  defer = (run: () => void): void => void setImmediate(run)
  after = (delayMs: number, run: () => void): { cancel: () => void } => {
    const timer = { atMs: this.now + delayMs, run }
    this.timers.push(timer)
    return { cancel: () => void (this.timers.includes(timer) && this.timers.splice(this.timers.indexOf(timer), 1)) }
  }
  /** @returns how long until the earliest that is not the deadline of an attempt */
  next(): number {
    this.timers.sort((a, b) => a.atMs - b.atMs)
    const timer = this.timers.shift()!
    const delayMs = timer.atMs - this.now
    this.now = timer.atMs
    timer.run()
    return delayMs
  }
}

const lane = (clock: TestClock, isLower: boolean, random: number, failed: () => void): PeerLane =>
  new PeerLane({
    lane: 'data', isLower, clock, random: () => random, limits: { handshakeMs: 1e9, retryMs: 50, retryMaxMs: 2000 },
    preface: () => ({ node: 'n1' }) as Preface,
    connect: () => {
      throw new Error('nobody is there')
    },
    adopted: () => undefined,
    failed,
  })

t.test('pauses double up to their limit, and half of each is random', async (t) => {
  for (const [random, share] of [[0, 0.5], [0.5, 0.75]] as const) {
    for (const isLower of [true, false]) {
      const clock = new TestClock()
      let failures = 0
      const one = lane(clock, isLower, random, () => failures++)
      one.reachAt({ path: '/nowhere/at/all' })
      const pauses: number[] = []
      for (let i = 0; i < 9; i++) {
        pauses.push(clock.next() / share)
        await until(() => failures === i + 1)
      }
      const expected = [50, 100, 200, 400, 800, 1600, 2000, 2000, 2000]
      t.same(pauses, isLower ? [0, ...expected.slice(0, 8)] : expected)
      one.stop()
      t.same(clock.timers, [], 'nothing is left')
    }
  }
})

t.test('an address without a port is a failed attempt like another', async (t) => {
  for (const port of [99_999, 0, -1, Number.NaN]) {
    const clock = new TestClock()
    let failures = 0
    const one = lane(clock, true, 0, () => failures++)
    one.reachAt({ host: '127.0.0.1', port })
    for (let i = 0; i < 3; i++) {
      clock.next()
      await until(() => failures === i + 1)
    }
    one.stop()
    t.same(clock.timers, [], 'nothing is left')
  }
})

t.test('which of two stays: every pair', async (t) => {
  for (const isLower of [true, false]) {
    for (const isOldOurs of [true, false]) {
      for (const isNewOurs of [true, false]) {
        for (const isSameInstance of [true, false]) {
          const one = lane(new TestClock(), isLower, 0, () => undefined)
          const closed: string[] = []
          const connection = (name: string, isOurs: boolean, instance: string): Connection =>
            ({ isOurs, peer: { instance }, close: () => closed.push(name) }) as unknown as Connection
          t.ok(one.adopt(connection('old', isOldOurs, 'x')))
          const stays = one.adopt(connection('new', isNewOurs, isSameInstance ? 'x' : 'y'))
          const oldIsOfLower = isOldOurs === isLower
          const newIsOfLower = isNewOurs === isLower
          t.equal(stays, !isSameInstance || newIsOfLower || !oldIsOfLower)
          t.same(closed, stays ? ['old'] : [])
        }
      }
    }
  }
})

t.test('the log of refusals says each kind once in a while, with a count, however many kinds there are', async (t) => {
  const clock = new TestClock()
  const lines: Array<Record<string, unknown>> = []
  const log = new RefusalLog({ log: { event: (_, __, fields) => void lines.push(fields) }, clock, everyMs: 1000 })
  for (let i = 0; i < 10; i++) log.refused('refused', 'a', { i })
  t.same(lines, [{ i: 0 }])
  clock.now = 1000
  log.refused('refused', 'a', { i: 10 })
  t.same(lines[1], { i: 10, moreSinceLast: 9 })
  for (let i = 0; i < 5000; i++) log.refused('refused', `kind ${i}`, {})
  t.ok(lines.length < 300, `${lines.length} lines`)
})
