/**
 * What many seeds add up to: plain numbers, so that parts of a run come from other processes and from a file.
 */
import type { SeedResult } from './run-seed.ts'

export interface FoundViolation {
  seed: number
  checker: string
  message: string
}

export interface RunTotals {
  seeds: number
  /** Of these ended early, because no member of the set had everything any more (atlas.ts). */
  beyond: number
  /** Seeds at whose end blocks were damaged, and how many blocks. */
  patterns: number
  damagedAtEnd: number
  lostAtEnd: number
  operations: number
  acknowledgedWrites: number
  virtualMs: number
  cpuSeconds: number
  /** Faults and actions of the operator, by kind. */
  kinds: Record<string, number>
  /** The first one of each seed that has any. */
  violations: FoundViolation[]
}

export const noTotals = (): RunTotals => ({
  seeds: 0,
  beyond: 0,
  patterns: 0,
  damagedAtEnd: 0,
  lostAtEnd: 0,
  operations: 0,
  acknowledgedWrites: 0,
  virtualMs: 0,
  cpuSeconds: 0,
  kinds: {},
  violations: [],
})

export function addSeed(totals: RunTotals, result: SeedResult): void {
  const { seed, operations, acknowledgedWrites, virtualMs, planned, violations } = result
  totals.seeds++
  if (result.isBeyond) totals.beyond++
  if (result.damagedAtEnd > 0) totals.patterns++
  totals.damagedAtEnd += result.damagedAtEnd
  totals.lostAtEnd += result.lostAtEnd
  totals.operations += operations
  totals.acknowledgedWrites += acknowledgedWrites
  totals.virtualMs += virtualMs
  for (const { kind } of planned) totals.kinds[kind] = (totals.kinds[kind] ?? 0) + 1
  const [first] = violations
  if (first !== undefined) totals.violations.push({ seed, checker: first.checker, message: first.message })
}

export function addTotals(totals: RunTotals, more: RunTotals): void {
  totals.seeds += more.seeds
  totals.beyond += more.beyond
  totals.patterns += more.patterns
  totals.damagedAtEnd += more.damagedAtEnd
  totals.lostAtEnd += more.lostAtEnd
  totals.operations += more.operations
  totals.acknowledgedWrites += more.acknowledgedWrites
  totals.virtualMs += more.virtualMs
  totals.cpuSeconds += more.cpuSeconds
  for (const [kind, count] of Object.entries(more.kinds)) totals.kinds[kind] = (totals.kinds[kind] ?? 0) + count
  totals.violations = [...totals.violations, ...more.violations].sort((a, b) => a.seed - b.seed)
}

/** Name and value of each line of a summary. */
export function summaryOf(totals: RunTotals): Array<[name: string, value: string]> {
  const {
    seeds, beyond, patterns, damagedAtEnd, lostAtEnd,
    operations, acknowledgedWrites, virtualMs, cpuSeconds,
  } = totals
  const { kinds, violations } = totals
  const sorted = Object.entries(kinds).sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
  const faults = sorted.reduce((sum, [, count]) => sum + count, 0)
  const byChecker = new Map<string, number>()
  for (const { checker } of violations) byChecker.set(checker, (byChecker.get(checker) ?? 0) + 1)
  const checkers = [...byChecker].map(([checker, count]) => `${checker} ${count}`)
  const perSecond = Math.round(operations / Math.max(cpuSeconds, 0.001))
  const perHundred = operations === 0 ? 0 : (100 * faults) / operations
  return [
    ['seeds', grouped(seeds)],
    ['ended early', `${grouped(beyond)}, when the last member that had everything left the set`],
    ['client operations', grouped(operations)],
    ['acknowledged writes', grouped(acknowledgedWrites)],
    ['faults and actions', `${grouped(faults)}, ${perHundred.toFixed(1)} for each 100 operations`],
    ['by kind', sorted.map(([kind, count]) => `${kind} ${grouped(count)}`).join(', ')],
    ['damaged at the end', `${grouped(damagedAtEnd)} blocks in ${grouped(patterns)} patterns, then all are scrubbed`],
    ['lost at the end', `${grouped(lostAtEnd)} blocks, on every copy, and healed`],
    ['simulated hours', (virtualMs / 3.6e6).toFixed(2)],
    ['CPU seconds', `${cpuSeconds.toFixed(1)} (${perSecond} operations each)`],
    ['violations', [String(violations.length), ...checkers].join(', ')],
  ]
}

const grouped = (count: number): string => String(count).replace(/\B(?=(\d{3})+$)/g, ',')
