/**
 * Risk: a text of the product changes, and a planted bug that is a change of that text can no longer be planted, which
 * only the long runs would say. Every edit of every planted bug has to fit the source as it is.
 */
import t from 'tap'
import { STORE_PLANTED } from '../conformance/cluster-store/planted-bugs.ts'
import { NEMESIS_PLANTED } from '../nemesis/planted-bugs.ts'
import { POWER_PLANTED } from '../power/planted-bugs.ts'
import { PLANTED, THIN_ALWAYS } from '../sim/checker/planted-bugs.ts'
import { PLANTED as REPLICATION_PLANTED } from '../sim/cluster/planted-bugs.ts'
import { editsOf, misfit } from '../sim/mutants.ts'

const all = [...PLANTED, ...STORE_PLANTED, ...REPLICATION_PLANTED, ...POWER_PLANTED, ...NEMESIS_PLANTED]

t.test('every planted bug fits the source it is planted in', (t) => {
  for (const mutant of all)
    for (const edit of editsOf(mutant)) t.equal(misfit(edit), undefined, mutant.name)
  t.match(misfit({ ...THIN_ALWAYS, replace: 'no such text' }), /occurs 0 times/)
  t.end()
})

t.test('a name stands for one bug', (t) => {
  t.equal(new Set(all.map(({ name }) => name)).size, all.length)
  t.end()
})
