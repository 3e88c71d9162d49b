/**
 * Many random runs, one a seed; the first that fails is shrunk and told with everything needed to see it again.
 */
import { Random } from '../random.ts'
import { makeOperations, PLAIN, showOperations, shrink, TIME_TRAVEL, UNDOING, type Operation } from './operations.ts'
import { StoreRun, type RunCounts, type RunOptions } from './store-run.ts'

const WEIGHTS = { plain: PLAIN, 'time-travel': TIME_TRAVEL, undoing: UNDOING }
export type ModelMode = keyof typeof WEIGHTS

export interface ModelRuns {
  from: number
  seeds: number
  operations: number
  mode: ModelMode
  options?: Partial<RunOptions>
  /** Stop after so many seconds, however many seeds are left. */
  secondsMax?: number
  /** How many runs shrinking may take; 0: none. */
  shrinkRuns?: number
}

export interface ModelOutcome {
  seeds: number
  counts: Partial<RunCounts>
  failure: string | undefined
}

export function runModel(runs: ModelRuns): ModelOutcome {
  const counts: Record<string, number> = {}
  const startedMs = performance.now()
  let seeds = 0
  for (let seed = runs.from; seed < runs.from + runs.seeds; seed++) {
    if (performance.now() - startedMs > (runs.secondsMax ?? Infinity) * 1000) break
    const options: RunOptions = { timeTravel: runs.mode !== 'plain', ...runs.options, seed }
    const operations = makeOperations(
      new Random(`ops ${seed}`),
      runs.operations,
      WEIGHTS[runs.mode],
    )
    const problem = problemOf(options, operations, counts)
    seeds++
    if (problem !== undefined) return { seeds, counts, failure: tell(runs, options, operations, problem) }
  }
  return { seeds, counts, failure: undefined }
}

function problemOf(
  options: RunOptions,
  operations: Operation[],
  counts?: Record<string, number>,
): string | undefined {
  let run: StoreRun | undefined
  try {
    run = new StoreRun(options)
    run.run(operations)
    return undefined
  } catch (error) {
    return (error as Error).stack ?? String(error)
  } finally {
    for (const [name, count] of Object.entries(run?.counts ?? {}))
      if (counts !== undefined) counts[name] = (counts[name] ?? 0) + count
  }
}

function tell(runs: ModelRuns, options: RunOptions, operations: Operation[], problem: string): string {
  const lines = [
    `seed ${options.seed}: ${problem}`,
    `replay: node_modules/.bin/node test/crash/run.ts --mode ${runs.mode} --from ${options.seed} ` +
      `--seeds 1 --operations ${runs.operations}`,
  ]
  if ((runs.shrinkRuns ?? 150) > 0) {
    const few = shrink(operations, (tried) => problemOf(options, tried) !== undefined, runs.shrinkRuns ?? 150)
    lines.push(
      `${few.length} operations are enough (${problemOf(options, few)?.split('\n', 1)[0]}):`,
      showOperations(few),
    )
  }
  return lines.join('\n')
}
