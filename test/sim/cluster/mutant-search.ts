/**
 * The hunt for one planted bug: seed after seed of the simulator as the bug has it, in its default swarm, until a
 * checker complains about a seed that the core as it is passes. Whatever a run throws counts as a complaint too.
 *
 * Seeds 1 to N are all there is, and the bug counts as found by the one that found it. Their order is what makes a hunt
 * cheap: the seed that found it before, then those whose swarm looks at its mechanism (`looksAt`, judged before the
 * seed runs), then the others. What clones and readers of snapshots bring is met by none of them: of those that have
 * some as many are hunted.
 * And what no seed has met is found by a test file, where the bug names one, which has to pass without it.
 */
import { runTestFile } from '../mutant-file.ts'
import { importMutant } from '../mutants.ts'
import { seedAmong, type PlantedBug } from './planted/planted-bug.ts'
import { runSeed, swarmOf } from './run-seed.ts'

const RUN = 'test/sim/cluster/run-seed.ts'

export interface Limits {
  /** How many of the order were run before. */
  skip: number
  /** Seeds 1 to this. */
  seeds: number
  /** Of CPU time. */
  seconds: number
  /** What found it before; one above `seeds` is none of them. */
  known?: number | undefined
}

export interface Finding {
  seed: number
  checker: string
  message: string
}

export interface Outcome {
  name: string
  finding: Finding | undefined
  /** Seeds that were run, the one that found it included. */
  seeds: number
  seconds: number
}

/** `began` is told each seed before it runs. */
export async function search(bug: PlantedBug, limits: Limits, began?: (seed: number) => void): Promise<Outcome> {
  const none: Outcome = { name: bug.name, finding: undefined, seeds: 0, seconds: 0 }
  const bySeeds = bug.among === 'none' ? none : await searchSeeds(bug, limits, began)
  return bySeeds.finding === undefined && bug.caughtBy !== undefined ? searchFile(bySeeds, bug.caughtBy) : bySeeds
}

async function searchSeeds(bug: PlantedBug, limits: Limits, began?: (seed: number) => void): Promise<Outcome> {
  const mutated = await importMutant<typeof import('./run-seed.ts')>(bug, RUN)
  const { name, store } = bug
  const start = process.cpuUsage()
  const spent = (): number => {
    const { user, system } = process.cpuUsage(start)
    return (user + system) / 1e6
  }
  let ran = -limits.skip
  for (const seed of huntOrder(bug, limits)) {
    if (ran++ < 0) continue
    began?.(seed)
    const complaint = complaintOf(mutated.runSeed, seed, store)
    // Only what the core as it is passes tells of the bug.
    if (complaint !== undefined && complaintOf(runSeed, seed, store) === undefined) {
      return { name, finding: { seed, ...complaint }, seeds: ran, seconds: spent() }
    }
    if (spent() >= limits.seconds) break
  }
  return { name, finding: undefined, seeds: Math.max(0, ran), seconds: spent() }
}

/** Of a processor. It says nothing of a bug when it fails without it, or needs more than this. */
const FILE_SECONDS = 300

function searchFile(bySeeds: Outcome, path: string): Outcome {
  const { name } = bySeeds
  const start = performance.now()
  const isFit = runTestFile(path, undefined, FILE_SECONDS).problem === undefined
  const problem = isFit ? runTestFile(path, name, FILE_SECONDS).problem : undefined
  const seconds = bySeeds.seconds + (performance.now() - start) / 1000
  if (problem === undefined) return { ...bySeeds, seconds }
  return { ...bySeeds, finding: { seed: 0, checker: path, message: problem }, seconds }
}

/** Each of the seeds once. */
export function* huntOrder(
  { looksAt, among = 'counted' }: Pick<PlantedBug, 'looksAt'> & Partial<Pick<PlantedBug, 'among'>>,
  { seeds, known }: Pick<Limits, 'seeds' | 'known'>,
): Generator<number> {
  if (among === 'none') return
  if (known !== undefined && known <= seedAmong(among, seeds)) yield known
  const others: number[] = []
  for (let number = 1; number <= seeds; number++) {
    const seed = seedAmong(among, number)
    if (seed === known) continue
    if (looksAt === undefined || looksAt(swarmOf(seed))) yield seed
    else others.push(seed)
  }
  yield* others
}

function complaintOf(
  run: typeof runSeed,
  seed: number,
  store: PlantedBug['store'],
): Omit<Finding, 'seed'> | undefined {
  try {
    const [first] = run({ seed, store }).violations
    if (first === undefined) return undefined
    const { checker, message } = first
    return checker === 'assert' ? { checker: `assert ${ruleOf(message)}`.trim(), message } : first
  } catch (error) {
    const { message } = error as Error
    return { checker: `assert ${ruleOf(message)}`.trim(), message }
  }
}

/** The invariant that an assertion names. */
const ruleOf = (message: string): string => /\b[IS]\d+(?=:)/.exec(message)?.[0] ?? ''
