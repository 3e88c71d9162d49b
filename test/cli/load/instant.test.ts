/** Risk: the judge of snapshots lets a lost, late or torn one pass, or condemns what may be. */
import t from 'tap'
import { BlockHistory } from '../../../cli/load/block-history.ts'
import { contradictions } from '../../../cli/load/instant.ts'

/** Blocks of one volume, as they were known when the snapshot was there, and the operation that each shows. */
function image(name: string, blocks: Array<{ history: BlockHistory; op: number }>) {
  const possible = new Map(blocks.map(({ history }, lba) => [lba, history.copies()] as const))
  return { name, possible, found: blocks.map(({ op }) => ({ op })) }
}

t.test('what was acknowledged before the order is there', (t) => {
  const history = new BlockHistory(false)
  const reading = 30
  history.answered(history.sent(1, 10), 20, true, reading)
  t.same(contradictions(30, [image('a', [{ history, op: 1 }])]), [])
  t.match(contradictions(30, [image('a', [{ history, op: 0 }])]), [/a: block 0: operation 0 is shown, possible are 1/])
  t.end()
})

t.test('also when an older read in flight may still see what was there before', (t) => {
  const history = new BlockHistory(false)
  history.answered(history.sent(1, 10), 20, true, 5)
  t.same(contradictions(15, [image('a', [{ history, op: 0 }])]), [])
  const lost = /operation 0 is shown, but 1 over it was there before the snapshot was ordered/
  t.match(contradictions(30, [image('a', [{ history, op: 0 }])]), [lost])
  t.end()
})

t.test('what is answered between order and answer may be there or not, also when it is overwritten by then', (t) => {
  const history = new BlockHistory(false)
  const reading = 30
  history.answered(history.sent(1, 10), 20, true, reading)
  history.answered(history.sent(2, 31), 32, true, reading)
  history.answered(history.sent(3, 33), 34, true, reading)
  history.sent(4, 35)
  for (const op of [1, 2, 3, 4]) t.same(contradictions(30, [image('a', [{ history, op }])]), [], `operation ${op}`)
  t.match(contradictions(30, [image('a', [{ history, op: 0 }])]), [/operation 0 is shown/])
  t.end()
})

t.test('what was sent after the answer is not there, nor in a block that was empty', (t) => {
  const history = new BlockHistory(false)
  const before = image('a', [{ history, op: 1 }])
  history.answered(history.sent(1, 40), 41, true)
  t.match(contradictions(30, [before]), [/operation 1 is shown, possible are 0/])
  t.match(contradictions(30, [{ name: 'a', possible: new Map(), found: [{ op: 1 }] }]), [/operation 1 is shown/])
  t.same(contradictions(30, [{ name: 'a', possible: new Map(), found: [{ op: 0 }] }]), [])
  t.match(contradictions(30, [{ name: 'a', possible: new Map(), found: [{ wrong: 'it is torn' }] }]), [/it is torn/])
  t.end()
})

t.test('one instant: who shows a write shows what had been acknowledged when that was sent', (t) => {
  const [one, other] = [new BlockHistory(false), new BlockHistory(false)]
  const reading = 30
  one.answered(one.sent(1, 31), 32, true, reading)
  other.answered(other.sent(2, 33), 34, true, reading)
  const torn = /block 0: operation 0 is shown, but 1 over it was there before operation 2 of . was sent/
  const of = (first: number, second: number) => [{ history: one, op: first }, { history: other, op: second }]
  t.match(contradictions(30, [image('a', of(0, 2))]), [torn], 'two blocks of a volume')
  for (const [first, second] of [[0, 0], [1, 0], [1, 2]] as const) {
    t.same(contradictions(30, [image('a', of(first, second))]), [])
    const [a, b] = of(first, second)
    t.same(contradictions(30, [image('a', [a!]), image('b', [b!])]), [])
  }
  const [a, b] = of(0, 2)
  t.match(contradictions(30, [image('a', [a!]), image('b', [b!])]), [torn], 'two volumes of a group')
  t.end()
})

t.test('writes at once come in any order, and one of several zeroes is enough', (t) => {
  const history = new BlockHistory(false)
  const other = new BlockHistory(false)
  const reading = 30
  const values = [history.sent(1, 31), history.sent(0, 32)]
  for (const value of values) history.answered(value, 35, true, reading)
  other.answered(other.sent(2, 40), 41, true, reading)
  for (const op of [1, 0]) {
    t.same(contradictions(30, [image('a', [{ history, op }, { history: other, op: 2 }])]), [], `operation ${op}`)
  }
  t.end()
})
