/** Seeds whose volumes have readers of their snapshots: no checker complains, and there is something to complain of. */
// test-timeout-seconds: 240
import t from 'tap'
import { runSeed } from './run-seed.ts'
import { replayOf } from './violation-report.ts'

t.setTimeout(230_000)

const COUNTS = { memory: 30, real: 8 }

for (const store of ['memory', 'real'] as const) {
  t.test(`what snapshots show, with the store ${store}`, (t) => {
    let reads = 0
    for (let i = 0; i < COUNTS[store]; i++) {
      const seed = 510_003 + 5 * i
      const { violations, swarm, snapshotReads } = runSeed({ seed, store })
      t.ok(swarm.readers > 0)
      t.same(violations, [], replayOf({ seed, store }))
      reads += snapshotReads
    }
    t.ok(reads > COUNTS[store], `${reads} answers`)
    t.end()
  })
}
