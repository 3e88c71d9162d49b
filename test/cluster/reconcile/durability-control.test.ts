/**
 * Another durability for a volume: what is answered is in force, once; what is refused was not done and will not be; of
 * the rest it is said that it is not known. The record is never ahead in what it promises.
 */
// test-timeout-seconds: 120
import t from 'tap'
import type { Durability } from '../../../engine/replication/record.ts'
import { answerLost, fate, lost, orderLost, servedVolume } from './snapshot-world.ts'
import type { SnapshotWorld } from './snapshot-world.ts'

t.setTimeout(110_000)

const set = ({ cluster, elected }: SnapshotWorld, durability: string, more: Record<string, string> = {}) =>
  cluster.answered(elected.volumes.modifyVolume({ name: 'v-aaaa', parameters: { durability, ...more } }))
const recorded = async ({ elected }: SnapshotWorld): Promise<Durability> =>
  (await elected.volumes.getVolume({ name: 'v-aaaa' })).durability
const orders = ({ volume }: SnapshotWorld): string[] =>
  volume.changes.map((change) => (change.operation === 'durability' ? change.to : change.operation))

t.test('it is changed when it is answered, with all that is named, and asked for again it is as it is', async (t) => {
  const world = await servedVolume(t)
  t.match(await set(world, 'writeback', { 'io-timeout': '30m' }), { durability: 'writeback', ioTimeoutMs: 1_800_000 })
  t.equal(world.volume.durability, 'writeback')
  t.match(await set(world, 'writeback'), { durability: 'writeback', durabilityNext: '' })
  t.match(await set(world, 'durable'), { durability: 'durable', ioTimeoutMs: 1_800_000 })
  t.same(orders(world), ['writeback', 'durable'], 'none was ordered twice')
  await t.rejects(set(world, 'lasting'), { code: 'parameter', message: /durability .* durable/ })
  await t.rejects(set(world, 'writeback', { 'qos-iops': '3' }), { code: 'parameter' }, 'all of them or none')
  t.same(orders(world), ['writeback', 'durable'])
})

t.test('a lost answer is found, a lost order is given again', async (t) => {
  const world = await servedVolume(t)
  fate(world.primary, answerLost)
  t.match(await set(world, 'writeback'), { durability: 'writeback' })
  fate(world.primary, orderLost, orderLost)
  t.match(await set(world, 'durable'), { durability: 'durable' })
  t.same(orders(world), ['writeback', 'durable'])
})

for (const [what, end] of [['behind the record', answerLost], ['before the record', orderLost]] as const) {
  t.test(`the primary dies ${what}, and the next one has it once`, async (t) => {
    const world = await servedVolume(t)
    const { cluster, primary } = world
    fate(primary, async (order) => {
      cluster.kill(primary.name)
      return end(order)
    })
    t.match(await set(world, 'writeback'), { durability: 'writeback' })
    t.same(orders(world), ['writeback'])
  })
}

for (const [from, to] of [['durable', 'writeback'], ['writeback', 'durable']] as const) {
  t.test(`from ${from} to ${to}: while nobody can tell, it is not known, and the record says writeback`, async (t) => {
    const world = await servedVolume(t)
    if (from === 'writeback') await set(world, 'writeback')
    const { fake } = world.primary
    const tell = fake.snapshots.bind(fake)
    let isDeaf = false
    fake.snapshots = (query) => (isDeaf ? Promise.reject(lost()) : tell(query))
    fate(world.primary, async () => {
      isDeaf = true
      throw lost()
    })
    await t.rejects(set(world, to), { code: 'change-outcome', message: /the other durability .* not known/ })
    t.equal(await recorded(world), 'writeback')
    await t.rejects(set(world, to), { code: 'volume-unled', message: /nothing was changed/ }, 'never ordered')
    isDeaf = false
    t.match(await set(world, to), { durability: to }, 'the same request again')
    t.equal(world.volume.durability, to)
  })
}

t.test('an order that comes late, behind one the other way, does nothing', async (t) => {
  const world = await servedVolume(t)
  let late: (() => Promise<unknown>) | undefined
  fate(world.primary, async (order) => {
    late = order
    throw lost()
  })
  await set(world, 'writeback')
  await set(world, 'durable')
  await t.rejects(late!(), { code: 'change-superseded' })
  t.equal(world.volume.durability, 'durable')
})

t.test('two at the same time: one behind the other, and the record is as the volume', async (t) => {
  const world = await servedVolume(t)
  const [one, two] = await Promise.all([set(world, 'writeback'), set(world, 'durable')])
  t.equal(one.durability, 'writeback')
  t.equal(two.durability, 'durable')
  t.equal(world.volume.durability, 'durable')
  t.equal(await recorded(world), 'durable')
})

t.test('with a node of a former version it is refused by its name; what is as asked for is no change', async (t) => {
  const world = await servedVolume(t)
  const { cluster, elected } = world
  const old = [...cluster.nodes.values()].find((node) => node !== elected)!
  old.protocol = 7
  for (let i = 0; i < 3; i++) await cluster.round()
  const message = new RegExp(`^another durability of volume v-aaaa waits for newer nodes: ${old.name} `)
  await t.rejects(set(world, 'writeback'), { code: 'node-too-old', message })
  t.equal(await recorded(world), 'durable', 'nothing was written')
  t.match(await set(world, 'durable'), { durability: 'durable' })
  world.volume.durability = ''
  t.match(await set(world, 'durable'), { durability: 'durable' }, 'of a primary that does not say it')
  await t.rejects(set(world, 'writeback'), { code: 'node-too-old', message })
  t.same(orders(world), [])
})
