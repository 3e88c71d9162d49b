/** Risk: the search of the model skips states or invents them. Toy machines whose state spaces are known. */
import t from 'tap'
import { RowTable } from './row-table.ts'
import { search, StepFailed, type Machine } from './search.ts'

/** Walkers on a line of `size` places, each one step to the right at a time. */
const walkers = (count: number, size: number, bad?: string): Machine => ({
  width: count,
  initial: () => new Int32Array(count),
  successors(row, visit) {
    for (let i = 0; i < count; i++) {
      if (row[i]! + 1 >= size) continue
      const next = row.slice()
      next[i]!++
      if (bad === 'step' && next.every((place) => place === 2)) throw new StepFailed('all at two', `walker ${i}`)
      visit(next, () => `walker ${i}`)
    }
  },
  violation: (row) => (bad === 'state' && row.every((place) => place === 2) ? 'all at two' : undefined),
})

t.test('every state once, and how deep', (t) => {
  const { states, transitions, depth, isComplete, violation } = search(walkers(3, 20), { statesMax: 1e6 })
  t.same(
    { states, transitions, depth, isComplete, violation },
    {
      states: 8000,
      transitions: 3 * 19 * 400,
      depth: 57,
      isComplete: true,
      violation: undefined,
    },
  )
  t.end()
})

t.test('a violation is found by a shortest way', (t) => {
  for (const bad of ['state', 'step']) {
    const { violation, isComplete } = search(walkers(3, 20, bad), { statesMax: 1e6 })
    t.equal(violation?.why, 'all at two')
    t.equal(violation?.trace.length, 6)
    t.same([...new Set(violation?.trace)].sort(), ['walker 0', 'walker 1', 'walker 2'])
    t.notOk(isComplete)
  }
  t.end()
})

t.test('a bound that is reached is said', (t) => {
  const { isComplete, waiting } = search(walkers(3, 20), { statesMax: 100 })
  t.notOk(isComplete)
  t.ok(waiting > 0)
  t.end()
})

t.test('rows are told apart whole', (t) => {
  const table = new RowTable(2)
  let added = 0
  for (let i = 0; i < 100_000; i++) if (table.add(Int32Array.of(i % 400, Math.floor(i / 400)), -1)) added++
  t.equal(added, 100_000)
  for (let i = 0; i < 1000; i++) if (table.add(Int32Array.of(i % 400, 0), -1)) t.fail('it is known')
  t.equal(table.count, 100_000)
  t.end()
})
