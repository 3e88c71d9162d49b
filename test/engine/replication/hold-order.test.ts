/**
 * Risk: a group snapshot has what came second, on one volume, and not what came first, on another (SPEC W8, I25). Many
 * short runs with two primaries, and bugs planted in the hold that have to be found by what the client saw.
 */
// test-timeout-seconds: 120
import t from 'tap'
import { importMutant, misfit, type Edit } from '../../sim/mutants.ts'
import { runGroups } from './group-world.ts'

t.setTimeout(110_000)

const WORLD = 'test/engine/replication/group-world.ts'
const SEEDS = 150

const I25 = "  assert(!isHeld(turn, primary), 'I25: nothing of a client is ordered in a hold')\n"
const core = (file: string, replace: string, by: string): Edit => ({ file: `engine/replication/${file}`, replace, by })
/** What no assert sees the checker has to. */
const noAssert = core('primary.ts', I25, '')

const PLANTED: Array<Edit & { name: string; also: Edit[] }> = [
  {
    name: 'a request that comes in a hold is ordered',
    ...core('primary.ts', 'isFull(turn) || isHeld(turn, primary)\n', 'isFull(turn)\n'),
    also: [noAssert],
  },
  {
    name: 'a request that waited is ordered in a hold',
    ...core('primary.ts', '&& !isFull(turn) && !isHeld(turn, primary)) {', '&& !isFull(turn)) {'),
    also: [noAssert],
  },
  {
    name: 'a snapshot is taken although its hold is over',
    ...core('hold.ts', '=== hold && isHeld(turn, primary) ?', '=== hold ?'),
    also: [],
  },
  {
    name: 'a hold that comes again begins again',
    ...core('hold.ts', '  if (primary.hold?.token === command.hold) return refuse(', '  void ('),
    also: [],
  },
  {
    name: 'a snapshot does not ask for its hold',
    ...core('control.ts', 'hold === undefined ? undefined : holdRefusal(turn, primary, hold)', 'void holdRefusal'),
    also: [],
  },
]

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

for (const bug of PLANTED) {
  t.test(bug.name, async (t) => {
    for (const edit of [bug, ...bug.also]) t.equal(misfit(edit), undefined)
    const mutated = await importMutant<typeof import('./group-world.ts')>(bug, WORLD)
    let seed = 1
    while (seed <= 4 * SEEDS && mutated.runGroups(seed).violations.length === 0) seed++
    t.ok(seed <= 4 * SEEDS, `is found at seed ${seed}`)
  })
}
