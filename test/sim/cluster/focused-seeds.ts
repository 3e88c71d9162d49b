/** What every test of seeds with one thing in them does: none may complain, and planted bugs have to be found. */
import type { Test } from 'tap'
import { commit } from '../../proof-page.ts'
import { importMutant, misfit } from '../mutants.ts'
import type { Edit } from '../mutants.ts'
import { runSeed } from './run-seed.ts'
import { replayOf } from './violation-report.ts'

const RUN = 'test/sim/cluster/run-seed.ts'
const AT = commit()

export type Run = ReturnType<typeof runSeed>

/**
 * No checker complains, with the engine's store, and the first runs are the same when they are run again.
 * @param repeated  so many of them
 * @param onRun  what is counted
 */
export function runsWell(t: Test, seeds: readonly number[], repeated: number, onRun?: (run: Run) => void): void {
  seeds.forEach((seed, i) => {
    const run = runSeed({ seed, store: 'real' })
    onRun?.(run)
    t.same(run.violations, [], `seed ${seed} at commit ${AT}: ${replayOf({ seed, store: 'real' })}`)
    if (i < repeated) t.equal(runSeed({ seed, store: 'real' }).traceHash, run.traceHash, `seed ${seed}`)
  })
}

export interface Hunt {
  /** Until one finds it. */
  seeds: readonly number[]
  store: 'real' | 'memory'
  /** Of the first violation of a seed; undefined: it has none. */
  isFound(checker: string | undefined): boolean
  /** Where the bug may break the simulation itself: which error says so. */
  isBroken?(error: unknown): boolean
}

/** The bug fits the text, and one of the seeds finds it. */
export async function isHunted(
  t: Test, bug: Edit & { name: string; also?: readonly Edit[] }, { seeds, store, isFound, isBroken }: Hunt,
): Promise<void> {
  for (const edit of [bug, ...(bug.also ?? [])]) t.equal(misfit(edit), undefined)
  const mutated = await importMutant<typeof import('./run-seed.ts')>(bug, RUN)
  const found = seeds.find((seed) => {
    try {
      const [violation] = mutated.runSeed({ seed, store }).violations
      return isFound(violation?.checker)
    } catch (error) {
      if (isBroken === undefined) throw error
      return isBroken(error)
    }
  })
  t.ok(found, `is found at seed ${found}`)
}
