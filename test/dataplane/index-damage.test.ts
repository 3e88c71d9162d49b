/** What the ends of a daemon say about its indexes: one abort casts suspicion, a second one is damage. */
import t from 'tap'
import { IndexSuspicion } from '../../dataplane/index-damage.ts'

/** The first letter of each suspicion, a dot for none. */
function judged(ends: Array<[signal: NodeJS.Signals | null, ranMs: number]>): string {
  const suspicion = new IndexSuspicion()
  return ends.map(([signal, ranMs]) => suspicion.after(signal, ranMs)?.[0] ?? '.').join('')
}

t.test('faults at once, aborts in a row', async (t) => {
  t.equal(judged([['SIGBUS', 0], ['SIGSEGV', 90_000], ['SIGKILL', 0], [null, 0]]), 'dd..')
  t.equal(judged([['SIGABRT', 0], ['SIGABRT', 59_999], ['SIGABRT', 0], ['SIGABRT', 0]]), 'sdsd')
  t.equal(judged([['SIGABRT', 0], ['SIGABRT', 60_000], ['SIGABRT', 0]]), 'ssd', 'a long life between')
  t.equal(judged([['SIGABRT', 0], ['SIGKILL', 0], ['SIGABRT', 0]]), 's.s', 'another end between')
  t.equal(judged([['SIGABRT', 0], ['SIGBUS', 0], ['SIGABRT', 0]]), 'sds', 'rebuilt between')
})
