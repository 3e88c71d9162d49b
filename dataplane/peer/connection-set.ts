/**
 * All connections of a transport that have a socket: live ones, those that are not proved yet, those of supervisors.
 * Keeps their time: who is silent, who does not prove himself, and how long the end may take.
 */
import type { ClockPort } from '../../engine/ports.ts'
import type { Connection } from './connection.ts'

export interface SetLimits {
  keepaliveMs: number
  silenceMs: number
}

export class ConnectionSet {
  readonly #clock: ClockPort
  readonly #limits: SetLimits
  /** With the time until which each must be proved. */
  readonly #provenByMs = new Map<Connection, number>()
  #tickedMs: number
  #awokeMs = -Infinity
  #timer: { cancel(): void } | undefined
  #onEmpty: (() => void) | undefined

  constructor(clock: ClockPort, limits: SetLimits) {
    this.#clock = clock
    this.#limits = limits
    this.#tickedMs = clock.nowMs()
    this.#tickLater()
  }

  get size(): number {
    return this.#provenByMs.size
  }

  all(): readonly Connection[] {
    return [...this.#provenByMs.keys()]
  }

  get unproven(): number {
    let count = 0
    for (const { isProven } of this.#provenByMs.keys()) if (!isProven) count++
    return count
  }

  add(connection: Connection, provenByMs: number): void {
    this.#provenByMs.set(connection, provenByMs)
  }

  /** It has closed. */
  delete(connection: Connection): void {
    this.#provenByMs.delete(connection)
    if (this.size === 0) this.#onEmpty?.()
  }

  /**
   * `newest` has just proved that it is there. A node has one daemon, so what is still there of another instance is the
   * past; and one supervisor, which says one thing at a time, so an older connection of it is of no use.
   */
  closeOlder(newest: Connection): void {
    const { node, role, instance } = newest.peer
    for (const other of this.#provenByMs.keys()) {
      const { peer } = other
      if (other === newest || !other.isProven || peer.node !== node || peer.role !== role) continue
      if (role === 'supervisor') other.close('replaced', 'another one took its place')
      else if (peer.instance !== instance) other.close('replaced', 'a newer instance came')
    }
  }

  /**
   * The owner is awake, and says something on other connections: what these have to say before it is awake again, in
   * less than half of `keepaliveMs`, is said now, so that neither we nor the peers are woken for it. Who calls this
   * often needs no timer of ours.
   */
  awake(): void {
    const { keepaliveMs } = this.#limits
    const nowMs = this.#clock.nowMs()
    if (nowMs - this.#awokeMs < keepaliveMs / 4) return
    this.#awokeMs = nowMs
    this.#timer?.cancel()
    this.#tick()
    this.#tickLater()
  }

  #tickLater(): void {
    this.#timer = this.#clock.after(this.#limits.keepaliveMs / 2, () => {
      this.#tick()
      this.#tickLater()
    })
  }

  /** Twice in `keepaliveMs` or more often: whoever has said nothing for half of it does. */
  #tick(): void {
    const nowMs = this.#clock.nowMs()
    const { keepaliveMs, silenceMs } = this.#limits
    // While we stood still ourselves nobody was heard: what came is still to be read.
    const stoodMs = nowMs - this.#tickedMs - keepaliveMs / 2
    this.#tickedMs = nowMs
    for (const [connection, provenByMs] of this.#provenByMs) {
      if (stoodMs > keepaliveMs / 4) connection.lastReceivedMs = Math.min(nowMs, connection.lastReceivedMs + stoodMs)
      if (!connection.isProven && nowMs > provenByMs) connection.close('silent', 'it said nothing behind its preface')
      else connection.tick(nowMs, { keepaliveMs: keepaliveMs / 2, silenceMs })
    }
  }

  /** Each sends what is queued, says goodbye and ends; resolves when all did, or at the deadline. */
  async drain(deadlineMs: number): Promise<void> {
    for (const connection of this.#provenByMs.keys()) {
      if (connection.isProven) connection.drain()
      else connection.close('stopped', 'stopping')
    }
    if (this.size === 0) return
    await new Promise<void>((resolve) => {
      const deadline = this.#clock.after(deadlineMs, resolve)
      this.#onEmpty = () => {
        deadline.cancel()
        resolve()
      }
    })
  }

  close(): void {
    this.#timer?.cancel()
    for (const connection of this.#provenByMs.keys()) connection.close('stopped', 'stopping')
  }
}
