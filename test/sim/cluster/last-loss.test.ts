/**
 * Risk: a read of a block that no copy has waits for ever, or one fails although a copy has it. Seeds that lose some
 * blocks at their end: none may complain now, and bugs planted in what becomes of a lost block have to be found.
 */
// test-timeout-seconds: 300
import t from 'tap'
import { commit } from '../../proof-page.ts'
import { importMutant, misfit } from '../mutants.ts'
import { LOSSES } from './planted/losses.ts'
import { runSeed, swarmOf } from './run-seed.ts'
import { replayOf } from './violation-report.ts'

t.setTimeout(300_000)

const SEEDS = [10_008, 10_128, 10_133, 10_188]
/** Where bugs are looked for, until one is found: which one it is changes with every line of the core. */
const KNOWN = [10_008, 10_163, 10_288, 10_083, 10_188]
const HUNTED = [...KNOWN, ...Array.from({ length: 60 }, (_, i) => 10_103 + 5 * i)]
  .filter((seed, i, all) => swarmOf(seed).copies > 1 && all.indexOf(seed) === i)
/** A scrub, and who reads all of a copy at the end, look for what should be there. */
const FINDERS = ['lost-blocks', 'scrub-repairs', 'copies-identical']
const RUN = 'test/sim/cluster/run-seed.ts'
const AT = commit()

t.test('which seeds lose blocks', (t) => {
  t.ok(SEEDS.every((seed) => swarmOf(seed).losesAtEnd))
  t.notOk([3, 9_998, 10_004].some((seed) => swarmOf(seed).losesAtEnd), 'the others are what they were')
  t.end()
})

t.test('no checker complains, and blocks are lost', (t) => {
  let lost = 0
  SEEDS.forEach((seed, i) => {
    const { violations, traceHash, lostAtEnd } = runSeed({ seed, store: 'real' })
    lost += lostAtEnd
    t.same(violations, [], `seed ${seed} at commit ${AT}: ${replayOf({ seed, store: 'real' })}`)
    if (i === 0) t.equal(runSeed({ seed, store: 'real' }).traceHash, traceHash, `seed ${seed}`)
  })
  t.ok(lost >= 5, `${lost} blocks`)
  t.end()
})

for (const bug of LOSSES) {
  t.test(bug.name, async (t) => {
    for (const edit of [bug, ...bug.also]) t.equal(misfit(edit), undefined)
    const mutated = await importMutant<typeof import('./run-seed.ts')>(bug, RUN)
    const found = HUNTED.find((seed) => {
      try {
        const [violation] = mutated.runSeed({ seed, store: 'real' }).violations
        return FINDERS.includes(violation?.checker ?? '')
      } catch (error) {
        // What is no block was read as one by the checkers themselves.
        return /a blob that no frontend made/.test(String(error))
      }
    })
    t.ok(found, `is found at seed ${found}`)
  })
}
