/**
 * Schedules of snapshots as people type and read them: `every 1h keep-last 24 keep-daily 7`. The rules are those of
 * `snapshot prune`; there is no schedule that keeps everything, since snapshots of a volume have an end.
 */
import { HoldfastError } from '../../engine/errors.ts'
import type { Period, RetentionRule } from '../../engine/control/retention.ts'
import type { SnapshotSchedule } from '../../engine/control/snapshot-schedule.ts'
import { formatDuration, parseDurationMs } from './amounts.ts'
import { shown } from './names.ts'

const EVERY_MS_LEAST = 60_000
const EVERY_MS_MOST = 366 * 24 * 3_600_000
/** A volume has room for about 12,000 descriptions of snapshots, those of hands among them. */
const KEPT_MOST = 1000
const RULES: ReadonlyArray<'last' | Period> = ['last', 'hourly', 'daily', 'weekly']

function refuse(text: string, allowed: string): never {
  throw new HoldfastError('parameter', { parameter: 'snapshot-schedule', value: shown(text), allowed })
}

/**
 * @param text  empty or `none`: no schedule
 * @throws HoldfastError `parameter`
 */
export function checkSchedule(text: string): SnapshotSchedule | undefined {
  const words = text.trim().split(/\s+/)
  if (text.trim() === '' || text.trim() === 'none') return undefined
  const example = 'none, or e.g. `every 1h keep-last 24 keep-daily 7`'
  if (words[0] !== 'every' || words.length % 2 !== 0) return refuse(text, example)
  const everyMs = parseDurationMs(words[1] ?? '') ?? 0
  if (everyMs < EVERY_MS_LEAST || everyMs > EVERY_MS_MOST) refuse(text, 'every 1m to 8784h, e.g. `every 1h`')
  const keep: RetentionRule = { last: 0, hourly: 0, daily: 0, weekly: 0 }
  for (let at = 2; at < words.length; at += 2) {
    const rule = RULES.find((one) => words[at] === `keep-${one}`)
    const isCount = /^[0-9]{1,4}$/.test(words[at + 1]!)
    if (rule === undefined || !isCount || keep[rule] > 0) {
      return refuse(text, `behind it keep-last N, keep-hourly N, keep-daily N or keep-weekly N, each once`)
    }
    keep[rule] = Number(words[at + 1])
  }
  const kept = Object.values(keep).reduce((sum, count) => sum + count, 0)
  if (kept < 1 || kept > KEPT_MOST) refuse(text, `to keep 1 to ${KEPT_MOST} in all: ${example}`)
  return { everyMs, keep }
}

/** The form that is read back; empty: none. */
export function scheduleText(schedule: SnapshotSchedule | undefined): string {
  if (schedule === undefined) return ''
  const { everyMs, keep } = schedule
  const rules = RULES.filter((rule) => keep[rule] > 0).map((rule) => ` keep-${rule} ${keep[rule]}`)
  return `every ${formatDuration(everyMs)}${rules.join('')}`
}
