/** Amounts as the sentences of the control plane say them. */
import { GIB, MIB } from '../units.ts'

export function bytes(count: number): string {
  if (count >= 1024 * GIB) return `${(count / (1024 * GIB)).toFixed(1)} TiB`
  if (count >= GIB) return `${(count / GIB).toFixed(1)} GiB`
  return count >= MIB ? `${(count / MIB).toFixed(0)} MiB` : `${Math.ceil(count / 1024)} KiB`
}

export function seconds(ms: number): string {
  const whole = Math.max(0, Math.round(ms / 1000))
  return whole < 120 ? `${whole} s` : `${Math.round(whole / 60)} min`
}

export const percent = (share: number): string => `${Math.round(share * 100)} %`

/** The first few of many names. */
export function someOf(names: readonly string[], most = 3): string {
  const shown = names.slice(0, most).join(', ')
  return names.length > most ? `${shown} and ${names.length - most} more` : shown
}
