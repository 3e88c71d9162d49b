/**
 * When a node does what it does every so often: beat, stand for election, report, plan. Each of them waits for itself
 * alone, but those that wait are woken together. An idle node costs wake-ups, and what several of them say to the
 * cluster store in one tick leaves in one write and is answered in one.
 *
 *   beats of the pulse     |         |         |         |         everyMs apart, since this process began
 *   work that took a while |=====>   |=====>   |==============>    begins at a beat again, never later than asked for
 */
import type { ClockPort } from '../engine/ports.ts'

interface Beat {
  timer: { cancel(): void }
  waiting: Set<() => void>
}

export class Pulse {
  readonly everyMs: number
  readonly #clock: Pick<ClockPort, 'nowMs' | 'after'>
  readonly #originMs: number
  /** By number: the beats that somebody waits for. */
  readonly #beats = new Map<number, Beat>()
  /** Of the last beat that came; a timer may run a moment early. */
  #atMs: number

  constructor(everyMs: number, clock: Pick<ClockPort, 'nowMs' | 'after'>) {
    this.everyMs = everyMs
    this.#clock = clock
    this.#originMs = clock.nowMs()
    this.#atMs = this.#originMs
  }

  /**
   * Once, at the last beat within `mostMs`; when there is none, after `mostMs`.
   * @returns cancels it
   */
  next(run: () => void, mostMs = this.everyMs): () => void {
    const nowMs = Math.max(this.#clock.nowMs(), this.#atMs)
    const number = Math.floor((nowMs + mostMs - this.#originMs) / this.everyMs)
    const atMs = this.#originMs + number * this.everyMs
    if (atMs <= nowMs) {
      const timer = this.#clock.after(mostMs, run)
      return () => timer.cancel()
    }
    const beat = this.#beats.get(number) ?? this.#add(number, atMs - this.#clock.nowMs())
    // Of its own, so that who waits twice is woken twice.
    const waits = (): void => run()
    beat.waiting.add(waits)
    return () => {
      if (!beat.waiting.delete(waits) || beat.waiting.size > 0 || this.#beats.get(number) !== beat) return
      beat.timer.cancel()
      this.#beats.delete(number)
    }
  }

  #add(number: number, afterMs: number): Beat {
    const waiting: Beat['waiting'] = new Set()
    const timer = this.#clock.after(afterMs, () => {
      this.#atMs = this.#originMs + number * this.everyMs
      this.#beats.delete(number)
      for (const run of waiting) {
        waiting.delete(run)
        run()
      }
    })
    const beat = { timer, waiting }
    this.#beats.set(number, beat)
    return beat
  }
}
