/**
 * How fast the copies of a store get blocks of their own while clients ask something (cluster/reconcile/CLONES.md
 * section 3). All hydrations of the store take turns here, a chunk each:
 *
 *   turn -> read a chunk, write it, wait until it is durable -> it took T -> the next turn is 4 T after this one began,
 *                                                               and at most 1/16 s
 *
 * So a client waits behind one chunk at most, however many hydrations there are, and three quarters of the time behind
 * none. And nothing is starved, whatever clients do: what the hydrations do is never less than a quarter of what one
 * could at that moment, nor less than 16 chunks a second unless the disks take longer for them; then they do what they
 * can, one at a time. Who waits gets its turn in the order of asking. A chunk may never end, for its copy failed or has
 * no room: it keeps the turn for 10 s at most, and the others go on.
 */
import type { ClockPort } from '../ports.ts'
import { until, type Task } from '../task.ts'
import type { Foreground } from './foreground.ts'

/** 256 KiB: what stands in front of a client's record. */
export const CHUNK_BLOCKS = 64
/** From the beginning of a turn to that of the next, by the time that its chunk took. */
const TURNS_APART = 4
/** However long that was: 4 MiB a second. */
const TURN_MS_MAX = 1000 / 16
/** Of a turn whose chunk does not end. */
const KEPT_MS_MAX = 10_000

/** Whoever has it ends it, whatever became of the chunk. To end it again changes nothing. */
export interface HydrationTurn {
  /** Blocks that it is for. */
  blocksMost: number
  end(): void
}

/** Of those that wait for nobody. */
export const UNPACED: HydrationTurn = { blocksMost: Infinity, end: () => {} }

export class HydrationPace {
  private readonly clock: ClockPort
  private readonly foreground: Foreground
  private isTaken = false
  private readonly waiting: Array<() => void> = []
  private nextMs = 0

  constructor(clock: ClockPort, foreground: Foreground) {
    this.clock = clock
    this.foreground = foreground
  }

  /** Wait for a turn; at once, and for all blocks, when nobody asks anything. */
  *turn(): Task<HydrationTurn> {
    const { clock } = this
    if (!this.foreground.isBusy()) return UNPACED
    // It is handed on: nobody comes in between.
    if (this.isTaken) yield* until<void>((resume) => void this.waiting.push(() => resume()))
    this.isTaken = true
    const waitMs = this.nextMs - clock.nowMs()
    if (waitMs > 0) yield* until<void>((resume) => void clock.after(waitMs, () => resume()))
    return this.begun()
  }

  private begun(): HydrationTurn {
    const { clock } = this
    const beganMs = clock.nowMs()
    let isOver = false
    const end = (): void => {
      if (isOver) return
      isOver = true
      limit.cancel()
      this.nextMs = beganMs + Math.min(TURNS_APART * (clock.nowMs() - beganMs), TURN_MS_MAX)
      const next = this.waiting.shift()
      if (next === undefined) this.isTaken = false
      else next()
    }
    const limit = clock.after(KEPT_MS_MAX, end)
    return { blocksMost: CHUNK_BLOCKS, end }
  }
}
