/**
 * Seeds whose volume becomes smaller and larger again, under clients that write beyond its end and the faults it has.
 * Drawn apart, for one of ten seeds above those in which planted bugs are counted: what the others are like does not
 * change.
 */
import { BLOCK_BYTES, GIB, SLICE_BLOCKS } from '../../../engine/units.ts'
import { Random } from '../random.ts'
import type { Swarm } from './swarm.ts'
import type { World } from './world.ts'

const FIRST_SEED = 10_000
/** Of a run. */
const ACTIONS_LEAST = 24

export const hasShrinks = ({ actions }: Swarm): boolean => actions.includes('shrink')

export function setShrinks(swarm: Swarm): Swarm {
  const { seed, faultsUntilMs, weights } = swarm
  if (seed <= FIRST_SEED || seed % 10 !== 6) return swarm
  const random = new Random(`shrinks ${seed}`)
  const more = random.pick([['snapshot', 'rollback'], ['snapshot', 'snapshot-delete'], ['hand-over'], []] as const)
  const sizes = ['resize', 'shrink', 'shrink', 'shrink', 'shrink'] as const
  return {
    ...swarm,
    blocksPerSlice: Math.min(swarm.blocksPerSlice, random.pick([2, 4, 16])),
    beyondRate: random.pick([0.1, 0.3, 0.6]),
    weights: { ...weights, write: weights.write * 2, trim: Math.max(1, weights.trim) },
    actions: [...swarm.actions, ...sizes, ...more],
    actionEveryMs: Math.min(swarm.actionEveryMs, faultsUntilMs / ACTIONS_LEAST),
  }
}

export interface Smaller {
  sizeBytes: number
  /** Where clients write beyond that. */
  beyond: Array<{ lba: number; blockCount: number }>
}

/** By one slice or two, or somewhere in a slice; undefined: it is as small as can be. */
export function smaller({ blocksPerSlice, blocksMax }: Swarm, nowBytes: number, random: Random): Smaller | undefined {
  const slices = Math.ceil(nowBytes / GIB) - random.pick([1, 1, 1, 2])
  const within = random.chance(0.2) ? random.int(blocksPerSlice) : 0
  const sizeBytes = slices * GIB + within * BLOCK_BYTES
  if (slices < 1 || sizeBytes > nowBytes) return undefined
  const beyond: Smaller['beyond'] = []
  for (let slice = slices; slice * GIB < nowBytes; slice++) {
    const lba = slice * SLICE_BLOCKS + (slice === slices ? within : 0)
    const blockCount = Math.min(blocksPerSlice + blocksMax, nowBytes / BLOCK_BYTES - lba)
    if (blockCount > 0) beyond.push({ lba, blockCount })
  }
  return { sizeBytes, beyond }
}

/** Somebody discards all of it. */
export function discard(world: World, { beyond }: Smaller, random: Random): void {
  const attached = [...world.clients.values()].filter(({ session }) => session !== undefined)
  if (attached.length === 0) return
  const client = random.pick(attached)
  for (const { lba, blockCount } of beyond) {
    // It hears at once that its session has ended.
    if (client.session === undefined) return
    const range = { offsetBytes: lba * BLOCK_BYTES, lengthBytes: blockCount * BLOCK_BYTES }
    client.begin({ type: 'trim', ...range, fua: false })
  }
}
