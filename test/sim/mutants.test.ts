/**
 * Risk: the store's tests pass because they see nothing. Every planted bug has to be found by a run that the store as
 * it is passes.
 *
 *   node test/sim/mutants.test.ts PIECE ...    only bugs whose names hold one of the pieces
 */
// test-timeout-seconds: 600
import t from 'tap'
import { PLANTED, STORE_PROMISES, THIN_ALWAYS } from './checker/planted-bugs.ts'
import { runTestFile } from './mutant-file.ts'
import { hunt } from './mutants-hunt.ts'
import type { Run } from './mutants-hunt.ts'
import { importMutant, type Mutant } from './mutants.ts'

t.setTimeout(600_000)

const HUNT = 'test/sim/mutants-hunt.ts'
/** A change of the engine shifts what its runs draw: then some later seed finds the bug. */
const MORE_SEEDS = 40
/** Of processor time: how busy the machine is says nothing of a bug. */
const MORE_CPU_MS = 15_000
const pieces = process.argv.slice(2)
const chosen = PLANTED.filter(({ name }) => pieces.length === 0 || pieces.some((piece) => name.includes(piece)))

t.test('each promise of a store has a bug that breaks it first', (t) => {
  const broken = new Set<string | undefined>(PLANTED.map(({ promise }) => promise))
  for (const promise of Object.keys(STORE_PROMISES)) t.ok(broken.has(promise), promise)
  t.end()
})

t.test('the store as it is passes the same runs', (t) => {
  const seen = new Set<string>()
  for (const { hunt: how } of chosen) {
    const key = JSON.stringify(how)
    if (seen.has(key)) continue
    seen.add(key)
    t.equal(how.run === 'file' ? runFile(how.path) : hunt(how), undefined, key)
  }
  t.end()
})

t.test('pages that wait may be thinned at any time', async (t) => {
  const thin = await importMutant<typeof import('./mutants-hunt.ts')>({ name: 'thin always', ...THIN_ALWAYS }, HUNT)
  for (const run of ['tiny', 'time-travel'] as const)
    for (let seed = 1; seed <= 6; seed++) t.equal(thin.hunt({ run, seed }), undefined, `${run} ${seed}`)
})

for (const mutant of chosen)
  t.test(mutant.name, async (t) => {
    const { hunt: how } = mutant
    if (how.run === 'file') return void t.ok(runFile(how.path, mutant.name), `${how.path} fails`)
    const mutated = await importMutant<typeof import('./mutants-hunt.ts')>(mutant, HUNT)
    const found = search(mutated.hunt, how)
    t.ok(found !== undefined, `not found by ${how.run}, seeds ${how.seed} to ${how.seed + MORE_SEEDS}`)
    if (found !== undefined && found.seed !== how.seed) t.comment(`seed ${found.seed}, no longer ${how.seed}`)
    t.comment(found?.problem.split('\n', 1)[0])
  })

const cpuMs = (): number => process.cpuUsage().user / 1000

function search(run: typeof hunt, how: Run): { seed: number; problem: string } | undefined {
  const endMs = cpuMs() + MORE_CPU_MS
  for (let more = 0; more <= MORE_SEEDS && (more === 0 || cpuMs() < endMs); more++) {
    const seed = how.seed + more
    const problem = run({ ...how, seed })
    // Only what the store as it is passes tells of the bug.
    if (problem !== undefined && (more === 0 || hunt({ ...how, seed }) === undefined)) return { seed, problem }
  }
  return undefined
}

/** How it ends, undefined when it passes. A function, for the first of the tests above runs before this line does. */
function runFile(path: string, bug?: Mutant['name']): string | undefined {
  return runTestFile(path, bug, 60).problem
}
