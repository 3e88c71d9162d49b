/**
 * A token bucket: `perSecond` tokens come in, `capacity` are kept at most, and who takes some waits until they are
 * there. More than the capacity can be asked for at once; that is given when the bucket is full, and owed afterwards.
 *
 * - B1 What is taken within t seconds is at most `perSecond * t + max(capacity, the largest amount)`.
 * - B2 What is not full loses nothing: however often and late it is looked at, as much comes in.
 *
 * For B2 nothing is added up: the level is computed from one moment (`since`) and the whole amount that was taken after
 * it. That moment moves only when the bucket is full, where what comes in is lost anyhow, and when the rate changes.
 */
import { assert } from '../assert.ts'

export interface BucketRate {
  perSecond: number
  capacity: number
}

/** So much can be added up exactly; far above it, it begins anew. */
const TAKEN_MAX = 2 ** 52

export class TokenBucket {
  #rate: BucketRate
  #sinceMs: number
  #levelThen: number
  #taken = 0

  /** It is full at first. */
  constructor(rate: BucketRate, nowMs: number) {
    assert(rate.perSecond > 0 && rate.capacity > 0, 'a bucket has a rate and room')
    this.#rate = rate
    this.#sinceMs = nowMs
    this.#levelThen = rate.capacity
  }

  /** What can be taken now; below 0: what is owed. */
  level(nowMs: number): number {
    const { perSecond, capacity } = this.#rate
    const came = (Math.max(0, nowMs - this.#sinceMs) * perSecond) / 1000
    return Math.min(capacity, this.#levelThen + came - this.#taken)
  }

  /** When so much can be taken: now, or later. Nothing can be taken always, also by who owes. */
  readyAtMs(amount: number, nowMs: number): number {
    const { perSecond, capacity } = this.#rate
    if (amount === 0) return nowMs
    const missing = Math.min(amount, capacity) - this.level(nowMs)
    return missing <= 0 ? nowMs : nowMs + (missing * 1000) / perSecond
  }

  /** Only when `readyAtMs` says that it can be. */
  take(amount: number, nowMs: number): void {
    assert(this.readyAtMs(amount, nowMs) <= nowMs, 'nothing is taken before it is there')
    if (this.level(nowMs) >= this.#rate.capacity || this.#taken > TAKEN_MAX) this.#beginAnew(nowMs)
    this.#taken += amount
  }

  /** From now on. What was saved up, as far as there is room for it, or is owed, stays. */
  change(rate: BucketRate, nowMs: number): void {
    assert(rate.perSecond > 0 && rate.capacity > 0, 'a bucket has a rate and room')
    this.#beginAnew(nowMs)
    this.#rate = rate
    this.#levelThen = Math.min(rate.capacity, this.#levelThen)
  }

  #beginAnew(nowMs: number): void {
    this.#levelThen = this.level(nowMs)
    this.#sinceMs = Math.max(this.#sinceMs, nowMs)
    this.#taken = 0
  }
}
