/**
 * Whether the next request of a connection may be taken (D3): its own bounds of requests and bytes in flight, its share
 * of a turn while clients of other volumes ask (turn-shares.ts), the limits of its volume (qos-gate.ts), and the memory
 * that all connections of the worker share (memory-budget.ts), in this order: only what may pass takes memory, and only
 * what gets it counts as passed.
 *
 * Invariants: `heldBytes` is what the budget has reserved for this connection. Who has to wait is woken when what he
 * waits for has eased.
 */
import type { GateMember, QosGate } from '../../engine/volume/qos-gate.ts'
import { REQUEST_BYTES } from '../../engine/volume/turn-shares.ts'
import type { ConnectionTurns, TurnShares } from '../../engine/volume/turn-shares.ts'
import type { BudgetMember, MemoryBudget } from './memory-budget.ts'

export const TRANSMISSION_LIMITS = {
  inFlightRequestsMax: 1024,
  /** A single request may be longer; it is then alone. */
  inFlightBytesMax: 32 * 1024 * 1024,
  queuedReplyBytesMax: 4 * 1024 * 1024,
}

/** The connection, to who lets its requests in. */
export interface AdmittedConnection {
  /** Since when the client has made no progress on what it owes, undefined when it owes nothing. */
  readonly stalledSinceMs: number | undefined
  /** It is open, and its next request waits. */
  readonly isWaiting: boolean
  /** Ask again at the end of this turn. */
  wake(): void
  evict(): void
}

export class RequestAdmission implements BudgetMember, GateMember {
  /** Requests that were submitted to the volume. */
  inFlight = 0
  /** The request that waits does so for the limits of the volume. */
  isAtGate = false
  #heldBytes = 0
  /** Part of `heldBytes` for a payload that is still arriving. */
  #arrivingBytes = 0
  #stallTimer: NodeJS.Timeout | undefined
  readonly #connection: AdmittedConnection
  readonly #limits: typeof TRANSMISSION_LIMITS
  readonly #budget: MemoryBudget
  readonly #gate: QosGate | undefined
  readonly #shares: TurnShares
  /** Of this connection, among those of all volumes. */
  readonly #turns: ConnectionTurns

  constructor(connection: AdmittedConnection, options: {
    limits: typeof TRANSMISSION_LIMITS
    budget: MemoryBudget
    gate: QosGate | undefined
    shares: TurnShares
    /** What counts as its volume. */
    volume: object
  }) {
    const { limits, budget, gate, shares, volume } = options
    this.#connection = connection
    this.#limits = limits
    this.#budget = budget
    this.#gate = gate
    this.#shares = shares
    this.#turns = shares.join(volume)
    budget.join(this)
  }

  get heldBytes(): number {
    return this.#heldBytes
  }

  get stalledSinceMs(): number | undefined {
    return this.#connection.stalledSinceMs
  }

  evict(): void {
    this.#connection.evict()
  }

  budgetFreed(): void {
    this.#connection.wake()
  }

  gateOpened(): void {
    this.#connection.wake()
  }

  /** Something arrived, or it goes on with what is there. */
  beginTurn(): void {
    this.#shares.begin(this.#turns)
  }

  /** @param queuedReplyBytes  that the client has not taken. @returns false: nothing more for now */
  hasPlace(queuedReplyBytes: number): boolean {
    const { inFlightRequestsMax, queuedReplyBytesMax } = this.#limits
    return this.inFlight < inFlightRequestsMax && queuedReplyBytes <= queuedReplyBytesMax
  }

  /** What waits, waits for something else than memory. */
  stopWaiting(): void {
    this.#budget.stopWaiting(this)
  }

  /**
   * @param bytes  that it will hold
   * @param isArriving  they come from the client
   * @returns false: it waits, and is judged anew when it is woken
   */
  take(bytes: number, isArriving: boolean): boolean {
    if (bytes > 0 && this.#heldBytes > 0 && this.#heldBytes + bytes > this.#limits.inFlightBytesMax) {
      return this.#wait()
    }
    if (this.#turns.left <= 0) {
      this.#connection.wake()
      return this.#wait()
    }
    this.isAtGate = this.#gate?.mayPass(this, bytes) === false
    if (this.isAtGate) return this.#wait()
    if (bytes > 0) {
      if (!this.#budget.reserve(bytes, this)) {
        this.#watchStalls()
        return false
      }
      this.#heldBytes += bytes
      if (isArriving) this.#arrivingBytes = bytes
    }
    this.#gate?.take(this, bytes)
    this.#turns.left -= bytes + REQUEST_BYTES
    return true
  }

  /** The request that was taken last is there as a whole. */
  arrived(): void {
    this.#arrivingBytes = 0
  }

  /** No request of it waits for the limits of the volume. */
  leaveGate(): void {
    this.#gate?.leave(this)
  }

  release(bytes: number): void {
    this.#heldBytes -= bytes
    this.#budget.release(bytes)
  }

  /** Nothing is taken any more, and what was arriving does not come. What is in flight is released as it ends. */
  close(): void {
    clearTimeout(this.#stallTimer)
    this.#budget.leave(this)
    this.#gate?.leave(this)
    this.#shares.leave(this.#turns)
    this.release(this.#arrivingBytes)
    this.#arrivingBytes = 0
  }

  #wait(): false {
    this.stopWaiting()
    return false
  }

  #watchStalls(): void {
    if (this.#stallTimer !== undefined) return
    this.#stallTimer = setTimeout(() => {
      this.#stallTimer = undefined
      this.#budget.evictStalled(performance.now())
      if (this.#connection.isWaiting && this.#budget.contended) this.#watchStalls()
    }, Math.max(this.#budget.stallMs / 4, 1))
    this.#stallTimer.unref()
  }
}
