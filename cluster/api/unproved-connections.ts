/**
 * Connections over TLS that showed no certificate: few, whatever they say, and each is closed unless it shows a good
 * bearer token soon, and again after one that was refused. So strangers cannot take the places of nodes.
 */
import type { Socket } from 'node:net'

export const UNPROVED_LIMITS = { connectionsMax: 128, proveMs: 10_000 }

/** Of the other end. */
interface RemoteEnd {
  remoteAddress?: string | undefined
  remotePort?: number | undefined
}

interface Place {
  socket: Socket
  timer: NodeJS.Timeout | undefined
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
    const place: Place = { socket, timer: undefined }
    this.#places.set(key, place)
    this.#arm(place)
    socket.once('close', () => {
      clearTimeout(place.timer)
      if (this.#places.get(key) === place) this.#places.delete(key)
    })
    return true
  }

  /** A token of that connection was taken, or refused. */
  judged(end: RemoteEnd, isTaken: boolean): void {
    const place = this.#places.get(keyOf(end))
    if (place === undefined) return
    if (!isTaken) return this.#arm(place)
    clearTimeout(place.timer)
    place.timer = undefined
  }

  #arm(place: Place): void {
    if (place.timer !== undefined) return
    const { socket } = place
    place.timer = setTimeout(() => {
      this.#onClosed(socket)
      socket.destroy()
    }, this.#limits.proveMs)
    place.timer.unref()
  }
}
