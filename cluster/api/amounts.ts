/**
 * Amounts as people type and read them. Sizes: `10Gi` = 10 x 2^30, `10G` = 10 x 10^9, a bare number = bytes (the
 * suffixes of Kubernetes quantities). Durations: `250ms`, `30s`, `10m`, `2h`. Parsing is exact: a value that is no
 * whole number of the unit, or beyond 2^53, is undefined.
 */
const SIZE_UNITS: Record<string, bigint> = {
  '': 1n,
  Ki: 1n << 10n, Mi: 1n << 20n, Gi: 1n << 30n, Ti: 1n << 40n, Pi: 1n << 50n,
  k: 10n ** 3n, M: 10n ** 6n, G: 10n ** 9n, T: 10n ** 12n, P: 10n ** 15n,
}
const DURATION_UNITS_MS: Record<string, bigint> = { ms: 1n, s: 1000n, m: 60_000n, h: 3_600_000n }

/** `1.5Gi` is exact: the decimal part is divided out, and a remainder refuses it. */
function parseAmount(text: string, units: Record<string, bigint>): number | undefined {
  const match = /^(\d{1,20})(?:\.(\d{1,9}))?([A-Za-z]*)$/.exec(text)
  if (match === null) return undefined
  const [, whole = '', fraction = '', suffix = ''] = match
  if (!Object.hasOwn(units, suffix)) return undefined
  const scaled = BigInt(whole + fraction) * units[suffix]!
  const divisor = 10n ** BigInt(fraction.length)
  if (scaled % divisor !== 0n) return undefined
  const amount = scaled / divisor
  return amount > BigInt(Number.MAX_SAFE_INTEGER) ? undefined : Number(amount)
}

/** Bytes, or undefined when the text is no size. `B` may follow (`GiB`, `GB`). */
export function parseSize(text: string): number | undefined {
  return parseAmount(text.replace(/(?<=[A-Za-z0-9])B$/, ''), SIZE_UNITS)
}

/** Milliseconds; `0` needs no unit. */
export function parseDurationMs(text: string): number | undefined {
  return text === '0' ? 0 : parseAmount(text, DURATION_UNITS_MS)
}

const STEPS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

/** For tables: `1.5 GiB`, at most four digits. */
export function formatSize(bytes: number): string {
  let value = bytes
  let step = 0
  while (value >= 1024 && step < STEPS.length - 1) {
    value /= 1024
    step++
  }
  const digits = step === 0 || Number.isInteger(value) ? 0 : value < 10 ? 2 : value < 100 ? 1 : 0
  return `${value.toFixed(digits)} ${STEPS[step]}`
}

/** The form `parseSize` reads back exactly. */
export function exactSize(bytes: number): string {
  for (const suffix of ['Ti', 'Gi', 'Mi', 'Ki']) {
    const unit = Number(SIZE_UNITS[suffix])
    if (bytes > 0 && bytes % unit === 0) return `${bytes / unit}${suffix}`
  }
  return String(bytes)
}

/** How long ago, roughly: `45s`, `12m`, `5h`, `3d`. */
export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  if (seconds < 120) return `${seconds}s`
  if (seconds < 2 * 3600) return `${Math.floor(seconds / 60)}m`
  return seconds < 2 * 86_400 ? `${Math.floor(seconds / 3600)}h` : `${Math.floor(seconds / 86_400)}d`
}

/** E.g. `2026-11-30 05:45:47`, UTC. */
export const formatTime = (ms: number): string => new Date(ms).toISOString().slice(0, 19).replace('T', ' ')

export function formatDuration(ms: number): string {
  const units = Object.entries(DURATION_UNITS_MS).reverse()
  for (const [suffix, unit] of units) if (ms > 0 && BigInt(ms) % unit === 0n) return `${BigInt(ms) / unit}${suffix}`
  return '0'
}
