/**
 * Seeds that set the scene for one meeting that neither chance nor a sign brings about often enough: each is built
 * around what has to fall together. Apart from the other foci, so that their seeds stay as they are.
 */
import type { Random } from '../random.ts'
import { impatient } from './closer-focus.ts'
import { drawnApart, spread } from './focus.ts'
import type { Focus } from './focus.ts'
import type { Swarm } from './swarm.ts'

const SCENES: readonly Focus[] = [
  formerTimes,
  forgottenTails,
  resends,
  refills,
  keptJoins,
  fillCrashes,
  laggards,
]

/** For one of twelve seeds. */
export const setScene = (swarm: Swarm): Swarm | undefined => drawnApart(swarm, 'scene', 1 / 12, SCENES)

/** Ends and releases of a former time reach who is bound by now, while clients read from the leader. */
function formerTimes(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { leaseMs, beaconMs } = swarm
  const faultsUntilMs = 60 * (graceMs + evictAfterMs)
  return {
    ...quick,
    copies: random.pick([2, 2, 3]),
    minInSync: 1,
    spares: 0,
    mode: 'durable',
    attachMode: 'open',
    clients: 3,
    readCheck: 'lease',
    supervisorReports: false,
    store: { ...quick.store, hintLossRate: 0.9 },
    weights: { read: 20, write: 0.5, trim: 0, zero: 0, flush: 0, narrow: 0 },
    ...spread({ faultsUntilMs, attachMode: 'open' }, 800, 8, 3),
    faultsUntilMs,
    faults: ['late-end', 'late-end', 'late-release', 'late-release', 'client-cut'],
    actions: ['hand-over', 'hand-over', 'hand-over', 'move-attach'],
    durationsMs: [beaconMs, leaseMs],
    faultEveryMs: faultsUntilMs / 25,
    actionEveryMs: faultsUntilMs / 50,
    aimedShare: 0.2,
    aimsAt: ['primary', 'set-grew'],
  }
}

/** Leaders lose what others have, and members learn late that one goes on without it. */
function forgottenTails(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { leaseMs, beaconMs, attachMode } = swarm
  const faultsUntilMs = 60 * (graceMs + evictAfterMs)
  return {
    ...quick,
    copies: random.pick([2, 3, 3]),
    minInSync: 1,
    spares: 0,
    mode: random.pick(['durable', 'writeback'] as const),
    store: { ...quick.store, hintLossRate: 0.9 },
    weights: { read: 1, write: 8, trim: 0, zero: 0, flush: 0.1, narrow: 0 },
    ...spread({ faultsUntilMs, attachMode }, 500, 16, swarm.clients),
    faultsUntilMs,
    faults: ['forgotten-tail', 'forgotten-tail', 'lost-answers', 'lost-answers', 'stuck-way', 'slow-disk'],
    actions: ['hand-over', 'evict', 'force-promote'],
    durationsMs: [beaconMs, leaseMs, graceMs],
    faultEveryMs: faultsUntilMs / 15,
    actionEveryMs: faultsUntilMs / 15,
    aimedShare: 0.5,
    aimsAt: ['append', 'reply', 'stored', 'primary'],
  }
}

/** Frontends that ask again and again, so that whoever leads is asked in whatever it is about. */
function resends(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { leaseMs, beaconMs, network, attachMode } = swarm
  const faultsUntilMs = 30 * (graceMs + evictAfterMs)
  return {
    ...quick,
    copies: random.pick([2, 3]),
    minInSync: 1,
    spares: random.pick([0, 1]),
    resendMs: Math.max(1, network.delayMs[1], beaconMs / 20),
    weights: { read: 0.2, write: 8, trim: 0, zero: 0, flush: 0, narrow: 0 },
    ...spread({ faultsUntilMs, attachMode }, 400, 4, swarm.clients),
    faultsUntilMs,
    faults: ['late-release', 'late-release', 'blink', 'crash', 'lonely-primary', 'relapse', 'cut-store', 'slow-way'],
    actions: ['hand-over', 'hand-over', 'hand-over', 'evict', 'force-promote'],
    durationsMs: [beaconMs, leaseMs, graceMs],
    faultEveryMs: faultsUntilMs / 30,
    actionEveryMs: faultsUntilMs / 40,
    aimedShare: 0.6,
    aimsAt: ['cas', 'new-primary', 'handing-over', 'release', 'reconciling'],
  }
}

/** Members that are let go and filled again by a leader whose own disk is behind them. */
function refills(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { leaseMs, beaconMs, disk, attachMode, network } = swarm
  const faultsUntilMs = 40 * (graceMs + evictAfterMs)
  return {
    ...quick,
    copies: random.pick([2, 2, 3]),
    minInSync: 1,
    spares: 0,
    mode: random.pick(['durable', 'writeback'] as const),
    slices: 1,
    blocksPerSlice: random.pick([2, 16]),
    network: { ...quick.network, lossRate: random.pick([0, 0.05]), duplicateRate: 0.2, lateRate: 0.4 },
    retryMs: Math.max(2, 2 * network.delayMs[1]),
    disk: { ...disk, writeMs: [0.1, 3] },
    weights: { read: 0.5, write: 8, trim: 0, zero: 0, flush: 0.1, narrow: 0 },
    ...spread({ faultsUntilMs, attachMode }, 600, 16, swarm.clients),
    faultsUntilMs,
    faults: ['slow-disk', 'slow-disk', 'slow-disk', 'stuck-way', 'stuck-way', 'blink', 'cut-way'],
    actions: ['evict', 'evict', 'evict', 'evict', 'hand-over', 'force-promote'],
    durationsMs: [beaconMs, leaseMs, graceMs],
    faultEveryMs: faultsUntilMs / 40,
    actionEveryMs: faultsUntilMs / 60,
    aimedShare: 0.6,
    aimsAt: ['set-grew', 'fill-start', 'fill-started', 'fill-ended', 'stored', 'set-shrank', 'primary'],
  }
}

/** Dead members may not be let go before another one has taken their place, and what it is sent gets lost. */
function keptJoins(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { leaseMs, attachMode } = swarm
  const copies = random.pick([2, 2, 3])
  const faultsUntilMs = 120 * (graceMs + evictAfterMs)
  return {
    ...quick,
    copies,
    minInSync: copies,
    spares: random.pick([1, 2]),
    mode: 'durable',
    slices: 1,
    network: { ...quick.network, lossRate: random.pick([0.1, 0.3]), lateRate: 0.3 },
    weights: { read: 0.5, write: 8, trim: 0, zero: 0, flush: 0, narrow: 0 },
    ...spread({ faultsUntilMs, attachMode }, 400, 16, swarm.clients),
    faultsUntilMs,
    faults: ['late-spare', 'late-spare', 'late-spare', 'crash'],
    actions: ['add-copy', 'add-copy', 'add-copy', 'hand-over'],
    durationsMs: [leaseMs, 2 * (graceMs + evictAfterMs), 6 * (graceMs + evictAfterMs)],
    faultEveryMs: faultsUntilMs / 16,
    actionEveryMs: faultsUntilMs / 16,
    aimedShare: 0.9,
    aimsAt: ['reply', 'stored', 'append'],
  }
}

/** Fillings that end, with the power, the process or the room of who is filled, between two of its writes. */
function fillCrashes(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { leaseMs, beaconMs, disk, attachMode } = swarm
  const faultsUntilMs = 40 * (graceMs + evictAfterMs)
  return {
    ...quick,
    copies: random.pick([2, 2, 3]),
    minInSync: 1,
    spares: random.pick([0, 1]),
    slices: 3,
    blocksPerSlice: random.pick([4, 16]),
    fillBytesMax: 4096,
    disk: { ...disk, writeMs: [0.1, 3] },
    weights: { read: 1, write: 6, trim: random.pick([0, 3]), zero: 0, flush: 0.1, narrow: 0 },
    ...spread({ faultsUntilMs, attachMode }, 300, 8, swarm.clients),
    faultsUntilMs,
    faults: ['power-loss', 'power-loss', 'power-loss', 'crash', 'pool-full', 'pool-full'],
    actions: ['evict', 'evict', 'evict', 'add-copy', 'hand-over'],
    durationsMs: [1, beaconMs, leaseMs, 2 * (graceMs + evictAfterMs)],
    faultEveryMs: faultsUntilMs / 60,
    actionEveryMs: faultsUntilMs / 30,
    aimedShare: 0.9,
    aimsAt: ['fill', 'fill', 'fill', 'filled', 'fill-started', 'fill-end'],
  }
}

/** Members that are let go while they are behind, are forced to lead, and are handed on at once. */
function laggards(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { leaseMs, beaconMs, attachMode } = swarm
  const faultsUntilMs = 40 * (graceMs + evictAfterMs)
  return {
    ...quick,
    copies: random.pick([2, 3, 3]),
    minInSync: random.pick([1, 1, 2]),
    spares: 0,
    fillBytesMax: 4096,
    network: { ...quick.network, lossRate: random.pick([0, 0.1]), lateRate: 0.3 },
    weights: { read: 0.5, write: 8, trim: 0, zero: 0, flush: 0.1, narrow: 0 },
    ...spread({ faultsUntilMs, attachMode }, 600, 16, swarm.clients),
    faultsUntilMs,
    faults: ['slow-disk', 'slow-disk', 'slow-way', 'crash', 'crash', 'lonely-primary'],
    actions: ['force-promote', 'force-promote', 'evict', 'hand-over', 'hand-over'],
    durationsMs: [beaconMs, leaseMs, graceMs + evictAfterMs],
    faultEveryMs: faultsUntilMs / 30,
    actionEveryMs: faultsUntilMs / 40,
    aimedShare: 0.5,
    aimsAt: ['primary', 'append', 'stored', 'set-shrank', 'new-primary'],
  }
}
