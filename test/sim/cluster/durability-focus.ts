/**
 * Seeds whose volume is changed between `durable` and `writeback` under load and faults (SPEC W10), with much loss of
 * power: of one, and of all. Drawn apart, for one of ten seeds above those in which planted bugs are counted: what the
 * others are like does not change.
 */
import { Random } from '../random.ts'
import type { Swarm } from './swarm.ts'

const FIRST_SEED = 20_000
/** Of a run. */
const ACTIONS_LEAST = 20

export const changesDurability = ({ actions }: Swarm): boolean => actions.includes('set-durability')

/** Whether answers may be given before they are durable. */
export const mayWriteBack = (swarm: Swarm): boolean => swarm.mode === 'writeback' || changesDurability(swarm)

export function setDurability(swarm: Swarm): Swarm {
  const { seed, faults, faultsUntilMs, faultEveryMs, weights, disk } = swarm
  if (seed <= FIRST_SEED || seed % 10 !== 4) return swarm
  const random = new Random(`durability ${seed}`)
  const changes = ['set-durability', 'set-durability', 'set-durability'] as const
  const more = random.pick([
    ['hand-over'], ['evict', 'add-copy'], ['snapshot', 'rollback'], ['move-attach'], [],
  ] as const)
  const power = random.pick([
    ['power-loss-of-all', 'power-loss-of-all'], ['power-loss-of-all', 'power-loss'], ['power-loss', 'crash'],
    ['power-loss-of-all', 'lonely-primary', 'pause'], ['kill-of-all', 'power-loss-of-all', 'cut-way'],
  ] as const)
  return {
    ...swarm,
    mode: random.pick(['durable', 'writeback'] as const),
    weights: { ...weights, write: weights.write * 2, flush: random.pick([0, weights.flush, 0.5]) },
    fuaRate: random.pick([0, 0.1]),
    faults: [...faults, ...power, ...power],
    faultEveryMs: Math.min(faultEveryMs, faultsUntilMs / random.pick([6, 12, 24])),
    actions: [...swarm.actions, ...changes, ...changes, ...more],
    actionEveryMs: Math.min(swarm.actionEveryMs, faultsUntilMs / random.pick([ACTIONS_LEAST, 2 * ACTIONS_LEAST])),
    // Slow syncs: what is in between lasts.
    disk: random.chance(0.3) ? { ...disk, syncMs: [disk.syncMs[0], disk.syncMs[1] * 4] } : disk,
  }
}
