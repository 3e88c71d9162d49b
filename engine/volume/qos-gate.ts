/**
 * The gate in front of a volume (D3): requests of all connections of its clients on this node pass it one by one, as
 * its limits allow. A connection whose next request may not pass yet stands in the queue and is not read any further,
 * so what waits costs a place in the queue and nothing else, however much a client has yet to ask.
 *
 *   mayPass(who, bytes)   yes -> take(who, bytes)        no -> in the queue; `gateOpened` when it is its turn
 *   leave(who)            it has nothing to ask now: the next one's turn
 *
 * - G1 Each request takes one token of `iops` and its bytes of `bandwidth`, both at once (`token-bucket.ts` B1).
 * - G2 The first of the queue passes, and goes on to, until there are no tokens; then it goes to the end. Nobody passes
 *   while somebody else is first. So each gets its turn after as many turns of others as there are connections.
 * - G3 A change of the limits counts at once, for those who wait too; nobody gets a full bucket by it.
 */
import { assert } from '../assert.ts'
import type { ClockPort } from '../ports.ts'
import type { QosLimits } from './qos-limits.ts'
import { TokenBucket } from './token-bucket.ts'

export interface GateMember {
  /** Ask again, soon; never from inside this call. */
  gateOpened(): void
}

export type QosLimit = 'iops' | 'bandwidth'

/** A timer that runs a moment early is asked for again, not at once. */
const TIMER_LEAST_MS = 1

interface Place {
  member: GateMember
  /** Of the request that waits. */
  bytes: number
}

export class QosGate {
  readonly #clock: Pick<ClockPort, 'nowMs' | 'after'>
  #buckets: Record<QosLimit, TokenBucket | undefined> = { iops: undefined, bandwidth: undefined }
  #isLimited = false
  #queue: Place[] = []
  /** Something of the first in the queue has passed since it is the first. */
  #hasPassed = false
  #timer: { cancel(): void } | undefined
  readonly #waitedMs: Record<QosLimit, number> = { iops: 0, bandwidth: 0 }
  /** What the first one waits for, and since when. */
  #waitsFor: QosLimit | undefined
  #waitsSinceMs = 0

  constructor(clock: Pick<ClockPort, 'nowMs' | 'after'>) {
    this.#clock = clock
  }

  /** Connections that wait. */
  get waiting(): number {
    return this.#queue.length
  }

  /** @param limits  undefined: none any more */
  change(limits: QosLimits | undefined): void {
    const nowMs = this.#clock.nowMs()
    const { iops = 0, bandwidthBytes = 0, burstMs = 0 } = limits ?? {}
    this.#buckets = {
      iops: changedBucket(this.#buckets.iops, iops, burstMs, nowMs),
      bandwidth: changedBucket(this.#buckets.bandwidth, bandwidthBytes, burstMs, nowMs),
    }
    this.#isLimited = iops > 0 || bandwidthBytes > 0
    const waiting = this.#queue
    if (!this.#isLimited) this.#queue = []
    this.#wakeFirst(nowMs)
    if (!this.#isLimited) for (const { member } of waiting) member.gateOpened()
  }

  /**
   * Whether a request of so many bytes passes now: then it has to, or `leave` follows.
   * @param bytes  0 of one that moves none
   */
  mayPass(member: GateMember, bytes: number): boolean {
    if (!this.#isLimited) return true
    const nowMs = this.#clock.nowMs()
    const first = this.#queue[0]
    const isTurn = first === undefined || first.member === member
    if (isTurn && this.#readyAtMs(bytes, nowMs) <= nowMs) return true
    const at = this.#queue.findIndex((place) => place.member === member)
    if (at < 0) this.#queue.push({ member, bytes })
    else this.#queue[at]!.bytes = bytes
    if (!isTurn) return false
    if (this.#hasPassed) this.#queue.push(this.#queue.shift()!)
    this.#wakeFirst(nowMs)
    return false
  }

  take(member: GateMember, bytes: number): void {
    if (!this.#isLimited) return
    const nowMs = this.#clock.nowMs()
    const { iops, bandwidth } = this.#buckets
    iops?.take(1, nowMs)
    bandwidth?.take(bytes, nowMs)
    const first = this.#queue[0]
    assert(first === undefined || first.member === member, 'nobody passes while somebody else is first')
    if (first !== undefined) this.#hasPassed = true
  }

  /** It does not ask for anything now, or never again. */
  leave(member: GateMember): void {
    if (this.#queue.length === 0) return
    const at = this.#queue.findIndex((place) => place.member === member)
    if (at < 0) return
    this.#queue.splice(at, 1)
    if (at === 0) this.#wakeFirst(this.#clock.nowMs())
  }

  /** Time in which requests waited, by what for. */
  waitedMs(): Record<QosLimit, number> {
    this.#noteWaiting(this.#waitsFor, this.#clock.nowMs())
    return { ...this.#waitedMs }
  }

  /** Whoever is first now: it is its turn, or will be. */
  #wakeFirst(nowMs: number): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#hasPassed = false
    const first = this.#queue[0]
    const readyAtMs = first === undefined ? nowMs : this.#readyAtMs(first.bytes, nowMs)
    this.#noteWaiting(readyAtMs > nowMs ? this.#laterOf(first!.bytes, nowMs) : undefined, nowMs)
    if (first === undefined) return
    if (readyAtMs <= nowMs) return first.member.gateOpened()
    const waitMs = Math.max(TIMER_LEAST_MS, readyAtMs - nowMs)
    this.#timer = this.#clock.after(waitMs, () => this.#wakeFirst(this.#clock.nowMs()))
  }

  #readyAtMs(bytes: number, nowMs: number): number {
    const { iops, bandwidth } = this.#buckets
    return Math.max(iops?.readyAtMs(1, nowMs) ?? nowMs, bandwidth?.readyAtMs(bytes, nowMs) ?? nowMs)
  }

  #laterOf(bytes: number, nowMs: number): QosLimit {
    const { iops, bandwidth } = this.#buckets
    if (bandwidth === undefined) return 'iops'
    return (iops?.readyAtMs(1, nowMs) ?? nowMs) < bandwidth.readyAtMs(bytes, nowMs) ? 'bandwidth' : 'iops'
  }

  #noteWaiting(waitsFor: QosLimit | undefined, nowMs: number): void {
    if (this.#waitsFor !== undefined) this.#waitedMs[this.#waitsFor] += nowMs - this.#waitsSinceMs
    this.#waitsFor = waitsFor
    this.#waitsSinceMs = nowMs
  }
}

function changedBucket(
  bucket: TokenBucket | undefined, perSecond: number, burstMs: number, nowMs: number,
): TokenBucket | undefined {
  if (perSecond === 0) return undefined
  const rate = { perSecond, capacity: (perSecond * burstMs) / 1000 }
  if (bucket === undefined) return new TokenBucket(rate, nowMs)
  bucket.change(rate, nowMs)
  return bucket
}
