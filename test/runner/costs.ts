/**
 * What test files cost: `costs.json` has those that take two seconds or more, as `npm test -- --measure` found them by
 * themselves on a quiet machine; a new file is known from its last run here. Only the order and the company of files
 * hang on it, and which of them `npm run check` leaves to `npm test`; never what they say.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Cost } from './schedule.ts'

/** Of the file's last run here. */
export interface LastRun {
  seconds: number
  /** Of the whole run that were its own: each moment is divided among the files under way. */
  partSeconds: number
}

const KEPT_FROM_SECONDS = 2
const LAST_RUNS = '.tap/times.json'
const COSTS = 'test/runner/costs.json'

export function readLastRuns(root: string): Record<string, LastRun> {
  try {
    return JSON.parse(readFileSync(join(root, LAST_RUNS), 'utf8')) as Record<string, LastRun>
  } catch {
    return {}
  }
}

export function writeLastRuns(root: string, runs: Record<string, LastRun>): void {
  writeFileSync(join(root, LAST_RUNS), `${JSON.stringify(runs, undefined, 2)}\n`)
}

export const readCosts = (root: string): Record<string, Cost> =>
  JSON.parse(readFileSync(join(root, COSTS), 'utf8')) as Record<string, Cost>

/** Add what was measured; files that are short, or gone, are left out. */
export function writeCosts(root: string, measured: Record<string, Cost>, paths: readonly string[]): void {
  const costs = { ...readCosts(root), ...measured }
  const kept = paths.filter((path) => (costs[path]?.seconds ?? 0) >= KEPT_FROM_SECONDS).sort()
  const lines = kept.map((path) => {
    const { seconds, cores } = costs[path]!
    return `  ${JSON.stringify(path)}: {"seconds": ${seconds.toFixed(1)}, "cores": ${cores.toFixed(2)}}`
  })
  writeFileSync(join(root, COSTS), `{\n${lines.join(',\n')}\n}\n`)
}

/** One that is not known computes: a test of the core is over soon and takes a whole processor. */
export const costOf = (
  path: string, costs: Record<string, Cost>, lastRuns: Record<string, LastRun>,
): Cost => costs[path] ?? { seconds: lastRuns[path]?.seconds ?? 0, cores: 1 }

/** Seconds in which a processor of this machine was busy, since it started. */
export function busySeconds(): number {
  const [, user, nice, system, , , irq, softirq] = readFileSync('/proc/stat', 'latin1').split(/\s+/, 9).map(Number)
  return (user! + nice! + system! + irq! + softirq!) / 100
}
