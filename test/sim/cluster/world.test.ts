/**
 * The simulator itself: a seed is the same when it is run again, quiet clusters serve everything, faults happen, and
 * copies whose disks lie are found out (the canary).
 */
import t from 'tap'
import { runSeed } from './run-seed.ts'

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
