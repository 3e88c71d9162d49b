/** Those who wait are woken together, none later than it asked for, and none twice at one beat. */
import t from 'tap'
import { Pulse } from '../../cluster/pulse.ts'

/** Time that the test moves. `earlyMs`: timers run before they are due, as those of whole milliseconds may. */
class HandClock {
  now = 5_000
  earlyMs = 0
  timers: Array<{ atMs: number; run: () => void }> = []

  nowMs(): number {
    return this.now
  }

  after(delayMs: number, run: () => void) {
    const one = { atMs: this.now + delayMs, run }
    this.timers.push(one)
    return { cancel: () => void (this.timers = this.timers.filter((other) => other !== one)) }
  }

  /** The next timer runs. */
  step(): void {
    const next = this.timers.toSorted((a, b) => a.atMs - b.atMs)[0]!
    this.timers = this.timers.filter((one) => one !== next)
    this.now = Math.max(this.now, next.atMs - this.earlyMs)
    next.run()
  }
}

function pulseOf() {
  const clock = new HandClock()
  const pulse = new Pulse(1_000, clock)
  const woken: string[] = []
  const wait = (name: string, mostMs?: number) => pulse.next(() => woken.push(`${name} ${clock.now - 5_000}`), mostMs)
  return { clock, pulse, woken, wait }
}

t.test('all that wait are woken by one timer', async (t) => {
  const { clock, woken, wait } = pulseOf()
  clock.now += 10
  wait('a')
  clock.now += 300
  wait('b')
  clock.now += 600
  wait('c')
  t.equal(clock.timers.length, 1)
  clock.step()
  t.same(woken, ['a 1000', 'b 1000', 'c 1000'])
  t.equal(clock.timers.length, 0, 'nobody waits, so nothing wakes')
})

t.test('work that takes a while begins at a beat again', async (t) => {
  const { clock, pulse } = pulseOf()
  const begun: number[] = []
  const takesMs = [5, 400, 1_300, 0, 0]
  const work = (): void => {
    begun.push(clock.now - 5_000)
    clock.now += takesMs.shift()!
    if (takesMs.length > 0) pulse.next(work)
  }
  work()
  while (clock.timers.length > 0) clock.step()
  t.same(begun, [0, 1_000, 2_000, 4_000, 5_000], 'the third took until 3300, and waits for less than a second')
})

t.test('who may wait for longer is woken with the others', async (t) => {
  const { clock, woken, wait } = pulseOf()
  clock.now += 10
  wait('slow', 2_000)
  wait('quick')
  clock.step()
  clock.now += 10
  wait('quick')
  clock.step()
  t.same(woken, ['quick 1000', 'slow 2000', 'quick 2000'])
  wait('hasty', 100)
  clock.step()
  t.equal(woken.at(-1), 'hasty 2100', 'no beat is near enough')
})

t.test('a timer that runs a moment early is that beat', async (t) => {
  const { clock, woken, wait } = pulseOf()
  clock.earlyMs = 1
  wait('a')
  clock.step()
  wait('a')
  clock.step()
  t.same(woken, ['a 999', 'a 1999'])
})

t.test('who does not wait any more is not woken', async (t) => {
  const { clock, woken, wait } = pulseOf()
  const [cancelA, , cancelC] = [wait('a'), wait('b'), wait('c', 2_000)]
  cancelA()
  cancelA()
  cancelC()
  t.equal(clock.timers.length, 1)
  clock.step()
  t.same(woken, ['b 1000'])
  const cancel = wait('d', 10)
  cancel()
  wait('e')()
  t.equal(clock.timers.length, 0)
})

t.test('one of those that wait ends another one', async (t) => {
  const { clock, pulse, woken, wait } = pulseOf()
  pulse.next(() => cancelOther())
  const cancelOther = wait('other')
  pulse.next(() => void wait('next'))
  clock.step()
  t.same(woken, [])
  clock.step()
  t.same(woken, ['next 2000'], 'who waits again waits for the next beat')
})
