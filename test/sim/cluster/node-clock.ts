/**
 * The clocks of one node: CLOCK_BOOTTIME, which starts anew at each boot and runs up to 1 % fast or slow, and a wall
 * clock that somebody sets now and then. True time is the simulation's own.
 */
import type { SimClock } from '../clock.ts'

export class NodeClock {
  /** Between 0.99 and 1.01. */
  readonly rate: number
  private readonly clock: SimClock
  private bootedAtMs: number
  private wallOffsetMs = 0

  constructor(clock: SimClock, rate: number) {
    this.clock = clock
    this.rate = rate
    this.bootedAtMs = clock.nowMs()
  }

  bootMs(): number {
    return (this.clock.nowMs() - this.bootedAtMs) * this.rate + 1000
  }

  wallMs(): number {
    return this.clock.nowMs() * this.rate + this.wallOffsetMs
  }

  /** True milliseconds from now until the boot clock shows this, or a little more: a timer is never early. */
  delayUntilMs(bootMs: number): number {
    return Math.max(0, (bootMs - this.bootMs()) / this.rate) + 0.0001
  }

  reboot(): void {
    this.bootedAtMs = this.clock.nowMs()
  }

  setWall(byMs: number): void {
    this.wallOffsetMs += byMs
  }
}
