/**
 * One seed, from its number to its verdict, and the way to make a bad one smaller: fewer faults and actions (found by
 * leaving out halves, then single ones) and fewer operations, as long as the same checker still complains.
 */
import { Random } from '../random.ts'
import type { Violation } from './checker/history.ts'
import type { CloneCounts } from './clone-maker.ts'
import { run } from './course.ts'
import { drawPlans } from './plan.ts'
import { drawSwarm, type Swarm } from './swarm.ts'
import { World } from './world.ts'

export interface SeedOptions {
  seed: number
  keepsTrace?: boolean
  /** Indexes of the plan; all when unset. */
  only?: readonly number[]
  operations?: number
  /** A world that the protocol cannot stand: some checker has to complain. */
  disksLie?: boolean
  /** `real` (the default): that of the engine. */
  store?: 'real' | 'memory'
}

export interface SeedResult {
  seed: number
  swarm: Swarm
  violations: Violation[]
  traceHash: string
  trace: string
  planned: Array<{ index: number; kind: string }>
  operations: number
  acknowledgedWrites: number
  /** Group snapshots of all volumes. */
  groups: number
  /** Times that a volume became smaller. */
  shrinks: number
  /** Changes of the durability that ended well. */
  durabilities: number
  clones: CloneCounts
  /** Reads and maps of snapshots that were answered. */
  snapshotReads: number
  virtualMs: number
  events: number
  /** It ended early: no member of the set had everything any more (atlas.ts). */
  isBeyond: boolean
  /** Blocks that were damaged at its end and had to be repaired (last-scrub.ts). */
  damagedAtEnd: number
  lostAtEnd: number
}

export function runSeed({
  seed,
  keepsTrace = false,
  only,
  operations,
  disksLie = false,
  store = 'memory',
}: SeedOptions): SeedResult {
  const random = randomOf(seed)
  const wished = drawSwarm(seed, random.fork('swarm'))
  // The store in memory has one copy, and none is ordered of it.
  const alone = { volumes: 1, clones: 0, isErasing: false, deletedAtMs: Infinity }
  const drawn = store === 'real' ? wished : { ...wished, ...alone }
  const swarm = operations === undefined ? drawn : { ...drawn, operations }
  const plan = drawPlans(drawn, random.fork('plan')).filter(({ index }) => only === undefined || only.includes(index))
  const world = new World(swarm, plan, { keepsTrace, disksLie, store })
  run(world)
  return {
    seed,
    swarm,
    violations: world.worlds.flatMap(({ violations }) => violations),
    traceHash: world.trace.hash,
    trace: world.trace.text(),
    planned: plan.map(({ index, kind }) => ({ index, kind })),
    operations: world.worlds.reduce((sum, { users: { counts } }) => sum + counts.answered, 0),
    acknowledgedWrites: world.worlds.reduce((sum, { users: { counts } }) => sum + counts.acknowledgedWrites, 0),
    groups: world.groups?.taken ?? 0,
    shrinks: world.worlds.reduce((sum, { operator: { shrinks } }) => sum + shrinks, 0),
    durabilities: world.worlds.reduce((sum, { operator: { durabilities } }) => sum + durabilities, 0),
    clones: world.cloneCounts,
    snapshotReads: world.worlds.reduce((sum, { readers: { counts } }) => sum + counts.read + counts.mapped, 0),
    virtualMs: world.clock.nowMs(),
    events: world.trace.count,
    isBeyond: world.worlds.some(({ isBeyond }) => isBeyond),
    damagedAtEnd: world.worlds.reduce((sum, { damagedAtEnd }) => sum + damagedAtEnd, 0),
    lostAtEnd: world.worlds.reduce((sum, { lostAtEnd }) => sum + lostAtEnd, 0),
  }
}

/** What a seed is like, without running it. */
export function swarmOf(seed: number): Swarm {
  return drawSwarm(seed, randomOf(seed).fork('swarm'))
}

const randomOf = (seed: number): Random => new Random(`swarm ${seed}`)

/** The smallest run found, within so many tries, in which the same checker complains. */
export function shrink(
  seed: number,
  store: 'real' | 'memory',
  triesMax = 300,
): Required<Pick<SeedOptions, 'seed' | 'only' | 'operations'>> {
  const first = runSeed({ seed, store })
  const checker = first.violations[0]?.checker
  let only = first.planned.map(({ index }) => index)
  let operations = first.swarm.operations
  let tries = 0
  const isBad = (options: { only: readonly number[]; operations: number }) => {
    if (checker === undefined || tries >= triesMax) return false
    tries++
    return runSeed({ seed, store, ...options }).violations[0]?.checker === checker
  }
  for (let size = Math.ceil(only.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < only.length;) {
      const fewer = [...only.slice(0, at), ...only.slice(at + size)]
      if (isBad({ only: fewer, operations })) only = fewer
      else at += size
    }
  }
  for (const fewer of [1, 2, 5, 10, 20, 50, 100, 200]) {
    if (fewer < operations && isBad({ only, operations: fewer })) operations = fewer
  }
  return { seed, only, operations }
}
