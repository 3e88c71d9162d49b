/**
 * Seeds that look at what needs several rare things in a row: terms that follow each other so fast, and answers that
 * are on their way for so long, that one meets the other; members that are silent for longer than they are waited for,
 * and come back. Apart from focus.ts, so that the seeds of its foci stay as they are.
 */
import type { Random } from '../random.ts'
import { FAST, LOSSY, spread } from './focus.ts'
import type { Swarm } from './swarm.ts'

const FOCI: ReadonlyArray<(swarm: Swarm, random: Random) => Partial<Swarm>> = [renewals, silences, rejoins, ghosts]

export function focusedCloser(swarm: Swarm, random: Random): Swarm {
  const focus = random.pick(FOCI)
  return { ...swarm, ...focus(swarm, random), focus: focus.name }
}

/** Nobody is waited for longer than he has to be, so that much happens in a short time. */
export function impatient({ leaseMs, beaconMs, evictAfterMs, network, store }: Swarm) {
  const shortMs = leaseMs * 1.02 + beaconMs / 4 + 1
  return {
    graceMs: shortMs,
    evictAfterMs: Math.min(evictAfterMs, 2 * leaseMs),
    candidateStepMs: 1,
    resendMs: leaseMs,
    network: { ...network, duplicateRate: 0.1, lateRate: 0.1, inOrder: false },
    store: { ...store, ...FAST },
    supervisorReports: true,
  }
}

/** The same primary again and again: it starts anew, lets members go and takes them back, and gets old answers. */
function renewals(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { beaconMs, leaseMs, attachMode } = swarm
  const faultsUntilMs = 40 * (graceMs + evictAfterMs)
  return {
    ...quick,
    copies: random.pick([2, 3, 3]),
    minInSync: 1,
    spares: 0,
    mode: random.pick(['durable', 'writeback'] as const),
    store: { ...quick.store, ...random.pick([{}, LOSSY]) },
    lateReportRate: random.pick([0, 0.5]),
    weights: { read: 6, write: random.pick([1, 8]), trim: 0, zero: 0, flush: random.pick([0, 0.2]), narrow: 0 },
    ...spread({ faultsUntilMs, attachMode }, 500, random.pick([4, 16]), swarm.clients),
    faultsUntilMs,
    faults: ['blink', 'blink', 'blink', 'crash', 'stuck-way', 'stuck-way', 'cut-way', 'cut-store'],
    actions: ['hand-over', 'hand-over', 'evict', 'move-attach', 'force-promote'],
    durationsMs: [beaconMs, leaseMs, graceMs, 2 * (graceMs + evictAfterMs)],
    faultEveryMs: faultsUntilMs / random.pick([20, 40]),
    actionEveryMs: faultsUntilMs / random.pick([10, 30]),
    aimedShare: 0.6,
    aimsAt: ['append', 'stored', 'cas', 'set-shrank', 'set-grew', 'new-primary', 'handing-over', 'release', 'reply'],
  }
}

/** Nobody may be let go, machines lose what was not flushed, and who has it is not heard for longer than one waits. */
function silences(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { beaconMs, leaseMs, attachMode } = swarm
  const copies = random.pick([2, 2, 3, 3])
  const faultsUntilMs = 80 * (graceMs + evictAfterMs)
  return {
    ...quick,
    copies,
    minInSync: random.pick([copies, copies, 1]),
    spares: random.pick([0, 0, 1]),
    mode: 'writeback',
    weights: { read: 2, write: 8, trim: 0, zero: 0, flush: random.pick([0, 0.1]), narrow: 0 },
    ...spread({ faultsUntilMs, attachMode }, 300, 8, swarm.clients),
    faultsUntilMs,
    faults: ['long-silence', 'long-silence', 'power-loss', 'power-loss', 'power-loss-of-all', 'pause', 'crash'],
    actions: ['hand-over', 'hand-over', 'add-copy'],
    durationsMs: [beaconMs, leaseMs / 4, leaseMs, graceMs],
    faultEveryMs: faultsUntilMs / random.pick([10, 20]),
    actionEveryMs: faultsUntilMs / 8,
    aimedShare: 0.8,
    aimsAt: ['reply', 'stored', 'fetch-log', 'fetch-log', 'log', 'promised', 'reconcile', 'new-primary', 'primary'],
  }
}

/** Copies that are let go and taken back before the messages of the last time have arrived. */
function rejoins(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { beaconMs, leaseMs, attachMode } = swarm
  const faultsUntilMs = 40 * (graceMs + evictAfterMs)
  return {
    ...quick,
    copies: random.pick([2, 2, 3]),
    minInSync: 1,
    spares: random.pick([0, 1]),
    mode: random.pick(['durable', 'writeback'] as const),
    slices: 3,
    blocksPerSlice: random.pick([4, 16]),
    fillBytesMax: 4096,
    network: { ...quick.network, duplicateRate: 0.3, lateRate: 0.3 },
    weights: { read: 1, write: 6, trim: random.pick([0, 3]), zero: 0, flush: 0.1, narrow: 0 },
    ...spread({ faultsUntilMs, attachMode }, 400, 8, swarm.clients),
    faultsUntilMs,
    faults: ['stuck-way', 'stuck-way', 'crash', 'cut-way', 'slow-disk', 'power-loss', 'power-loss', 'blink'],
    actions: ['evict', 'evict', 'evict', 'hand-over', 'hand-over', 'snapshot', 'rollback', 'replace-disk'],
    durationsMs: [beaconMs, leaseMs, graceMs + evictAfterMs, 8 * (graceMs + evictAfterMs)],
    faultEveryMs: faultsUntilMs / 20,
    actionEveryMs: faultsUntilMs / random.pick([20, 40]),
    aimedShare: 0.7,
    aimsAt: ['stored', 'fill-start', 'fill', 'filled', 'fill-end', 'fill-ended', 'set-grew', 'cas', 'join', 'append'],
  }
}

/** Frontends one after the other on the same attachment, while the set changes and fences are late. */
function ghosts(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs } = quick
  const { beaconMs, leaseMs } = swarm
  const attachMode = random.pick(['single', 'shared'] as const)
  const faultsUntilMs = 30 * (graceMs + evictAfterMs)
  return {
    ...quick,
    copies: random.pick([2, 3]),
    minInSync: 1,
    attachMode,
    clients: random.pick([2, 3]),
    network: { ...quick.network, lossRate: random.pick([0, 0.05]), duplicateRate: 0.2, lateRate: 0.3 },
    beyondRate: 0.3,
    lateReportRate: 0,
    ...spread({ faultsUntilMs, attachMode }, 300, 8, 3),
    faultsUntilMs,
    faults: ['frontend-ghost', 'frontend-ghost', 'stuck-way', 'stuck-way', 'client-restart', 'client-cut', 'crash'],
    actions: ['move-attach', 'hand-over', 'evict', 'evict', 'resize', 'resize', 'resize'],
    durationsMs: [beaconMs, leaseMs, graceMs],
    faultEveryMs: faultsUntilMs / 30,
    actionEveryMs: faultsUntilMs / 20,
    aimedShare: 0.6,
    aimsAt: ['opened', 'fence', 'fenced', 'reply', 'fill-start', 'fill-ended', 'set-grew', 'primary', 'append'],
  }
}
