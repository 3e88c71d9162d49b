/**
 * Risk: the simulator passes because it sees nothing. Bugs planted in the replication core have to be found by its
 * default swarm; here those that are found soon, `npm run mutants` hunts all of them.
 *
 *   node test/sim/cluster/mutants.test.ts PIECE ...    only bugs whose names hold one of the pieces, quick or not
 */
// test-timeout-seconds: 300
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { editsOf, misfit } from '../mutants.ts'
import { Outcomes } from './mutant-outcomes.ts'
import { search } from './mutant-search.ts'
import { CANARY, DECOY, PLANTED } from './planted-bugs.ts'

t.setTimeout(300_000)

/** A change of the core shifts what its runs draw: then some later seed finds the bug. */
const MORE_SEEDS = 60
const SECONDS = 20
const pieces = process.argv.slice(2)
const chosen = PLANTED.filter(({ name, seed }) =>
  pieces.length === 0 ? seed !== undefined : pieces.some((piece) => name.includes(piece)),
)

t.test('every planted bug fits the source it is planted in, once', (t) => {
  for (const bug of [...PLANTED, CANARY, DECOY]) {
    for (const edit of editsOf(bug)) t.equal(misfit(edit), undefined, bug.name)
  }
  t.equal(new Set(PLANTED.map(({ name }) => name)).size, PLANTED.length, 'names differ')
  t.match(misfit({ ...CANARY, replace: 'no such text' }), /occurs 0 times/)
  t.match(misfit({ ...CANARY, replace: 'const' }), /occurs \d+ times/)
  t.end()
})

t.test('the canary is found at once', async (t) => {
  const { finding } = await search(CANARY, { from: 1, seeds: 10, seconds: SECONDS })
  t.ok(finding, 'found')
})

t.test('the decoy, which is no bug, is not found', async (t) => {
  const { finding } = await search(DECOY, { from: 1, seeds: 10, seconds: SECONDS })
  t.equal(finding, undefined)
})

t.test('a hunt that was ended goes on, in the same text only', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'mutants-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'kept.json')
  const piece = { name: 'a', finding: undefined, seeds: 10, seconds: 2 }
  new Outcomes(file, 'text', 'c1').add(piece)
  const later = new Outcomes(file, 'text', 'c2')
  t.equal(later.commit, 'c1')
  const finding = { seed: 13, checker: 'progress', message: '' }
  t.same(later.add({ ...piece, finding, seeds: 3, seconds: 1 }), { name: 'a', finding, seeds: 13, seconds: 3 })
  t.equal(new Outcomes(file, 'text', 'c2').get('a')!.seeds, 13)
  t.equal(new Outcomes(file, 'other text', 'c2').get('a'), undefined)
  t.end()
})

for (const bug of chosen) {
  t.test(bug.name, async (t) => {
    const from = bug.seed ?? 1
    const { finding, seeds } = await search(bug, { from, seeds: MORE_SEEDS, seconds: SECONDS })
    t.ok(finding, `not found by seeds ${from} to ${from + seeds - 1}`)
    if (finding !== undefined) t.comment(`${finding.checker}, seed ${finding.seed}`)
  })
}
