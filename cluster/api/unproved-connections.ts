/**
 * Connections over TLS that showed no certificate: few, whatever they say, and each is closed unless it shows a good
 * bearer token soon, and when it made no call with one for a while. So strangers cannot take the places of nodes, nor
 * those whose tokens are over the places of others.
 *
 * Its server takes its leave of one without calls after `idleMs` (GOAWAY), or twice that: where its timer ends a
 * millisecond early by the wall clock, the library looks again as long after. Who goes on with calls that are refused,
 * or does not close, is cut half as long after that.
 *
 * Invariant: on each without a timer a call goes on whose token was good when it began.
 */
import type { Socket } from 'node:net'

export const UNPROVED_LIMITS = { connectionsMax: 128, proveMs: 10_000, idleMs: 60_000 }

const CUT_AFTER = 2.5

/** Of the other end. */
interface RemoteEnd {
  remoteAddress?: string | undefined
  remotePort?: number | undefined
}

interface Place {
  socket: Socket
  timer: NodeJS.Timeout | undefined
  /** That go on, with a good token. */
  calls: number
}

const keyOf = ({ remoteAddress, remotePort }: RemoteEnd): string => `${remoteAddress} ${remotePort}`

export class UnprovedConnections {
  readonly #limits: typeof UNPROVED_LIMITS
  readonly #onClosed: (socket: Socket) => void
  readonly #places = new Map<string, Place>()

  /** @param onClosed  one that is about to be closed because it proved nothing */
  constructor(onClosed: (socket: Socket) => void, limits = UNPROVED_LIMITS) {
    this.#onClosed = onClosed
    this.#limits = limits
  }

  get size(): number {
    return this.#places.size
  }

  /** @returns whether there is a place for it */
  add(socket: Socket): boolean {
    if (this.#places.size >= this.#limits.connectionsMax) return false
    const key = keyOf(socket)
    const place: Place = { socket, timer: undefined, calls: 0 }
    this.#places.set(key, place)
    this.#arm(place, this.#limits.proveMs, () => this.#onClosed(socket))
    socket.once('close', () => {
      clearTimeout(place.timer)
      if (this.#places.get(key) === place) this.#places.delete(key)
    })
    return true
  }

  /** A call of that connection begins, whose token is good. @returns to be called when it is over */
  begins(end: RemoteEnd): () => void {
    const place = this.#places.get(keyOf(end))
    if (place === undefined) return () => undefined
    place.calls++
    clearTimeout(place.timer)
    return () => {
      if (--place.calls === 0 && !place.socket.destroyed) this.#arm(place, CUT_AFTER * this.#limits.idleMs)
    }
  }

  #arm(place: Place, ms: number, onClosed = (): void => undefined): void {
    place.timer = setTimeout(() => {
      onClosed()
      place.socket.destroy()
    }, ms)
    place.timer.unref()
  }
}
