/**
 * Risk: the simulation of the control plane passes because it sees nothing. Every planted bug has to be found.
 *
 *   node test/control/mutants.test.ts PIECE ...    only bugs whose names hold one of the pieces
 */
// test-timeout-seconds: 300
import t from 'tap'
import { editsOf, importMutant, misfit } from '../sim/mutants.ts'
import { CANARY, DECOY, PLANTED } from './planted-bugs.ts'
import type { PlantedBug } from './planted-bugs.ts'

t.setTimeout(300_000)

/** A change of the rules shifts what happens: then some later seed finds the bug. */
const MORE_SEEDS = 60
/** Of a processor: other programs must not hide a bug. */
const MORE_CPU_MS = 20_000
const pieces = process.argv.slice(2)
const chosen = PLANTED.filter(({ name }) => pieces.length === 0 || pieces.some((piece) => name.includes(piece)))

async function hunt(bug: PlantedBug, seeds: number): Promise<{ seed: number; what: string } | undefined> {
  const { runWorld } = await importMutant<typeof import('./world/run-world.ts')>(bug, 'test/control/world/run-world.ts')
  const begun = process.cpuUsage()
  const cpuMs = (): number => {
    const { user, system } = process.cpuUsage(begun)
    return (user + system) / 1000
  }
  for (let seed = bug.seed; seed < bug.seed + seeds && cpuMs() < MORE_CPU_MS; seed++) {
    const what = outcomeOf(() => runWorld(seed).violations[0])
    if (what !== undefined) return { seed, what }
  }
  return undefined
}

/** An assert that fails is a finding, too. */
function outcomeOf(run: () => string | undefined): string | undefined {
  try {
    return run()
  } catch (error) {
    return (error as Error).message
  }
}

t.test('every planted bug fits the source it is planted in, once', (t) => {
  for (const bug of [...PLANTED, CANARY, DECOY]) t.same(editsOf(bug).map(misfit), [undefined], bug.name)
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
