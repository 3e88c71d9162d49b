/** One timer for all sleepers: nobody is woken twice, or forgotten, or early but for who is awake anyhow. */
import t from 'tap'
import { NOWHERE, WakeTimer } from '../../../dataplane/copy/wake-timer.ts'
import type { Sleeper } from '../../../dataplane/copy/wake-timer.ts'

function timers() {
  let nowMs = 0
  let pending: Array<{ atMs: number; run: () => void }> = []
  const clock = {
    nowMs: () => nowMs,
    after(delayMs: number, run: () => void) {
      if (delayMs >= 2 ** 31) throw new Error('a timer counts 31 bits')
      const one = { atMs: nowMs + delayMs, run }
      pending.push(one)
      return { cancel: () => (pending = pending.filter((other) => other !== one)) }
    },
    defer: () => undefined,
  }
  const advanceTo = (atMs: number): void => {
    for (;;) {
      const next = pending.filter((one) => one.atMs <= atMs).sort((a, b) => a.atMs - b.atMs)[0]
      if (next === undefined) break
      nowMs = Math.max(nowMs, next.atMs)
      pending = pending.filter((one) => one !== next)
      next.run()
    }
    nowMs = atMs
  }
  /** Time passes, and timers are late. */
  const jumpTo = (atMs: number): void => {
    nowMs = atMs
  }
  return { timer: new WakeTimer(clock), advanceTo, jumpTo, count: () => pending.length, now: () => nowMs }
}

t.test('each is woken once, at its earliest time, by one timer', async (t) => {
  const { timer, advanceTo, count, now } = timers()
  const woken: Array<[string, number]> = []
  const sleeper = (name: string): Sleeper => {
    const one = { place: NOWHERE, wake: () => woken.push([name, now()]) }
    timer.add(one)
    return one
  }
  const [a, b, c] = [sleeper('a'), sleeper('b'), sleeper('c')]
  timer.wakeAt(a, 50)
  timer.wakeAt(b, 20)
  timer.wakeAt(a, 80)
  timer.wakeAt(c, 30)
  timer.delete(c)
  t.equal(count(), 1, 'one timer')
  advanceTo(19)
  t.same(woken, [])
  advanceTo(100)
  t.same(woken, [['b', 20], ['a', 50]])
  t.equal(count(), 0, 'nobody waits')
})

t.test('who asks again while he is woken is woken again', async (t) => {
  const { timer, advanceTo } = timers()
  let count = 0
  const one: Sleeper = {
    place: NOWHERE,
    wake: () => {
      if (++count < 3) timer.wakeAt(one, count * 10)
    },
  }
  timer.add(one)
  timer.wakeAt(one, 5)
  advanceTo(100)
  t.equal(count, 3)
})

t.test('a time that no timer can count is waited for all the same', async (t) => {
  const { timer, advanceTo } = timers()
  let count = 0
  const one: Sleeper = { place: NOWHERE, wake: () => count++ }
  timer.add(one)
  timer.wakeAt(one, 2 ** 33)
  advanceTo(2 ** 33 - 1)
  t.equal(count, 0)
  advanceTo(2 ** 33)
  t.equal(count, 1)
})

t.test('who is awake when he is overdue, and asks for later, is woken at both', async (t) => {
  const { timer, advanceTo, jumpTo, now } = timers()
  const woken: number[] = []
  const one: Sleeper = { place: NOWHERE, wake: () => woken.push(now()) }
  timer.add(one)
  timer.wakeAt(one, 50)
  jumpTo(60)
  timer.wakeAt(one, 100)
  advanceTo(99)
  t.same(woken, [60], 'as soon as a timer runs')
  advanceTo(200)
  t.same(woken, [60, 100], 'and then')
})

t.test('who has one reason to wake is woken at the last time it gave, sooner or later', async (t) => {
  const { timer, advanceTo, count, now } = timers()
  const woken: Array<[string, number]> = []
  const sleeper = (name: string): Sleeper => ({ place: NOWHERE, wake: () => woken.push([name, now()]) })
  const [a, b] = [sleeper('a'), sleeper('b')]
  timer.add(a)
  timer.add(b)
  timer.moveTo(a, 10)
  timer.wakeAt(b, 30)
  timer.moveTo(a, 50)
  t.equal(count(), 1)
  advanceTo(29)
  t.same(woken, [], 'not at the former time')
  timer.moveTo(a, 40)
  advanceTo(100)
  t.same(woken, [['b', 30], ['a', 40]])
  timer.delete(a)
  timer.moveTo(a, 110)
  advanceTo(200)
  t.equal(woken.length, 2)
})

t.test('who would be woken soon is woken with others, and no timer runs for it any more', async (t) => {
  const { timer, advanceTo, now } = timers()
  const woken: Array<[string, number]> = []
  /** Waits for the end of what is moved meanwhile. */
  const sleeper = (name: string, againMs: number): Sleeper => {
    const one: Sleeper = {
      place: NOWHERE,
      wake: () => {
        woken.push([name, now()])
        if (againMs > now()) timer.wakeAt(one, againMs)
      },
    }
    timer.add(one)
    return one
  }
  const [a, b, c] = [sleeper('a', 500), sleeper('b', 0), sleeper('c', 0)]
  timer.wakeAt(a, 120)
  timer.wakeAt(b, 150)
  timer.wakeAt(c, 151)
  advanceTo(100)
  timer.wakeEarly(150)
  t.same(woken, [['a', 100], ['b', 100]])
  timer.wakeEarly(150)
  t.equal(woken.length, 2)
  advanceTo(150)
  t.equal(woken.length, 2)
  advanceTo(600)
  t.same(woken.slice(2), [['c', 151], ['a', 500]], 'when they asked for')
})

t.test('many come and go, and each is woken when it asked for', async (t) => {
  const { timer, advanceTo, now } = timers()
  const woken = new Map<number, number>()
  const sleepers = Array.from({ length: 300 }, (_, i): Sleeper => ({ place: NOWHERE, wake: () => woken.set(i, now()) }))
  const askedMs = (i: number): number => 10 + ((i * 7919) % 1000)
  sleepers.forEach((sleeper, i) => {
    timer.add(sleeper)
    timer.add(sleeper)
    timer.wakeAt(sleeper, askedMs(i))
    if (i >= 100 && i % 3 === 0) timer.delete(sleepers[i - 100]!)
  })
  const isGone = (i: number): boolean => i < 200 && (i + 100) % 3 === 0
  for (const [i, sleeper] of sleepers.entries()) {
    if (!isGone(i)) continue
    timer.delete(sleeper)
    timer.wakeAt(sleeper, 1)
  }
  advanceTo(5)
  t.equal(woken.size, 0, 'who is gone is not woken')
  advanceTo(2_000)
  const expected = sleepers.flatMap((_, i) => (isGone(i) ? [] : [[i, askedMs(i)] as const]))
  t.same([...woken].sort(([a], [b]) => a - b), expected)
})
