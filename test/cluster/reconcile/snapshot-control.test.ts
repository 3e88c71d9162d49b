/** Snapshots as users ask for them: made, listed, deleted, a name once; and refusals, which change nothing. */
// test-timeout-seconds: 120
import t from 'tap'
import type { HoldfastError } from '../../../engine/errors.ts'
import { MIB } from '../../../engine/units.ts'
import { answerLost, drawn, fate, ID, named, request, servedVolume } from './snapshot-world.ts'

t.setTimeout(110_000)

t.test('made, listed by pages, shown, deleted; each with what was said of it', async (t) => {
  const { cluster, elected, volume, create, names } = await servedVolume(t)
  const { volumes } = elected
  const labels = { app: 'db', 'example.org/tier': '' }
  const made = await create(request('first', 1, labels))
  t.match(made, { volume: 'v-aaaa', name: 'first', id: drawn(1), sizeBytes: 64 * MIB, labels })
  t.ok(Math.abs(made.createdAtMs - Date.now()) < 60_000)
  for (const [name, digit] of [['second', 2], ['a-third', 3]] as const) await create(request(name, digit))
  t.same(await names(), ['first', 'second', 'a-third'], 'in order of seq')
  const page = await volumes.listSnapshots({ volume: 'v-aaaa', limit: 2, after: '' })
  t.same(page.snapshots.map(({ name }) => name), ['first', 'second'])
  const rest = await volumes.listSnapshots({ volume: 'v-aaaa', limit: 2, after: page.next })
  t.same([rest.snapshots.map(({ name }) => name), rest.next], [['a-third'], ''])
  t.same(await volumes.getSnapshot(named('first')), made)
  await cluster.answered(volumes.deleteSnapshot({ ...named('second'), id: '' }))
  t.same(await names(), ['first', 'a-third'])
  t.same(volume.changes.length, 4)
})

t.test('bad input is refused with a sentence, and changes nothing', async (t) => {
  const { cluster, elected, volume, create } = await servedVolume(t)
  const { volumes } = elected
  const { createdAtMs } = await create(request('one', 1))
  const { length } = volume.changes
  const refused = (code: string, asked: Promise<unknown>) => t.rejects(cluster.answered(asked), { code })
  const [time] = new Date(createdAtMs).toISOString().replace('T', ' ').split('.')
  await t.rejects(cluster.answered(create(request('one', 2, { app: 'db' }))), {
    code: 'snapshot-exists', detail: { id: drawn(1), made: `${time} UTC` },
    message: `volume v-aaaa has a snapshot one already without labels, not with labels app=db, made ${time} UTC ` +
      `(id ${drawn(1)}); choose another name, or use the one that is there`,
  }, 'T5')
  t.match(await create(request('one', 2)), { id: drawn(1), createdAtMs }, 'T5: the same is the one that is there')
  volume.snapshots[0]!.title!.createdAtMs = 0
  await t.rejects(cluster.answered(create(request('one', 2, { app: 'db' }))), { message: /made at seq \d+ \(id 1+\);/ })
  await refused('volume-not-found', create({ ...request('two', 2), volume: 'none' }))
  await refused('snapshot-name', create(request('Two', 2)))
  await refused('snapshot-name', create(request('', 2)))
  await refused('parameter', create({ ...request('two', 2), id: 'x' }))
  for (const key of ['', '__proto__', 'a b', '-a', 'k'.repeat(64)]) {
    const labels = Object.fromEntries([[key, 'x']])
    await refused('parameter', create(request('two', 2, labels)))
  }
  await refused('parameter', create(request('two', 2, { a: 'v'.repeat(64) })))
  const many = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`k${i}`, '']))
  await refused('parameter', create(request('two', 2, many)))
  await refused('snapshot-not-found', volumes.deleteSnapshot({ ...named('two'), id: '' }))
  await refused('snapshot-not-found', volumes.getSnapshot(named('two')))
  await refused('parameter', volumes.listSnapshots({ volume: 'v-aaaa', limit: 1001, after: '' }))
  await refused('parameter', volumes.listSnapshots({ volume: 'v-aaaa', limit: 1, after: 'x' }))
  t.equal(volume.changes.length, length)
  const title = { name: 'x'.repeat(63), createdAtMs: 1, labels: {} }
  for (let seq = 0; seq < 13_000; seq++) {
    volume.snapshots.push({ id: `${seq}`.padStart(32, '0'), seq, pinnedBy: null, title })
  }
  await refused('snapshot-limit', create(request('two', 2)))
  t.equal(volume.changes.length, length)
})

t.test('T5: one name at the same time is given once; the others get that one, or are told', async (t) => {
  const { cluster, elected, volume, names } = await servedVolume(t)
  const ask = (digit: number, label: string) => elected.volumes.createSnapshot(request('one', digit, { label })).then(
    ({ id }) => id, (error: HoldfastError) => error.code)
  const answers = await cluster.answered(Promise.all([ask(1, 'a'), ask(2, 'a'), ask(3, 'b')]))
  const kinds = new Set(answers)
  t.equal(kinds.size, 2, String(answers))
  t.ok(kinds.has('snapshot-exists'), String(answers))
  t.same(await names(), ['one'])
  t.equal(volume.changes.length, 1)
})

t.test('a deletion is of the one that was meant, and done when it is gone', async (t) => {
  const { cluster, elected, primary, create, names } = await servedVolume(t)
  const { volumes } = elected
  await create(request('one', 1))
  fate(primary, answerLost)
  await cluster.answered(volumes.deleteSnapshot({ ...named('one'), id: '' }))
  await create(request('one', 2))
  await cluster.answered(volumes.deleteSnapshot({ ...named('one'), id: drawn(1) }))
  t.same(await names(), ['one'], 'attack 8: another one of that name stays')
})

t.test('T8: nobody has a snapshot made of a volume whose copies are gone, or that is in the trash', async (t) => {
  const { cluster, elected, volume, create } = await servedVolume(t)
  for (const { fake } of cluster.nodes.values()) {
    Object.assign(fake.copies.get(ID)!, { role: 'fenced', failure: 'its disk failed' })
    fake.turn = async () => {}
  }
  await cluster.until('that is seen', () => cluster.health(ID) === 'faulted')
  await t.rejects(create(request('one', 1)), { code: 'volume-unled', message: /nothing was changed/ })
  await cluster.answered(elected.volumes.deleteVolume({ name: 'v-aaaa', force: true }))
  await t.rejects(create(request('one', 1)), { code: 'volume-not-found' })
  t.equal(volume.changes.length, 0)
})
