/**
 * Risk: a fault goes on after the heal, and whoever waits for its end is called a bug of the protocol; a disk that
 * failed for good is taken for one that works; or what the end of one volume does to another one is called its bug.
 */
import t from 'tap'
import { Random } from '../random.ts'
import { begin, finish } from './course.ts'
import { beginFault, heal } from './faults.ts'
import type { PlannedEvent } from './plan.ts'
import { drawSwarm, type FaultKind } from './swarm.ts'
import { World } from './world.ts'

const SERVING_MS = 3000

/** Volumes that have served for a while. The first one has two copies, each on three disks. */
function newWorld(volumes = 1): World {
  const drawn = drawSwarm(1, new Random(1))
  const swarm = {
    ...drawn,
    ...{ copies: 2, spares: 0, minInSync: 1, disks: 3, clients: 1, attachMode: 'open' as const, keepsFailed: true },
    ...{ mode: 'durable' as const, slices: 2, blocksPerSlice: 4, weights: { ...drawn.weights, write: 6 } },
    ...{ operations: 100, thinkMs: 5, faults: ['disk-gone' as const], actions: [], volumes },
  }
  const world = new World(swarm, [], { keepsTrace: false, disksLie: false, store: 'real' })
  for (const one of world.worlds) begin(one)
  world.clock.advance(SERVING_MS)
  return world
}

/** It does not end before the heal. */
function strike(world: World, kind: FaultKind, node: string, durationMs = 1e6): void {
  const aim = { sign: 'append', afterMs: 0, at: 'who' } as const
  const event: PlannedEvent = { index: 0, volume: 0, atMs: 0, kind, isAction: false, seed: 1, durationMs, aim }
  beginFault(world, event, { who: node, other: '' })
}

t.test('of a node whose disk has failed for good everything else is as before', (t) => {
  const world = newWorld()
  const node = world.nodes.get('n2')!
  strike(world, 'pause', 'n2')
  strike(world, 'write-error', 'n2')
  t.ok(node.isPaused)
  heal(world)
  t.notOk(node.isPaused)
  t.ok(node.disk.hasFailed)
  t.end()
})

t.test('one stands still whose disk fails, and the other one lost a disk (seed 18812)', (t) => {
  const world = newWorld()
  strike(world, 'pause', 'n2')
  strike(world, 'write-error', 'n2')
  strike(world, 'disk-gone', 'n1', 10)
  const n1 = world.nodes.get('n1')!
  t.notOk(n1.process)
  // The one is heard again, or has failed, and then the other one has its disk back.
  finish(world)
  t.same(world.violations, [])
  t.same(n1.openCopy?.lostSlices, [])
  t.end()
})

/** The end of the first volume takes as long as volumes have to become whole, as its last losses may. */
function endLate({ readers, clock }: World, then: (healMs: number) => void): void {
  const checkDone = readers.checkDone.bind(readers)
  readers.checkDone = (healMs) => {
    checkDone(healMs)
    clock.advance(healMs)
    then(healMs)
  }
}

/** Of a volume whose users wait for answers in this time, the second of two. */
function waitIn(world: World, time: { fromMs: number; untilMs: number }): World {
  const other = world.worlds[1]!
  const isDone = (): boolean => world.clock.nowMs() < time.fromMs || world.clock.nowMs() >= time.untilMs
  Object.defineProperty(other.readers, 'isDone', { get: isDone })
  return other
}

t.test('what the end of one volume does to another one has time to become whole (seed 20513)', (t) => {
  const world = newWorld(2)
  const time = { fromMs: Infinity, untilMs: Infinity }
  const other = waitIn(world, time)
  endLate(world, (healMs) => {
    time.fromMs = world.clock.nowMs()
    time.untilMs = time.fromMs + healMs / 2
  })
  finish(world)
  t.ok(world.clock.nowMs() >= time.untilMs)
  t.same([...world.violations, ...other.violations], [])
  t.end()
})

t.test('what was not whole in time has no more of it', (t) => {
  const world = newWorld(2)
  const time = { fromMs: 0, untilMs: Infinity }
  const other = waitIn(world, time)
  endLate(world, (healMs) => (time.untilMs = world.clock.nowMs() + healMs / 2))
  finish(world)
  t.ok(time.untilMs < Infinity)
  t.match(other.violations, [{ checker: 'progress', message: /^not all applied/ }])
  t.end()
})
