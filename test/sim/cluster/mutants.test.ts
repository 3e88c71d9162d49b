/**
 * Risk: the simulator passes because it sees nothing. Bugs planted in the replication core have to be found by its
 * default swarm; here those that are found soon, `npm run mutants` hunts all of them.
 *
 *   node test/sim/cluster/mutants.test.ts PIECE ...    only bugs whose names hold one of the pieces, quick or not
 */
// test-timeout-seconds: 300
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { editsOf, misfit } from '../mutants.ts'
import { coverageLines, coverageOf, HUNTED_APART } from './mutant-coverage.ts'
import { Outcomes } from './mutant-outcomes.ts'
import { huntOrder, search, type Outcome } from './mutant-search.ts'
import { findingWithin, storesLine, tableLines } from './mutant-table.ts'
import { CANARY, DECOY, PLANTED } from './planted-bugs.ts'
import { FoundSeeds } from './planted/found-seeds.ts'
import { swarmOf } from './run-seed.ts'

t.setTimeout(300_000)

/** A change of the core shifts what its runs draw: then some other seed finds the bug. */
const MORE_SEEDS = 60
const SECONDS = 20
/** So small is the seed of a bug that is found soon. */
const SOON = 2
const pieces = process.argv.slice(2)
const found = new FoundSeeds()
const isFoundSoon = (name: string): boolean => (found.get(name)?.seed ?? Infinity) <= SOON
const chosen = PLANTED.filter(({ name }) =>
  pieces.length === 0 ? isFoundSoon(name) : pieces.some((piece) => name.includes(piece)),
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
  const { finding } = await search(CANARY, { skip: 0, seeds: 10, seconds: SECONDS })
  t.ok(finding, 'found')
})

t.test('the decoy, which is no bug, is not found', async (t) => {
  const { finding } = await search(DECOY, { skip: 0, seeds: 10, seconds: SECONDS })
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

t.test('a hunt runs each seed once: the known one, those that look at the bug, the others', (t) => {
  const looksAt = ({ mode }: { mode: string }): boolean => mode === 'writeback'
  const looking = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].filter((seed) => looksAt(swarmOf(seed)))
  const order = [...huntOrder({ looksAt }, { seeds: 10, known: 8 })]
  t.equal(order[0], 8)
  const first = looking.filter((seed) => seed !== 8)
  t.same(order.slice(1, 1 + first.length), first)
  t.same(order.toSorted((a, b) => a - b), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  t.same([...huntOrder({ looksAt: undefined }, { seeds: 3 })], [1, 2, 3])
  t.same([...huntOrder({ looksAt: undefined }, { seeds: 3, known: 4 })], [1, 2, 3], 'a known one above them is none')
  t.end()
})

t.test('the table says what the seeds that were asked for found, and with which store', (t) => {
  const [one, other] = PLANTED.filter(({ harmless }) => harmless === undefined)
  const outcomeOf = (name: string): Outcome => {
    const finding = { seed: name === one!.name ? 10_000 : 10_001, checker: 'progress', message: '' }
    return { name, finding, seeds: 3, seconds: 60 }
  }
  const limits = { seeds: 10_000, seconds: 45 }
  const text = tableLines({ bugs: [one!, other!], outcomeOf, commit: 'abc', limits }).join('\n')
  t.match(text, /^Commit abc: \*\*1 of 2\*\* planted bugs found, 1 of them by one of seeds 1 to 10000 /)
  t.ok(text.includes(`| ${one!.name} | ${one!.breaks} | progress | 10000 | 3 |`))
  t.ok(text.includes(`| ${other!.name} | ${other!.breaks} | **survives**: not found yet | - | 3 |`))
  t.equal(findingWithin(outcomeOf(other!.name), 10_001)?.seed, 10_001)
  t.equal(findingWithin(undefined, 10_000), undefined)
  const byTest = (name: string): Outcome => {
    const finding = { seed: 0, checker: 'test/a.test.ts', message: '' }
    return { name, finding, seeds: name === one!.name ? 3 : 0, seconds: 1 }
  }
  const apart = { ...other!, among: 'none' as const }
  const tests = tableLines({ bugs: [one!, apart], outcomeOf: byTest, commit: 'abc', limits }).join('\n')
  t.match(tests, /2 of 2\*\* planted bugs found, 0 of them by .*, 2 by a test file/)
  t.ok(tests.includes(`| ${one!.name} | ${one!.breaks} | \`test/a.test.ts\` | - | 3 |`), 'behind three seeds')
  t.ok(tests.includes(`| ${other!.name} | ${other!.breaks} | \`test/a.test.ts\` | - | - |`), 'and without any')
  t.match(storesLine([{ store: 'memory' }, { store: 'real' }, { store: 'memory' }]), /^2 of the 3 .* memory.*, 1 in /)
  t.end()
})

t.test('a test file finds what no seed did, and says nothing of a bug that it does not see', async (t) => {
  const limits = { skip: 0, seeds: 1, seconds: SECONDS }
  const unseen = { ...PLANTED[0]!, among: 'none' as const, caughtBy: 'test/sim/cluster/network.test.ts' }
  t.match(await search(unseen, limits), { finding: undefined, seeds: 0 })
  const seen = PLANTED.find(({ name }) => name === 'a copy that is filled is cloned')!
  t.match(await search({ ...seen, among: 'none' }, limits), { finding: { seed: 0, checker: seen.caughtBy }, seeds: 0 })
})

t.test('what is found is remembered', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'found-seeds-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'found.json')
  writeFileSync(file, '{}')
  new FoundSeeds(file).remember('b', { seed: 7, checker: 'progress' })
  new FoundSeeds(file).remember('a', { seed: 3, checker: 'assert I6' })
  t.same(new FoundSeeds(file).get('b'), { seed: 7, checker: 'progress' })
  t.same(new FoundSeeds(file).names, ['a', 'b'])
  const planted = new Set(PLANTED.map(({ name }) => name))
  t.same(found.names.filter((name) => !planted.has(name)), [], 'nothing is remembered of a bug that is gone')
  t.end()
})

t.test('each invariant has a bug that its own checker or assert finds first', (t) => {
  const coverage = coverageOf(PLANTED, (name) => found.get(name))
  t.equal(coverage.length, 26)
  for (const { number, own, first } of coverage) {
    if (own.length === 0 || HUNTED_APART[number] !== undefined) continue
    t.ok(first, `${number}: none is found by ${own.join(' or ')}`)
  }
  t.match(coverageLines(coverage).join('\n'), /I1 [^]*L12 /)
  t.end()
})

for (const bug of chosen) {
  t.test(bug.name, async (t) => {
    const known = found.get(bug.name)?.seed
    const limits = { skip: 0, seeds: Math.max(MORE_SEEDS, known ?? 0), seconds: SECONDS, known }
    const { finding, seeds } = await search(bug, limits)
    t.ok(finding, `not found by ${seeds} seeds`)
    if (finding !== undefined) t.comment(`${finding.checker}, seed ${finding.seed}`)
  })
}
