/**
 * One run of the store's checkers, small and repeatable, as a planted bug has to be found by it: the runs of the model
 * tests and of the crash tests, one seed each. Imported as a mutant has it, everything below is the mutant's.
 */
import { freeze, openStore, ScriptedWork, thaw, workVolume } from '../crash/scripted-work.ts'
import { cutEverywhere, CYCLE, SCRIPT } from './checker/crash-cases.ts'
import { failOnce, type Fault } from './checker/error-cases.ts'
import { runModel } from './checker/model-run.ts'
import { DAMAGES, type Damage } from './disk.ts'
import { Random } from './random.ts'
import { StoreWorld } from './store-world.ts'

export type Run =
  /** Random operations of test/engine/volume: as they are, without crashes, with a cache of two pages, nearly full. */
  | { run: 'plain' | 'calm' | 'tiny' | 'full' | 'time-travel' | 'undoing'; seed: number }
  /** The n-th operation of a kind fails. */
  | { run: 'errors'; fault: Fault; n: number; seed: number }
  /** Power cuts at operations of the disk: of a script, of one that reuses segments, of the opening after a cut. */
  | { run: 'cuts' | 'cycle' | 'nested'; seed: number }
  /** One rotten sector, or a block that is an older version. */
  | { run: 'damage'; seed: number }

/** A run here, or a test file in a process of its own. */
export type Hunt = Run | { run: 'file'; path: string }

/** What is wrong, undefined when nothing is. */
export function hunt(how: Run): string | undefined {
  try {
    return start(how)
  } catch (error) {
    return (error as Error).message
  }
}

function start(how: Run): string | undefined {
  const { seed } = how
  const counts = { runs: 0, images: 0, seconds: 0 }
  const one = { from: seed, seeds: 1, operations: 250, shrinkRuns: 0 }
  switch (how.run) {
    case 'plain':
    case 'time-travel':
    case 'undoing':
      return runModel({ ...one, mode: how.run }).failure
    case 'calm':
      return runModel({ ...one, operations: 600, mode: 'plain', options: { calm: true } }).failure
    case 'tiny': {
      const world = { pagesMax: 2, checkpointBytes: 16 * 1024, pendingMax: 8 }
      return runModel({ ...one, mode: 'plain', options: { world } }).failure
    }
    case 'full':
      return runModel({ ...one, mode: 'plain', options: { fill: 0.62 } }).failure
    case 'errors':
      failOnce(how.fault, how.n, seed, { runs: 0, hits: 0, failedDisks: 0, seconds: 0 })
      return undefined
    case 'cuts':
      cutEverywhere(SCRIPT, { seed, choicesMost: 6, stride: 3, first: seed - 1 }, counts)
      return undefined
    case 'cycle': {
      const options = { timeTravel: false }
      cutEverywhere(CYCLE, { seed, choicesMost: 12, stride: 1, indexes: ['lost'], options }, counts)
      return undefined
    }
    case 'nested': {
      const nested = { choicesMost: 3, stride: 23, first: seed, depth: 2, indexes: ['all', 'lost'] as const }
      cutEverywhere(SCRIPT, { seed, ...nested }, counts)
      return undefined
    }
    case 'damage':
      return damage(seed)
  }
}

const STATES = 60

/** Rot of a store that was worked on and killed; right bytes, an error, or a refusal are all that may follow. */
function damage(seed: number): string | undefined {
  const random = new Random(`damage ${seed}`)
  const options = { segments: 14, segmentBytes: 64 * 1024, checkpointBytes: 128 * 1024, pendingMax: 60, pagesMax: 3 }
  const world = new StoreWorld({ seed, ...options })
  openStore(world)
  const work = new ScriptedWork(seed, [workVolume('a', 1, [[0, 30]]), workVolume('b', 2, [[244, 26]])])
  work.run(world, { rounds: 30 })
  // What was committed just now may be proved durable by nothing but its own bytes.
  world.clock.advance(2000)
  world.clock.runUntilIdle()
  const frozen = freeze(world, 'kill')
  for (let i = 0; i < STATES; i++) {
    const rotten = thaw(frozen, { seed: i, lost: random.chance(0.5) })
    const [disk] = rotten.disks
    const sector = random.pick(disk!.writtenSectors())
    const block = sector - (sector % 4096)
    const rot: Array<[offset: number, how: Damage]> = random.chance(0.5)
      ? [[sector, random.pick(DAMAGES)]]
      : Array.from({ length: 8 }, (_, one) => [block + one * 512, 'stale'])
    for (const [offset, how] of rot) disk!.damage(offset, how)
    openStore(rotten)
    const { wrong } = work.readBack(rotten)
    if (wrong.length > 0) return `${rot.length} sectors at ${rot[0]![0]} ${rot[0]![1]}: ${wrong[0]}`
  }
  return undefined
}
