/**
 * Names of volumes, as records of a store. Risk: a volume answers to a name that is not its own, and who deletes what
 * he made, or meant to make, under that name deletes another one's data.
 */
import t from 'tap'
import type { Test } from 'tap'
import { RecordStore } from '../../../cluster/reconcile/record-store.ts'
import { VolumeWishes } from '../../../cluster/reconcile/volume-wishes.ts'
import { putKey } from '../../../cluster/store/put-key.ts'
import { encodeName, nameKey } from '../../../cluster/store/volume-names.ts'
import { recordOf } from '../../engine/control/small-cluster.ts'
import { storeInProcess } from '../store-in-process.ts'

const [A, B] = ['a'.repeat(32), 'b'.repeat(32)]
const named = (id: string, name: string) => recordOf(id, {}, { name })
const DELETION = { keepMs: 60_000, force: false }

async function wishesOf(t: Test) {
  const store = (await storeInProcess(t)).client()
  return { store, wishes: new VolumeWishes(new RecordStore(store), 0) }
}

t.test('a volume id that is in use gets no second name', async (t) => {
  const { wishes } = await wishesOf(t)
  await wishes.create(named(A, 'a'))
  await t.rejects(wishes.create(named(A, 'b')), { code: 'volume-exists' })
  t.equal(await wishes.idOf('b'), undefined, 'the name is given back')
  await t.rejects(wishes.find('b'), { code: 'volume-not-found' })
  await t.rejects(wishes.create(named(A, 'a')), { code: 'volume-exists' })
  t.match(await wishes.find('a'), { spec: { id: A } }, 'its own it keeps, however often it is asked for')
  await wishes.delete('a', DELETION)
  await t.rejects(wishes.create(named(A, 'b')), { code: 'volume-exists' }, 'also in the trash')
  t.equal(await wishes.idOf('b'), undefined)
})

t.test('what a creation that broke off left under another name is no name', async (t) => {
  const { store, wishes } = await wishesOf(t)
  await wishes.create(named(A, 'a'))
  await putKey(store, nameKey('b'), encodeName(A))
  t.equal(await wishes.isUsed('b'), false)
  const calls: Array<() => Promise<unknown>> = [
    () => wishes.find('b'), () => wishes.delete('b', DELETION), () => wishes.restore('b'), () => wishes.purge('b'),
    () => wishes.detach('b', 'all'),
  ]
  for (const call of calls) await t.rejects(call(), { code: 'volume-not-found' }, `${call}`)
  await wishes.create(named(B, 'b'))
  t.match(await wishes.find('b'), { spec: { id: B } }, 'it is free for another volume')
  t.match(await wishes.find('a'), { spec: { id: A }, trash: null })
})
