/** What is kept of costs, and what is taken for a file that nobody has measured. */
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { busySeconds, costOf, readCosts, readLastRuns, writeCosts, writeLastRuns } from './costs.ts'
import { findTestFiles } from './test-file.ts'

const ROOT = new URL('../..', import.meta.url).pathname

t.test('long files that are there are kept, beside what is measured', (t) => {
  const root = t.testdir({
    test: { runner: { 'costs.json': '{"old": {"seconds": 9, "cores": 1}, "gone": {"seconds": 9, "cores": 1}}' } },
  })
  writeCosts(root, { new: { seconds: 2.04, cores: 0.333 }, short: { seconds: 1.9, cores: 1 } }, ['short', 'old', 'new'])
  t.same(readCosts(root), { new: { seconds: 2, cores: 0.33 }, old: { seconds: 9, cores: 1 } })
  t.equal(readFileSync(join(root, 'test/runner/costs.json'), 'utf8').split('\n')[1],
    '  "new": {"seconds": 2.0, "cores": 0.33},')
  t.end()
})

t.test('a file without a cost is known from its last run, and computes', (t) => {
  const root = t.testdir({})
  t.same(readLastRuns(root), {})
  mkdirSync(join(root, '.tap'))
  writeLastRuns(root, { a: { seconds: 7, partSeconds: 3 } })
  const runs = readLastRuns(root)
  t.same(costOf('a', {}, runs), { seconds: 7, cores: 1 })
  t.same(costOf('a', { a: { seconds: 5, cores: 0.5 } }, runs), { seconds: 5, cores: 0.5 })
  t.same(costOf('b', {}, runs), { seconds: 0, cores: 1 })
  t.end()
})

t.test('costs are of files that are there', (t) => {
  const paths = findTestFiles(ROOT).map(({ path }) => path)
  t.same(Object.keys(readCosts(ROOT)).filter((path) => !paths.includes(path)), [], 'run `npm test -- --measure`')
  t.end()
})

t.test('the machine is busy while something computes', (t) => {
  const before = busySeconds()
  const endMs = performance.now() + 60
  while (performance.now() < endMs);
  t.ok(busySeconds() > before)
  t.end()
})
