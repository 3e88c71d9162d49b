/**
 * Rollback as users ask for it (SNAPSHOTS.md T6, T7): nobody who used the volume goes on behind it, what is rolled away
 * is kept, and what is refused changes nothing, not even who uses the volume.
 */
// test-timeout-seconds: 120
import t from 'tap'
import type { RollBackRequest } from '../../../cluster/api/snapshot-messages.ts'
import type { ChangeAnswer } from '../../../cluster/reconcile/node-calls.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { answerLost, drawn, fate, ID, request, servedVolume } from './snapshot-world.ts'
import type { SnapshotWorld } from './snapshot-world.ts'

t.setTimeout(110_000)

const rollBack = ({ cluster, elected }: SnapshotWorld, digit: number, change: Partial<RollBackRequest> = {}) => {
  const asked = { volume: 'v-aaaa', to: 'one', keepAs: '', force: false, id: drawn(digit), ...change }
  return cluster.answered(elected.volumes.rollBackVolume(asked))
}

t.test('T6, T7: fenced, rolled back, kept; and back again', async (t) => {
  const world = await servedVolume(t)
  const { cluster, primary, volume, create, names } = world
  await create(request('one', 1))
  const before = (await cluster.config(ID))!.attach.generation
  const kept = await rollBack(world, 2)
  t.match(kept, { volume: 'v-aaaa', id: drawn(2), name: /^before-rollback-20\d{6}-\d{6}-\d{3}$/, labels: {} })
  t.ok((await cluster.config(ID))!.attach.generation > before, 'nobody of before may write')
  t.match(volume.changes.at(-1), { operation: 'rollback', to: drawn(1), kept: { id: drawn(2) } })
  t.same(await names(), ['one', kept.name])
  t.equal(kept.seq, volume.changed.seq - 1)
  fate(primary, answerLost)
  const again = await rollBack(world, 3, { to: kept.name, keepAs: 'forth' })
  t.match(again, { name: 'forth', id: drawn(3) })
  t.same(volume.rolledBackTo, [drawn(1), drawn(2)], 'once, although the answer was lost')
})

t.test('what is refused changes nothing', async (t) => {
  const world = await servedVolume(t)
  const { cluster, elected, volume, create } = world
  await create(request('one', 1))
  const { length } = volume.changes
  const before = await cluster.config(ID)
  const refused = (code: string, change: Partial<RollBackRequest> = {}) =>
    t.rejects(rollBack(world, 2, change), { code })
  await refused('snapshot-not-found', { to: 'none' })
  await refused('volume-not-found', { volume: 'none' })
  await refused('snapshot-exists', { keepAs: 'one' })
  await refused('snapshot-name', { keepAs: 'One' })
  await refused('parameter', { id: 'x' })
  const { generation } = before!.attach
  const { fake } = world.primary
  fake.sessions = [{ volumeId: ID, session: '1', generation, snapshot: '' }]
  const clients = async () => (await elected.volumes.getVolume({ name: 'v-aaaa' })).frontends.length
  await cluster.until('the client is heard of', async () => (await clients()) === 1)
  await refused('volume-in-use')
  t.same(await cluster.config(ID), before)
  fake.sessions = []
  await cluster.until('the client is gone', async () => (await clients()) === 0)
  await cluster.answered(elected.volumes.attachVolume({ name: 'v-aaaa', node: 'n2', mode: '', force: false }))
  const held = await cluster.config(ID)
  await refused('volume-attached')
  t.same(await cluster.config(ID), held)
  t.equal(volume.changes.length, length)
  await rollBack(world, 2, { force: true })
  t.same((await cluster.config(ID))!.attach.holders, {}, 'forced: nobody holds it any more')
  t.same(volume.rolledBackTo, [drawn(1)])
})

t.test('a primary that has not heard of the fence is waited for, not fenced again', async (t) => {
  const world = await servedVolume(t)
  const { cluster, primary, volume, create } = world
  await create(request('one', 1))
  const before = (await cluster.config(ID))!.attach.generation
  const isBehind = async (): Promise<never> => {
    throw new HoldfastError('change-superseded', { node: primary.name, volume: ID, reason: 'it is not known here yet' })
  }
  fate(primary, isBehind, isBehind, isBehind)
  await rollBack(world, 2)
  t.same(volume.rolledBackTo, [drawn(1)])
  t.equal((await cluster.config(ID))!.attach.generation, before + 1)
})

t.test('who has left is not waited for, and who cannot be asked counts as it was told', async (t) => {
  const world = await servedVolume(t)
  const { cluster, elected, volume, create } = world
  await create(request('one', 1))
  const clients = async () => (await elected.volumes.getVolume({ name: 'v-aaaa' })).frontends.length
  const { fake } = cluster.node('n3')
  const comes = async (): Promise<void> => {
    const { generation } = (await cluster.config(ID))!.attach
    fake.sessions = [{ volumeId: ID, session: '1', generation, snapshot: '' }]
    await cluster.until('the client is heard of', async () => (await clients()) === 1)
  }
  await comes()
  fake.sessions = []
  t.equal(await clients(), 1, 'the last report has it')
  const asked = elected.volumes.rollBackVolume({ volume: 'v-aaaa', to: 'one', keepAs: '', force: false, id: drawn(2) })
  await cluster.answered(asked)
  t.same(volume.rolledBackTo, [drawn(1)])
  await cluster.until('the client is gone', async () => (await clients()) === 0)
  const wrapCalls = cluster.wrapCalls
  cluster.wrapCalls = (calls, from, to) => {
    const wrapped = wrapCalls(calls, from, to)
    const isOld = async (): Promise<never> => {
      throw new HoldfastError('not-supported', { what: 'this', instead: 'a newer version' })
    }
    return to === 'n3' ? { ...wrapped, clients: isOld } : wrapped
  }
  await comes()
  await t.rejects(rollBack(world, 3), { code: 'volume-in-use' })
})

t.test('attack 19: who came after the fence is refused under, or fenced as well with --force', async (t) => {
  const world = await servedVolume(t)
  const { cluster, primary, volume, create } = world
  await create(request('one', 1))
  const generation = async () => (await cluster.config(ID))!.attach.generation
  const first = await generation()
  const comes = async (order: () => Promise<ChangeAnswer>) => {
    volume.newestSession = await generation()
    return order()
  }
  fate(primary, async (order) => {
    const refused = comes(order)
    primary.fake.sessions = [{ volumeId: ID, session: '1', generation: await generation(), snapshot: '' }]
    await primary.control.agentTurn()
    return refused
  })
  await t.rejects(rollBack(world, 2), { code: 'volume-in-use' })
  t.same(volume.rolledBackTo, [])
  primary.fake.sessions = []
  fate(primary, comes)
  await rollBack(world, 2)
  t.same(volume.rolledBackTo, [drawn(1)], 'he has left')
  fate(primary, comes)
  await rollBack(world, 3, { force: true, keepAs: 'again' })
  t.same(volume.rolledBackTo, [drawn(1), drawn(1)])
  t.equal(await generation(), first + 5, 'one fence for each order')
})
