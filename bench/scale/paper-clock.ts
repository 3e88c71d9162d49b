/**
 * Time that passes only when everybody has done what he can: for a whole cluster in one process, whose code waits for
 * promises and timers. What is due next is found in a heap, so that a storm of thousands costs what it does, not more.
 */
import type { ClockPort } from '../../engine/ports.ts'

interface Timer {
  atMs: number
  /** Of two at one time the older one comes first. */
  number: number
  run(): void
  isCancelled: boolean
}

const isBefore = (a: Timer, b: Timer): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.number < b.number)

export class PaperClock implements Pick<ClockPort, 'nowMs' | 'after'> {
  #nowMs: number
  #heap: Timer[] = []
  #numbers = 0

  constructor(nowMs: number) {
    this.#nowMs = nowMs
  }

  nowMs(): number {
    return this.#nowMs
  }

  after(delayMs: number, run: () => void): { cancel(): void } {
    const timer: Timer = { atMs: this.#nowMs + Math.max(0, delayMs), number: this.#numbers++, run, isCancelled: false }
    this.#push(timer)
    return { cancel: () => (timer.isCancelled = true) }
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve))
  }

  /** Until that time, with everything that is due by then done. */
  async runUntil(untilMs: number): Promise<void> {
    await settled()
    for (let next = this.#heap[0]; next !== undefined && next.atMs <= untilMs; next = this.#heap[0]) {
      this.#pop()
      if (next.isCancelled) continue
      const isLater = next.atMs > this.#nowMs
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      next.run()
      // What was waited for until the same moment goes on together.
      if (isLater || this.#heap[0]?.atMs !== this.#nowMs) await settled()
    }
    this.#nowMs = Math.max(this.#nowMs, untilMs)
  }

  #push(timer: Timer): void {
    const heap = this.#heap
    let at = heap.push(timer) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(timer, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = timer
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()!
    if (heap.length === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
      if (!isBefore(heap[child]!, last)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
  }
}

/** Whoever waits for a promise that is kept has gone on. */
export const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
