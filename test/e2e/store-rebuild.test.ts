/**
 * Three nodes as processes whose cluster store is lost for good, and every index with it: an empty store takes its
 * place, the nodes wait at it, and the command brings every volume back as it was, or says why that is not safe.
 */
// test-timeout-seconds: 300
import { rmSync } from 'node:fs'
import t from 'tap'
import { CLUSTER_KEY } from '../../cluster/store/cluster-record.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import type { ClusterNodeProcess } from '../cluster/cluster-node-process.ts'
import { digest, LostStore, until, write } from './lost-store.ts'

t.test('every volume comes back identical', async (t) => {
  const lost = await LostStore.make(t)
  const { cluster } = lost
  const n2 = cluster.node('n2')
  const wished: Record<string, Record<string, string>> = {
    one: { replicas: '0' }, two: { replicas: '1' }, three: { replicas: '2' },
    back: { replicas: '2', durability: 'writeback' }, gone: { replicas: '1' },
  }
  const epochs = new Map<string, number>()
  const digests = new Map<string, string>()
  for (const [index, [name, parameters]] of Object.entries(wished).entries()) {
    const { id } = await lost.create(name, parameters)
    await write(n2, name, Array.from({ length: 20 }, (_, at) => 1 + ((index * 37 + at) % 250)))
    digests.set(name, await digest(n2, name))
    epochs.set(name, (await lost.config(id)).epoch)
  }
  const snapshot = { volume: 'two', name: 'kept', labels: { app: 'db' }, id: '' }
  const kept = await lost.api('n1').createSnapshot(snapshot)
  await lost.api('n1').deleteVolume({ name: 'gone', force: true })
  await lost.api('n1').modifyVolume({ name: 'two', parameters: { replicas: '2' } })
  const plan = { volume: 'two', schedule: 'every 24h keep-last 3' }
  await lost.api('n1').setSnapshotSchedule(plan)
  await until(() => lost.api('n1').getVolume({ name: 'two' }), ({ snapshots }) => snapshots === 2)
  const parameters = { 'qos-iops': '500000', 'qos-bandwidth': '1Ti', 'qos-burst': '10s' }
  const { qos } = await lost.api('n1').modifyVolume({ name: 'two', parameters })
  await until(() => lost.api('n1').getVolume({ name: 'two' }), ({ copies, health }) =>
    copies.length === 3 && health === 'healthy')
  const held = await lost.api('n1').attachVolume({ name: 'three', node: 'n2', mode: '', force: true })
  const { generation } = (await lost.config(held.id)).attach
  t.equal(new Set(digests.values()).size, 5, 'all are different')
  await cluster.node('n1').killNode()
  for (const name of ['n2', 'n3']) await cluster.node(name).stop()
  await lost.lose()
  // Its disk lies elsewhere, and says who it is.
  rmSync(cluster.node('n3').paths.folder, { recursive: true })

  const ready: Array<Promise<unknown>> = []
  for (const { name } of cluster.nodes) ready.push((await lost.waits(name)).ready)
  t.match(n2.stderr, /the cluster store at \S+ is empty, and this node belongs to cluster [0-9a-f]{32}/)
  const status = await holdfast(['status', '--endpoint', cluster.dir])
  t.match(status, { code: 1, stderr: /its nodes wait for their cluster/ })
  const dry = await holdfast(['store', 'rebuild', '--from-nodes', '--dry-run', '--endpoint', cluster.dir])
  t.match(dry, { code: 0, stdout: /3 node\(s\) answered: n1, n2, n3[^]*it is safe\nnothing was written/ })
  const done = await lost.rebuild()
  t.match(done, { code: 0, stdout: /is rebuilt; n1, n2, n3 go on by themselves/ }, done.stderr)
  await Promise.all(ready)

  const view = (name: string) => lost.api('n2').getVolume({ name })
  for (const name of ['one', 'two', 'three', 'back']) {
    await until(() => view(name), ({ health }) => health === 'healthy')
    const { id, copies, epoch } = await view(name)
    t.equal(await digest(n2, name), digests.get(name), `${name} is as it was`)
    t.ok(epoch > epochs.get(name)!, `${name}: a higher epoch`)
    t.equal(copies.length, { one: 1, two: 3, three: 3, back: 3 }[name], `${name}: its copies`)
    const { attach } = await lost.config(id)
    if (name === 'three') t.ok(attach.mode === 'single' && attach.holders.n2! > generation, 'n2 holds it, anew')
    else t.same([attach.mode, attach.holders], ['open', {}])
    await write(n2, name, [251, 252, 253])
    t.not(await digest(n2, name), digests.get(name), `${name}: writes go on`)
  }
  const { snapshots } = await lost.api('n2').listSnapshots({ volume: 'two', limit: 0, after: '' })
  t.match(await view('two'), { qos, snapshotSchedule: plan.schedule }, 'limits and a schedule come back')
  t.same(snapshots[0], kept, 'snapshots come back, with name, time and labels')
  await lost.api('n2').rollBackVolume({ volume: 'two', to: 'kept', keepAs: '', force: true, id: '' })
  t.equal(await digest(n2, 'two'), digests.get('two'), 'and can be gone back to')
  await t.rejects(view('gone'), { code: 'volume-not-found' }, 'what was deleted stays in the trash')
  await lost.api('n2').restoreVolume({ name: 'gone' })
  await until(() => view('gone'), ({ health }) => health === 'healthy')
  t.equal(await digest(n2, 'gone'), digests.get('gone'))
  const again = await lost.rebuild()
  t.match(again, { code: 1, stderr: /no node waits at the cluster store/ }, 'there is nothing to rebuild any more')
  for (const node of cluster.nodes) t.equal(await node.stop(), 0, `${node.name} stops cleanly`)
  await cluster.start()
  t.equal(await until(() => digest(n2, 'gone'), () => true), digests.get('gone'), 'and the next start is as any')
  t.same(cluster.nodes.flatMap((node) => node.errors()), [])
})

t.test('it is refused while a node is missing, and says what going on without it costs', async (t) => {
  const lost = await LostStore.make(t)
  const { cluster } = lost
  const { copies } = await lost.create('lone', { replicas: '0' })
  const away = cluster.node(copies[0]!.node)
  const here = cluster.nodes.filter((node) => node !== away)
  const [user] = here as [ClusterNodeProcess, ClusterNodeProcess]
  await lost.create('all', { replicas: '2' })
  await write(user, 'lone', [1, 2, 3, 4])
  await write(user, 'all', [5, 6, 7, 8])
  const [lone, all] = [await digest(user, 'lone'), await digest(user, 'all')]
  for (const node of cluster.nodes) await node.stop()
  await lost.lose()

  const ready = [(await lost.waits(here[0]!.name)).ready, (await lost.waits(here[1]!.name)).ready]
  const refused = await lost.rebuild()
  const why = new RegExp(`nothing was written: node ${away.name} did not answer: it may have what was ack\\S+ last of`)
  t.match(refused, { code: 1, stderr: why })
  t.match(refused.stderr, /; start what is missing, with this store, and try again; what is gone for good: add --force/)
  const key = await lost.store.get(CLUSTER_KEY)
  t.equal(key.ok && key.value, undefined, 'the store is no cluster\'s yet')
  const asked = await lost.rebuild('--force')
  t.match(asked, { code: 1, stderr: /is not rebuilt before this is confirmed: .*stop it first/ })
  t.match(await lost.rebuild('--force', '--confirm', '0123456789'), { code: 1, stderr: /before this is confirmed/ })
  const confirm = tokenIn(asked.stderr)
  t.match(await lost.rebuild('--force', '--confirm', confirm), { code: 0, stdout: /volume|VOLUME/ })
  await Promise.all(ready)
  const view = (name: string) => lost.api(user.name).getVolume({ name })
  await until(() => digest(user, 'all'), (now) => now === all)
  await write(user, 'all', [9, 10, 11])
  const changed = await digest(user, 'all')
  await t.rejects(view('lone'), { code: 'volume-not-found' })

  const { ready: isBack } = await lost.waits(away.name)
  t.match(away.stderr, /was rebuilt without what this node has now/)
  const strange = await lost.rebuild()
  t.match(strange, { code: 1, stderr: /volume lone is not in the rebuilt store: it may have been moved or deleted/ })
  t.notMatch(strange.stderr, /did not answer/, 'those who are in it are not missed')
  const again = tokenIn((await lost.rebuild('--force')).stderr)
  t.match(await lost.rebuild('--force', '--confirm', again), { code: 0, stdout: /go on by themselves/ })
  await isBack
  await until(() => view('lone'), ({ health }) => health === 'healthy')
  t.equal(await digest(user, 'lone'), lone, 'what only it had is back')
  await until(() => view('all'), ({ health, copies: now }) => health === 'healthy' && now.length === 3)
  t.equal(await digest(away, 'all'), changed, 'its old copy was replaced')

  const remove = () => holdfast(['node', 'rm', away.name, '--endpoint', user.paths.api])
  t.match(await remove(), { code: 1, stderr: /stays in the cluster: \S+ is not down: stop it first/ })
  await lost.api(user.name).deleteVolume({ name: 'lone', force: true, purge: true })
  await until(() => lost.api(user.name).listVolumes({ isInTrash: true }), ({ volumes }) => volumes.length === 0)
  await away.killNode()
  await until(() => lost.api(user.name).getNode({ name: away.name }), ({ state }) => state === 'down')
  t.match(await remove(), { code: 0, stdout: /is no node of this cluster any more/ })
  await until(() => lost.api(user.name).listNodes(), ({ nodes }) => nodes.length === 2)
  await until(() => view('all'), ({ copies: now }) => now.length === 2)
  t.same(here.flatMap((node) => node.errors()), [])
})

const tokenIn = (text: string): string => /--confirm ([0-9a-f]{10})/.exec(text)![1]!
