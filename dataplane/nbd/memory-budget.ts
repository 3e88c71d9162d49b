/**
 * How much memory the requests of all connections of a worker may hold: payloads that are arriving or being stored,
 * and read replies not yet taken by their client.
 *
 * A request reserves its length before any memory is taken. One that does not fit waits, and its connection is not
 * read meanwhile; who waits is woken in order when something is released. Every connection may hold `floorBytes`
 * whatever the others do, so small requests pass even while a hostile client sits on all the rest.
 *
 * A client that promises a payload and does not send it, or asks for data and does not take it, would hold its share
 * for ever. While others wait, `evictStalled` ends the connections that hold more than the floor and have made no
 * progress for `stallMs`; without contention nobody is ended for being slow.
 */
export interface BudgetMember {
  readonly heldBytes: number
  /** Since when the client has made no progress on what it owes, undefined when it owes nothing. */
  readonly stalledSinceMs: number | undefined
  /** Ask again, soon; never from inside this call. */
  budgetFreed(): void
  /** Give the connection up. */
  evict(): void
}

export const BUDGET_DEFAULTS = { limitBytes: 256 << 20, floorBytes: 1 << 20, stallMs: 10_000 }

export class MemoryBudget {
  readonly limitBytes: number
  readonly floorBytes: number
  readonly stallMs: number
  #usedBytes = 0
  readonly #members = new Set<BudgetMember>()
  /** In the order of asking; only the first may take what is above its floor, so that nobody starves. */
  readonly #waiting: BudgetMember[] = []

  constructor(options: Partial<typeof BUDGET_DEFAULTS> = {}) {
    const { limitBytes, floorBytes, stallMs } = { ...BUDGET_DEFAULTS, ...options }
    this.limitBytes = limitBytes
    this.floorBytes = floorBytes
    this.stallMs = stallMs
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  get contended(): boolean {
    return this.#waiting.length > 0
  }

  join(member: BudgetMember): void {
    this.#members.add(member)
  }

  leave(member: BudgetMember): void {
    this.#members.delete(member)
    this.stopWaiting(member)
  }

  /** @returns false when `member` must wait: it is then queued, and told by `budgetFreed` */
  reserve(bytes: number, member: BudgetMember): boolean {
    const overtakes = this.#waiting.length > 0 && this.#waiting[0] !== member
    if ((overtakes || this.#usedBytes + bytes > this.limitBytes) && member.heldBytes + bytes > this.floorBytes) {
      if (!this.#waiting.includes(member)) this.#waiting.push(member)
      return false
    }
    this.#usedBytes += bytes
    this.stopWaiting(member)
    return true
  }

  release(bytes: number): void {
    this.#usedBytes -= bytes
    this.#waiting[0]?.budgetFreed()
  }

  /** `member` has other reasons not to go on: the next in the queue must not wait for it. */
  stopWaiting(member: BudgetMember): void {
    if (this.#waiting.length === 0) return
    const at = this.#waiting.indexOf(member)
    if (at < 0) return
    this.#waiting.splice(at, 1)
    this.#waiting[0]?.budgetFreed()
  }

  evictStalled(nowMs: number): void {
    if (!this.contended) return
    for (const member of [...this.#members]) {
      const since = member.stalledSinceMs
      if (since !== undefined && member.heldBytes > this.floorBytes && nowMs - since >= this.stallMs) member.evict()
    }
  }
}
