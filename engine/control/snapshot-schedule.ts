/**
 * Snapshots that are made by themselves (cluster/reconcile/SNAPSHOTS.md section 6): at which times, and whether one is
 * missing now. Times are whole multiples of the period since 1970, UTC, so everybody who decides has the same ones.
 */
import type { RetentionRule } from './retention.ts'

export interface SnapshotSchedule {
  everyMs: number
  /** Of those that were made by the schedule; all others go. */
  keep: RetentionRule
}

/** Of a snapshot that a schedule made, and of no other (T9): its time. */
export const SCHEDULED_LABEL = 'holdfast.io/scheduled-at-ms'

/** When it was to be made; undefined: no schedule made it. */
export function scheduledAtMs(labels: Readonly<Record<string, string>>): number | undefined {
  const text = labels[SCHEDULED_LABEL]
  return text !== undefined && /^[0-9]{1,15}$/.test(text) ? Number(text) : undefined
}

/** The newest time. */
export const timeBefore = ({ everyMs }: SnapshotSchedule, nowMs: number): number => nowMs - (nowMs % everyMs)

/**
 * T11. @param madeMs  times of which there are some, the newest of each who knows
 * @returns the time of which one is missing; undefined: none is. Older ones are never made up for
 */
export function missingTime(schedule: SnapshotSchedule, madeMs: readonly number[], nowMs: number): number | undefined {
  const timeMs = timeBefore(schedule, nowMs)
  // One of a time that is yet to come was made by a clock that was ahead.
  return madeMs.some((ms) => ms >= timeMs && ms <= nowMs) ? undefined : timeMs
}
