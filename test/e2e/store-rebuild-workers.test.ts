/**
 * Risk: what several data workers of a node have on its disks comes back in part only when the cluster store and every
 * index is lost, or is not served when its node starts with another number of them.
 */
// test-timeout-seconds: 300
import t from 'tap'
import { digest, LostStore, until, write } from './lost-store.ts'

const WISHED: Record<string, Record<string, string>> = {
  one: { replicas: '0' }, two: { replicas: '1' }, three: { replicas: '2' },
  back: { replicas: '2', durability: 'writeback' },
}

t.test('a cluster whose nodes have two data workers comes back, one of them with a single one', async (t) => {
  const lost = await LostStore.make(t, 2)
  const { cluster } = lost
  const n2 = cluster.node('n2')
  const before = new Map<string, { epoch: number; digest: string }>()
  for (const [index, [name, parameters]] of Object.entries(WISHED).entries()) {
    const { id } = await lost.create(name, parameters)
    await write(n2, name, Array.from({ length: 20 }, (_, at) => 1 + ((index * 37 + at) % 250)))
    const { epoch } = await lost.config(id)
    before.set(name, { epoch, digest: await digest(n2, name) })
  }
  await cluster.node('n1').killNode()
  for (const name of ['n2', 'n3']) await cluster.node(name).stop()
  await lost.lose()
  cluster.node('n3').config.workers = 1
  const ready: Array<Promise<unknown>> = []
  for (const { name } of cluster.nodes) ready.push((await lost.waits(name)).ready)
  const done = await lost.rebuild()
  t.match(done, { code: 0, stdout: /is rebuilt; n1, n2, n3 go on by themselves/ }, done.stderr)
  await Promise.all(ready)

  for (const [name, { epoch, digest: former }] of before) {
    const view = () => lost.api('n2').getVolume({ name })
    // One that is late on a busy machine is replaced, and taken out again when it is back.
    const wished = Number(WISHED[name]!.replicas) + 1
    const { epoch: now } = await until(view, ({ health, copies }) => health === 'healthy' && copies.length === wished)
    t.ok(now > epoch, `${name}: a higher epoch`)
    t.equal(await digest(n2, name), former, `${name} is as it was`)
    t.equal(await digest(cluster.node('n3'), name), former, `${name}, through the node with one worker`)
    await write(n2, name, [251, 252, 253])
    t.not(await digest(n2, name), former, `${name}: writes go on`)
  }
  t.same(cluster.nodes.flatMap((node) => node.errors()), [])
  for (const node of cluster.nodes) t.equal(await node.stop(), 0, `${node.name} stops cleanly`)
})
