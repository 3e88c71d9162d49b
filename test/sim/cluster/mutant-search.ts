/**
 * The hunt for one planted bug: seed after seed of the simulator as the bug has it, in its default swarm, until a
 * checker complains about a seed that the core as it is passes. Whatever a run throws counts as a complaint too.
 */
import { importMutant } from '../mutants.ts'
import type { PlantedBug } from './planted/planted-bug.ts'
import { runSeed } from './run-seed.ts'

const RUN = 'test/sim/cluster/run-seed.ts'

export interface Limits {
  from: number
  seeds: number
  /** Of CPU time. */
  seconds: number
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

export async function search(bug: PlantedBug, { from, seeds, seconds }: Limits): Promise<Outcome> {
  const mutated = await importMutant<typeof import('./run-seed.ts')>(bug, RUN)
  const began = process.cpuUsage()
  const spent = (): number => {
    const { user, system } = process.cpuUsage(began)
    return (user + system) / 1e6
  }
  let ran = 0
  for (let seed = from; seed < from + seeds && (ran === 0 || spent() < seconds); seed++) {
    ran++
    const complaint = complaintOf(mutated.runSeed, seed, bug.store)
    // Only what the core as it is passes tells of the bug.
    if (complaint === undefined || complaintOf(runSeed, seed, bug.store) !== undefined) continue
    return { name: bug.name, finding: { seed, ...complaint }, seeds: ran, seconds: spent() }
  }
  return { name: bug.name, finding: undefined, seeds: ran, seconds: spent() }
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
