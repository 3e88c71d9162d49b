/**
 * Seeds about what was true when it was said and reaches somebody when it is not any more: how to be filled, what is
 * committed, who is a member, what was refused, a record for a disk that is gone, an index of what another disk lost.
 * The faults (stale-faults.ts) hold it up; here is how busy and how quick it is around them. Drawn apart, for one of
 * twenty seeds: what the others are like does not change.
 */
import type { Random } from '../random.ts'
import { impatient } from './closer-focus.ts'
import { drawnApart, spread } from './focus.ts'
import type { Focus } from './focus.ts'
import type { Swarm } from './swarm.ts'
import { onSmallDisks } from './volume-focus.ts'

const FOCI: readonly Focus[] = [
  staleFills,
  staleCommits,
  staleReads,
  staleRecords,
  staleIndexes,
]

export const setStale = (swarm: Swarm): Swarm | undefined => drawnApart(swarm, 'too late', 1 / 20, FOCI)

/** Who is let go learns that more is committed, and then how it is to be filled. */
function staleFills(swarm: Swarm, random: Random): Partial<Swarm> {
  const beaconMs = Math.min(swarm.beaconMs, 20)
  const quick = impatient({ ...swarm, beaconMs })
  const { graceMs, evictAfterMs } = quick
  const { leaseMs, attachMode, network } = swarm
  const faultsUntilMs = 60 * (graceMs + evictAfterMs)
  return {
    ...quick,
    beaconMs,
    copies: random.pick([2, 2, 3]),
    minInSync: 1,
    spares: 0,
    slices: 1,
    blocksPerSlice: random.pick([4, 16]),
    retryMs: Math.max(swarm.retryMs, 4 * (beaconMs + network.delayMs[1])),
    weights: { read: 0.5, write: 8, trim: random.pick([0, 1]), zero: 0, flush: 0.1, narrow: 0 },
    ...spread({ faultsUntilMs, attachMode }, 600, 16, swarm.clients),
    faultsUntilMs,
    faults: ['late-fill', 'late-fill', 'late-fill', 'stuck-way'],
    actions: ['hand-over', 'evict'],
    durationsMs: [beaconMs, leaseMs],
    faultEveryMs: faultsUntilMs / 20,
    actionEveryMs: faultsUntilMs / 10,
    aimedShare: 0.3,
    aimsAt: ['set-shrank', 'join', 'fill-start'],
  }
}

/** Who is out of the set, and knows how far the others are, is forced to lead; what they were told is refused. */
export function staleCommits(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { leaseMs, beaconMs, attachMode } = swarm
  const faultsUntilMs = 80 * (graceMs + evictAfterMs)
  return {
    ...quick,
    copies: random.pick([2, 3, 3]),
    minInSync: 1,
    spares: 0,
    slices: 1,
    blocksPerSlice: random.pick([2, 16]),
    fillBytesMax: 131_072,
    windowRecordsMax: 4096,
    windowBytesMax: 1 << 20,
    beyondRate: random.pick([0.1, 0.5]),
    weights: { read: 0.5, write: 8, trim: random.pick([0, 1]), zero: 0, flush: 0.1, narrow: 0 },
    ...spread({ faultsUntilMs, attachMode }, 800, 16, swarm.clients),
    faultsUntilMs,
    faults: ['outsider'],
    actions: ['resize', 'hand-over'],
    durationsMs: [beaconMs, leaseMs],
    faultEveryMs: faultsUntilMs / 6,
    actionEveryMs: faultsUntilMs / 6,
    aimedShare: 0,
    aimsAt: [],
  }
}

/** Copies are erased and made anew, and the cluster store is slow: what it says is from before they were named. */
export function staleReads(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { leaseMs, beaconMs, attachMode, store } = swarm
  const faultsUntilMs = 40 * (graceMs + evictAfterMs)
  const slowMs = Math.min(graceMs / 2, 60)
  return {
    ...quick,
    copies: random.pick([2, 2, 3]),
    minInSync: 1,
    spares: random.pick([0, 1]),
    isErasing: true,
    blocksPerSlice: random.pick([4, 16]),
    store: {
      ...store,
      delayMs: [slowMs / 4, slowMs],
      timeoutMs: slowMs * 4,
      requestLossRate: random.pick([0, 0.02]),
      answerLossRate: random.pick([0, 0.02]),
      hintLossRate: random.pick([0, 0, 0.1]),
      hintDelayMs: [0.1, 1],
    },
    weights: { read: 1, write: 6, trim: 0, zero: 0, flush: 0.1, narrow: 0 },
    ...spread({ faultsUntilMs, attachMode }, 400, 8, swarm.clients),
    faultsUntilMs,
    faults: ['crash', 'stuck-way', 'slow-way', 'cut-way'],
    actions: ['renew-copy', 'renew-copy', 'renew-copy', 'evict', 'hand-over'],
    durationsMs: [beaconMs, leaseMs, graceMs],
    faultEveryMs: faultsUntilMs / 10,
    actionEveryMs: faultsUntilMs / 20,
    aimedShare: 0.3,
    aimsAt: ['set-grew', 'set-shrank', 'new-epoch', 'append'],
  }
}

/** A machine is back at once without one of its disks, and its primary hears of it late. */
function staleRecords(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { leaseMs, beaconMs, attachMode } = swarm
  const faultsUntilMs = 60 * (graceMs + evictAfterMs)
  return {
    ...quick,
    copies: random.pick([2, 3]),
    minInSync: 1,
    spares: 0,
    disks: 2,
    slices: 3,
    supervisorReports: false,
    weights: { read: 1, write: 8, trim: random.pick([0, 1]), zero: 0, flush: 0.1, narrow: 0 },
    ...spread({ faultsUntilMs, attachMode }, 400, random.pick([1, 4]), swarm.clients),
    faultsUntilMs,
    faults: ['late-loss'],
    actions: ['hand-over', 'evict'],
    durationsMs: [beaconMs, leaseMs, graceMs + evictAfterMs],
    faultEveryMs: faultsUntilMs / 10,
    actionEveryMs: faultsUntilMs / 10,
    aimedShare: 0,
    aimsAt: [],
  }
}

/** Disks fail with what was answered and not synced, while the others of the machine save what came behind it. */
export function staleIndexes(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { attachMode } = swarm
  const faultsUntilMs = 60 * (graceMs + evictAfterMs)
  const drawn: Swarm = {
    ...swarm,
    ...quick,
    copies: random.pick([1, 1, 2]),
    minInSync: 1,
    spares: 0,
    disks: random.pick([2, 3]),
    slices: 3,
    mode: 'writeback',
    weights: { read: 2, write: 8, trim: 0, zero: 0, flush: 0, narrow: 0 },
    fuaRate: 0,
    ...spread({ faultsUntilMs, attachMode }, 600, 16, swarm.clients),
    faultsUntilMs,
    faults: ['sync-error'],
    actions: ['snapshot-delete'],
    durationsMs: [graceMs, 4 * graceMs],
    faultEveryMs: faultsUntilMs / 8,
    actionEveryMs: faultsUntilMs / 4,
    aimedShare: 0,
    aimsAt: [],
  }
  return onSmallDisks(drawn)
}
