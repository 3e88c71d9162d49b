/**
 * One peer, one lane: whose connection stands, and when the next attempt is made. At most one connection is live.
 *
 * Which of two stays (both ends decide alike):
 * - of two instances the newcomer: it has just proved that it is alive, and a node has one daemon;
 * - of one instance the one that the lower of both ends dialled (by node, then worker); of two by the same end the
 *   newer one, since nobody dials who believes that his connection stands.
 *
 * Attempts: at once by the lower end, by the other after a pause; after a failure the pause doubles up to its limit,
 * of which a random half is waited, so that peers that lost each other do not come back all at once. A connection that
 * lived for as long as the longest pause forgets the failures.
 */
import type { TlsFolder } from '../../cluster/tls/tls-folder.ts'
import type { ClockPort } from '../../engine/ports.ts'
import type { Connection } from './connection.ts'
import { dial } from './dial.ts'
import type { PeerEndpoint, PeerSocket } from './peer-socket.ts'
import type { Preface } from './preface.ts'
import type { Lane } from './protocol.ts'

export interface LaneOptions {
  lane: Lane
  /** Our end sorts before the peer's. */
  isLower: boolean
  clock: ClockPort
  /** 0 <= x < 1 */
  random(): number
  limits: { handshakeMs: number; retryMs: number; retryMaxMs: number }
  /** Undefined: in plain text. */
  tls?: TlsFolder | undefined
  preface(): Preface
  /** Of a socket whose prefaces were exchanged. */
  connect(socket: PeerSocket, own: Preface, answer: Preface, endpoint: PeerEndpoint): Connection
  /** An attempt of ours ended with a connection that stands. */
  adopted(connection: Connection): void
  failed(why: string, strange: boolean, endpoint: PeerEndpoint): void
}

export class PeerLane {
  connection: Connection | undefined
  readonly #o: LaneOptions
  #endpoint: PeerEndpoint | undefined
  #giveUp: (() => void) | undefined
  #wait: { cancel(): void } | undefined
  #failures = 0
  #sinceMs = 0
  #isStopped = false

  constructor(options: LaneOptions) {
    this.#o = options
  }

  /** Where to dial; undefined: the peer dials. */
  reachAt(endpoint: PeerEndpoint | undefined): void {
    const isSame = JSON.stringify(endpoint) === JSON.stringify(this.#endpoint)
    this.#endpoint = endpoint
    if (isSame || this.connection !== undefined) return
    this.#rest()
    this.#failures = this.#o.isLower ? 0 : 1
    this.#dialLater()
  }

  /** Whether a connection of that instance, dialled by the peer, would not stay. */
  refuses(instance: string): boolean {
    const { connection } = this
    return connection !== undefined && connection.peer.instance === instance && connection.isOurs && this.#o.isLower
  }

  /** A proven connection. @returns false when another one stays */
  adopt(connection: Connection): boolean {
    const old = this.connection
    if (old !== undefined && old.peer.instance === connection.peer.instance) {
      const isOldOfLower = old.isOurs === this.#o.isLower
      const isNewOfLower = connection.isOurs === this.#o.isLower
      if (isOldOfLower && !isNewOfLower) return false
    }
    this.#rest()
    this.connection = connection
    this.#sinceMs = this.#o.clock.nowMs()
    old?.close('replaced', 'another one took its place')
    return true
  }

  /** @returns whether it was the live one */
  lost(connection: Connection): boolean {
    if (this.connection !== connection) return false
    this.connection = undefined
    const livedMs = this.#o.clock.nowMs() - this.#sinceMs
    this.#failures = livedMs >= this.#o.limits.retryMaxMs ? 0 : this.#failures + 1
    this.#dialLater()
    return true
  }

  stop(): void {
    this.#isStopped = true
    this.#rest()
  }

  #rest(): void {
    this.#giveUp?.()
    this.#wait?.cancel()
    this.#giveUp = this.#wait = undefined
  }

  #dialLater(): void {
    if (this.#isStopped || this.#endpoint === undefined) return
    if (this.#giveUp !== undefined || this.#wait !== undefined) return
    const { retryMs, retryMaxMs } = this.#o.limits
    const pauseMs = this.#failures === 0 ? 0 : Math.min(retryMaxMs, retryMs * 2 ** Math.min(20, this.#failures - 1))
    const delayMs = pauseMs * (0.5 + this.#o.random() / 2)
    this.#wait = this.#o.clock.after(delayMs, () => {
      this.#wait = undefined
      this.#dial()
    })
  }

  #dial(): void {
    const endpoint = this.#endpoint
    if (endpoint === undefined || this.connection !== undefined) return
    const preface = this.#o.preface()
    this.#giveUp = dial({
      endpoint,
      preface,
      clock: this.#o.clock,
      deadlineMs: this.#o.limits.handshakeMs,
      tls: this.#o.tls,
      failed: (why, strange) => {
        this.#giveUp = undefined
        this.#failures++
        this.#o.failed(why, strange, endpoint)
        this.#dialLater()
      },
      answered: (socket, answer) => {
        this.#giveUp = undefined
        const connection = this.#o.connect(socket, preface, answer, endpoint)
        if (this.adopt(connection)) this.#o.adopted(connection)
        else connection.close('replaced', 'another one stands')
      },
    })
  }
}
