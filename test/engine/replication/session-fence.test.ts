/**
 * Risk: of several holders one is served that a copy refused before, because fences came out of order.
 */
import t from 'tap'
import type { Attach } from '../../../engine/replication/configuration.ts'
import {
  adopted,
  covers,
  followedIn,
  inForce,
  isFormer,
  isOverIn,
  joined,
  leastIncarnation,
  NO_FENCE,
  withBroken,
  type SessionFence,
} from '../../../engine/replication/session-fence.ts'

const held = (...generations: number[]): Attach => {
  const holders = Object.fromEntries(generations.map((generation) => [`n${generation}`, generation]))
  return { generation: Math.max(...generations), mode: 'shared', holders }
}
const fence = (...incarnations: Array<[number, number]>): SessionFence => ({ brokenGeneration: 0, incarnations })

t.test('what either refuses is refused', (t) => {
  t.same(joined(fence([1, 5], [3, 1]), fence([1, 4], [2, 2])), fence([1, 5], [2, 2], [3, 1]))
  t.same(withBroken(fence([1, 5], [3, 1]), 2), { brokenGeneration: 2, incarnations: [[3, 1]] })
  t.equal(leastIncarnation(fence([2, 7]), 2), 7)
  t.equal(leastIncarnation(fence([2, 7]), 1), 0)
  t.end()
})

t.test('one covers another', (t) => {
  t.ok(covers(fence([1, 5]), NO_FENCE))
  t.ok(covers(fence([1, 5]), fence([1, 5], [2, 0])), 'a generation of which nothing was opened asks nothing')
  t.notOk(covers(fence([1, 4]), fence([1, 5])))
  t.notOk(covers(fence([1, 5]), fence([2, 1])))
  t.ok(covers({ brokenGeneration: 2, incarnations: [] }, fence([2, 1])))
  t.notOk(covers(fence([1, 5]), { brokenGeneration: 1, incarnations: [] }))
  t.end()
})

t.test('a late one takes nothing away', (t) => {
  // Generations 1 to 3 are held; 2 and 3 are opened before 1.
  const first = inForce(fence([2, 2], [3, 3]), held(3, 1, 2))
  const second = inForce(joined(first, fence([1, 9])), held(1, 2, 3))
  t.same(first, fence([1, 0], [2, 2], [3, 3]))
  t.same(adopted(second, first), second)
  t.same(adopted(first, second), second)
  // 2 is detached, 4 is attached.
  const third = inForce(joined(second, fence([4, 10])), held(1, 3, 4))
  t.same(third, fence([1, 9], [3, 3], [4, 10]))
  t.same(adopted(second, third), third, 'what is over is forgotten')
  t.ok(covers(adopted(third, second), third), 'and what is late does no harm')
  t.end()
})

t.test('mode open: of each node the newest, whatever comes late', (t) => {
  const open = (...entries: Array<[string, number, number]>): SessionFence => ({ ...NO_FENCE, open: entries })
  const first = open(['n1', 1, 300], ['n2', 1, 400])
  const second = joined(first, open(['n1', 1, 600]))
  t.same(second, open(['n1', 1, 600], ['n2', 1, 400]))
  t.same([adopted(second, first), adopted(first, second)], [second, second])
  const nobody: Attach = { generation: 1, mode: 'open', holders: {} }
  t.same(inForce(second, nobody), second, 'nobody holds it, and nothing is forgotten')
  const later = open(['n3', 2, 700])
  const known = inForce(joined(second, later), { ...nobody, generation: 2 })
  t.same(known, later, 'of a generation that is over nothing is kept')
  t.same([adopted(second, later), adopted(later, second)], [later, joined(second, later)], 'nor where it is told')
  t.same(adopted(second, fence([3, 0])), fence([3, 0]), 'in another mode neither')
  t.same([covers(second, first), covers(first, second)], [true, false])
  const session = (generation: number, incarnation: number) => ({ generation, incarnation })
  t.ok(isFormer(second, 'n1', session(1, 300)))
  t.notOk(isFormer(second, 'n1', session(1, 600)))
  t.notOk(isFormer(second, 'n1', session(2, 1)), 'a later generation is newer')
  t.notOk(isFormer(second, 'n3', session(1, 1)), 'nothing is known of that node')
  t.end()
})

t.test('which sessions are over, so that nothing of them need be known', (t) => {
  const session = (generation: number, incarnation: number) => ({ generation, incarnation })
  const over = (now: SessionFence, former = NO_FENCE): string[] => {
    const isOver = isOverIn(now, followedIn(former, now))
    const sessions = [1, 2, 3, 4, 5].flatMap((generation) => [300, 400].map((of) => session(generation, of)))
    return sessions.filter(isOver).map((one) => `${one.generation}.${one.incarnation}`)
  }
  t.same(over(NO_FENCE), [])
  t.same(over(fence([4, 0])), ['1.300', '1.400', '2.300', '2.400', '3.300', '3.400'], 'all that nobody holds any more')
  t.same(over(fence([1, 400], [3, 0])), ['1.300', '2.300', '2.400'], 'and older ones of whoever does')
  t.same(over(withBroken(NO_FENCE, 1)), ['1.300', '1.400'])
  const open = (...entries: Array<[string, number, number]>): SessionFence => ({ ...NO_FENCE, open: entries })
  const before = open(['n1', 2, 300])
  t.same(over(before), ['1.300', '1.400'])
  t.same(over(open(['n1', 2, 300], ['n2', 2, 400]), before), ['1.300', '1.400'], 'one of another node ends nothing')
  t.same(over(open(['n1', 2, 400]), before), ['1.300', '1.400', '2.300'])
  t.end()
})
