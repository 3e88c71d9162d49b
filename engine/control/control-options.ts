/**
 * The numbers of the control plane (SPEC.md), with the values they have unless somebody knows better.
 */
import { assert } from '../assert.ts'

export interface ControlOptions {
  /** Silence of a node that is told to whoever looks, and decides nothing (N7). */
  quietAfterMs: number
  /** The others do not hear a primary that was silent for so much longer than they (N6). */
  missedAfterMs: number
  /** Silence of a node's heartbeat. */
  suspectAfterMs: number
  downAfterMs: number
  /** A node that came back takes new copies only after so long. */
  steadyAfterMs: number
  /** What a node said counts for taking a copy away for so long. */
  freshMs: number
  /** A copy that is away is given so long before it is replaced, unless its volume is at risk. */
  replaceAfterMs: number
  /** A node that was chosen for a new volume and does not answer is replaced after so long. */
  createWaitMs: number
  /** A target of a rebuild that is away or out holds its place in the budget for so long. */
  lingerMs: number
  /** An action is not given out again for so long, unless its volume changed. */
  retryMs: number
  /** Copies that are filled at a time: in the cluster, and with one node as target or as source. */
  rebuildsMax: number
  rebuildsPerNode: number
  /** Clones that get blocks of their own without being asked for at a time, in the cluster (SPEC.md section 14). */
  hydrationsMax: number
  /** Levels of origins that a copy reads, and clones that share with one, from which on that begins. */
  hydrateLevels: number
  hydrateReaders: number
  /** Sizes of copies over capacity. */
  overCommit: number
  /** Of the matching disks' capacity; no copy is placed where less would be free. */
  lowSpaceShare: number
  /** Apart in fullness before a copy is moved, and still to be apart afterwards. Shares of 1. */
  rebalanceGap: number
  rebalanceMargin: number
}

export const CONTROL_DEFAULTS: ControlOptions = {
  quietAfterMs: 3_000,
  missedAfterMs: 2_000,
  suspectAfterMs: 5_000,
  downAfterMs: 10_000,
  steadyAfterMs: 30_000,
  freshMs: 5_000,
  replaceAfterMs: 300_000,
  createWaitMs: 10_000,
  lingerMs: 30_000,
  retryMs: 5_000,
  rebuildsMax: 16,
  rebuildsPerNode: 2,
  hydrationsMax: 16,
  hydrateLevels: 5,
  hydrateReaders: 960,
  overCommit: 2,
  lowSpaceShare: 0.1,
  rebalanceGap: 0.2,
  rebalanceMargin: 0.05,
}

/** The table of rebuilds is one value of the cluster store. */
export const REBUILDS_MOST = 256

export function assertOptions(options: ControlOptions): void {
  assert(options.quietAfterMs <= options.suspectAfterMs, 'a node is quiet before it is suspect')
  assert(options.suspectAfterMs < options.downAfterMs, 'a node is suspect before it is down')
  assert(options.rebuildsMax >= 1 && options.rebuildsMax <= REBUILDS_MOST, 'the table of rebuilds fits one value')
  assert(options.rebuildsPerNode >= 1 && options.overCommit > 0, 'something may be placed')
  assert(options.rebalanceMargin > 0 && options.rebalanceGap > options.rebalanceMargin, 'a gap wider than its margin')
}
