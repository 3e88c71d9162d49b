/**
 * `npm run sim`: clusters in virtual time, one for each seed, with faults and checkers (test/sim/cluster). A run is a
 * function of its seed and the commit.
 *
 *   npm run sim -- --seeds 1000 [--from 1]     many, and a summary; ends soon after a violation, unless --keep-going
 *   npm run sim -- --seed 7 [--trace]          one, again; with everything that happened
 *   npm run sim -- --seed 7 --shrink           fewer faults and operations that still show the violation
 *   npm run sim -- --seed 7 --only 3,9 --operations 40     only these faults and actions of the seed's plan
 *   --store real|memory                         the engine's own store (default), or a small one that is fast
 *   --twice                                     every seed twice: the same trace hash, or a violation
 *   --jobs N, --minutes M                       processes (one a core), and a bound
 *
 * Many seeds from 1 on are kept by commit in `.sim/`: what was run is not run again, and a larger number, or the same
 * after a bound or a signal, goes on. Not while files under engine/ or test/sim differ from the commit, or with a
 * planted bug. A signal, or a reader that is gone (`| head`), lets the rows that run end, within seconds, and the
 * summary is of all that ended; the same signal again ends it at once. From 10,000 seeds on the summary goes to
 * docs/proof.md. Violations are printed when their row of seeds ends, each with the lines of its trace that lead to it;
 * several, or those of a run before, again below all.
 */
import { dirname, join } from 'node:path'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { commit, hasChanges, writeProof } from './proof-page.ts'
import { ENDED_PROCESS, runLong } from './sim/cluster/long-run.ts'
import { runSeed, shrink, type SeedOptions } from './sim/cluster/run-seed.ts'
import { summaryOf, type FoundViolation, type RunTotals } from './sim/cluster/run-totals.ts'
import { replayOf, traceLines, violationLines } from './sim/cluster/violation-report.ts'

/** From here on a run is worth a page. */
const LONG_SEEDS = 10_000
const PROGRESS_SEEDS = 1000
/** What a shell calls the end of a process by them. */
const SIGNAL_STATUS = { SIGHUP: 129, SIGINT: 130, SIGPIPE: 141, SIGTERM: 143 }

const print = (line: string): void => void process.stdout.write(`${line}\n`)
const options = readOptions()
const store = options.store === 'memory' ? 'memory' : 'real'
const stop = new AbortController()
// Whoever read our words is gone: what runs is still kept, nothing more is begun.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.exitCode ||= SIGNAL_STATUS.SIGPIPE
  stop.abort()
})
const status = options.seed === undefined ? await runMany() : runOne(options.seed)
process.exitCode ||= status

function readOptions() {
  const number = { type: 'string' } as const
  const flag = { type: 'boolean', default: false } as const
  try {
    const { values } = parseArgs({
      options: {
        seed: number,
        seeds: { ...number, default: '200' },
        from: { ...number, default: '1' },
        only: number,
        store: { ...number, default: 'real' },
        operations: number,
        jobs: { ...number, default: String(availableParallelism()) },
        minutes: { ...number, default: 'Infinity' },
        trace: flag,
        shrink: flag,
        twice: flag,
        'keep-going': flag,
      },
    })
    return values
  } catch (error) {
    const usage = 'npm run sim -- --seeds N [--from M] [--jobs N] [--minutes M] | --seed N [--trace] [--shrink]'
    print(`${(error as Error).message}\nusage: ${usage}`)
    process.exit(2)
  }
}

function runOne(text: string): number {
  const seed: SeedOptions = { seed: Number(text), keepsTrace: options.trace, store }
  if (options.only !== undefined) seed.only = options.only.split(',').filter(Boolean).map(Number)
  if (options.operations !== undefined) seed.operations = Number(options.operations)
  const result = runSeed(seed)
  if (options.trace) {
    print(JSON.stringify(result.swarm))
    print(result.trace)
  }
  for (const { checker, message } of result.violations) print(`${checker}: ${message}`)
  const { operations, virtualMs, events, traceHash } = result
  const virtual = `${(virtualMs / 1000).toFixed(1)} s virtual`
  print(`seed ${text}: ${operations} operations, ${virtual}, ${events} events, ${traceHash}`)
  if (options.shrink && result.violations.length > 0) {
    const { only, operations } = shrink(seed.seed, store)
    const planned = `${only.length} of ${result.planned.length} faults and actions`
    print(`smaller, ${planned}, ${operations} of ${result.swarm.operations} operations:`)
    print(`  ${replayOf({ seed: seed.seed, store, only, operations })}`)
  }
  return result.violations.length > 0 ? 1 : 0
}

async function runMany(): Promise<number> {
  const from = Number(options.from)
  const seeds = Number(options.seeds)
  const isDirty = hasChanges('engine', 'test/sim') || process.env.PLANTED_BUG !== undefined
  const keeps = from === 1 && !isDirty && !options.twice
  if (isDirty) print('engine/ or test/sim differ from the commit: nothing is kept')
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (process.exitCode === SIGNAL_STATUS[signal]) process.exit()
      process.exitCode = SIGNAL_STATUS[signal]
      stop.abort()
    })
  }
  const told = { seeds: 0, violations: 0 }
  const totals = await runLong({
    from,
    seeds,
    store,
    isTwice: options.twice,
    jobs: Number(options.jobs),
    minutes: Number(options.minutes),
    keepsGoing: options['keep-going'],
    stop: stop.signal,
    file: keeps ? join(dirname(import.meta.dirname), '.sim', `${commit()}-${store}.json`) : undefined,
    progress: (found, sofar) => {
      for (const violation of found) printWithTrace(violation)
      told.violations += found.length
      if (sofar.seeds - told.seeds < PROGRESS_SEEDS) return
      told.seeds = sofar.seeds
      print(`${sofar.seeds} seeds, ${sofar.violations.length} violations`)
    },
  })
  if (totals.violations.length > 1 || told.violations === 0) for (const one of totals.violations) printViolation(one)
  const summary = summaryOf(totals)
  for (const [name, value] of summary) print(`${name.padEnd(20)} ${value}`)
  if (keeps && store === 'real' && totals.seeds >= LONG_SEEDS) tell(totals, summary)
  return totals.violations.length > 0 ? 1 : 0
}

function printViolation(violation: FoundViolation): void {
  for (const line of violationLines(violation, commit(), store)) print(line)
}

/** The seed is run once more for it. One that ended its process would end this one, too. */
function printWithTrace(violation: FoundViolation): void {
  printViolation(violation)
  const { seed, checker } = violation
  if (checker === ENDED_PROCESS) return
  for (const line of traceLines(seed, runSeed({ seed, store, keepsTrace: true }).trace)) print(line)
}

function tell({ violations }: RunTotals, summary: ReturnType<typeof summaryOf>): void {
  writeProof('sim', [
    `Commit ${commit()}, \`npm run sim -- --seeds ${options.seeds}\`, seeds from 1 on:`,
    '',
    '| | |',
    '|---|---|',
    ...summary.map(([name, value]) => `| ${name} | ${value} |`),
    ...violations.map(({ seed, checker }) => `| violation | seed ${seed}: ${checker} |`),
  ])
  print('docs/proof.md has the summary')
}
