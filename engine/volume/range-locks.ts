/**
 * Blocks under read-modify-write. A request narrower than a block locks its blocks until the merged block has its place
 * in the log; a request that overlaps a locked block waits its turn. Without locks (the common case) it costs one
 * comparison.
 */
export interface RangeLock {
  first: number
  end: number
}

export class RangeLocks {
  private readonly held: RangeLock[] = []
  private waiting: Array<{ first: number; end: number; run: () => void }> = []
  private idle: Array<() => void> = []

  get isEmpty(): boolean {
    return this.held.length === 0 && this.waiting.length === 0
  }

  /** Whether a request for blocks `first .. end - 1` has to wait. */
  blocks(first: number, end: number): boolean {
    return overlaps(this.held, first, end) || overlaps(this.waiting, first, end)
  }

  /** Run later, in order of arrival, when nothing in front overlaps. */
  wait(first: number, end: number, run: () => void): void {
    this.waiting.push({ first, end, run })
  }

  lock(first: number, end: number): RangeLock {
    const lock = { first, end }
    this.held.push(lock)
    return lock
  }

  /** Those that waited run in order of arrival; one that locks again holds back those behind it that overlap. */
  unlock(lock: RangeLock): void {
    this.held.splice(this.held.indexOf(lock), 1)
    const waiting = this.waiting
    this.waiting = []
    for (const one of waiting)
      if (overlaps(this.held, one.first, one.end) || overlaps(this.waiting, one.first, one.end))
        this.waiting.push(one)
      else one.run()
    if (!this.isEmpty) return
    const idle = this.idle
    this.idle = []
    for (const run of idle) run()
  }

  /** Run when nothing is locked and nothing waits. */
  whenIdle(run: () => void): void {
    if (this.isEmpty) run()
    else this.idle.push(run)
  }
}

const overlaps = (ranges: readonly RangeLock[], first: number, end: number): boolean =>
  ranges.some((range) => range.first < end && first < range.end)
