/**
 * What becomes of a change whose answer, order or primary is lost (SNAPSHOTS.md T1 to T4): what is answered was done,
 * once; what is refused was not and will not be; of the rest it is said that it is not known.
 */
// test-timeout-seconds: 120
import t from 'tap'
import { HoldfastError } from '../../../engine/errors.ts'
import { answerLost, drawn, fate, ID, lost, named, orderLost, request, servedVolume } from './snapshot-world.ts'

t.setTimeout(110_000)

t.test('attacks 4 and 5: a lost answer is a success, a lost order is given again, both once', async (t) => {
  const { primary, volume, create, names } = await servedVolume(t)
  fate(primary, answerLost)
  t.match(await create(request('one', 1)), { name: 'one', id: drawn(1) })
  fate(primary, orderLost, orderLost)
  t.match(await create(request('two', 2)), { name: 'two', id: drawn(2) })
  t.same(await names(), ['one', 'two'])
  t.equal(volume.changes.length, 2)
})

t.test('attacks 5 and 6: an order that comes late does nothing, also behind the deletion', async (t) => {
  const { cluster, elected, primary, volume, create, names } = await servedVolume(t)
  let late: (() => Promise<unknown>) | undefined
  fate(primary, async (order) => {
    late = order
    throw lost()
  })
  await create(request('one', 1))
  await t.rejects(late!(), { code: 'change-superseded' })
  t.same(await names(), ['one'])
  await cluster.answered(elected.volumes.deleteSnapshot({ ...named('one'), id: '' }))
  await t.rejects(late!(), { code: 'change-superseded' })
  t.same(await names(), [])
  t.equal(volume.changes.length, 2)
})

for (const [what, end] of [['behind the record', answerLost], ['before the record', orderLost]] as const) {
  t.test(`attacks 1 to 3: the primary dies ${what}, and the next one has it once`, async (t) => {
    const { cluster, primary, volume, create, names } = await servedVolume(t)
    const dies: typeof answerLost = async (order) => {
      cluster.kill(primary.name)
      return end(order)
    }
    fate(primary, dies)
    t.match(await create(request('one', 1)), { name: 'one' })
    t.not((await cluster.config(ID))!.primary, primary.name)
    t.same(await names(), ['one'])
    t.equal(volume.changes.length, 1)
  })
}

t.test('T4: what nobody can tell is not known, neither done nor refused', async (t) => {
  const { primary, volume, create } = await servedVolume(t)
  const { fake } = primary
  const tell = fake.snapshots.bind(fake)
  let isDeaf = false
  fake.snapshots = (query) => (isDeaf ? Promise.reject(lost()) : tell(query))
  fate(primary, async () => {
    isDeaf = true
    throw lost()
  })
  await t.rejects(create(request('one', 1)), { code: 'change-outcome', message: /whether snapshot one .* not known/ })
  await t.rejects(create(request('one', 1)), { code: 'volume-unled', message: /nothing was changed/ }, 'never ordered')
  isDeaf = false
  t.match(await create(request('one', 1)), { name: 'one', id: drawn(1) }, 'the same request again')
  t.equal(volume.changes.length, 1)
})

t.test('T4: an order that was refused in words is not called unknown', async (t) => {
  const { primary, volume, create } = await servedVolume(t)
  const { fake } = primary
  const refusal = new HoldfastError('copy-refused', { node: 'n', volume: 'v', reason: 'it is full' })
  fake.change = () => Promise.reject(refusal)
  await t.rejects(create(request('one', 1)), { code: 'volume-unled', message: /v-aaaa .* it is full; nothing/ })
  t.equal(volume.changes.length, 0)
})
