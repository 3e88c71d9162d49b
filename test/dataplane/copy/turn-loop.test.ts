/** What a turn promises: everything that is there is taken, in order, and then everything leaves at once. */
import t from 'tap'
import type { ClockPort } from '../../../engine/ports.ts'
import { Inbox, TurnLoop } from '../../../dataplane/copy/turn-loop.ts'

/** Puts off until it is told to go on. */
class StepClock implements ClockPort {
  #due: Array<() => void> = []

  nowMs(): number {
    return 0
  }

  after(): { cancel(): void } {
    throw new Error('no timers here')
  }

  defer(run: () => void): void {
    this.#due.push(run)
  }

  /** One cycle of the loop. @returns how many ran */
  cycle(): number {
    const due = this.#due
    this.#due = []
    for (const run of due) run()
    return due.length
  }
}

t.test('one turn takes all events, then everything leaves, then what was put off runs', async (t) => {
  const clock = new StepClock()
  const loop = new TurnLoop(clock)
  const seen: string[] = []
  const a = new Inbox<number>(loop, (event) => {
    seen.push(`a${event}`)
    loop.defer(() => seen.push(`deferred ${event}`))
  }, () => seen.push('a ended'))
  const b = new Inbox<number>(loop, (event) => seen.push(`b${event}`))
  loop.beforeEach(() => seen.push('before'))
  loop.afterEach(() => seen.push('after'))
  a.put(1)
  b.put(1)
  a.put(2)
  t.equal(clock.cycle(), 1, 'one turn')
  t.same(seen, ['before', 'a1', 'a2', 'a ended', 'b1', 'after', 'deferred 1', 'deferred 2'])
  t.equal(clock.cycle(), 0, 'nothing is left')
})

t.test('what members tell each other is taken in the same turn', async (t) => {
  const clock = new StepClock()
  const loop = new TurnLoop(clock)
  const seen: string[] = []
  const frontend = new Inbox<string>(loop, (event) => {
    seen.push(`frontend ${event}`)
    if (event === 'request') copy.put('ask')
  })
  const copy = new Inbox<string>(loop, () => {
    seen.push('copy')
    frontend.put('answer')
  })
  loop.afterEach(() => seen.push('after'))
  frontend.put('request')
  clock.cycle()
  t.same(seen, ['frontend request', 'copy', 'frontend answer', 'after'])
})

t.test('what the end of a turn brings about is taken in the next one', async (t) => {
  const clock = new StepClock()
  const loop = new TurnLoop(clock)
  const seen: number[] = []
  const inbox = new Inbox<number>(loop, (event) => seen.push(event))
  let left = 2
  loop.afterEach(() => {
    if (left-- > 0) inbox.put(left)
  })
  inbox.put(9)
  for (let i = 0; i < 4; i++) clock.cycle()
  t.same(seen, [9, 1, 0])
})

t.test('a stopped loop takes nothing more', async (t) => {
  const clock = new StepClock()
  const loop = new TurnLoop(clock)
  let count = 0
  const inbox = new Inbox<number>(loop, () => count++)
  inbox.put(1)
  loop.stop()
  clock.cycle()
  inbox.put(2)
  clock.cycle()
  t.equal(count, 0)
})
