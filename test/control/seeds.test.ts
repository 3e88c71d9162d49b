/**
 * Risk: the control plane takes the last good copy, places two copies where one fault takes both, overruns its budget,
 * moves a copy back and forth, or stops half-way. Simulated clusters in trouble, some seeds of many; by hand:
 * `bin/node24 --dev test/control/run.ts FIRST LAST`.
 */
// test-timeout-seconds: 120
import t from 'tap'
import { runWorld } from './world/run-world.ts'

const SEEDS = 10

t.test('nothing is violated, and in the end all is as it was wished', (t) => {
  const actions = new Set<string>()
  for (let seed = 1; seed <= SEEDS; seed++) {
    const result = runWorld(seed)
    for (const type of Object.keys(result.actions)) actions.add(type)
    t.same(result.violations, [], `replay: bin/node24 --dev test/control/run.ts ${seed}`)
  }
  const all = [
    'change-age', 'change-config', 'change-rebuilds', 'change-volume', 'create-config', 'delete-config', 'delete-move',
    'delete-volume', 'erase-copy', 'hand-over', 'hydrate-copy', 'make-copy',
  ]
  t.same([...actions].sort(), all, 'every kind of action was taken')
  t.end()
})

t.test('a seed repeats', (t) => {
  t.equal(runWorld(4).digest, runWorld(4).digest)
  t.not(runWorld(4).digest, runWorld(6).digest)
  t.end()
})
