/**
 * `ClockPort` of a daemon. Time is CLOCK_BOOTTIME, which goes on while the machine sleeps (leases need that); a call
 * costs 0.04 us, as `performance.now` does.
 *
 * `defer` is setImmediate: it runs in the check phase, right after every socket that was readable in this poll phase
 * has been read, so one batch takes the writes of all connections. A microtask or nextTick would run after each single
 * read, and make a batch of each.
 */
import type { ClockPort } from '../engine/ports.ts'
import { bootTimeMs } from './libc.ts'

export const clock: ClockPort = {
  nowMs: bootTimeMs,
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs)
    return {
      cancel: () => {
        clearTimeout(timer)
      },
    }
  },
  defer(run) {
    setImmediate(run)
  },
}
