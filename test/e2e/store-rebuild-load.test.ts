/**
 * Three nodes under load are killed one after the other, and the cluster store with them, before what changed last has
 * left its traces everywhere: what was acknowledged is there when the store was rebuilt from their disks.
 */
// test-timeout-seconds: 180
import t from 'tap'
import { randomNumber } from '../cluster/cluster-of-daemons.ts'
import { contentOnDisk, differences } from '../nemesis/copies-at-rest.ts'
import { StampedClient } from '../../cli/load/stamped-client.ts'
import { LostStore, sleep, until } from './lost-store.ts'

t.test('what was acknowledged under load is there after all nodes and the store were killed', async (t) => {
  const lost = await LostStore.make(t)
  const { cluster } = lost
  const ids = new Map<string, string>()
  const loads = new Map<string, StampedClient>()
  for (const [name, via, durability] of [['sure', 'n2', 'durable'], ['fast', 'n3', 'writeback']] as const) {
    ids.set(name, (await lost.create(name, { replicas: '2', durability })).id)
    const load = new StampedClient({
      socketPath: cluster.node(via).paths.nbd, exportName: name, random: randomNumber, depth: 8, isCluster: true,
      writeback: durability === 'writeback',
    })
    t.teardown(() => load.close())
    loads.set(name, load)
    await load.connected()
    load.start()
  }
  const more = async (count: number): Promise<void> => {
    const from = [...loads.values()].map((load) => load.counts.acknowledgedWrites)
    while ([...loads.values()].some((load, at) => load.counts.acknowledgedWrites < from[at]! + count)) await sleep(20)
  }
  await more(200)
  // One falls out of the sets; the others go on without it, until they are killed one after the other.
  await cluster.node('n1').killNode()
  await more(200)
  await cluster.node('n3').killNode()
  await cluster.node('n2').killNode()
  await lost.lose()
  const ready: Array<Promise<unknown>> = []
  for (const { name } of cluster.nodes) ready.push((await lost.waits(name)).ready)
  t.match(await lost.rebuild(), { code: 0 })
  await Promise.all(ready)
  await more(200)
  for (const [name, load] of loads) {
    await until(() => lost.api('n2').getVolume({ name }), ({ health }) => health === 'healthy')
    await load.pause()
    await load.verify()
    t.same(load.problems, [], `${name}: ${load.counts.acknowledgedWrites} acknowledged writes`)
    t.equal(load.counts.errors, 0, `${name}: errors`)
    t.ok(load.reconnects > 0)
  }
  for (const [name, id] of ids) {
    const { inSync, epoch } = await lost.config(id)
    t.equal(inSync.length, 3, name)
    t.ok(epoch > 2 ** 22)
  }
  for (const load of loads.values()) await load.close()
  for (const node of cluster.nodes) t.equal(await node.stop(), 0, `${node.name} stops cleanly`)
  const [first, ...others] = cluster.nodes.map(({ config }) => config.disks[0]!.path)
  for (const [name, id] of ids) {
    const content = contentOnDisk(first!, id)
    for (const disk of others) t.same(differences(content, contentOnDisk(disk, id)), [], `${name}: copies are the same`)
  }
  t.same(cluster.nodes.flatMap((node) => node.errors()), [])
})
