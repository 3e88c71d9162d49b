/** Risk: a volume with many requests under way holds up the others of its worker, or is held when it is alone. */
import t from 'tap'
import { REQUEST_BYTES, SHARED_TURNS, TURN_BYTES, TurnShares } from '../../../engine/volume/turn-shares.ts'

const [DEEP, SHALLOW] = [{ name: 'deep' }, { name: 'shallow' }]

function joined(...volumes: object[]): TurnShares {
  const shares = new TurnShares()
  for (const volume of volumes) shares.join(volume)
  return shares
}

t.test('a volume by itself takes all it asks', (t) => {
  const shares = joined(DEEP, DEEP)
  for (let turn = 0; turn < 10; turn++) t.equal(shares.next(DEEP, Infinity), Infinity)
  t.end()
})

t.test('two that ask have a share each, connections a part of it; and none when one has asked alone for long', (t) => {
  const shares = joined(DEEP, DEEP, SHALLOW)
  t.equal(shares.next(SHALLOW, Infinity), Infinity)
  t.equal(shares.next(DEEP, Infinity), TURN_BYTES / 2)
  t.equal(shares.next(SHALLOW, Infinity), TURN_BYTES)
  const turns = Array.from({ length: SHARED_TURNS + 1 }, () => shares.next(DEEP, 0))
  t.same(turns.map((share) => share < Infinity), turns.map((_, i) => i < SHARED_TURNS))
  shares.next(SHALLOW, 0)
  t.equal(shares.next(DEEP, 0), TURN_BYTES / 2)
  shares.leave(SHALLOW)
  t.equal(shares.next(DEEP, 0), Infinity, 'the other one is gone')
  t.end()
})

t.test('what was taken too much is missing later, and what was not taken is not there', (t) => {
  const shares = joined(DEEP, SHALLOW)
  const large = 3 * TURN_BYTES
  let taken = 0
  let left = 0
  for (let turn = 0; turn < 60; turn++) {
    shares.next(SHALLOW, 0)
    left = shares.next(DEEP, left)
    for (; left > 0; left -= large + REQUEST_BYTES) taken += large + REQUEST_BYTES
  }
  t.ok(Math.abs(taken - 60 * TURN_BYTES) <= large + REQUEST_BYTES, `${taken / TURN_BYTES} shares in 60 turns`)
  shares.next(SHALLOW, 0)
  t.equal(shares.next(DEEP, TURN_BYTES), TURN_BYTES)
  t.end()
})
