/**
 * The times by which copies of one cluster live (SPEC sections 4 and 8), in milliseconds; the same on every node,
 * because a lease that one has is only as good as the grace that another keeps.
 */
import { assert } from '../../engine/assert.ts'

export interface CopyTiming {
  beaconMs: number
  leaseMs: number
  graceMs: number
  evictAfterMs: number
  retryMs: number
  candidateStepMs: number
}

export const DEFAULT_TIMING: CopyTiming = {
  beaconMs: 400,
  leaseMs: 2000,
  graceMs: 2200,
  evictAfterMs: 1000,
  retryMs: 100,
  candidateStepMs: 100,
}

/** L6; clocks of two nodes run within 1 % of real time each. */
export function assertTiming({ beaconMs, leaseMs, graceMs }: CopyTiming): void {
  assert(graceMs >= leaseMs * 1.02 + beaconMs / 4, 'a grace outlasts every lease it is owed for')
  assert(leaseMs >= 2 * beaconMs, 'a lease outlives the loss of a beacon')
}

assertTiming(DEFAULT_TIMING)
