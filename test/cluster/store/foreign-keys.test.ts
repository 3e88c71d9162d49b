/**
 * Keys below our root that none of ours can be, as whoever may write the store puts them there. Risk: one becomes the
 * key of a later call, which is a bug of ours and ends the daemon; or a list never gets behind it.
 */
import t from 'tap'
import type { Change, ClusterStore, Cursor } from '../../../cluster/store/cluster-store.ts'
import { PAGE_ENTRIES_MAX } from '../../../cluster/store/cluster-store.ts'
import { entryOf, objectOf } from '../../../cluster/store/kube-records.ts'
import { RawEtcd } from '../../conformance/cluster-store/raw-etcd.ts'
import { storeInProcess } from '../store-in-process.ts'

const FOREIGN = [
  Buffer.from('k/a b'), Buffer.from('k/\u00fc'), Buffer.from(`k/${'x'.repeat(600)}`), Buffer.from([0x6b, 0x2f, 0xff]),
]

async function listed(store: ClusterStore): Promise<string[]> {
  const keys: string[] = []
  let after: Cursor | undefined
  let pages = 0
  do {
    const page = await store.list({ prefix: 'k/', after })
    if (!page.ok) throw page.error
    keys.push(...page.value.entries.map(({ key }) => key))
    after = page.value.next
  } while (after !== undefined && ++pages < 10)
  return keys
}

t.test('they are not listed, and not told', async (t) => {
  const { url, client } = await storeInProcess(t)
  const raw = new RawEtcd(t, url)
  const put = (key: Buffer): Promise<object> =>
    raw.call('KV', 'Put', { key: Buffer.concat([Buffer.from('/holdfast/'), key]), value: Buffer.from('1') })
  const store = client()
  const before = await store.list({ prefix: 'k/' })
  if (!before.ok) throw before.error
  const told: Change[] = []
  const isTold = Promise.withResolvers<void>()
  store.watch({ prefix: 'k/', after: before.value.position }, (event) => {
    if (event.type === 'changed') told.push(...event.changes)
    if (told.some(({ key }) => key === 'k/z')) isTold.resolve()
  })
  for (const key of [Buffer.from('k/a'), ...FOREIGN, Buffer.from('k/z')]) t.notMatch(await put(key), { details: /./ })
  await isTold.promise
  t.same(told.map(({ key }) => key), ['k/a', 'k/z'])
  t.same(await listed(store), ['k/a', 'k/z'])
})

t.test('a page of them is got behind', async (t) => {
  const { url, client } = await storeInProcess(t)
  const raw = new RawEtcd(t, url)
  const name = (end: string): Buffer => Buffer.concat([Buffer.from('/holdfast/k/'), Buffer.of(0xf0), Buffer.from(end)])
  const put = (key: Buffer): Promise<object> => raw.call('KV', 'Put', { key, value: Buffer.from('1') })
  const many = Array.from({ length: 2 * PAGE_ENTRIES_MAX }, (_, i) => name(String(i).padStart(3, '0')))
  await Promise.all([...many, Buffer.from('/holdfast/k/a')].map(put))
  t.same(await listed(client()), ['k/a'])
})

t.test('an object of the Kubernetes API with one is no entry', async (t) => {
  for (const key of ['k/a b', 'k/\u0007']) {
    const object = objectOf(key, Buffer.from('1'), undefined)
    const metadata = { ...(object.metadata as object), uid: 'u', resourceVersion: '1' }
    t.equal(entryOf({ ...object, metadata }), undefined, key)
  }
})
