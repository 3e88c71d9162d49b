/**
 * Seeds that look closely at one mechanism: a swarm drawn wide is bent until what they are about happens often. Drawn
 * wide, two rare things hardly ever meet; bent too far, nothing else happens any more, so half of the seeds are left as
 * they are.
 */
import { Random } from '../random.ts'
import type { Swarm } from './swarm.ts'

/** What of a swarm is bent; its name is the focus that the seed has. */
export type Focus = (swarm: Swarm, random: Random) => Partial<Swarm>

const FOCI: readonly Focus[] = [
  leases,
  terms,
  fills,
  keptSet,
  power,
  sessions,
  narrowWrites,
  forced,
]

export function focused(swarm: Swarm, random: Random): Swarm {
  const focus = random.pick(FOCI)
  return { ...swarm, ...focus(swarm, random), focus: focus.name }
}

/** One of these for a share of the seeds, by a draw of its own: what the other seeds are like does not change. */
export function drawnApart(swarm: Swarm, draw: string, share: number, foci: readonly Focus[]): Swarm | undefined {
  const random = new Random(`${draw} ${swarm.seed}`)
  if (!random.chance(share)) return undefined
  const focus = random.pick(foci)
  return { ...swarm, ...focus(swarm, random), focus: focus.name }
}

export const FAST = { delayMs: [0.1, 1] as [number, number], hintDelayMs: [0.1, 2] as [number, number] }

/** Changes that land late, or after others. */
export const LOSSY = { requestLossRate: 0.3, lateRate: 0.3 }

type Spreadable = Pick<Swarm, 'faultsUntilMs' | 'attachMode'>

/** So that requests come until the faults stop, however few there are. */
export const spread = (swarm: Spreadable, operations: number, inFlightMax: number, clients: number) => ({
  operations,
  inFlightMax,
  thinkMs: (2 * swarm.faultsUntilMs * inFlightMax * (swarm.attachMode === 'open' ? clients : 1)) / operations,
})

/** Who reads, and believes that it still may: little room between lease and grace, slow ways, clocks at their bound. */
function leases(swarm: Swarm, random: Random): Partial<Swarm> {
  const { leaseMs, beaconMs, faultsUntilMs } = swarm
  const rate = random.pick([0.9901, 1, 1.0099])
  return {
    copies: random.pick([1, 2, 2, 3]),
    minInSync: 1,
    spares: random.pick([0, 1, 2]),
    mode: 'durable',
    attachMode: random.pick(['single', 'open'] as const),
    network: { ...swarm.network, duplicateRate: random.pick([0, 0.2]), lateRate: random.pick([0, 0.2]) },
    supervisorReports: true,
    lateReportRate: 0.5,
    readCheck: random.pick(['lease', 'lease', 'lease', 'confirm'] as const),
    graceMs: leaseMs * 1.02 + beaconMs / 4 + 1,
    candidateStepMs: 1,
    clockRates: swarm.clockRates.map((_, i) => (i === 0 ? rate : 2 - rate)),
    store: { ...swarm.store, ...FAST, ...random.pick([{}, LOSSY]), hintLossRate: random.pick([0, 0.9]) },
    // A write waits for the others, and who waits asks nothing more.
    weights: { read: 20, write: random.pick([0.2, 1]), trim: 0, zero: 0, flush: 0, narrow: 0 },
    ...spread(swarm, 600, 8, swarm.clients),
    faults: ['lonely-primary', 'lonely-primary', 'relapse', 'slow-way', 'pause', 'crash', 'cut-way', 'cut-store'],
    actions: ['hand-over', 'hand-over', 'evict', 'add-copy', 'move-attach'],
    durationsMs: [beaconMs, leaseMs / 4, leaseMs, swarm.graceMs],
    faultEveryMs: faultsUntilMs / random.pick([10, 20]),
    actionEveryMs: faultsUntilMs / random.pick([4, 12]),
    aimsAt: ['confirmed', 'cas', 'set-grew', 'set-grew', 'new-primary', 'release', 'primary'],
  }
}

/** One primary after the other, with logs that end apart and messages of former terms on their way. */
function terms(swarm: Swarm, random: Random): Partial<Swarm> {
  const { faultsUntilMs, network } = swarm
  return {
    copies: random.pick([2, 3, 3, 4]),
    minInSync: random.pick([1, 1, 2]),
    network: { ...network, duplicateRate: 0.1, lateRate: 0.2, lossRate: random.pick([0, 0.02]), inOrder: false },
    weights: { ...swarm.weights, write: 8, read: 2 },
    ...spread(swarm, 200, 8, swarm.clients),
    faults: ['crash', 'pause', 'cut-way', 'partition', 'lonely-primary', 'relapse', 'slow-way', 'power-loss'],
    actions: ['hand-over', 'hand-over', 'hand-over', 'evict'],
    faultEveryMs: faultsUntilMs / 20,
    actionEveryMs: faultsUntilMs / random.pick([12, 40]),
    aimedShare: 0.7,
    aimsAt: ['new-epoch', 'promised', 'fetch-log', 'log', 'reconcile', 'new-primary', 'primary', 'stored'],
  }
}

const FILL_ACTIONS: ReadonlyArray<Swarm['actions']> = [
  ['evict', 'hand-over', 'add-copy', 'replace-disk', 'snapshot', 'snapshot-delete', 'rollback'],
  ['evict', 'add-copy', 'replace-disk', 'snapshot', 'snapshot'],
  ['evict', 'evict', 'hand-over', 'hand-over'],
  ['evict', 'snapshot', 'rollback', 'rollback', 'rollback'],
]

/** Copies that come, go and come back, while blocks are overwritten, trimmed, snapshotted and rolled back. */
function fills(swarm: Swarm, random: Random): Partial<Swarm> {
  const { faultsUntilMs, network } = swarm
  return {
    copies: random.pick([2, 3]),
    minInSync: 1,
    spares: random.pick([0, 1, 2]),
    blocksPerSlice: random.pick([4, 16, 64]),
    fillBytesMax: random.pick([4096, 4096, 16_384]),
    network: { ...network, duplicateRate: random.pick([0.1, 0.3]), lateRate: 0.2, inOrder: random.chance(0.3) },
    weights: { read: 1, write: 4, trim: random.pick([1, 4]), zero: 1, flush: 0.2, narrow: 0 },
    ...spread(swarm, random.pick([300, 600]), random.pick([4, 16]), swarm.clients),
    faults: ['crash', 'cut-way', 'slow-way', 'client-cut', 'slow-disk', 'bad-network'],
    actions: random.pick(FILL_ACTIONS),
    // Of those who come back some were away for long.
    durationsMs: [...swarm.durationsMs, swarm.graceMs * 8],
    faultEveryMs: faultsUntilMs / random.pick([10, 20]),
    actionEveryMs: faultsUntilMs / random.pick([12, 30]),
    aimedShare: random.pick([0.3, 0.8]),
    aimsAt: ['join', 'fill-start', 'fill-started', 'fill', 'filled', 'fill-end', 'fill-ended', 'set-grew'],
  }
}

/** Nobody may be let go: who lacks something is filled where it is, and who is dead is waited for or replaced. */
function keptSet(swarm: Swarm, random: Random): Partial<Swarm> {
  const copies = random.pick([2, 2, 3])
  const { faultsUntilMs, graceMs } = swarm
  return {
    copies,
    minInSync: copies,
    spares: random.pick([1, 2]),
    mode: random.pick(['durable', 'writeback'] as const),
    network: { ...swarm.network, lossRate: random.pick([0.01, 0.1]), inOrder: false },
    faults: ['crash', 'power-loss', 'power-loss', 'pause', 'cut-way', 'lonely-primary'],
    actions: ['add-copy', 'add-copy', 'hand-over', 'replace-disk'],
    faultEveryMs: faultsUntilMs / 8,
    actionEveryMs: faultsUntilMs / 10,
    durationsMs: [graceMs, graceMs * 4, graceMs * 8],
    aimedShare: random.pick([0.3, 0.8]),
    aimsAt: ['reply', 'fill', 'set-grew', 'fill-end', 'reconcile', 'promised', 'primary'],
  }
}

/** Answers that are not flushed, and machines that lose them: for a moment, for long, all at once. */
function power(swarm: Swarm, random: Random): Partial<Swarm> {
  const { faultsUntilMs, graceMs, beaconMs, leaseMs } = swarm
  return {
    copies: random.pick([2, 3, 3]),
    minInSync: random.pick([1, 1, 2]),
    mode: 'writeback',
    faults: ['power-loss', 'power-loss', 'power-loss-of-all', 'silence', 'pause', 'cut-way', 'crash', 'client-cut'],
    actions: ['hand-over', 'evict'],
    weights: { ...swarm.weights, write: 8, flush: random.pick([0, 0.1, 1]) },
    ...spread(swarm, 200, 4, swarm.clients),
    faultEveryMs: faultsUntilMs / random.pick([10, 20]),
    actionEveryMs: faultsUntilMs / 4,
    durationsMs: [beaconMs, leaseMs / 4, graceMs, graceMs * 4],
    aimedShare: random.pick([0.5, 0.8]),
    aimsAt: ['stored', 'reply', 'promised', 'fetch-log', 'reconcile', 'primary', 'hello', 'new-epoch', 'new-primary'],
  }
}

/** One holder after the other, and frontends that do not know that they are not it any more. */
function sessions(swarm: Swarm, random: Random): Partial<Swarm> {
  const { faultsUntilMs, network, graceMs, leaseMs } = swarm
  return {
    copies: random.pick([2, 2, 3]),
    minInSync: 1,
    attachMode: 'single',
    clients: random.pick([2, 3]),
    network: { ...network, lossRate: random.pick([0, 0.05, 0.2]), duplicateRate: 0.2, lateRate: 0.3, inOrder: false },
    faults: ['frontend-ghost', 'frontend-ghost', 'client-restart', 'client-cut', 'crash', 'cut-way', 'slow-way'],
    actions: ['move-attach', 'hand-over', 'evict', 'resize'],
    beyondRate: random.pick([0, 0.2]),
    supervisorReports: true,
    lateReportRate: 0,
    ...spread(swarm, 200, 4, 1),
    resendMs: leaseMs,
    faultEveryMs: faultsUntilMs / 20,
    actionEveryMs: faultsUntilMs / 12,
    durationsMs: [leaseMs, graceMs, graceMs * 3],
    aimedShare: 0.5,
    aimsAt: ['opened', 'fence', 'fenced', 'reply', 'fill-ended', 'set-grew', 'primary'],
  }
}

/** Primaries that stay down, and an operator who does not wait for the others. */
function forced(swarm: Swarm, random: Random): Partial<Swarm> {
  const { faultsUntilMs, graceMs, leaseMs } = swarm
  return {
    copies: random.pick([2, 3, 3]),
    minInSync: random.pick([1, 2]),
    weights: { ...swarm.weights, write: 8 },
    ...spread(swarm, 200, random.pick([4, 16]), swarm.clients),
    faults: ['crash', 'power-loss', 'pause', 'cut-way', 'slow-way', 'relapse'],
    actions: ['force-promote', 'force-promote', 'hand-over', 'evict'],
    faultEveryMs: faultsUntilMs / 12,
    actionEveryMs: faultsUntilMs / 8,
    durationsMs: [leaseMs, graceMs * 2],
    aimedShare: random.pick([0, 0.5]),
    aimsAt: ['append', 'stored', 'reply', 'set-grew', 'primary'],
  }
}

/** Edges that are written, and rolled back, by others meanwhile. */
function narrowWrites(swarm: Swarm, random: Random): Partial<Swarm> {
  const { faultsUntilMs, disk, network } = swarm
  return {
    attachMode: random.pick(['open', 'single'] as const),
    clients: 3,
    slices: 1,
    blocksPerSlice: random.pick([1, 2]),
    blocksMax: 2,
    disk: { ...disk, readFailRate: random.pick([0, 0.05]) },
    network: { ...network, duplicateRate: random.pick([0, 0.2]), lateRate: 0.2 },
    weights: { read: 1, write: 1, trim: 0, zero: 0.2, flush: 0, narrow: 8 },
    ...spread(swarm, 400, 8, 3),
    actions: ['snapshot', 'rollback', 'rollback', 'hand-over'],
    actionEveryMs: faultsUntilMs / 40,
    aimedShare: random.pick([0, 0.5]),
  }
}
