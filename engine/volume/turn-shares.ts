/**
 * How much of a turn of a data worker each connection of clients takes: while clients of one volume alone ask anything,
 * all they ask; while those of several do, a share, so that who asks for little waits behind a share of each other
 * volume and not behind all that it has under way. Deficit round robin: what a large request took too much is missing
 * in the next turns.
 *
 * - F1 A turn of a volume is `TURN_BYTES`, in equal parts for those of its connections that ask: who had no turn in a
 *   window of `SHARED_TURNS` for each asking one is idle, and takes no part from the others; who is new counts until
 *   then. A request counts its bytes and `REQUEST_BYTES` besides, about what it costs without them.
 * - F2 Nobody is held while only one volume asks, or has connections. It asks alone when it had `SHARED_TURNS` for each
 *   asking connection since somebody else had one: of many connections all have their turns while who asks for little
 *   waits for one answer. What counts as a volume is the caller's: an object for each.
 * - F3 Nothing is kept for later: who asks for less than its share has no more of it in the next turn.
 */
export const TURN_BYTES = 512 * 1024
export const REQUEST_BYTES = 16 * 1024
/** Of each asking connection of one volume alone, after which it is taken to be the only one. */
export const SHARED_TURNS = 200

/** Of all connections of a volume. */
interface VolumeTurns {
  connections: number
  /** The number of the window, its turns, and the connections that had one of them. */
  window: number
  turns: number
  asking: number
  /** That asked in the window before, or came since. */
  askedBefore: number
}

/** Of a connection. */
export interface ConnectionTurns {
  readonly volume: object
  readonly of: VolumeTurns
  /** Bytes of this turn: a request passes while that is above 0; negative when the turn took too much. */
  left: number
  /** In which it had its last turn. */
  window: number
}

export class TurnShares {
  readonly #volumes = new Map<object, VolumeTurns>()
  /** Whose turn was last, and how many it had since somebody else had one; for ever once it counts as the only one. */
  #last: VolumeTurns | undefined
  #alone = Infinity

  join(volume: object): ConnectionTurns {
    let of = this.#volumes.get(volume)
    if (of === undefined) {
      of = { connections: 0, window: 0, turns: 0, asking: 0, askedBefore: 0 }
      this.#volumes.set(volume, of)
    }
    of.connections++
    of.askedBefore++
    return { volume, of, left: Infinity, window: -1 }
  }

  leave({ volume, of, window }: ConnectionTurns): void {
    of.connections--
    if (window === of.window) of.asking--
    of.askedBefore = Math.min(of.askedBefore, of.connections)
    if (of.connections === 0) this.#volumes.delete(volume)
  }

  /** A turn of this connection begins: its `left` is what it may take. */
  begin(connection: ConnectionTurns): void {
    const { of, left } = connection
    const asking = countTurn(connection)
    if (this.#last !== undefined && this.#last !== of) this.#alone = 0
    else if (++this.#alone >= SHARED_TURNS * asking) this.#alone = Infinity
    this.#last = of
    const share = this.#volumes.size < 2 || this.#alone === Infinity ? Infinity : TURN_BYTES / asking
    connection.left = left < 0 ? left + share : share
  }
}

/** @returns how many connections of the volume ask */
function countTurn(connection: ConnectionTurns): number {
  const { of } = connection
  if (connection.window !== of.window) of.asking++
  connection.window = of.window
  const asking = Math.max(of.asking, of.askedBefore)
  if (++of.turns >= SHARED_TURNS * asking) {
    of.window++
    of.askedBefore = of.asking
    of.turns = of.asking = 0
  }
  return asking
}
