/** Risk: a key is taken for noted, and written under, while the note may yet be lost with the power. */
import t from 'tap'
import { CopyNotes } from '../../dataplane/copy-notes.ts'

const withKeys = (count: number, epoch = 1) =>
  ({ record: { spec: { encryption: { keys: Array.from({ length: count }, () => ({})) } } }, config: { epoch } })

/** A copy whose writes end when the test says so; the note shows at once. */
function copyWith(first: unknown) {
  const writes: Array<(ok: boolean) => void> = []
  const store = {
    noted: first,
    isAgreed: true,
    note(noted: unknown, ended: (ok: boolean) => void): void {
      store.noted = noted
      writes.push(ended)
    },
  }
  const notes = new CopyNotes()
  const said: string[] = []
  const ask = (name: string, noted: unknown): boolean => notes.note(store, noted, (ok) => said.push(`${name} ${ok}`))
  return { store, writes, said, ask }
}

t.test('the same note is known when it is durable, and not because it shows', async (t) => {
  const { store, writes, said, ask } = copyWith(withKeys(1))
  t.notOk(ask('as it was', withKeys(1)), 'what the disks had is durable')
  t.ok(ask('first', withKeys(2)))
  ask('again', withKeys(2))
  ask('older', withKeys(1))
  t.same(said, ['as it was true'], 'nothing is durable yet')
  t.same(store.noted, withKeys(2))
  writes.shift()!(true)
  t.same(said, ['as it was true', 'first true'])
  t.notOk(ask('known', withKeys(2)))
  t.notOk(ask('older than known', withKeys(1, 9)))
  while (writes.length > 0) writes.shift()!(true)
  t.same(said.slice(2), ['known true', 'older than known true', 'again true', 'older true'])
})

t.test('what could not be written is not known', async (t) => {
  const { writes, said, ask } = copyWith(undefined)
  ask('first', withKeys(1))
  writes.shift()!(false)
  ask('again', withKeys(1))
  t.same(said, ['first false'])
  writes.shift()!(false)
  t.same(said, ['first false', 'again false'])
})

t.test('an earlier write that ends says nothing of a later one', async (t) => {
  const { writes, said, ask } = copyWith(undefined)
  ask('one', withKeys(1))
  ask('two', withKeys(2))
  writes.shift()!(true)
  ask('two again', withKeys(2))
  t.same(said, ['one true'])
})

t.test('what one of several disks had when the copy was opened is not known before all have it', async (t) => {
  const { store, writes, said, ask } = copyWith(withKeys(2))
  store.isAgreed = false
  t.ok(ask('as one had it', withKeys(2)), 'it is written')
  t.same(said, [])
  writes.shift()!(true)
  t.same(said, ['as one had it true'])
  store.isAgreed = true
  t.notOk(ask('again', withKeys(2)))
})
