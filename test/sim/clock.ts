/**
 * Virtual time and the only source of "later" in a simulation: simulated disks and indexes hand their completions
 * to it, the engine its timers, and a test decides how far things go. Nothing happens except inside `step`,
 * `runUntilIdle` and `advance`, so a run is a function of its seeds.
 *
 * A turn is: one event (now and then several that are due), then what was deferred, as in the real event loop, where
 * `defer` is `setImmediate`. What is deferred by a deferred function belongs to the next turn.
 *
 * Two kinds of events: completions (somebody waits for them; `runUntilIdle` waits for all) and timers (periodic ones
 * never end; they run when time reaches them).
 */
import type { ClockPort } from '../../engine/ports.ts'
import { Random } from './random.ts'

interface Event {
  atMs: number
  order: number
  completion: boolean
  /** Undefined once cancelled. */
  run: (() => void) | undefined
}

export class SimClock implements ClockPort {
  private timeMs = 0
  private order = 0
  /** Binary heap by (atMs, order). */
  private heap: Event[] = []
  private deferred: Array<() => void> = []
  private completionsPending = 0
  private readonly random: Random

  constructor(random: Random = new Random(0)) {
    this.random = random
  }

  nowMs(): number {
    return this.timeMs
  }

  after(delayMs: number, run: () => void): { cancel(): void } {
    const event = this.add(delayMs, run, false)
    return {
      cancel: () => {
        event.run = undefined
      },
    }
  }

  defer(run: () => void): void {
    this.deferred.push(run)
  }

  /** For simulated ports: `run` in a later turn, after `delayMs` of virtual time. */
  complete(delayMs: number, run: () => void): void {
    this.completionsPending++
    this.add(delayMs, run, true)
  }

  /** Completions and deferred functions that have not run. */
  get pending(): number {
    return this.completionsPending + this.deferred.length
  }

  /** One turn. False when there is nothing at all to run, timers included. */
  step(): boolean {
    if (this.deferred.length > 0) {
      while (this.due() && this.random.chance(0.3)) this.runNext()
      this.runDeferred()
      return true
    }
    if (this.heap.length === 0) return false
    this.runNext()
    return true
  }

  /**
   * Run until nobody waits for a completion and nothing is deferred. Timers run when they fall due on the way.
   * Throws after `turnsMax` turns: something feeds itself.
   */
  runUntilIdle(turnsMax = 10_000_000): void {
    for (let turns = 0; this.pending > 0; turns++) {
      if (turns >= turnsMax) throw new Error(`not idle after ${turnsMax} turns`)
      this.step()
    }
  }

  /** Run until `condition` holds; throws when nothing is left to run, or after `turnsMax` turns. */
  runUntil(condition: () => boolean, turnsMax = 10_000_000): void {
    for (let turns = 0; !condition(); turns++) {
      if (turns >= turnsMax) throw new Error(`the condition does not hold after ${turnsMax} turns`)
      if (!this.step()) throw new Error('the condition does not hold, and nothing is left to run')
    }
  }

  /** Run everything, timers included, that falls due within `delayMs`; time ends exactly there. */
  advance(delayMs: number): void {
    const endMs = this.timeMs + delayMs
    while (this.deferred.length > 0 || (this.heap.length > 0 && this.heap[0]!.atMs <= endMs)) this.step()
    this.timeMs = endMs
  }

  /** The process died: forget every completion, timer and deferred function. Time stays. */
  dropAll(): void {
    this.heap = []
    this.deferred = []
    this.completionsPending = 0
  }

  private due(): boolean {
    return this.heap.length > 0 && this.heap[0]!.atMs <= this.timeMs
  }

  private runDeferred(): void {
    const runs = this.deferred
    this.deferred = []
    for (const run of runs) run()
  }

  private runNext(): void {
    const event = this.take()
    if (event.completion) this.completionsPending--
    if (event.atMs > this.timeMs) this.timeMs = event.atMs
    event.run?.()
  }

  private add(delayMs: number, run: () => void, completion: boolean): Event {
    const event = { atMs: this.timeMs + Math.max(0, delayMs), order: this.order++, completion, run }
    const heap = this.heap
    let at = heap.push(event) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!before(event, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = event
    return event
  }

  private take(): Event {
    const heap = this.heap
    const first = heap[0]!
    const last = heap.pop()!
    if (heap.length === 0) return first
    let at = 0
    for (;;) {
      let child = at * 2 + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++
      if (!before(heap[child]!, last)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
    return first
  }
}

function before(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
