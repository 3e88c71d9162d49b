/**
 * Statistics of repeated rounds. The machine drifts by a factor of two between minutes, so two servers are compared
 * only within a round, where they ran within seconds of each other: first the ratio, then the median of the ratios.
 */
export interface Spread {
  median: number
  least: number
  most: number
}

export function spread(values: readonly number[]): Spread {
  if (values.length === 0) return { median: NaN, least: NaN, most: NaN }
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
  return { median, least: sorted[0]!, most: sorted.at(-1)! }
}

/** Round by round; rounds that either side lacks count for nothing. */
export function ratios(ours: ReadonlyArray<number | undefined>, theirs: ReadonlyArray<number | undefined>): number[] {
  return ours.flatMap((value, round) => {
    const other = theirs[round]
    return value === undefined || other === undefined || other === 0 ? [] : [value / other]
  })
}
