/**
 * Time in the model: it is always NOW_MS, and all times in a copy's memory are moved into the past instead. A time that
 * is only compared with now says no more than that it is over; one that an age is taken of is cut at the greatest age
 * that is compared with. So there are few times, and no last one.
 */
import type { CopyState } from '../../engine/replication/copy.ts'
import { NOW_MS, UNIT_MS } from './bounds.ts'

/** How far back it still makes a difference, in units. With two copies nobody waits for his rank. */
const OLDEST_UNITS: Record<string, number> = {
  untilMs: 0,
  wakeAtMs: 0,
  againAtMs: 0,
  greetAtMs: 0,
  boundUntilMs: 1,
  goneAtMs: 1,
  startedAtMs: 2,
  sentAtMs: 1,
  askedAtMs: 1,
  rewoundAtMs: 1,
  heardAtMs: 1,
  owedSinceMs: 2,
  progressAtMs: 2,
}
/** How long something took is no time. It counts as forgotten, so that all is sent again at the earliest. */
const DURATIONS = new Set(['answerMs', 'waitedMs'])
/** Of any other: more than all timeouts together that are added up anywhere. */
const OLDEST_OTHER_UNITS = 3

export function moveTimes(memory: CopyState | undefined, byMs: number): void {
  if (memory !== undefined) move(memory as unknown as Record<string, unknown>, byMs)
}

function move(holder: Record<string, unknown>, byMs: number): void {
  for (const key of Object.keys(holder)) {
    const value = holder[key]
    if (DURATIONS.has(key)) holder[key] = 0
    else if (key.endsWith('Ms')) {
      if (typeof value === 'number') holder[key] = moved(key, value, byMs)
    } else if (typeof value === 'object' && value !== null) {
      if (value instanceof Map) {
        for (const one of value.values()) if (typeof one === 'object' && one !== null) move(one as never, byMs)
      } else if (key !== 'options' && key !== 'records') move(value as never, byMs)
    }
  }
}

function moved(key: string, atMs: number, byMs: number): number {
  if (atMs === Infinity) return atMs
  const oldestMs = NOW_MS - (OLDEST_UNITS[key] ?? OLDEST_OTHER_UNITS) * UNIT_MS
  // Between two places of time nothing happens: what is due there is due at the later one.
  const unitMs = Math.ceil((atMs - byMs) / UNIT_MS) * UNIT_MS
  return unitMs < oldestMs ? oldestMs : unitMs
}
