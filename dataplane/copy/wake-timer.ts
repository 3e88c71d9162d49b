/**
 * One timer for everybody of a worker who wants to be woken: it is set for the earliest, so a hundred idle volumes cost
 * one timer. Looking for who is due is linear in the sleepers, and happens once a wake.
 */
import type { ClockPort } from '../../engine/ports.ts'

export interface Sleeper {
  /** Infinity: not at all. Of the timer. */
  wakeAtMs: number
  /** It is due; perhaps a little late, never early. */
  wake(): void
}

/** A longer one would run at once; when this one does, nobody is due. */
const TIMER_MS_MAX = 2 ** 31 - 1

export class WakeTimer {
  readonly #clock: ClockPort
  readonly #sleepers = new Set<Sleeper>()
  /** Of those that are overdue: what they asked for since. */
  readonly #then = new Map<Sleeper, number>()
  #timer: { cancel(): void } | undefined
  #setForMs = Infinity
  #isStopped = false

  constructor(clock: ClockPort) {
    this.#clock = clock
  }

  add(sleeper: Sleeper): void {
    this.#sleepers.add(sleeper)
  }

  delete(sleeper: Sleeper): void {
    this.#sleepers.delete(sleeper)
    this.#then.delete(sleeper)
  }

  /**
   * Only the earliest of a sleeper counts. But timers run late: who is awake when he is overdue may have done what was
   * due, and ask for the next time only once. He is woken at both.
   */
  wakeAt(sleeper: Sleeper, atMs: number): void {
    if (atMs >= sleeper.wakeAtMs) {
      if (sleeper.wakeAtMs > this.#clock.nowMs()) return
      this.#then.set(sleeper, Math.min(atMs, this.#then.get(sleeper) ?? Infinity))
      return
    }
    sleeper.wakeAtMs = atMs
    if (atMs < this.#setForMs) this.#set(atMs)
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

  readonly #fired = (): void => {
    const nowMs = this.#clock.nowMs()
    let nextMs = Infinity
    const due: Sleeper[] = []
    for (const sleeper of this.#sleepers) {
      if (sleeper.wakeAtMs <= nowMs) {
        sleeper.wakeAtMs = this.#then.get(sleeper) ?? Infinity
        this.#then.delete(sleeper)
        due.push(sleeper)
      }
      if (sleeper.wakeAtMs < nextMs) nextMs = sleeper.wakeAtMs
    }
    this.#set(nextMs)
    for (const sleeper of due) sleeper.wake()
  }
}
