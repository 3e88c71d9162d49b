/** The results page: a suite replaces its own section and leaves the others as they are. */
import t from 'tap'
import { goalsTable } from '../../bench/volume/goal.ts'
import { sectionsOf, withSection } from '../../bench/volume/results-page.ts'

const ORDER = ['volume', 'memory', 'idle']

t.test('sections come in the order of the suites, whichever ran first', async (t) => {
  let page = withSection('', { suite: 'idle', text: '## idle\n\nquiet' }, ORDER)
  page = withSection(page, { suite: 'volume', text: '## volume\n\n| a |' }, ORDER)
  t.same(sectionsOf(page).map(({ suite }) => suite), ['volume', 'idle'])
  t.match(page, /^# Measured\n/)
})

t.test('a suite that runs again replaces what it said', async (t) => {
  let page = withSection('', { suite: 'volume', text: 'old\n\n$1 & $&' }, ORDER)
  page = withSection(page, { suite: 'memory', text: 'kept' }, ORDER)
  page = withSection(page, { suite: 'volume', text: 'new' }, ORDER)
  t.same(sectionsOf(page), [{ suite: 'volume', text: 'new' }, { suite: 'memory', text: 'kept' }])
  t.equal(withSection(page, { suite: 'volume', text: 'new' }, ORDER), page, 'and the same again changes nothing')
})

t.test('the section of a suite that is no more goes', async (t) => {
  const before = withSection('', { suite: 'gone', text: 'x' }, [...ORDER, 'gone'])
  const page = withSection(before, { suite: 'idle', text: 'y' }, ORDER)
  t.same(sectionsOf(page).map(({ suite }) => suite), ['idle'])
})

t.test('what was not measured is neither met nor missed', async (t) => {
  const table = goalsTable([
    { name: 'a', wanted: '>= 1x', measured: '2x', met: true },
    { name: 'b', wanted: '>= 1x', measured: '0.5x', met: false },
    { name: 'c', wanted: '>= 1x', measured: undefined, met: undefined, note: 'qemu-nbd is not installed' },
  ])
  t.match(table, '| a | >= 1x | 2x | met |')
  t.match(table, '| b | >= 1x | 0.5x | **not met** |')
  t.match(table, '| c | >= 1x | - | not measured: qemu-nbd is not installed |')
})
