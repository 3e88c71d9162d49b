/**
 * Seeds about the hosts that use a volume: connections to the frontend that are lost, with requests that are sent again
 * on others while the first ones are under way; requests that are not held for ever; all processes killed at once,
 * which takes nothing that was written. Drawn apart, for one of twenty seeds that nothing else was drawn for: what the
 * others are like does not change. Above those in which planted bugs are counted, any seed may have some of it.
 */
import { Random } from '../random.ts'
import { impatient } from './closer-focus.ts'
import { drawnApart, spread } from './focus.ts'
import type { Focus } from './focus.ts'
import { HOST_FAULTS, type Swarm } from './swarm.ts'

const FIRST_SEED = 10_000

const FOCI: readonly Focus[] = [lostSockets, lostSockets, shortPatience]

export const setHost = (swarm: Swarm): Swarm | undefined => drawnApart(swarm, 'asks again', 1 / 20, FOCI)

/** Drawn apart: what seeds without any are like does not change. */
export function setHostFaults(swarm: Swarm): Swarm {
  const { seed, graceMs, evictAfterMs, leaseMs, faults } = swarm
  if (seed <= FIRST_SEED || swarm.ioTimeoutMs > 0 || swarm.sockets > 1) return swarm
  const random = new Random(`host faults ${seed}`)
  const patienceMs = graceMs + evictAfterMs
  const sockets = random.pick([1, 1, 2, 4])
  const ioTimeoutMs = random.chance(0.25) ? random.pick([leaseMs, patienceMs, 4 * patienceMs, 40 * patienceMs]) : 0
  const more = random.chance(0.3) ? HOST_FAULTS.filter(() => random.chance(0.7)) : []
  return { ...swarm, sockets, ioTimeoutMs, faults: [...faults, ...more] }
}

/** Requests are sent again, and what overlaps them comes behind, while the first ones are late. */
function lostSockets(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs, network } = quick
  const { leaseMs, beaconMs, attachMode } = swarm
  const patienceMs = graceMs + evictAfterMs
  const faultsUntilMs = 20 * patienceMs
  return {
    ...quick,
    copies: random.pick([1, 2, 3]),
    minInSync: 1,
    spares: 0,
    slices: 1,
    blocksPerSlice: random.pick([2, 4]),
    blocksMax: random.pick([1, 2]),
    sockets: random.pick([1, 2, 2, 4]),
    ioTimeoutMs: random.pick([0, 0, 0, patienceMs]),
    network: { ...network, lossRate: random.pick([0, 0.05]), lateRate: 0.3 },
    weights: { read: 3, write: 8, trim: random.pick([0, 1]), zero: 0, flush: 0.2, narrow: random.pick([0, 2]) },
    ...spread({ faultsUntilMs, attachMode }, 800, random.pick([8, 16]), swarm.clients),
    faultsUntilMs,
    faults: [
      'socket-lost',
      'socket-lost',
      'socket-lost',
      'socket-lost',
      'stuck-way',
      'client-cut',
      'crash',
      'kill-of-all',
    ],
    actions: ['hand-over', 'evict', 'resize'],
    durationsMs: [beaconMs, leaseMs, graceMs],
    faultEveryMs: faultsUntilMs / 30,
    actionEveryMs: faultsUntilMs / 8,
    aimedShare: 0.5,
    aimsAt: ['append', 'stored', 'reply', 'opened', 'new-primary'],
  }
}

/** A request that is held for too long fails; the client goes on, and what was asked may still happen. */
function shortPatience(swarm: Swarm, random: Random): Partial<Swarm> {
  const quick = impatient(swarm)
  const { graceMs, evictAfterMs, network } = quick
  const { leaseMs, attachMode } = swarm
  const patienceMs = graceMs + evictAfterMs
  const faultsUntilMs = 60 * patienceMs
  return {
    ...quick,
    copies: random.pick([1, 2, 3]),
    minInSync: random.pick([1, 1, 2]),
    slices: 1,
    blocksPerSlice: random.pick([2, 4, 16]),
    sockets: random.pick([1, 2]),
    resendMs: random.pick([leaseMs, leaseMs, 3 * graceMs]),
    ioTimeoutMs: random.pick([leaseMs, patienceMs, 2 * patienceMs]),
    network: { ...network, lossRate: random.pick([0, 0.05]), lateRate: 0.3 },
    weights: { read: random.pick([2, 8]), write: 8, trim: 1, zero: 0, flush: 0.2, narrow: random.pick([0, 2]) },
    ...spread({ faultsUntilMs, attachMode }, 600, random.pick([4, 16]), swarm.clients),
    faultsUntilMs,
    faults: [
      'lonely-primary',
      'stuck-way',
      'client-cut',
      'client-cut',
      'pause',
      'kill-of-all',
      'cut-way',
      'socket-lost',
    ],
    actions: ['hand-over', 'evict'],
    durationsMs: [leaseMs, graceMs, 2 * patienceMs],
    faultEveryMs: faultsUntilMs / 30,
    actionEveryMs: faultsUntilMs / 8,
    aimedShare: 0.5,
    aimsAt: ['append', 'stored', 'reply', 'opened', 'new-primary'],
  }
}
