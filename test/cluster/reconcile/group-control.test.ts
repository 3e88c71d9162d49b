/** Group snapshots as users ask for them: made, listed, deleted, a name once; and refusals, which change nothing. */
// test-timeout-seconds: 120
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { decodeVolume, encodeVolume, volumeKey } from '../../../cluster/store/volume-records.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { MIB } from '../../../engine/units.ts'
import { A, B, groupRequest, groupWorld } from './group-world.ts'
import { drawn, lost } from './snapshot-world.ts'

t.setTimeout(110_000)

t.test('made of all, shown, listed by pages, deleted', async (t) => {
  const { cluster, elected, volumes, create, snapshots, records, atRest } = await groupWorld(t)
  const api = elected().volumes
  const made = await create(groupRequest('nightly', 1, { labels: { app: 'db' } }))
  t.match(made, { name: 'nightly', id: drawn(1), state: 'made', labels: { app: 'db' } })
  t.match(made.members, [
    { volume: 'v-aaaa', volumeId: A, seq: volumes.a.snapshots[0]!.seq, sizeBytes: 64 * MIB },
    { volume: 'v-bbbb', volumeId: B, seq: volumes.b.snapshots[0]!.seq, sizeBytes: 64 * MIB },
  ])
  for (const volume of [volumes.a, volumes.b]) {
    const { createdAtMs, labels } = made
    const title = { name: 'nightly', group: 'nightly', createdAtMs, labels }
    t.match(volume.snapshots, [{ id: made.snapshotId, title }])
  }
  t.same(await api.getGroup({ name: 'nightly' }), made)
  t.same(await create(groupRequest('nightly', 1, { labels: { app: 'db' } })), made, 'the same request again')
  await create(groupRequest('weekly', 2))
  const page = await api.listGroups({ limit: 1, after: '' })
  t.same([page.groups.map(({ name }) => name), page.next], [['nightly'], 'nightly'])
  const rest = await api.listGroups({ limit: 0, after: page.next })
  t.same([rest.groups.map(({ name }) => name), rest.next], [['weekly'], ''])
  t.same(snapshots(), [['nightly', 'weekly'], ['nightly', 'weekly']])

  await t.rejects(api.deleteSnapshot({ volume: 'v-aaaa', name: 'nightly', id: '' }), { code: 'snapshot-in-group' })
  await cluster.answered(api.deleteGroup({ name: 'nightly', id: '' }))
  t.same(snapshots(), [['weekly'], ['weekly']])
  t.same((await records()).map(({ name }) => name), ['weekly'])
  await cluster.answered(api.deleteGroup({ name: 'weekly', id: made.id }))
  t.same(snapshots(), [['weekly'], ['weekly']], 'the one that is meant is gone already')
  await atRest(t)
})

t.test('bad input is refused with a sentence, and changes nothing', async (t) => {
  const { cluster, elected, volumes, create, records } = await groupWorld(t)
  const api = elected().volumes
  await create(groupRequest('one', 1))
  await cluster.answered(api.createSnapshot({ volume: 'v-bbbb', name: 'own', labels: {}, id: drawn(9) }))
  const before = [volumes.a.changes.length, volumes.b.changes.length]
  const refused = (code: string, asked: Promise<unknown>, message?: RegExp) =>
    t.rejects(cluster.answered(asked), { code, ...(message === undefined ? {} : { message }) })
  t.match(await create(groupRequest('one', 2)), { id: drawn(1) }, 'G6: the same is the one that is there')
  await refused('group-exists', create(groupRequest('one', 2, { labels: { app: 'db' } })), /not with labels app=db;/)
  await refused('group-exists', create(groupRequest('one', 2, { volumes: ['v-aaaa'] })), /it is of other volumes;/)
  await refused('snapshot-exists', cluster.answered(api.createSnapshot(
    { volume: 'v-bbbb', name: 'one', labels: {}, id: drawn(8) })), /as a part of group snapshot one, made/)
  await refused('snapshot-exists', create(groupRequest('own', 2)), /v-bbbb .* own already, made 20.* \(id 9+\)/)
  await refused('volume-not-found', create(groupRequest('two', 2, { volumes: ['v-aaaa', 'none'] })))
  await refused('parameter', create(groupRequest('two', 2, { volumes: [] })))
  await refused('parameter', create(groupRequest('two', 2, { volumes: ['v-aaaa', 'v-bbbb', 'v-aaaa'] })), /v-aaaa/)
  await refused('parameter', create(groupRequest('two', 2, { volumes: Array.from({ length: 33 }, (_, i) => `v${i}`) })))
  await refused('snapshot-name', create(groupRequest('Two', 2)))
  await refused('parameter', create(groupRequest('two', 2, { id: 'x' })))
  await refused('parameter', create(groupRequest('two', 2, { labels: { 'a b': '' } })))
  await refused('group-not-found', api.deleteGroup({ name: 'none', id: '' }))
  await refused('group-not-found', api.getGroup({ name: 'none' }))
  await refused('parameter', api.listGroups({ limit: 201, after: '' }))
  t.same([volumes.a.changes.length, volumes.b.changes.length], before)
  t.same((await records()).map(({ name, state }) => [name, state]), [['one', 'made']])
})

t.test('a volume that does not hold: nothing is made, nothing is left, and it is said which one', async (t) => {
  const { create, volumes, snapshots, records, meets, atRest } = await groupWorld(t)
  let holds = 0
  meets(async ({ call, volumeId, go }) => {
    if (call === 'hold') holds++
    if (call !== 'hold' || volumeId !== B) return go()
    throw new HoldfastError('copy-refused', { node: 'n', volume: B, reason: 'it does not know how' })
  })
  await t.rejects(create(groupRequest('one', 1)), {
    code: 'group-not-made', message: /group snapshot one was not made: volume v-bbbb .* it does not know how/,
  })
  t.equal(holds, 8, 'four times')
  await atRest(t)
  t.same([snapshots(), await records()], [[[], []], []])
  t.ok(volumes.a.changes.every(({ operation }) => operation === 'snapshot-delete'), 'only fences')
})

t.test('a volume that does not take: what was taken is deleted; the next attempt has all', async (t) => {
  const { create, volumes, snapshots, meets, atRest } = await groupWorld(t)
  let refusals = 1
  meets(async ({ call, volumeId, go }) => {
    if (call !== 'take' || volumeId !== B || refusals-- <= 0) return go()
    while (volumes.a.snapshots.length === 0) await setImmediate()
    throw new HoldfastError('copy-refused', { node: 'n', volume: B, reason: 'the hold is over' })
  })
  const made = await create(groupRequest('one', 1))
  await atRest(t)
  t.same(snapshots(), [['one'], ['one']])
  const taken = volumes.a.changes.flatMap((change) => (change.operation === 'snapshot' ? [change.id] : []))
  t.equal(taken.length, 2)
  t.not(taken[0], made.snapshotId, 'an id is of one attempt')
})

t.test('another change of a volume between reading and holding is another attempt', async (t) => {
  const { cluster, elected, create, snapshots, meets, atRest } = await groupWorld(t)
  let isFirst = true
  const api = elected().volumes
  meets(async ({ call, volumeId, go }) => {
    if (call === 'hold' && volumeId === A && isFirst) {
      isFirst = false
      const { fake } = cluster.node((await cluster.config(A))!.primary)
      await fake.change(A, { change: { operation: 'resize', sizeBytes: 128 * MIB } })
    }
    return go()
  })
  t.match(await create(groupRequest('one', 1)), { members: [{ sizeBytes: 128 * MIB }, { sizeBytes: 64 * MIB }] })
  t.same(snapshots(), [['one'], ['one']])
  t.match((await api.listGroups({ limit: 0, after: '' })).groups, [{ state: 'made' }])
  await atRest(t)
})

t.test('a group of which a snapshot is read is not deleted, and nothing of it is', async (t) => {
  const { cluster, elected, create, volumes, snapshots, records, atRest } = await groupWorld(t)
  const api = elected().volumes
  await create(groupRequest('one', 1))
  volumes.b.inUse = 'node n3 reads it for 1 client(s)'
  await t.rejects(cluster.answered(api.deleteGroup({ name: 'one', id: '' })), {
    code: 'snapshot-in-use', message: /snapshot one of volume v-bbbb is in use and is not deleted: node n3 reads/,
  })
  t.match(await records(), [{ state: 'made' }])
  t.same(snapshots(), [['one'], ['one']])
  volumes.b.inUse = ''
  await cluster.answered(api.deleteGroup({ name: 'one', id: '' }))
  t.same(snapshots(), [[], []])
  await atRest(t)
})

t.test('deletion: a volume that is away keeps it pending, and one that is deleted does not', async (t) => {
  const { cluster, elected, create, snapshots, leads, records, atRest } = await groupWorld(t)
  const api = elected().volumes
  await create(groupRequest('one', 1))
  await create(groupRequest('two', 2))
  const { fake } = cluster.node(leads[B]!)
  const tell = fake.snapshots.bind(fake)
  let isDeaf = true
  fake.snapshots = (query) => (isDeaf && query.volumeId === B ? Promise.reject(lost()) : tell(query))
  const deleted = cluster.answered(api.deleteGroup({ name: 'one', id: '' }))
  await t.rejects(deleted, { code: 'group-undoing', message: /group snapshot one is deleted.*v-bbbb/ })
  t.match(await records(), [{ name: 'one', state: 'undoing' }, { name: 'two', state: 'made' }])
  t.match(await api.getGroup({ name: 'one' }), { state: 'undoing' })
  await t.rejects(create(groupRequest('one', 3)), { code: 'group-exists', message: /it is being deleted/ })
  const { problems } = await api.status()
  t.match(problems.filter(({ what }) => what.startsWith('group')), [
    { what: /^group snapshot one /, why: /^volume v-bbbb: / },
  ])
  isDeaf = false
  await cluster.until('it goes by itself', async () => (await records()).length === 1)
  t.notOk((await api.status()).problems.some(({ what }) => what.startsWith('group')))
  t.same(snapshots(), [['two'], ['two']])

  const key = volumeKey(B)
  const record = decodeVolume(B, (await cluster.entry(key))!.value)!
  await cluster.put(key, encodeVolume({ ...record, trash: { deletedAtAgeMs: 0, keepMs: 1e9, isPurging: false } }))
  await cluster.answered(api.deleteGroup({ name: 'two', id: '' }))
  t.same(snapshots(), [[], ['two']], 'what is in the trash stays there')
  t.same(await records(), [])
  await cluster.put(key, encodeVolume(record))
  await cluster.answered(api.deleteSnapshot({ volume: 'v-bbbb', name: 'two', id: '' }))
  t.same(snapshots(), [[], []], 'and is an ordinary one when it comes back')
  await atRest(t)
})
