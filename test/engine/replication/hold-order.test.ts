/**
 * Risk: a group snapshot has what came second, on one volume, and not what came first, on another (SPEC W8, I25). Many
 * short runs with two primaries, and bugs planted in the hold that have to be found by what the client saw.
 */
// test-timeout-seconds: 120
import t from 'tap'
import { ORDERED_IN_HOLD, WRONG_HOLDS } from '../../sim/cluster/planted/holds.ts'
import { importMutant, misfit } from '../../sim/mutants.ts'
import { runGroups } from './group-world.ts'

t.setTimeout(110_000)

const WORLD = 'test/engine/replication/group-world.ts'
const SEEDS = 150

t.test('whatever the order of orders and writes, a group is of one instant', (t) => {
  let taken = 0
  let held = 0
  for (let seed = 1; seed <= SEEDS; seed++) {
    const run = runGroups(seed)
    t.same(run.violations, [], `seed ${seed}`)
    taken += run.taken
    held += run.held
  }
  t.ok(taken > SEEDS, `${taken} were taken`)
  t.ok(held > taken, `${held - taken} were held and not taken`)
  t.end()
})

for (const bug of [...ORDERED_IN_HOLD, ...WRONG_HOLDS]) {
  t.test(bug.name, async (t) => {
    for (const edit of [bug, ...bug.also]) t.equal(misfit(edit), undefined)
    const mutated = await importMutant<typeof import('./group-world.ts')>(bug, WORLD)
    let seed = 1
    while (seed <= 4 * SEEDS && mutated.runGroups(seed).violations.length === 0) seed++
    t.ok(seed <= 4 * SEEDS, `is found at seed ${seed}`)
  })
}
