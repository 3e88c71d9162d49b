/**
 * Risk: the simulation of failover passes because it sees nothing. Every planted bug has to be found.
 *
 *   node test/csi/kube/failover/mutants.test.ts PIECE ...    only bugs whose names hold one of the pieces
 */
// test-timeout-seconds: 300
import t from 'tap'
import { editsOf, importMutant, misfit } from '../../../sim/mutants.ts'
import {
  CANARY, DECOY, LAST_GENERATION, LAST_LOOK, LAST_SESSION, LAST_START, ONE_SIGHT, PLANTED,
} from './planted-bugs.ts'
import type { PlantedBug } from './planted-bugs.ts'

t.setTimeout(300_000)

/** A change of the rules shifts what happens: then some later seed finds the bug. */
const MORE_SEEDS = 150
const pieces = process.argv.slice(2)
const chosen = PLANTED.filter(({ name }) => pieces.length === 0 || pieces.some((piece) => name.includes(piece)))

async function hunt(bug: PlantedBug, seeds: number): Promise<{ seed: number; what: string } | undefined> {
  const mutant = await importMutant<typeof import('./run-world.ts')>(bug, 'test/csi/kube/failover/run-world.ts')
  for (let seed = bug.seed; seed < bug.seed + seeds; seed++) {
    const [what] = (await mutant.runWorld(seed)).violations
    if (what !== undefined) return { seed, what }
  }
  return undefined
}

t.test('every planted bug fits the source it is planted in, once', (t) => {
  const all = [...PLANTED, LAST_GENERATION, LAST_LOOK, LAST_SESSION, LAST_START, ONE_SIGHT, CANARY, DECOY]
  for (const bug of all) t.same(editsOf(bug).map(misfit).filter((one) => one !== undefined), [], bug.name)
  t.equal(new Set(PLANTED.map(({ name }) => name)).size, PLANTED.length, 'names differ')
  t.end()
})

t.test('the canary is found at once, the decoy is not', async (t) => {
  t.ok(await hunt(CANARY, 3))
  t.equal(await hunt(DECOY, 2), undefined)
})

for (const bug of chosen) {
  t.test(`${bug.name} (${bug.breaks})`, async (t) => {
    const found = await hunt(bug, MORE_SEEDS)
    t.ok(found, `found by a seed from ${bug.seed} on`)
    if (found !== undefined) t.comment(`seed ${found.seed}: ${found.what}`)
  })
}
