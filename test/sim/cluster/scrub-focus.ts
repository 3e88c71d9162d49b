/**
 * Seeds whose copies are scrubbed all the while, with what rots under clients, faults and fillings. Drawn apart, for
 * one of seven seeds above those in which planted bugs are counted: what the others are like does not change. In the
 * end of every run all copies are scrubbed (last-scrub.ts); of one seed of five above those in which planted bugs are
 * counted some blocks are lost on every copy before that (last-loss.ts).
 */
import { Random } from '../random.ts'
import type { Swarm } from './swarm.ts'
import type { World } from './world.ts'

const FIRST_SEED = 10_000

export function setScrubs(swarm: Swarm): Swarm {
  const { seed, graceMs, faults } = swarm
  if (seed <= FIRST_SEED) return swarm
  const losesAtEnd = seed % 5 === 3
  const marksMost = losesAtEnd ? new Random(`marks ${seed}`).pick([1, 2, swarm.marksMost]) : swarm.marksMost
  const ended = { ...swarm, losesAtEnd, marksMost }
  if (seed % 7 !== 2) return ended
  const random = new Random(`scrubs ${seed}`)
  const rot = random.chance(0.7) ? (['block-rot', 'block-rot'] as const) : []
  return { ...ended, scrubEveryMs: graceMs * random.pick([0.1, 0.5, 2]), faults: [...faults, ...rot] }
}

/** Now one node, now another, as long as faults come; one that dies meanwhile leaves its scrub where it was. */
export function beginScrubs(world: World): void {
  const { seed, scrubEveryMs } = world.swarm
  if (scrubEveryMs === Infinity) return
  const random = new Random(`scrubs of ${seed} ${world.volumeId}`)
  const next = (): void => {
    world.clock.after(scrubEveryMs * 2 * random.float(), () => {
      if (world.isHealed || world.isDeleted) return
      random.pick([...world.nodes.values()]).disk.scrub('resume', () => {})
      next()
    })
  }
  next()
}
