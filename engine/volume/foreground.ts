/**
 * What goes before work that nobody waits for: requests of clients, and messages of other copies, at the worker of a
 * store. Who works in the background asks before each step whether there were any lately.
 */
import type { ClockPort } from '../ports.ts'

/** After the last request the worker counts as busy for so long. */
const BUSY_MS = 1000

export class Foreground {
  private readonly clock: Pick<ClockPort, 'nowMs'>
  private count = 0
  private seen = 0
  private busyUntilMs = 0

  constructor(clock: Pick<ClockPort, 'nowMs'>) {
    this.clock = clock
  }

  /** Something was asked. For every message: it costs one addition. */
  asked(): void {
    this.count++
  }

  /** Whether something was asked in the second before, or since this was called last. */
  isBusy(): boolean {
    const nowMs = this.clock.nowMs()
    if (this.count !== this.seen) this.busyUntilMs = nowMs + BUSY_MS
    this.seen = this.count
    return nowMs < this.busyUntilMs
  }
}
