/**
 * The faults and the operator's actions of a seed, drawn before it runs: each with its own seed, so that leaving one
 * out changes nothing of the others. That is what shrinking does.
 */
import type { Random } from '../random.ts'
import type { ActionKind, FaultKind, Swarm } from './swarm.ts'

export interface PlannedEvent {
  index: number
  atMs: number
  kind: FaultKind | ActionKind
  isAction: boolean
  seed: number
  /** A fault ends after this long. */
  durationMs: number
}

export function drawPlan(swarm: Swarm, random: Random): PlannedEvent[] {
  const { faults, actions, faultEveryMs, actionEveryMs, faultsUntilMs, graceMs, leaseMs, beaconMs } = swarm
  const events: PlannedEvent[] = []
  const draw = (kinds: readonly PlannedEvent['kind'][], everyMs: number, isAction: boolean) => {
    if (kinds.length === 0) return
    for (let atMs = random.float() * everyMs; atMs < faultsUntilMs; atMs += random.float() * 2 * everyMs) {
      const durationMs = random.float() * 2 * random.pick([beaconMs, leaseMs, graceMs, graceMs * 3])
      events.push({ index: 0, atMs, kind: random.pick(kinds), isAction, seed: random.u32(), durationMs })
    }
  }
  draw(faults, faultEveryMs, false)
  draw(actions, actionEveryMs, true)
  events.sort((a, b) => a.atMs - b.atMs)
  events.forEach((event, index) => (event.index = index))
  return events
}
