/** D2: after a batch that failed, nobody is answered any more: neither who waited for it nor who came later. */
import t from 'tap'
import { EmbeddedStore, HISTORY_BOUNDS, openEmbeddedStore } from '../../../../cluster/store/embedded/embedded-store.ts'
import { openStoreFolder } from '../../../../cluster/store/embedded/store-folder.ts'
import { temporaryFolder } from '../../../temporary-folder.ts'

const turns = (count: number): Promise<void> => new Promise((resolve) => {
  const next = () => (count-- > 0 ? setImmediate(next) : resolve())
  next()
})

t.test('a failed batch is the end', async (t) => {
  const dir = temporaryFolder(t)
  const opened = await openStoreFolder(dir)
  const store = new EmbeddedStore(opened, HISTORY_BOUNDS)
  const value = Uint8Array.of(1)
  const put = (key: string) => store.change(1, (history) => ({ record: history.put(key, value), answer: key }))
  t.equal(await put('before'), 'before')
  const errors: Error[] = []
  store.onFailed = (error) => errors.push(error)
  const { batch } = opened.database
  const answered: string[] = []
  opened.database.batch = (() => Promise.reject(new Error('EIO'))) as unknown as typeof batch
  void put('failed').then((key) => answered.push(key))
  void store.change(0, () => ({ record: undefined, answer: 'lost to it' })).then((key) => answered.push(key))
  await turns(5)
  opened.database.batch = batch
  void put('later').then((key) => answered.push(key))
  await turns(20)
  t.match(errors, [{ message: 'EIO' }], 'told once')
  t.same(answered, [])
  t.equal(store.committedRevision, 2)
  await opened.database.close()
  const again = await openEmbeddedStore(dir)
  t.equal(again.committedRevision, 2, 'and nothing of it is there')
  await again.close()
})
