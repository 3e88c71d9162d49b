/**
 * Which snapshots a rule of retention keeps: the newest so many, and of each of the newest so many hours, days and
 * weeks in which there are any, the newest one. Days begin at midnight UTC, weeks on Mondays. What is of no known time
 * is kept.
 */
import type { VolumeSnapshot } from './volume-snapshots.ts'

export const PERIODS_MS = { hourly: 3_600_000, daily: 86_400_000, weekly: 604_800_000 } as const
/** 1970 began on a Thursday. */
const MONDAY_MS = 4 * 86_400_000

export type Period = keyof typeof PERIODS_MS

/** How many of each; 0: none for that reason. */
export type RetentionRule = Record<'last' | Period, number>

type Kept = Pick<VolumeSnapshot, 'id' | 'seq' | 'createdAtMs'>

const periodOf = (period: Period, atMs: number): number =>
  Math.floor((period === 'weekly' ? atMs - MONDAY_MS : atMs) / PERIODS_MS[period])

/** @returns ids of those that are kept; all others may go */
export function retained(snapshots: readonly Kept[], rule: RetentionRule): Set<string> {
  const newestFirst = [...snapshots].sort((a, b) => b.seq - a.seq)
  const timed = newestFirst.filter(({ createdAtMs }) => createdAtMs > 0)
  const kept = new Set(newestFirst.filter(({ createdAtMs }) => createdAtMs === 0).map(({ id }) => id))
  for (const { id } of timed.slice(0, rule.last)) kept.add(id)
  for (const period of Object.keys(PERIODS_MS) as Period[]) {
    const seen = new Set<number>()
    for (const { id, createdAtMs } of timed) {
      const at = periodOf(period, createdAtMs)
      if (seen.has(at)) continue
      if (seen.size === rule[period]) break
      seen.add(at)
      kept.add(id)
    }
  }
  return kept
}
