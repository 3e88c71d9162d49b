/**
 * Random patterns of damage, one a seed: of each block one copy of the set is left whole, and a scrub of every copy
 * repairs all others. That a scrub which does not is seen is in the table of planted bugs (planted/disks.ts).
 */
// test-timeout-seconds: 240
import t from 'tap'
import { runSeed } from './run-seed.ts'

t.setTimeout(230_000)

/**
 * Of the default swarm, and of those that scrub all the while (scrub-focus.ts), but for two that damage one block each
 * and take half of the time of all. `npm run sim -- --seeds 1000` and `--from 100001` run more.
 */
const SEEDS = [1, 2, 3, 4, 6, 8, 11, 100_004, 100_011, 100_025, 100_039, 100_046, 100_053]

t.test('what was damaged at the end of a run is repaired by scrubs', (t) => {
  let patterns = 0
  let blocks = 0
  for (const seed of SEEDS) {
    const { violations, damagedAtEnd, swarm } = runSeed({ seed, store: 'real' })
    t.same(violations, [], `seed ${seed}, ${damagedAtEnd} blocks`)
    if (seed > 10_000) t.ok(swarm.scrubEveryMs < Infinity, `seed ${seed} scrubs meanwhile`)
    if (damagedAtEnd > 0) patterns++
    blocks += damagedAtEnd
  }
  t.ok(patterns >= SEEDS.length / 3, `${patterns} patterns, ${blocks} blocks`)
  t.end()
})
