/**
 * One timer for everybody of a worker who wants to be woken: it is set for the earliest, so a hundred idle volumes cost
 * one timer. Looking for who is due is linear in the sleepers, and happens once a wake; their times lie side by side,
 * because an idle worker finds its memory in no cache when it wakes. For the same reason who is awake anyhow may have
 * others woken early: most of them wait for what will have moved by then.
 */
import type { ClockPort } from '../../engine/ports.ts'

export interface Sleeper {
  /** Where the timer has it; NOWHERE before it is added, and after it was deleted. Of the timer. */
  place: number
  /** It is due, perhaps a little late; or it is woken early, and asks again for the time for which it still waits. */
  wake(): void
}

export const NOWHERE = -1
const PLACES_FIRST = 64

/** A longer one would run at once; when this one does, nobody is due. */
const TIMER_MS_MAX = 2 ** 31 - 1

export class WakeTimer {
  readonly #clock: ClockPort
  readonly #sleepers: Sleeper[] = []
  /** By place, for when each wants to be woken; Infinity: not at all. */
  #wakeAtMs = new Float64Array(PLACES_FIRST)
  /** Of those that are overdue: what they asked for since. */
  readonly #then = new Map<Sleeper, number>()
  #timer: { cancel(): void } | undefined
  #setForMs = Infinity
  #isStopped = false

  constructor(clock: ClockPort) {
    this.#clock = clock
  }

  add(sleeper: Sleeper): void {
    if (sleeper.place !== NOWHERE) return
    const place = this.#sleepers.push(sleeper) - 1
    if (place === this.#wakeAtMs.length) {
      const former = this.#wakeAtMs
      this.#wakeAtMs = new Float64Array(2 * former.length)
      this.#wakeAtMs.set(former)
    }
    sleeper.place = place
    this.#wakeAtMs[place] = Infinity
  }

  delete(sleeper: Sleeper): void {
    const { place } = sleeper
    if (place === NOWHERE) return
    sleeper.place = NOWHERE
    this.#then.delete(sleeper)
    const last = this.#sleepers.pop()!
    if (last === sleeper) return
    this.#sleepers[place] = last
    this.#wakeAtMs[place] = this.#wakeAtMs[this.#sleepers.length]!
    last.place = place
  }

  /**
   * Only the earliest of a sleeper counts. But timers run late: who is awake when he is overdue may have done what was
   * due, and ask for the next time only once. He is woken at both.
   */
  wakeAt(sleeper: Sleeper, atMs: number): void {
    const { place } = sleeper
    if (place === NOWHERE) return
    const beforeMs = this.#wakeAtMs[place]!
    if (atMs >= beforeMs) {
      if (beforeMs > this.#clock.nowMs()) return
      this.#then.set(sleeper, Math.min(atMs, this.#then.get(sleeper) ?? Infinity))
      return
    }
    this.#wakeAtMs[place] = atMs
    if (atMs < this.#setForMs) this.#set(atMs)
  }

  /** For who has one reason to wake: at that time, and no more when it asked for before. */
  moveTo(sleeper: Sleeper, atMs: number): void {
    const { place } = sleeper
    if (place === NOWHERE) return
    const beforeMs = this.#wakeAtMs[place]!
    if (atMs === beforeMs) return
    this.#wakeAtMs[place] = atMs
    if (atMs < this.#setForMs) this.#set(atMs)
    else if (beforeMs === this.#setForMs) this.#set(this.#earliestMs())
  }

  /** Everybody who wants to be woken up to that time. */
  wakeEarly(untilMs: number): void {
    if (this.#setForMs <= untilMs) this.#wake(untilMs)
  }

  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
  }

  #set(atMs: number): void {
    this.#timer?.cancel()
    this.#setForMs = atMs
    if (atMs === Infinity || this.#isStopped) return
    // A timer counts whole milliseconds, and not all clocks begin them at the same moment.
    const delayMs = Math.max(1, Math.ceil(atMs - this.#clock.nowMs()))
    this.#timer = this.#clock.after(Math.min(delayMs, TIMER_MS_MAX), this.#fired)
  }

  readonly #fired = (): void => this.#wake(this.#clock.nowMs())

  #earliestMs(): number {
    let earliestMs = Infinity
    for (let place = 0; place < this.#sleepers.length; place++) {
      earliestMs = Math.min(earliestMs, this.#wakeAtMs[place]!)
    }
    return earliestMs
  }

  #wake(untilMs: number): void {
    const due: Sleeper[] = []
    for (let place = 0; place < this.#sleepers.length; place++) {
      if (this.#wakeAtMs[place]! > untilMs) continue
      const sleeper = this.#sleepers[place]!
      this.#wakeAtMs[place] = this.#then.get(sleeper) ?? Infinity
      this.#then.delete(sleeper)
      due.push(sleeper)
    }
    this.#set(this.#earliestMs())
    for (const sleeper of due) sleeper.wake()
  }
}
