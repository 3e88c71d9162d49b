/**
 * The windows of a victim in their order, read and looked up before they are asked for, so that whoever works on one
 * waits neither for the disk nor for the index. How many is bounded by the buffers: a window has its own until the next
 * one is asked for, and by then nothing may point into it.
 */
import { runTask, until, type Task } from '../task.ts'
import { BLOCK_BYTES } from '../units.ts'
import { readWindow, windowEnd, type CleanerWindow, type NoWindow, type Place, type Victim } from './cleaner-window.ts'

export class WindowQueue {
  /** First place behind all windows that were asked for. */
  at = 0
  private readonly victim: Victim
  private readonly places: readonly Place[]
  private readonly buffers: readonly Uint8Array[]
  private readonly headersOnly: () => boolean
  /** Those that are read, in order, and where they end. */
  private readonly ahead: Array<{ reading: Reading; end: number }> = []
  /** First place behind those. */
  private aheadTo = 0
  private turn = 0

  /** @param headersOnly  whether nothing else of the victim matters (any more) */
  constructor(
    victim: Victim,
    { places, buffers, headersOnly }: {
      places: readonly Place[]
      buffers: readonly Uint8Array[]
      headersOnly: () => boolean
    },
  ) {
    this.victim = victim
    this.places = places
    this.buffers = buffers
    this.headersOnly = headersOnly
  }

  get isEmpty(): boolean {
    return this.at >= this.places.length
  }

  /** The next window; those behind it are read meanwhile, unless headers are all that matters. */
  *next(): Task<CleanerWindow | NoWindow> {
    if (this.ahead.length === 0) this.start()
    const { reading, end } = this.ahead.shift()!
    const window = yield* reading.ended()
    if (typeof window === 'string') return window
    this.at = end
    if (!window.headersOnly)
      while (this.ahead.length < this.buffers.length - 1 && this.aheadTo < this.places.length) this.start()
    return window
  }

  /** The next place alone, after what begins with it could not be read. It is passed in any case. */
  *nextPlace(): Task<CleanerWindow | NoWindow> {
    yield* this.ended()
    this.start(this.at + 1)
    this.at++
    return yield* this.ahead.shift()!.reading.ended()
  }

  /** Wait for all that is read ahead, and forget it: the buffers are free then. */
  *ended(): Task<void> {
    for (const { reading } of this.ahead.splice(0)) yield* reading.ended()
    this.aheadTo = this.at
  }

  private start(endMost = this.places.length): void {
    const from = this.aheadTo
    const headersOnly = this.headersOnly()
    const buffer = this.buffers[this.turn++ % this.buffers.length]!
    const blocksMost = buffer.length / BLOCK_BYTES
    const end = Math.min(endMost, windowEnd(this.places, from, { headersOnly, blocksMost }))
    this.aheadTo = end
    this.ahead.push({
      reading: new Reading(readWindow(this.victim, this.places.slice(from, end), { headersOnly, buffer })), end,
    })
  }
}

/** A window that is read while something else is done. */
class Reading {
  private read: CleanerWindow | NoWindow | undefined
  private waiting: ((read: CleanerWindow | NoWindow) => void) | undefined

  constructor(task: Task<CleanerWindow | NoWindow>) {
    runTask(task, (read) => {
      this.read = read
      this.waiting?.(read)
    })
  }

  /** Wait for it. */
  *ended(): Task<CleanerWindow | NoWindow> {
    return this.read ?? (yield* until<CleanerWindow | NoWindow>((resume) => (this.waiting = resume)))
  }
}
