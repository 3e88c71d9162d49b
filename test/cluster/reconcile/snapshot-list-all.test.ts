/** Snapshots of all volumes in pages: who cannot be asked is in the way of his own page only. */
// test-timeout-seconds: 120
import t from 'tap'
import { encodeName, nameKey } from '../../../cluster/store/volume-names.ts'
import { lost, request, servedVolume } from './snapshot-world.ts'

t.setTimeout(110_000)

t.test('a volume behind the page that cannot be asked is no part of it', async (t) => {
  const { cluster, elected, primary, create } = await servedVolume(t)
  const other = 'b'.repeat(32)
  const firstNode = ['n1', 'n2', 'n3'].find((name) => name !== elected.name && name !== primary.name)!
  await cluster.createVolume(other, 2, { firstNode })
  await cluster.put(nameKey('v-bbbb'), encodeName(other))
  await cluster.until('it is served', () => cluster.health(other) === 'healthy')
  for (const [name, digit] of [['one', 1], ['two', 2]] as const) await create(request(name, digit))
  await create({ ...request('three', 3), volume: 'v-bbbb' })
  const { fake } = cluster.node(firstNode)
  fake.snapshots = async () => { throw lost() }
  const page = (after: string) => cluster.answered(elected.volumes.listSnapshots({ volume: '', limit: 1, after }))
  const first = await page('')
  t.same([first.snapshots.map(({ name }) => name), first.unread], [['one'], []])
  const second = await page(first.next)
  t.same([second.snapshots.map(({ name }) => name), second.next, second.unread], [['two'], '', ['v-bbbb']])
})

t.test('when a snapshot was made is forgotten', async (t) => {
  const { elected, create } = await servedVolume(t)
  await create(request('one', 1))
  const { snapshots } = elected.volumes as unknown as {
    snapshots: { made(volumeId: string): void; madeAtMs: ReadonlyMap<string, number> }
  }
  for (let i = 0; i < 5_000; i++) snapshots.made(`gone-${i}`)
  t.ok(snapshots.madeAtMs.size <= 1_000, `${snapshots.madeAtMs.size} are kept`)
})
