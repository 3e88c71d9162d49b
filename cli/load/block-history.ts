/**
 * What a block may hold, by what was asked and answered: per-block linearizability, checked while it happens.
 *
 * Every write of a block has a value of its own (an operation number; zeroes, 0, are the exception). Of each value that
 * may still be read we keep `first`, the earliest moment at which it is known to have been written (its answer, or the
 * answer of a read that saw it), and `last`, the latest moment known not to be after it (its sending, or the sending
 * of such a read). X comes before Y when first(X) < last(Y); two values before each other cannot be (Gibbons and
 * Korach, "Testing shared memories", 1997). A value before another that is known to be written is gone: seeing it again
 * is a lost write.
 *
 * A crash of the server leaves an unanswered write done or not, for good: `cap` is the crash, the latest moment at
 * which it can have happened. In a volume with writeback a crash may also bring back what was overwritten and not yet
 * flushed: such values stay, `hidden`, until one that comes after them is stable.
 *
 * Moments are numbers of a logical clock. Nothing here does I/O.
 */
export interface Value {
  readonly op: number
  readonly sentAt: number
  first: number
  last: number
  cap: number
  answeredAt: number
  /** It survives a crash whatever happens. */
  stable: boolean
  /** Overwritten for readers, but a crash may bring it back. */
  hidden: boolean
  /** Of those that may have survived the last crash; exactly one did. */
  survivor: boolean
}

/** A value as it was known at some moment. `from`: where it comes if it happened at all. */
export interface PastValue {
  op: number
  sentAt: number
  from: number
  first: number
  last: number
}

const FRESH = { first: Infinity, cap: Infinity, answeredAt: Infinity, stable: false, hidden: false, survivor: false }

/** Where it comes if it happened at all. */
const placeOf = ({ first, cap }: Value): number => Math.min(first, cap)

export class BlockHistory {
  readonly #writeback: boolean
  #values: Value[]

  constructor(writeback: boolean) {
    this.#writeback = writeback
    this.#values = [{ ...FRESH, op: 0, sentAt: 0, first: 0, last: 0, answeredAt: 0, stable: true }]
  }

  /** Of a block that shows the value of an operation at that moment, whatever was asked for before. */
  static showing(op: number, at: number, writeback: boolean): BlockHistory {
    const history = new BlockHistory(writeback)
    history.#values = [{ ...FRESH, op, sentAt: 0, first: at, last: 0, answeredAt: at, stable: true }]
    return history
  }

  /** Some value is lost by a crash unless a flush comes first. */
  get volatile(): boolean {
    return this.#values.length > 1 || !this.#values[0]!.stable
  }

  sent(op: number, at: number): Value {
    const value = { ...FRESH, op, sentAt: at, last: at }
    this.#values.push(value)
    return value
  }

  /**
   * @param stable it is on stable storage: always in durable volumes, with FUA in others
   * @param oldestRead when the oldest read in flight was sent; what it may still see is kept
   */
  answered(value: Value, at: number, stable: boolean, oldestRead = Infinity): void {
    value.first = Math.min(value.first, at)
    value.answeredAt = at
    value.stable ||= stable
    this.#prune(oldestRead)
  }

  /** A flush sent at `sentAt` was answered: what had been answered before is stable. */
  flushed(sentAt: number, oldestRead = Infinity): void {
    for (const value of this.#values) value.stable ||= value.answeredAt < sentAt
    this.#prune(oldestRead)
  }

  /** @returns words when no order of events explains that the value was read */
  read(op: number, sentAt: number, at: number, oldestRead = Infinity): string | undefined {
    const matching = this.#values.filter((value) => value.op === op && !value.hidden)
    if (matching.length === 0) return `operation ${op} was read, possible are ${this.possible()}`
    // Several zeroes: one of them was seen, unknown which, so nothing can be concluded.
    if (matching.length > 1) return undefined
    const seen = matching[0]!
    seen.first = Math.min(placeOf(seen), at)
    seen.last = Math.max(seen.last, sentAt)
    const against = this.#values.find((other) =>
      other !== seen && !other.hidden && other.first < seen.last && seen.first < other.last)
    if (against !== undefined) return `operation ${op} was read both before and after operation ${against.op}`
    if (seen.survivor) {
      // A store that serves again has synced what it recovered; the others did not survive.
      seen.survivor = false
      seen.stable = true
      this.#values = this.#values.filter(({ survivor }) => !survivor)
    }
    this.#prune(oldestRead)
    return undefined
  }

  /**
   * The server died: nothing that was sent before `sentBefore` (now, unless given) can happen later than `at`. Where
   * others may still have what it passed on, that is known only when somebody answers for the block again.
   * @param isLossy  what no flush covered may be gone: not when others had it too
   */
  crashed(at: number, sentBefore = at, isLossy = this.#writeback): void {
    if (!isLossy) {
      for (const value of this.#values) {
        if (value.first === Infinity && value.last < sentBefore) value.cap = Math.min(value.cap, at)
      }
      return
    }
    // What was sent since then is under way, and no survivor.
    const later = this.#values.filter(({ last }) => last >= sentBefore)
    const ops = [...new Set(this.#values.filter(({ last }) => last < sentBefore).map(({ op }) => op))]
    const survivors = ops.length === 1
      ? [{ ...FRESH, op: ops[0]!, sentAt: 0, first: at, last: 0, answeredAt: at, stable: true }]
      : ops.map((op) => ({ ...FRESH, op, sentAt: 0, last: 0, cap: at, survivor: true }))
    this.#values = [...survivors, ...later]
  }

  /** What may have been there since the oldest read in flight was sent; what comes later changes none of these. */
  copies(): PastValue[] {
    const shown = this.#values.filter(({ hidden }) => !hidden)
    return shown.map((value) => {
      const { op, sentAt, first, last } = value
      return { op, sentAt, from: placeOf(value), first, last }
    })
  }

  possible(): string {
    const seen = this.#values.filter(({ hidden }) => !hidden)
    return seen.map(({ op, first }) => `${op}${first === Infinity ? ' (not known to be written)' : ''}`).join(', ')
  }

  #prune(oldestRead: number): void {
    if (this.#values.length === 1) return
    const gone = new Set<Value>()
    for (const value of this.#values) {
      const over = this.#values.filter((other) =>
        other !== value && other.first < oldestRead && placeOf(value) < other.last)
      if (over.length > 0) value.hidden = true
      if (over.some(({ stable }) => stable || !this.#writeback)) gone.add(value)
    }
    if (gone.size > 0) this.#values = this.#values.filter((value) => !gone.has(value))
  }
}
