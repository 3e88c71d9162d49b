/**
 * Seeds that once showed a violation, and a row of others, with the engine's own store: none may complain now.
 * Most schedules have changed since their bug was found; they stay because they are dense with faults.
 */
// test-timeout-seconds: 240
import t from 'tap'
import { commit } from '../../proof-page.ts'
import { runSeed } from './run-seed.ts'
import { replayOf } from './violation-report.ts'

// Some thirty CPU seconds; a busy machine takes longer.
t.setTimeout(230_000)

const AT = commit()
const ONCE_BAD = [
  14, 24, 28, 32, 37, 70, 140, 229, 350, 374, 436, 482, 516, 558, 564, 585, 728, 1260, 2285, 2308, 2421, 2431, 2577,
  10061, 20040, 20487, 20999, 80099, 100128, 200377, 200801, 210545, 1448, 62, 649, 1001, 1220,
  3347, 3402, 3876, 5341, 6760, 2848, 2164, 100023, 100739, 101358, 106609, 113649, 113564, 116313, 220605,
  571, 1877, 2749, 1729, 401292, 402606, 400289, 403383, 411738,
  420970, 403322, 420113, 424159, 415322, 436169, 416902, 424683, 441252, 442665, 4709, 5668, 6643, 6142, 11445, 900641,
  12648, 16413, 16863, 640, 17158, 23462, 26562, 28485, 16400, 21128, 22897, 18812,
]
const OTHERS = Array.from({ length: 30 }, (_, i) => 71 + i)

t.test('no checker complains', (t) => {
  for (const seed of [...ONCE_BAD, ...OTHERS]) {
    const { violations } = runSeed({ seed, store: 'real' })
    t.same(violations, [], `seed ${seed} at commit ${AT}: ${replayOf({ seed, store: 'real' })}`)
  }
  t.end()
})

t.test('the same trace when it is run again', (t) => {
  for (const seed of [72, 75, 374]) {
    const hashes = [0, 1].map(() => runSeed({ seed, store: 'real' }).traceHash)
    t.equal(hashes[0], hashes[1], `seed ${seed}`)
  }
  t.end()
})
