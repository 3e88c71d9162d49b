/**
 * The faults and the operator's actions of a seed, drawn before it runs: each with its own seed, so that leaving one
 * out changes nothing of the others. That is what shrinking does.
 */
import { Random } from '../random.ts'
import { SIGNS, type Aim, type Sign } from './aims.ts'
import { clonesOf } from './clone-focus.ts'
import type { ActionKind, FaultKind, Swarm } from './swarm.ts'
import { swarmsOf } from './volume-focus.ts'

export interface PlannedEvent {
  index: number
  /** Which one it is about; faults are of the first one's. */
  volume: number
  /** It begins now, or waits from now on for what it aims at. */
  atMs: number
  kind: FaultKind | ActionKind
  isAction: boolean
  seed: number
  /** A fault ends after this long. */
  durationMs: number
  aim: Aim | undefined
}

/** What an action can aim at: somebody came to lead, or the set changed. */
const ACTION_SIGNS: readonly Sign[] = [
  'set-grew',
  'set-grew',
  'set-shrank',
  'primary',
  'fill',
  'fill-start',
  'cas',
  'handing-over',
]

/** Of all volumes, numbered throughout; those of clones count from when they are there. */
export function drawPlans(swarm: Swarm, random: Random): PlannedEvent[] {
  const plans = [...swarmsOf(swarm), ...clonesOf(swarm)].map((one, volume) => {
    const own = volume === 0 ? random : new Random(`plan ${one.seed} of volume ${volume}`)
    return drawPlan(one, own).map((event) => ({ ...event, volume }))
  })
  return plans.flat().map((event, index) => ({ ...event, index }))
}

export function drawPlan(swarm: Swarm, random: Random): PlannedEvent[] {
  const { faults, actions, faultEveryMs, actionEveryMs, faultsUntilMs, durationsMs } = swarm
  const aims = random.fork('aims')
  const events: PlannedEvent[] = []
  const draw = (kinds: readonly PlannedEvent['kind'][], everyMs: number, isAction: boolean) => {
    if (kinds.length === 0) return
    for (let atMs = random.float() * everyMs; atMs < faultsUntilMs; atMs += random.float() * 2 * everyMs) {
      const durationMs = random.float() * 2 * random.pick(durationsMs)
      const aim = aims.chance(swarm.aimedShare) ? drawAim(swarm, aims, isAction) : undefined
      const kind = random.pick(kinds)
      events.push({ index: 0, volume: 0, atMs, kind, isAction, seed: random.u32(), durationMs, aim })
    }
  }
  draw(faults, faultEveryMs, false)
  draw(actions, actionEveryMs, true)
  if (swarm.deletedAtMs < Infinity) {
    const own = { kind: 'delete', isAction: true, seed: aims.u32(), durationMs: 0, aim: undefined } as const
    events.push({ index: 0, volume: 0, atMs: swarm.deletedAtMs, ...own })
  }
  events.sort((a, b) => a.atMs - b.atMs)
  events.forEach((event, index) => (event.index = index))
  return events
}

function drawAim({ network, disk, leaseMs, aimsAt }: Swarm, random: Random, isAction: boolean): Aim {
  const sign = random.pick(isAction ? ACTION_SIGNS : aimsAt.length > 0 && random.chance(0.7) ? aimsAt : SIGNS)
  const soonMs = random.pick([0, 0, disk.syncMs[1], network.delayMs[1], network.delayMs[1] * 2, leaseMs])
  return { sign, afterMs: random.float() * soonMs, at: random.chance(0.5) ? 'who' : 'other' }
}
