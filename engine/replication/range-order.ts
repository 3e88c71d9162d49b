/**
 * The order of the requests of one attachment (SPEC.md S5): overlapping ones go out one after the other in order of
 * arrival, whichever connection they came on; two reads do not wait for each other. A request that waits holds back
 * the later ones that overlap it, so nobody is overtaken. Plain data; entering is linear in the requests that are under
 * way, leaving costs a search while nobody waits.
 */
import { assert } from '../assert.ts'

interface OrderedRange {
  arrival: number
  first: number
  end: number
  writes: boolean
  /** How many earlier ones must end first. */
  blockers: number
}

export interface RangeOrder {
  /** In order of arrival. */
  ranges: OrderedRange[]
  /** Of all ranges. */
  blockers: number
}

export const emptyOrder = (): RangeOrder => ({ ranges: [], blockers: 0 })

/** Enter blocks `first .. end - 1`, behind all that are in. True when nothing is in front. */
export function enterRange(
  order: RangeOrder,
  arrival: number,
  { first, end, writes }: { first: number; end: number; writes: boolean },
): boolean {
  const { ranges } = order
  let blockers = 0
  for (let i = 0; i < ranges.length; i++) {
    const other = ranges[i]!
    if (other.first < end && first < other.end && (writes || other.writes)) blockers++
  }
  ranges.push({ arrival, first, end, writes, blockers })
  order.blockers += blockers
  return blockers === 0
}

/** Let go, whether it waited or went out; those that wait for nothing any more are told in order of arrival. */
export function leaveRange(order: RangeOrder, arrival: number, free: (arrival: number) => void): void {
  const { ranges } = order
  const at = placeOf(ranges, arrival)
  const left = ranges[at]
  assert(left?.arrival === arrival, 'a range leaves once')
  // Most leave in order, and `splice` makes an array of what it takes out.
  if (at === 0) ranges.shift()
  else ranges.splice(at, 1)
  order.blockers -= left.blockers
  for (let i = at; order.blockers > 0 && i < ranges.length; i++) {
    const range = ranges[i]!
    if (range.first >= left.end || left.first >= range.end || !(left.writes || range.writes)) continue
    order.blockers--
    if (--range.blockers === 0) free(range.arrival)
  }
}

export function rangeOf({ ranges }: RangeOrder, arrival: number): OrderedRange | undefined {
  const range = ranges[placeOf(ranges, arrival)]
  return range?.arrival === arrival ? range : undefined
}

/** Where the first one is that arrived then or later. */
function placeOf(ranges: readonly OrderedRange[], arrival: number): number {
  let low = 0
  let high = ranges.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (ranges[middle]!.arrival < arrival) low = middle + 1
    else high = middle
  }
  return low
}
