/** Risk: a volume with many requests under way holds up the others of its worker, or is held when it is alone. */
import t from 'tap'
import { REQUEST_BYTES, SHARED_TURNS, TURN_BYTES, TurnShares } from '../../../engine/volume/turn-shares.ts'
import type { ConnectionTurns } from '../../../engine/volume/turn-shares.ts'

/** Connections of a volume that asks for all it can, and one of a volume that asks now and then. */
function joined(count = 1): { shares: TurnShares; deep: ConnectionTurns[]; shallow: ConnectionTurns } {
  const shares = new TurnShares()
  const volume = { name: 'deep' }
  const deep = Array.from({ length: count }, () => shares.join(volume))
  return { shares, deep, shallow: shares.join({ name: 'shallow' }) }
}

/** @returns what its turn may take, when nothing is missing from the one before */
function turn(shares: TurnShares, connection: ConnectionTurns, left = 0): number {
  connection.left = left
  shares.begin(connection)
  return connection.left
}

t.test('a volume by itself takes all it asks', (t) => {
  const shares = new TurnShares()
  const volume = {}
  const connections = [shares.join(volume), shares.join(volume)]
  for (let i = 0; i < 3 * SHARED_TURNS; i++) t.equal(turn(shares, connections[i % 2]!), Infinity)
  t.end()
})

t.test('two that ask have a share each, connections a part of it; and none when one has asked alone for long', (t) => {
  const { shares, deep, shallow } = joined(2)
  t.equal(turn(shares, shallow, Infinity), Infinity)
  t.equal(turn(shares, deep[0]!, Infinity), TURN_BYTES / 2)
  t.equal(turn(shares, shallow), TURN_BYTES)
  const turns = Array.from({ length: 2 * SHARED_TURNS + 1 }, (_, i) => turn(shares, deep[i % 2]!))
  t.same(turns.map((share) => share < Infinity), turns.map((_, i) => i < 2 * SHARED_TURNS))
  const third = shares.join(deep[0]!.volume)
  t.equal(turn(shares, third), Infinity, 'whoever else of it asks')
  shares.leave(third)
  turn(shares, shallow)
  t.equal(turn(shares, deep[0]!), TURN_BYTES / 2)
  shares.leave(shallow)
  t.equal(turn(shares, deep[0]!), Infinity, 'the other one is gone')
  t.end()
})

t.test('many connections are not alone because each of them had a turn meanwhile', (t) => {
  const { shares, deep, shallow } = joined(16)
  for (let asked = 0; asked < 5; asked++) {
    turn(shares, shallow)
    const taken = Array.from({ length: 100 }, () => deep.reduce((sum, one) => sum + turn(shares, one), 0))
    t.ok(taken.every((bytes) => bytes === TURN_BYTES), '100 turns of each, between two of the other one')
  }
  t.end()
})

t.test('connections without requests take no part from the one that asks', (t) => {
  const { shares, deep, shallow } = joined(16)
  const rounds = (count: number, asking: ConnectionTurns[]): number => {
    let last = 0
    for (let i = 0; i < count; i++) {
      turn(shares, shallow)
      for (const one of asking) last = turn(shares, one)
    }
    return last
  }
  const window = 16 * SHARED_TURNS
  t.equal(rounds(window - 1, deep.slice(0, 1)), TURN_BYTES / 16, 'not known yet')
  t.equal(rounds(2, deep.slice(0, 1)), TURN_BYTES)
  t.equal(rounds(1, deep.slice(0, 4)), TURN_BYTES / 4, 'who asks again counts at once')
  t.equal(rounds(4 * SHARED_TURNS, deep.slice(0, 4)), TURN_BYTES / 4, 'and goes on counting')
  for (const one of deep.slice(2)) shares.leave(one)
  t.equal(rounds(1, deep.slice(0, 2)), TURN_BYTES / 2)
  for (const one of deep.slice(0, 2)) shares.leave(one)
  t.equal(turn(shares, shallow), Infinity)
  t.end()
})

t.test('what was taken too much is missing later, and what was not taken is not there', (t) => {
  const { shares, deep: [deep], shallow } = joined()
  const large = 3 * TURN_BYTES
  let taken = 0
  let left = 0
  for (let i = 0; i < 60; i++) {
    turn(shares, shallow)
    left = turn(shares, deep!, left)
    for (; left > 0; left -= large + REQUEST_BYTES) taken += large + REQUEST_BYTES
  }
  t.ok(Math.abs(taken - 60 * TURN_BYTES) <= large + REQUEST_BYTES, `${taken / TURN_BYTES} shares in 60 turns`)
  turn(shares, shallow)
  t.equal(turn(shares, deep!, TURN_BYTES), TURN_BYTES)
  t.end()
})
