/**
 * A process that runs the seeds it is told, a row at a time, says each before it begins, and answers with what they add
 * up to. It ends with the process that started it, and only with that one: a terminal sends its signals to both, and
 * the row has to be told.
 */
import { runSeed } from './run-seed.ts'
import { addSeed, noTotals, type RunTotals } from './run-totals.ts'

export interface SeedRow {
  from: number
  count: number
  store: 'real' | 'memory'
  /** Each seed twice, with the same trace or a violation. */
  isTwice: boolean
}

export type WorkerMessage = { began: number } | { totals: RunTotals }

/** Nobody is left to tell when it fails; the row ends first, since a seed does not wait. */
const say = (message: WorkerMessage): void => {
  process.send!(message, undefined, undefined, (error) => {
    if (error !== null) process.exit()
  })
}

process.on('message', ({ from, count, store, isTwice }: SeedRow) => {
  const totals: RunTotals = noTotals()
  const before = process.cpuUsage()
  for (let seed = from; seed < from + count; seed++) {
    say({ began: seed })
    const result = runSeed({ seed, store })
    const { traceHash } = result
    if (isTwice && runSeed({ seed, store }).traceHash !== traceHash) {
      result.violations.unshift({ checker: 'same-trace', message: `seed ${seed} is not the same when it is run again` })
    }
    addSeed(totals, result)
  }
  const { user, system } = process.cpuUsage(before)
  totals.cpuSeconds = (user + system) / 1e6
  say({ totals })
})
process.on('disconnect', () => process.exit())
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
