/**
 * Seeds in which clones are made of volumes and of clones, while everything fails (clone-maker.ts): each is a volume
 * besides, with its own users, configuration, operator and checkers, and its copies share blocks with those of its
 * origin beside them, which are erased, made anew, filled, rolled back and deleted meanwhile. Drawn apart, for one of
 * ten seeds above those in which planted bugs are counted: what the others are like does not change. Blocks rot, by
 * the rule of every volume that shows them; damage of what volumes share is left to seeds with one volume.
 */
import { PAGE_BLOCKS } from '../../../engine/units.ts'
import { Random } from '../random.ts'
import type { ActionKind, Swarm } from './swarm.ts'
import { DAMAGING } from './volume-focus.ts'

const FIRST_SEED = 10_000
const CLONES_MOST = 4

/** What an operator does to a clone. */
const ACTIONS_OF_CLONES: readonly ActionKind[] = [
  'snapshot',
  'snapshot-delete',
  'rollback',
  'resize',
  'clone',
  'hydrate',
  'hydrate',
  'renew-copy',
  'renew-copy',
  'add-copy',
  'evict',
  'hand-over',
]

export function setClones(swarm: Swarm): Swarm {
  const { seed, actions, faultsUntilMs, actionEveryMs } = swarm
  if (seed <= FIRST_SEED || seed % 10 !== 1) return swarm
  const random = new Random(`clones ${seed}`)
  const blocksPerSlice = Math.min(swarm.blocksPerSlice, 16)
  const volumes = random.pick([1, 1, 2])
  // A new disk is another one for all volumes of the node.
  const kept = actions.filter((kind) => kind !== 'replace-disk')
  const others = (['rollback', 'snapshot-delete', 'resize', 'renew-copy', 'renew-copy'] as const).filter(() =>
    random.chance(0.5))
  return {
    ...swarm,
    volumes,
    clones: random.between(1, CLONES_MOST),
    isErasing: true,
    segments: random.pick([72, 120]),
    spares: Math.max(swarm.spares, swarm.copies === 1 ? 1 : 0),
    faults: swarm.faults.filter((kind) => kind === 'block-rot' || !DAMAGING.includes(kind)),
    keepsFailed: false,
    actions: [...kept, ...others, 'snapshot', 'snapshot', 'clone', 'clone', 'clone'],
    actionEveryMs: Math.min(actionEveryMs, faultsUntilMs / 16),
    deletedAtMs: deletedAtMs(random, faultsUntilMs, 0.5),
    operations: Math.min(swarm.operations, 400),
    blocksPerSlice,
    firstBlock: new Random(`two pages ${seed}`).chance(0.3) ? PAGE_BLOCKS - (blocksPerSlice >> 1) : 0,
    windowBytesMax: Math.min(swarm.windowBytesMax, 65_536),
  }
}

const deletedAtMs = (random: Random, faultsUntilMs: number, rate: number): number =>
  random.chance(rate) ? faultsUntilMs * (0.3 + 0.7 * random.float()) : Infinity

/** What clones are like, in the order in which they are made. */
export function clonesOf(swarm: Swarm): Swarm[] {
  return Array.from({ length: swarm.clones }, (_, i) => cloneSwarm(swarm, i))
}

export function cloneSwarm(swarm: Swarm, number: number): Swarm {
  const random = new Random(`clone ${number} of ${swarm.seed}`)
  const nodes = swarm.copies + swarm.spares
  const copies = random.between(1, Math.min(nodes, 3))
  return {
    ...swarm,
    copies,
    spares: nodes - copies,
    minInSync: random.between(1, Math.max(1, Math.min(2, copies - 1))),
    clients: random.between(1, 2),
    attachMode: random.pick(['single', 'open', 'shared'] as const),
    mode: random.pick(['durable', 'durable', 'writeback'] as const),
    operations: Math.ceil(swarm.operations / random.pick([2, 4, 20])),
    readers: random.pick([0, 0, 1]),
    faults: [],
    actions: ACTIONS_OF_CLONES.filter(() => random.chance(0.7)),
    actionEveryMs: swarm.faultsUntilMs / 16,
    deletedAtMs: deletedAtMs(random, swarm.faultsUntilMs / 2, 0.3),
  }
}

/**
 * A controller that was cut off orders copies of whoever was in the set when it began: those that were let go since are
 * erased, made anew or filled by then.
 */
export const ordersLate = ({ seed }: Swarm): boolean => new Random(`late orders ${seed}`).chance(0.3)

/** Half of the runs end with clones that share nothing any more: then what was deleted is gone altogether. */
export const isHydratedAtEnd = ({ seed, clones }: Swarm): boolean =>
  clones > 0 && new Random(`hydrated ${seed}`).chance(0.5)
