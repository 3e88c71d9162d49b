/**
 * Risk: a fault goes on after the heal, and whoever waits for its end is called a bug of the protocol; or a disk that
 * failed for good is taken for one that works.
 */
import t from 'tap'
import { Random } from '../random.ts'
import { begin, finish } from './course.ts'
import { beginFault, heal } from './faults.ts'
import type { PlannedEvent } from './plan.ts'
import { drawSwarm, type FaultKind } from './swarm.ts'
import { World } from './world.ts'

const SERVING_MS = 3000

/** Two copies, each on three disks, that have served for a while. */
function newWorld(): World {
  const drawn = drawSwarm(1, new Random(1))
  const swarm = {
    ...drawn,
    ...{ copies: 2, spares: 0, minInSync: 1, disks: 3, clients: 1, attachMode: 'open' as const, keepsFailed: true },
    ...{ mode: 'durable' as const, slices: 2, blocksPerSlice: 4, weights: { ...drawn.weights, write: 6 } },
    ...{ operations: 100, thinkMs: 5, faults: ['disk-gone' as const], actions: [] },
  }
  const world = new World(swarm, [], { keepsTrace: false, disksLie: false, store: 'real' })
  begin(world)
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
