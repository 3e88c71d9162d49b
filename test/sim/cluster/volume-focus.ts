/**
 * Seeds whose cluster has one to three volumes on the same nodes, disks and links, whose copies are erased and made
 * anew where they are, as the control plane does it, and which may be deleted while all goes on. Drawn apart, for one
 * of five seeds above those in which planted bugs are counted: what the others are like does not change. Blocks rot in
 * any of the volumes, each by its own atlas; damage of what they share (structures, the end of the log, whole disks) is
 * left to the others.
 */
import { Random } from '../random.ts'
import type { ActionKind, FaultKind, Swarm } from './swarm.ts'

const FIRST_SEED = 10_000

/** Clones come behind those that are there at the beginning. */
export const VOLUMES = ['v', 'w', 'x', 'y', 'z', 'a', 'b'] as const

/** What is there may be gone, or be something else. */
export const DAMAGING: readonly FaultKind[] = [
  'block-rot',
  'disk-rot',
  'misdirected-write',
  'disk-gone',
  'read-errors',
  'lost-tail',
  'lost-epoch',
  'lost-fence',
  'late-loss',
]

export function setVolumes(swarm: Swarm): Swarm {
  const { seed, actions, faultsUntilMs } = swarm
  if (seed <= FIRST_SEED || seed % 5 !== 3) return swarm
  const random = new Random(`volumes ${seed}`)
  const volumes = random.pick([1, 2, 2, 3])
  // A new disk is another one for all volumes of the node.
  const kept = volumes === 1 ? actions : actions.filter((kind) => kind !== 'replace-disk')
  const renewals: ActionKind[] = random.chance(0.7) ? ['renew-copy', 'renew-copy'] : []
  const isSmall = new Random(`small disks ${seed}`).chance(0.5)
  const drawn: Swarm = {
    ...swarm,
    volumes,
    isErasing: true,
    spares: Math.max(swarm.spares, swarm.copies === 1 ? 1 : 0),
    faults: swarm.faults.filter((kind) => kind === 'block-rot' || !DAMAGING.includes(kind)),
    keepsFailed: false,
    actions: [...kept, ...renewals],
    deletedAtMs: deletedAtMs(random, faultsUntilMs),
    operations: volumes === 1 ? swarm.operations : Math.min(swarm.operations, 800),
  }
  return isSmall ? onSmallDisks(drawn) : drawn
}

/** What is written does not fit twice, so that cleaners move the blocks of all volumes; what is live always fits. */
export function onSmallDisks(swarm: Swarm): Swarm {
  return {
    ...swarm,
    segments: 40,
    windowBytesMax: Math.min(swarm.windowBytesMax, 65_536),
    windowRecordsMax: Math.min(swarm.windowRecordsMax, 256),
    blocksPerSlice: Math.min(swarm.blocksPerSlice, 16),
    blocksMax: 6,
    thinkMs: swarm.thinkMs / 4,
    operations: Math.max(400, swarm.operations),
    weights: { ...swarm.weights, write: 8 },
    // Each keeps what was overwritten since.
    actions: swarm.actions.filter((kind) => kind !== 'snapshot'),
  }
}

/** Snapshots are taken of all of them at one instant; in half of those that have several. */
export const hasGroups = ({ seed, volumes }: Swarm): boolean => volumes > 1 && seed % 2 === 0

const deletedAtMs = (random: Random, faultsUntilMs: number): number =>
  random.chance(0.4) ? faultsUntilMs * (0.2 + 0.8 * random.float()) : Infinity

/** What each of them is like, the first one as it is. */
export function swarmsOf(swarm: Swarm): Swarm[] {
  return VOLUMES.slice(0, swarm.volumes).map((volume, i) => (i === 0 ? swarm : besides(swarm, volume)))
}

/** Another one on the same nodes: with its own size, copies, mode and users. */
function besides(swarm: Swarm, volume: string): Swarm {
  const random = new Random(`volume ${volume} of ${swarm.seed}`)
  const nodes = swarm.copies + swarm.spares
  const copies = random.between(1, Math.min(nodes, 4))
  const spares = nodes - copies
  return {
    ...swarm,
    copies,
    spares,
    minInSync: random.between(1, Math.max(1, Math.min(2, copies - 1))),
    clients: random.between(1, 2),
    attachMode: random.pick(['single', 'open', 'shared'] as const),
    slices: random.between(1, 3),
    blocksPerSlice: random.pick(swarm.segments < 96 ? [1, 4, 16] : [1, 4, 16, 64]),
    mode: random.pick(['durable', 'durable', 'writeback'] as const),
    operations: Math.ceil(swarm.operations / 2),
    faults: [],
    deletedAtMs: deletedAtMs(random, swarm.faultsUntilMs),
  }
}
