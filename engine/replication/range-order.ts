/**
 * The order of the requests of one attachment (SPEC.md S5): overlapping ones go out one after the other in order of
 * arrival, whichever connection they came on; two reads do not wait for each other. A request that waits holds back
 * the later ones that overlap it, so nobody is overtaken. Plain data; linear in the requests that are under way.
 */
import { assert } from '../assert.ts'

interface OrderedRange {
  first: number
  end: number
  writes: boolean
  /** How many earlier ones must end first. */
  blockers: number
}

/** By number of arrival, in order of arrival. */
export type RangeOrder = Map<number, OrderedRange>

/** Enter blocks `first .. end - 1`, behind all that are in. True when nothing is in front. */
export function enterRange(
  order: RangeOrder,
  arrival: number,
  { first, end, writes }: { first: number; end: number; writes: boolean },
): boolean {
  let blockers = 0
  for (const other of order.values()) {
    if (other.first < end && first < other.end && (writes || other.writes)) blockers++
  }
  order.set(arrival, { first, end, writes, blockers })
  return blockers === 0
}

/** Let go, whether it waited or went out; those that wait for nothing any more are told in order of arrival. */
export function leaveRange(order: RangeOrder, arrival: number, free: (arrival: number) => void): void {
  const left = order.get(arrival)
  assert(left !== undefined, 'a range leaves once')
  order.delete(arrival)
  for (const [later, range] of order) {
    if (later < arrival || range.first >= left.end || left.first >= range.end) continue
    if ((left.writes || range.writes) && --range.blockers === 0) free(later)
  }
}
