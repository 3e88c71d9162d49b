/** What a run says of itself, as a table of docs/proof.md, and what a long one was asked for and did not reach. */
import { ROW_LEAST } from './fault.ts'
import type { Row } from './fault.ts'
import type { NemesisReport } from './nemesis.ts'

/** A run of so many minutes is held against the numbers below. */
const LONG_MINUTES = 30
const LONG_WRITES = 1_000_000
const FAULT_EVERY_S = 15
/** Of the fault matrix; docs/proof.md says where the others are done. */
const LISTED_ROWS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 19, 20, 21, 22, 23, 25, 27, 30]

const withCommas = (count: number): string => count.toLocaleString('en-US')

export function summaryOf(report: NemesisReport): string[] {
  const { faults, missing, writes, reads, cpuMs, heldMs, longestHeldMs, violations, seconds } = report
  const count = faultsOf(report)
  const place = (row: Row): number => (typeof row === 'number' ? row : Infinity)
  const rows = [...faults].sort(([a], [b]) => (place(a) === place(b) ? (a < b ? -1 : 1) : place(a) - place(b)))
  const perRow = rows.map(([row, times]) => `${row} (${times})`).join(', ')
  const perSecond = `${withCommas(Math.round(writes / seconds))} a second`
  const perWrite = `${Math.round((cpuMs * 1000) / Math.max(1, writes))} us of CPU each`
  const lines: Array<[string, string]> = [
    ['faults', `${count} in ${Math.round(seconds)} s, one every ${(seconds / Math.max(1, count)).toFixed(1)} s`],
    ['by row of the matrix', perRow],
    ['acknowledged writes', `${withCommas(writes)}, ${perSecond}, and ${withCommas(reads)} reads`],
    ['clients and network of the test', `${perWrite} (all of it, by acknowledged writes)`],
    ['held', `${(heldMs / 1000).toFixed(1)} s over all volumes, ${(longestHeldMs / 1000).toFixed(1)} s at most`],
    ['violations', String(violations.length)],
    ...missing.map(({ row, name, why }): [string, string] => [`not done: ${row}, ${name}`, why]),
  ]
  return ['| | |', '|---|---|', ...lines.map(([name, value]) => `| ${name} | ${value} |`)]
}

/** What a run of this length was asked for and is not in its report; nothing is asked of short ones. */
export function shortfallsOf(report: NemesisReport, minutes: number): string[] {
  if (minutes < LONG_MINUTES) return []
  const { faults, writes, seconds, violations } = report
  const found: string[] = []
  const few = LISTED_ROWS.filter((row) => (faults.get(row) ?? 0) < ROW_LEAST)
  if (few.length > 0) {
    const counts = few.map((row) => `${row} (${faults.get(row) ?? 0})`).join(', ')
    found.push(`rows done fewer than ${ROW_LEAST} times: ${counts}`)
  }
  if (seconds > FAULT_EVERY_S * faultsOf(report)) found.push(`fewer faults than one every ${FAULT_EVERY_S} s`)
  if (writes < LONG_WRITES) found.push(`fewer acknowledged writes than ${withCommas(LONG_WRITES)}`)
  if (violations.length > 0) found.push('violations')
  return found
}

const faultsOf = ({ faults }: NemesisReport): number => [...faults.values()].reduce((sum, one) => sum + one, 0)
