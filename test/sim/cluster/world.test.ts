/**
 * The simulator itself: a seed is the same when it is run again, quiet clusters serve everything, faults happen, and
 * copies whose disks lie are found out (the canary).
 */
import t from 'tap'
import { begin } from './course.ts'
import { runSeed, swarmOf } from './run-seed.ts'
import { World } from './world.ts'

t.test('a seed run twice has the same trace, another seed another one', (t) => {
  for (const store of ['real', 'memory'] as const) {
    const hashes = [3, 3, 5, 5].map((seed) => runSeed({ seed, store }).traceHash)
    t.equal(hashes[0], hashes[1])
    t.equal(hashes[2], hashes[3])
    t.not(hashes[0], hashes[2])
  }
  t.end()
})

t.test('keeping the lines changes nothing, and they say who, what, epoch and seq', (t) => {
  const kept = runSeed({ seed: 3, keepsTrace: true, operations: 20 })
  t.equal(kept.traceHash, runSeed({ seed: 3, operations: 20 }).traceHash)
  t.match(kept.trace, /n1 +append +\(\d+, \d+\) +to n2/)
  t.end()
})

t.test('without faults every operation is served, and the copies are the same', (t) => {
  for (let seed = 1; seed <= 12; seed++) {
    const { violations, operations, swarm } = runSeed({ seed, only: [], operations: 40 })
    t.same(violations, [], `seed ${seed}`)
    if (swarm.attachMode === 'open') t.ok(operations >= 40, `seed ${seed}: ${operations} operations`)
  }
  t.end()
})

t.test('disks that lose what they synced are found out', (t) => {
  const found = new Set<string>()
  for (let seed = 1; seed <= 30 && found.size === 0; seed++) {
    for (const { checker } of runSeed({ seed, disksLie: true }).violations) found.add(checker)
  }
  t.ok(found.size > 0, [...found].join())
  t.end()
})

t.test('what a member lost is undone when the last one that has it fails, also when nobody writes that down', (t) => {
  const drawn = swarmOf(3)
  const alone = { volumes: 1, isErasing: false, deletedAtMs: Infinity, copies: 2, spares: 0, minInSync: 1 }
  const world = new World({ ...drawn, ...alone }, [], { keepsTrace: false, disksLie: false, store: 'memory' })
  begin(world)
  const primary = world.nodes.get('n1')!
  while (primary.role !== 'primary') world.clock.step()
  let isUndone = false
  world.atlas.note('n2', { what: 'disk', isGone: () => false, undo: () => void (isUndone = true) })
  world.checkAtlas()
  t.notOk(isUndone, 'the other one has it')
  world.store.isOut = true
  primary.failDisk(world.position())
  while (!primary.role.includes('fenced') && world.clock.nowMs() < 60_000) world.clock.step()
  t.equal(primary.role, 'fenced')
  t.ok(isUndone)
  t.same(world.violations, [])
  t.end()
})
