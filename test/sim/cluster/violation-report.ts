/**
 * What is printed of a violation: seed, commit, the one command that shows it again, and what happened just before it.
 * The whole trace goes to a file in a folder of its own under the system's temporary one.
 */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { SeedOptions } from './run-seed.ts'
import type { FoundViolation } from './run-totals.ts'

/** So much of the trace is printed. */
export const TRACE_LINES = 40

/** The command for it, as it is typed. */
export function replayOf({ seed, store = 'memory', only, operations }: SeedOptions): string {
  const words = ['npm run sim -- --seed', seed]
  if (only !== undefined) words.push('--only', only.join() || '-')
  if (operations !== undefined) words.push('--operations', operations)
  words.push('--trace')
  if (store === 'memory') words.push('--store memory')
  return words.join(' ')
}

/** What was seen, of which text, and how it is seen again. */
export function violationLines(
  { seed, checker, message }: FoundViolation,
  commit: string,
  store: NonNullable<SeedOptions['store']>,
): string[] {
  return [`seed ${seed} at commit ${commit}: ${checker}: ${message}`, `  repeat with: ${replayOf({ seed, store })}`]
}

/** The lines of a trace that end with its first violation, and where all of it is. */
export function traceLines(seed: number, trace: string): string[] {
  const file = join(mkdtempSync(join(tmpdir(), 'holdfast-sim-')), `seed-${seed}.txt`)
  writeFileSync(file, `${trace}\n`)
  const lines = trace.split('\n')
  const first = lines.findIndex((line) => / VIOLATION /.test(line))
  const last = lines.slice(0, first < 0 ? lines.length : first + 1).slice(-TRACE_LINES)
  return [`  ${last.length} of the ${lines.length} lines of its trace, all of them in ${file}:`, ...last]
}
