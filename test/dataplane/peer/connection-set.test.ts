/** When connections say that they are alive, and that their time is kept with and without an owner who is awake. */
import t from 'tap'
import { ConnectionSet } from '../../../dataplane/peer/connection-set.ts'
import type { Connection } from '../../../dataplane/peer/connection.ts'
import type { ClockPort } from '../../../engine/ports.ts'

const LIMITS = { keepaliveMs: 1000, silenceMs: 2000 }

/** Runs what is due, in order. */
class HandClock implements ClockPort {
  #nowMs = 1000
  #timers: Array<{ atMs: number; run: () => void }> = []
  /** Of timers. */
  wakes = 0

  nowMs(): number {
    return this.#nowMs
  }

  after(delayMs: number, run: () => void): { cancel(): void } {
    const timer = { atMs: this.#nowMs + delayMs, run }
    this.#timers.push(timer)
    return { cancel: () => void (this.#timers = this.#timers.filter((one) => one !== timer)) }
  }

  defer(run: () => void): void {
    run()
  }

  pass(ms: number): void {
    const untilMs = this.#nowMs + ms
    for (;;) {
      const next = this.#timers.sort((a, b) => a.atMs - b.atMs)[0]
      if (next === undefined || next.atMs > untilMs) break
      this.#timers.shift()
      this.#nowMs = next.atMs
      this.wakes++
      next.run()
    }
    this.#nowMs = untilMs
  }
}

/** As `Connection.tick` has it. */
class Quiet {
  readonly isProven = true
  lastReceivedMs: number
  readonly saidAtMs: number[]
  closedAtMs: number | undefined

  constructor(nowMs: number) {
    this.lastReceivedMs = nowMs
    this.saidAtMs = [nowMs]
  }

  tick(nowMs: number, { keepaliveMs, silenceMs }: typeof LIMITS): void {
    if (nowMs - this.lastReceivedMs >= silenceMs) this.closedAtMs ??= nowMs
    else if (nowMs - this.saidAtMs.at(-1)! >= keepaliveMs) this.saidAtMs.push(nowMs)
  }
}

function setUp(): { clock: HandClock; set: ConnectionSet; quiet: Quiet } {
  const clock = new HandClock()
  const set = new ConnectionSet(clock, LIMITS)
  const quiet = new Quiet(clock.nowMs())
  set.add(quiet as unknown as Connection, Infinity)
  return { clock, set, quiet }
}

t.test('without anybody who is awake, by a timer', (t) => {
  const { clock, quiet } = setUp()
  clock.pass(1800)
  t.same(quiet.saidAtMs, [1000, 1500, 2000, 2500])
  clock.pass(1000)
  t.equal(quiet.closedAtMs, 3000, 'nothing came')
  t.end()
})

t.test('who is awake every 400 ms wakes nobody else, and says so every other time', (t) => {
  const { clock, set, quiet } = setUp()
  for (let i = 0; i < 5; i++) {
    clock.pass(400)
    quiet.lastReceivedMs = clock.nowMs()
    set.awake()
    set.awake()
  }
  t.same(quiet.saidAtMs, [1000, 1800, 2600])
  t.equal(clock.wakes, 0)
  t.end()
})

t.test('who is not awake any more is stood in for by the timer', (t) => {
  const { clock, set, quiet } = setUp()
  clock.pass(400)
  set.awake()
  clock.pass(1300)
  t.same(quiet.saidAtMs, [1000, 1900, 2400])
  clock.pass(1000)
  t.ok(quiet.closedAtMs! - 3000 <= 500, 'and whoever is silent is noticed as soon')
  t.end()
})
