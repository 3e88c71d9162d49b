/**
 * Many seeds over several processes, in rows. What was run is kept in a file, so that a run which was stopped, or
 * bounded in time, goes on where it was: the same seeds at the same commit are never run twice.
 */
import { fork, type ChildProcess } from 'node:child_process'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { addTotals, noTotals, type FoundViolation, type RunTotals } from './run-totals.ts'
import type { SeedRow, WorkerMessage } from './seed-worker.ts'

export const ROW_SEEDS = 10
/** Who complains when a process ended instead of answering. */
export const ENDED_PROCESS = 'process'

export interface LongRunOptions {
  from: number
  seeds: number
  store: 'real' | 'memory'
  isTwice: boolean
  jobs: number
  /** No row is begun after this long. */
  minutes: number
  /** Goes on after a violation. */
  keepsGoing: boolean
  /** Aborted, no row is begun; those that run are ended, which takes seconds. */
  stop?: AbortSignal
  /** Where it is kept: then in whole rows from seed 1 on. */
  file: string | undefined
  /** After each row: the violations found in it, and all rows so far. */
  progress?(found: FoundViolation[], totals: RunTotals): void
}

/** What the file holds. */
interface KeptRun {
  /** First seeds of the rows that were run. */
  rows: number[]
  totals: RunTotals
}

export async function runLong(options: LongRunOptions): Promise<RunTotals> {
  const { store, isTwice, jobs, minutes, file } = options
  const from = file === undefined ? options.from : 1
  const below = from + (file === undefined ? options.seeds : Math.ceil(options.seeds / ROW_SEEDS) * ROW_SEEDS)
  const run = file === undefined ? nothingYet() : read(file)
  const done = new Set(run.rows)
  const left: SeedRow[] = []
  for (let at = from; at < below; at += ROW_SEEDS) {
    if (!done.has(at)) left.push({ from: at, count: Math.min(ROW_SEEDS, below - at), store, isTwice })
  }
  const endsAtMs = performance.now() + minutes * 60_000
  const next = (): SeedRow | undefined => {
    const isStopped = run.totals.violations.length > 0 && !options.keepsGoing
    return isStopped || options.stop?.aborted || performance.now() >= endsAtMs ? undefined : left.shift()
  }
  const keep = (row: SeedRow, totals: RunTotals): void => {
    addTotals(run.totals, totals)
    if (totals.seeds === row.count) run.rows.push(row.from)
    if (file !== undefined) write(file, run)
    options.progress?.(totals.violations, run.totals)
  }
  await Promise.all(Array.from({ length: Math.min(jobs, left.length) }, () => work(next, keep)))
  return run.totals
}

/** One process, until no row is left. */
async function work(next: () => SeedRow | undefined, keep: (row: SeedRow, totals: RunTotals) => void): Promise<void> {
  let worker: ChildProcess | undefined
  const kill = (): void => void worker?.kill('SIGKILL')
  process.once('exit', kill)
  try {
    for (let row = next(); row !== undefined; row = next()) {
      worker ??= fork(join(import.meta.dirname, 'seed-worker.ts'))
      const totals = await answerOf(worker, row)
      if (totals.seeds === 0) worker = undefined
      keep(row, totals)
    }
  } finally {
    process.off('exit', kill)
    worker?.disconnect()
  }
}

/** A process that ends instead of answering has found something, too. */
function answerOf(worker: ChildProcess, row: SeedRow): Promise<RunTotals> {
  return new Promise((resolve) => {
    let seed = row.from
    const ended = (code: number | null, signal: string | null): void => {
      const tell = (): void => {
        const message = `the process that ran it, seed ${seed - row.from + 1} of its row, ended (${signal ?? code})`
        resolve({ ...noTotals(), violations: [{ seed, checker: ENDED_PROCESS, message }] })
      }
      // What it said last may still be on its way.
      if (worker.connected) worker.once('disconnect', tell)
      else tell()
    }
    const told = (message: WorkerMessage): void => {
      if ('began' in message) return void (seed = message.began)
      worker.off('exit', ended)
      worker.off('message', told)
      resolve(message.totals)
    }
    worker.once('exit', ended)
    worker.on('message', told)
    // One that ended meanwhile says so by its end.
    worker.send(row, () => {})
  })
}

const nothingYet = (): KeptRun => ({ rows: [], totals: noTotals() })

function read(file: string): KeptRun {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as KeptRun
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return nothingYet()
    throw error
  }
}

/** Whole or not at all: the run may be stopped at any time. */
function write(file: string, run: KeptRun): void {
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(`${file}.new`, JSON.stringify(run))
  renameSync(`${file}.new`, file)
}
