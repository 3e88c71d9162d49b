/**
 * What the regression guard decides: is an operation dearer than when it was accepted, by more than the noise of both
 * runs explains? Costs are in units of a fixed piece of work done beside each of them (fixed-work.ts), so that a slower
 * or busier machine makes both dearer. Pure.
 */
import { spread } from '../volume/ratio.ts'

/** Case -> its cost in each round; each round is one start of all daemons. */
export type Costs = Readonly<Record<string, readonly number[]>>

/** Where figures can be compared: on another processor an operation costs another number of pieces of work. */
export interface Place {
  processor: string
  node: string
}

export interface Accepted extends Place {
  commit: string
  costs: Costs
}

export interface Verdict {
  name: string
  before: number
  now: number
  /** `now` may be so much. */
  bound: number
  isWorse: boolean
}

/** Of standard errors: by chance alone one comparison in 700 is beyond it. */
const ERRORS_MOST = 3
/**
 * Rounds of one run share a moment, a kernel and a compile cache; two runs do not. By this much medians of two runs may
 * differ that the rounds within each agree on.
 */
export const LEAST_MARGIN = 0.05
/** Mean range of n normal values, in standard deviations. */
const RANGE_IN_DEVIATIONS = [NaN, NaN, 1.128, 1.693, 2.059, 2.326, 2.534, 2.704, 2.847, 2.97, 3.078]
/** Standard error of a median to that of a mean. */
const MEDIAN_TO_MEAN = 1.2533
export const ROUNDS_LEAST = 3
export const ROUNDS_MOST = RANGE_IN_DEVIATIONS.length - 1

/** Standard error of the median of a few rounds, by their range. */
export function errorOfMedian(costs: readonly number[]): number {
  const { least, most } = spread(costs)
  const deviation = (most - least) / RANGE_IN_DEVIATIONS[costs.length]!
  return (MEDIAN_TO_MEAN * deviation) / Math.sqrt(costs.length)
}

/** Of the cases that both have. */
export function verdicts(before: Costs, now: Costs): Verdict[] {
  return Object.keys(now).filter((name) => before[name] !== undefined).map((name) => {
    const [was, is] = [before[name]!, now[name]!]
    const [wasMedian, isMedian] = [spread(was).median, spread(is).median]
    const noise = ERRORS_MOST * Math.hypot(errorOfMedian(was), errorOfMedian(is))
    const bound = wasMedian + Math.max(LEAST_MARGIN * wasMedian, noise)
    return { name, before: wasMedian, now: isMedian, bound, isWorse: isMedian > bound }
  })
}

/** Why the two say nothing about each other, in a sentence; undefined: they do. */
export function whyNotCompared(accepted: Accepted | undefined, here: Place, now: Costs): string | undefined {
  const remedy = '`npm run bench -- --guard --accept` on the commit to compare with writes new ones'
  if (accepted === undefined) return `nothing was accepted yet; ${remedy}`
  for (const what of ['processor', 'node'] as const) {
    if (accepted[what] === here[what]) continue
    return `what was accepted is of another ${what} (${accepted[what]}, here ${here[what]}); ${remedy}`
  }
  const missing = [
    ...Object.keys(accepted.costs).filter((name) => now[name] === undefined),
    ...Object.keys(now).filter((name) => accepted.costs[name] === undefined),
  ]
  if (missing.length > 0) return `only one of the two runs has ${missing.join(', ')}; ${remedy}`
  return undefined
}

export function sentence({ name, before, now, bound, isWorse }: Verdict): string {
  const [was, is, most] = [before, now, bound].map((value) => value.toFixed(2))
  const change = `${now >= before ? '+' : ''}${((now / before - 1) * 100).toFixed(1)} %`
  return `${name} ${isWorse ? 'costs more than accepted' : 'is within bounds'}: ` +
    `${was} pieces of work an operation before, ${is} now (${change}), bound ${most}`
}
