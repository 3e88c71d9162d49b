/** A bucket gives what came in, and never more; however it is looked at, nothing is lost and nothing adds up. */
import fc from 'fast-check'
import t from 'tap'
import { TokenBucket } from '../../../engine/volume/token-bucket.ts'

interface Taken {
  atMs: number
  amount: number
}

/** B1 over every pair of moments. */
function worstExcess(taken: readonly Taken[], perSecond: number, room: number): number {
  let worst = -Infinity
  for (const [from, first] of taken.entries()) {
    let sum = 0
    for (const { atMs, amount } of taken.slice(from)) {
      sum += amount
      worst = Math.max(worst, sum - room - (perSecond * (atMs - first.atMs)) / 1000)
    }
  }
  return worst
}

const STEPS = fc.array(
  fc.record({ passMs: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 2000, noNaN: true })), amount: fc.nat(5000) }),
  { minLength: 1, maxLength: 60 },
)

t.test('B1: never more than came in and was kept', async (t) => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 1_000_000 }), fc.integer({ min: 1, max: 4000 }), STEPS,
    (perSecond, capacity, steps) => {
      let nowMs = 1e9
      const bucket = new TokenBucket({ perSecond, capacity }, nowMs)
      const taken: Taken[] = []
      for (const { passMs, amount } of steps) {
        nowMs += passMs
        if (bucket.readyAtMs(amount, nowMs) > nowMs) continue
        bucket.take(amount, nowMs)
        taken.push({ atMs: nowMs, amount })
      }
      const room = Math.max(capacity, ...steps.map(({ amount }) => amount))
      return worstExcess(taken, perSecond, room) <= 1e-3
    }))
})

t.test('B1 holds through changes of the rate, by the highest one', async (t) => {
  const rate = fc.record({ perSecond: fc.integer({ min: 1, max: 10_000 }), capacity: fc.integer({ min: 1, max: 900 }) })
  const rates = fc.array(rate, { minLength: 2, maxLength: 6 })
  fc.assert(fc.property(rates, STEPS, (some, steps) => {
    let nowMs = 0
    const bucket = new TokenBucket(some[0]!, nowMs)
    const taken: Taken[] = []
    for (const [number, { passMs, amount }] of steps.entries()) {
      nowMs += passMs
      bucket.change(some[number % some.length]!, nowMs)
      if (bucket.readyAtMs(amount, nowMs) > nowMs) continue
      bucket.take(amount, nowMs)
      taken.push({ atMs: nowMs, amount })
    }
    // What was saved up in the largest one, and what the smallest one lets owe.
    const room = Math.max(...some.map(({ capacity }) => capacity)) + Math.max(...steps.map(({ amount }) => amount))
    return worstExcess(taken, Math.max(...some.map(({ perSecond }) => perSecond)), room) <= 1e-3
  }))
})

t.test('B2: whoever always asks gets all that comes in, at once or late, and it does not drift', async (t) => {
  for (const [perSecond, capacity, lateMs] of [[33_333, 100, 0], [7.3, 2, 0], [50_000, 500, 9], [1e6 / 3, 4000, 3.7]]) {
    let nowMs = 2e10
    const startMs = nowMs
    const bucket = new TokenBucket({ perSecond: perSecond!, capacity: capacity! }, nowMs)
    let taken = 0
    for (;;) {
      while (bucket.readyAtMs(1, nowMs) <= nowMs) {
        bucket.take(1, nowMs)
        taken++
      }
      if (taken >= 300_000) break
      nowMs = bucket.readyAtMs(1, nowMs) + lateMs!
    }
    const came = capacity! + (perSecond! * (nowMs - startMs)) / 1000
    t.ok(Math.abs(taken - came) <= 1.01, `${perSecond}/s: ${taken} of ${came}`)
  }
})

t.test('what exceeds the capacity is given when the bucket is full, and owed', async (t) => {
  const bucket = new TokenBucket({ perSecond: 100, capacity: 50 }, 0)
  t.equal(bucket.readyAtMs(250, 0), 0)
  bucket.take(250, 0)
  t.equal(bucket.level(0), -200)
  t.equal(bucket.readyAtMs(1, 0), 2010)
  t.equal(bucket.readyAtMs(0, 0), 0, 'nothing is there for everybody')
  t.equal(bucket.readyAtMs(250, 0), 2500, 'full again')
  t.throws(() => bucket.take(1, 2000), 'nothing is taken before it is there')
})

t.test('a change leaves what is saved or owed', async (t) => {
  const bucket = new TokenBucket({ perSecond: 100, capacity: 100 }, 0)
  bucket.take(60, 0)
  bucket.change({ perSecond: 10, capacity: 1000 }, 0)
  t.equal(bucket.level(0), 40, 'no gift')
  t.equal(bucket.level(1000), 50, 'the new rate from then on')
  bucket.change({ perSecond: 10, capacity: 5 }, 1000)
  t.equal(bucket.level(1000), 5, 'there is room for so much')
  bucket.take(30, 1000)
  bucket.change({ perSecond: 1000, capacity: 500 }, 1000)
  t.equal(bucket.readyAtMs(1, 1000), 1026, 'what is owed is paid at the new rate')
})
