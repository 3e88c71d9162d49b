/**
 * How much of a turn of a data worker each connection of clients takes: while clients of one volume alone ask anything,
 * all they ask; while those of several do, a share, so that who asks for little waits behind a share of each other
 * volume and not behind all that it has under way. Deficit round robin: what a large request took too much is missing
 * in the next turns.
 *
 * - F1 A turn of a volume is `TURN_BYTES`, in equal parts for its connections. A request counts its bytes and
 *   `REQUEST_BYTES` besides, about what it costs without them.
 * - F2 Nobody is held while only one volume asks, or has connections. What counts as a volume is the caller's: an
 *   object for each.
 * - F3 Nothing is kept for later: who asks for less than its share has no more of it in the next turn.
 */
export const TURN_BYTES = 512 * 1024
export const REQUEST_BYTES = 16 * 1024
/** Turns of one volume alone, after which it is taken to be the only one. */
export const SHARED_TURNS = 200

export class TurnShares {
  readonly #connections = new Map<object, number>()
  /** Whose turn was last, and how many it had since somebody else had one. */
  #last: object | undefined
  #alone = SHARED_TURNS

  join(volume: object): void {
    this.#connections.set(volume, (this.#connections.get(volume) ?? 0) + 1)
  }

  leave(volume: object): void {
    const count = this.#connections.get(volume)! - 1
    if (count > 0) this.#connections.set(volume, count)
    else this.#connections.delete(volume)
  }

  /**
   * A turn of a connection begins.
   * @param left  of its turn before; negative when it took too much
   * @returns what it may take: a request passes while that is above 0
   */
  next(volume: object, left: number): number {
    const isOther = this.#last !== undefined && this.#last !== volume
    this.#alone = isOther ? 0 : this.#alone + 1
    this.#last = volume
    if (this.#connections.size < 2 || this.#alone >= SHARED_TURNS) return Infinity
    const share = TURN_BYTES / this.#connections.get(volume)!
    return left < 0 ? left + share : share
  }
}
