/**
 * Seeds with a plot: one thing has to follow another, on the same node and in time, for the harm to be done. What
 * follows what is told by faults of several steps (plot-faults.ts); here is how busy, how quick and how lossy it is
 * around them. Drawn apart, for one of twelve seeds: what the others are like does not change.
 */
import type { Random } from '../random.ts'
import { impatient } from './closer-focus.ts'
import { drawnApart, spread } from './focus.ts'
import type { Focus } from './focus.ts'
import type { Swarm } from './swarm.ts'

const PLOTS: readonly Focus[] = [
  outsiders,
  lostHandOvers,
  loneWitnesses,
  rottenTails,
  lostFences,
  fullFills,
]

export const setPlot = (swarm: Swarm): Swarm | undefined => drawnApart(swarm, 'a story', 1 / 12, PLOTS)

/** Who is out of the set, or about to join it and behind, is forced to lead, and is handed on at once. */
function outsiders(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { leaseMs, beaconMs, attachMode } = swarm
  const faultsUntilMs = 60 * (graceMs + evictAfterMs)
  return {
    ...quick,
    copies: random.pick([2, 3, 3]),
    minInSync: 1,
    spares: 0,
    slices: 1,
    blocksPerSlice: random.pick([2, 16]),
    retryMs: Math.max(swarm.retryMs, leaseMs),
    fillBytesMax: 4096,
    windowRecordsMax: 4096,
    windowBytesMax: 1 << 20,
    network: { ...quick.network, lossRate: random.pick([0.05, 0.2]), duplicateRate: 0.1, lateRate: 0.1, inOrder: true },
    beyondRate: random.pick([0, 0.3]),
    weights: { read: 0.5, write: 8, trim: random.pick([0, 1]), zero: 0, flush: 0.1, narrow: 0 },
    ...spread({ faultsUntilMs, attachMode }, 800, 16, swarm.clients),
    faultsUntilMs,
    faults: ['left-behind', 'left-behind', 'slow-way', 'crash'],
    actions: ['evict', 'evict', 'hand-over', 'resize', 'resize'],
    durationsMs: [beaconMs, leaseMs, graceMs + evictAfterMs],
    faultEveryMs: faultsUntilMs / 20,
    actionEveryMs: faultsUntilMs / 20,
    aimedShare: 0.3,
    aimsAt: ['primary', 'set-grew', 'append'],
  }
}

/** A hand-over is not won, for the value was touched meanwhile, while frontends ask again and again. */
export function lostHandOvers(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { leaseMs, beaconMs, network } = swarm
  const attachMode = random.pick(['single', 'open'] as const)
  const faultsUntilMs = 40 * (graceMs + evictAfterMs)
  return {
    ...quick,
    copies: random.pick([2, 3]),
    minInSync: 1,
    spares: 0,
    attachMode,
    readCheck: 'lease',
    resendMs: Math.max(1, network.delayMs[1], beaconMs / 20),
    weights: { read: random.pick([0.5, 8]), write: 8, trim: 0, zero: 0, flush: 0, narrow: 0 },
    ...spread({ faultsUntilMs, attachMode }, 600, 8, swarm.clients),
    faultsUntilMs,
    faults: ['touched', 'touched', 'touched', 'slow-way', 'cut-store'],
    actions: ['hand-over', 'hand-over', 'hand-over', 'hand-over', 'evict'],
    durationsMs: [beaconMs, leaseMs],
    faultEveryMs: faultsUntilMs / 40,
    actionEveryMs: faultsUntilMs / 40,
    aimedShare: 0.2,
    aimsAt: ['handing-over', 'release', 'cas'],
  }
}

/** Machines lose what was not flushed while the one that has it stands still for longer than it is waited for. */
function loneWitnesses(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { leaseMs, beaconMs, attachMode } = swarm
  const copies = random.pick([2, 3, 3, 3])
  const faultsUntilMs = 120 * (graceMs + evictAfterMs)
  return {
    ...quick,
    copies,
    minInSync: random.pick([copies, copies, copies, 2]),
    spares: random.pick([0, 0, 1]),
    mode: 'writeback',
    fillBytesMax: 4096,
    weights: { read: 1, write: 8, trim: random.pick([0, 2]), zero: 0, flush: random.pick([0, 0.1]), narrow: 0 },
    ...spread({ faultsUntilMs, attachMode }, 400, 8, swarm.clients),
    faultsUntilMs,
    faults: ['lone-witness', 'lone-witness', 'lone-witness', 'power-loss', 'crash'],
    actions: ['hand-over', 'add-copy'],
    durationsMs: [beaconMs, leaseMs, graceMs + evictAfterMs],
    faultEveryMs: faultsUntilMs / 10,
    actionEveryMs: faultsUntilMs / 8,
    aimedShare: 0.5,
    aimsAt: ['reply', 'stored', 'primary'],
  }
}

/** The ends of logs are lost by disks that lie, and whoever lost them is back at once. */
export function rottenTails(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { leaseMs, beaconMs } = swarm
  const attachMode = random.pick(['single', 'shared'] as const)
  const faultsUntilMs = 40 * (graceMs + evictAfterMs)
  return {
    ...quick,
    copies: 3,
    minInSync: 1,
    spares: 0,
    mode: random.pick(['durable', 'durable', 'writeback'] as const),
    attachMode,
    clients: random.pick([1, 2]),
    blocksPerSlice: random.pick([4, 16]),
    lateReportRate: 0,
    weights: { read: 2, write: 8, trim: 0, zero: 0, flush: 0.1, narrow: 0 },
    ...spread({ faultsUntilMs, attachMode }, 400, 4, swarm.clients),
    faultsUntilMs,
    faults: ['lost-tail', 'lost-tail', 'lost-tail', 'lost-epoch', 'lost-epoch', 'disk-rot'],
    actions: ['hand-over', 'hand-over', 'evict'],
    durationsMs: [beaconMs, leaseMs, graceMs + evictAfterMs],
    faultEveryMs: faultsUntilMs / 20,
    actionEveryMs: faultsUntilMs / 20,
    aimedShare: 0.3,
    aimsAt: ['append', 'stored', 'reply'],
  }
}

/** Frontends are replaced, and whom their successors are fenced by forgets it, and leads next. */
function lostFences(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { leaseMs } = swarm
  const attachMode = 'shared'
  const faultsUntilMs = 60 * (graceMs + evictAfterMs)
  return {
    ...quick,
    copies: 3,
    minInSync: 1,
    spares: 0,
    mode: random.pick(['durable', 'durable', 'writeback'] as const),
    attachMode,
    clients: random.pick([2, 3]),
    lateReportRate: 0,
    weights: { read: 2, write: 4, trim: 0, zero: 0, flush: 0.1, narrow: 0 },
    ...spread({ faultsUntilMs, attachMode }, 400, 4, swarm.clients),
    faultsUntilMs,
    faults: ['lost-fence'],
    actions: ['hand-over'],
    durationsMs: [leaseMs, graceMs + evictAfterMs],
    faultEveryMs: faultsUntilMs / 10,
    actionEveryMs: faultsUntilMs / 10,
    aimedShare: 0,
    aimsAt: [],
  }
}

/** Copies that are filled have no room for it, and go down or are asked anew before they get some. */
function fullFills(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { leaseMs, beaconMs, attachMode } = swarm
  const faultsUntilMs = 60 * (graceMs + evictAfterMs)
  return {
    ...quick,
    copies: random.pick([2, 2, 3]),
    minInSync: 1,
    spares: random.pick([1, 2]),
    slices: 3,
    blocksPerSlice: random.pick([16, 64]),
    blocksMax: 6,
    fillBytesMax: 262_144,
    weights: { read: 0.5, write: 8, trim: random.pick([0, 1]), zero: 0, flush: 0.1, narrow: 0 },
    ...spread({ faultsUntilMs, attachMode }, 300, 8, swarm.clients),
    faultsUntilMs,
    faults: ['full-fill', 'full-fill', 'full-fill', 'crash'],
    actions: ['add-copy', 'add-copy', 'replace-disk', 'replace-disk', 'evict', 'snapshot'],
    durationsMs: [beaconMs, leaseMs, 2 * (graceMs + evictAfterMs)],
    faultEveryMs: faultsUntilMs / 15,
    actionEveryMs: faultsUntilMs / 15,
    aimedShare: 0.3,
    aimsAt: ['fill-started', 'filled', 'fill'],
  }
}
