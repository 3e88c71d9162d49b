/** Seeds whose volumes have readers of their snapshots: no checker complains, and there is something to complain of. */
// test-timeout-seconds: 240
import t from 'tap'
import { runSeed, swarmOf } from './run-seed.ts'
import { replayOf } from './violation-report.ts'

t.setTimeout(230_000)

/**
 * Without those that scrub all the while with the engine's store, which take half of the time of all and have a test of
 * their own (last-scrub.test.ts). `npm run sim -- --from 510001 --seeds 150` runs all of them.
 */
const SEEDS = {
  memory: Array.from({ length: 30 }, (_, i) => 510_003 + 5 * i),
  real: Array.from({ length: 8 }, (_, i) => 510_003 + 5 * i).filter((one) => swarmOf(one).scrubEveryMs === Infinity),
}

for (const store of ['memory', 'real'] as const) {
  t.test(`what snapshots show, with the store ${store}`, (t) => {
    let reads = 0
    for (const seed of SEEDS[store]) {
      const { violations, swarm, snapshotReads } = runSeed({ seed, store })
      t.ok(swarm.readers > 0)
      t.same(violations, [], replayOf({ seed, store }))
      reads += snapshotReads
    }
    t.ok(reads > SEEDS[store].length, `${reads} answers`)
    t.end()
  })
}
