/**
 * Risk: a sequence of a few steps that no seed of the simulator happens upon. All states of two copies within bounds
 * that end soon; `npm run model` has larger ones. A bug that is planted has to be found.
 */
// test-timeout-seconds: 240
import t from 'tap'
import { importMutant, misfit } from '../sim/mutants.ts'
import { explore } from './explore.ts'
import { PLANTED } from './planted-bugs.ts'
import type { SearchResult } from './search.ts'

t.setTimeout(240_000)

const STATES_MAX = 3_000_000
const NO_FAULTS = { crashes: 0, losses: 0, duplicates: 0 }
const BOUNDS = [
  { ...NO_FAULTS, reads: 1 },
  { ...NO_FAULTS, losses: 1, duplicates: 1 },
  { ...NO_FAULTS, crashes: 1, writes: 1 },
  { ...NO_FAULTS, unknowns: 1, losses: 1, writes: 1 },
  { ...NO_FAULTS, earlyTimeouts: 1, writes: 1 },
]

const say = ({ states, transitions, depth }: SearchResult): string =>
  `${states} states, ${transitions} transitions, depth ${depth}`

for (const bounds of BOUNDS)
  t.test(`two copies: ${JSON.stringify(bounds)}`, (t) => {
    const result = explore(bounds, STATES_MAX)
    t.equal(result.violation?.why, undefined)
    if (result.violation !== undefined) t.comment(result.violation.trace.join('\n'))
    else t.ok(result.isComplete, 'every state within the bound was visited')
    t.comment(say(result))
    t.end()
  })

for (const { bounds, finds, ...mutant } of PLANTED)
  t.test(mutant.name, async (t) => {
    t.equal(misfit(mutant), undefined)
    const mutated = await importMutant<typeof import('./explore.ts')>(mutant, 'test/model/explore.ts')
    const result = mutated.explore(bounds, STATES_MAX)
    t.match(result.violation?.why, finds)
    t.comment(`${result.violation?.why.slice(0, 100)}; ${result.violation?.trace.length} steps, ${say(result)}`)
  })
