/**
 * How fast the copies of a store get blocks of their own while clients ask something (cluster/reconcile/CLONES.md
 * section 3). All hydrations of the store take turns here, a chunk each:
 *
 *   turn -> read a chunk, write it, wait until it is durable -> it took T -> the next turn is 4 T after this one began,
 *                                                               and at most 1/16 s
 *
 * So a client waits behind one chunk at most, and three quarters of the time behind none. And nothing is starved,
 * whatever clients do: what a hydration does is never less than a quarter of what it could at that moment, nor less
 * than 16 chunks a second unless the disks take longer for them; then it does what they can, one at a time.
 */
import type { ClockPort } from '../ports.ts'
import { until, type Task } from '../task.ts'
import type { Foreground } from './foreground.ts'

/** 256 KiB: what stands in front of a client's record. */
export const CHUNK_BLOCKS = 64
/** From one turn to the next, by the time that a chunk took. */
const TURNS_APART = 4
/** However long that was: 4 MiB a second. */
const TURN_MS_MAX = 1000 / 16

export class HydrationPace {
  private readonly clock: ClockPort
  private readonly foreground: Foreground
  private nextMs = 0
  private tookMs = 0

  constructor(clock: ClockPort, foreground: Foreground) {
    this.clock = clock
    this.foreground = foreground
  }

  /** Wait for a turn. @returns how many blocks it is for; Infinity: nobody asks anything */
  *turn(): Task<number> {
    const { clock } = this
    if (!this.foreground.isBusy()) return Infinity
    const nowMs = clock.nowMs()
    const atMs = Math.max(nowMs, this.nextMs)
    this.nextMs = atMs + Math.min(TURNS_APART * this.tookMs, TURN_MS_MAX)
    if (atMs > nowMs) yield* until<void>((resume) => void clock.after(atMs - nowMs, () => resume()))
    return CHUNK_BLOCKS
  }

  /** What was done in a turn took so long. */
  took(ms: number): void {
    this.tookMs = ms
  }
}
