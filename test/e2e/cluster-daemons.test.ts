/**
 * Three nodes as processes, and the embedded cluster store: a client writes, reads and trims through one of them while
 * others are killed, or the store is. It sees pauses and no error, and every block holds what it may.
 */
// test-timeout-seconds: 180
// test-serial: measures how long a stop takes
import t from 'tap'
import type { Test } from 'tap'
import { DEFAULT_TIMING } from '../../dataplane/copy/timing.ts'
import { STOP_DEADLINE_MS } from '../../dataplane/daemon-start.ts'
import { MIB } from '../../engine/units.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons, randomNumber } from '../cluster/cluster-of-daemons.ts'
import { StampedClient } from '../../cli/load/stamped-client.ts'

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function clientOf(t: Test, cluster: ClusterOfDaemons, name: string): Promise<StampedClient> {
  const client = new StampedClient({
    socketPath: cluster.node(name).paths.nbd, exportName: 'data', random: randomNumber, depth: 16,
  })
  t.teardown(() => client.close())
  await client.connected()
  return client
}

async function more(client: StampedClient, count: number): Promise<void> {
  const until = client.counts.writes + count
  while (client.counts.writes < until) await sleep(5)
}

t.test('kill -9 of the primary: its daemon, then its host', async (t) => {
  const cluster = await ClusterOfDaemons.make(t)
  const { id } = await cluster.makeVolume({ name: 'data', sizeBytes: 16 * MIB })
  await cluster.start()
  const first = (await cluster.whole(id)).primary
  // Of somebody else: its connections stay.
  const { name: at } = cluster.nodes.find(({ name }) => name !== first)!
  const client = await clientOf(t, cluster, at)
  client.start()
  await more(client, 200)

  const back = cluster.node(first).ready()
  cluster.node(first).killDaemon()
  await more(client, 200)
  await back
  const { primary } = await cluster.whole(id)
  t.pass(`${first} led, now ${primary} does, and all are in the set again`)

  const victim = cluster.nodes.find(({ name }) => name !== at && name === primary) ?? cluster.node(first)
  await victim.killNode()
  await more(client, 200)
  const without = await cluster.config(id)
  t.not(without.primary, victim.name)
  t.notOk(without.inSync.includes(victim.name), `${victim.name} was let go`)
  await victim.start()
  await cluster.whole(id)
  await more(client, 100)
  await client.pause()
  t.equal(client.reconnects, 0, 'the client kept its connections')
  await client.verify()
  t.same(client.problems, [], `${client.counts.writes} writes, ${client.counts.reads} reads`)
  t.equal(client.counts.errors, 0)
  t.same(cluster.nodes.flatMap((node) => node.errors()), [])
  for (const node of cluster.nodes) t.equal(await node.stop(), 0, `${node.name} stops cleanly`)
})

t.test('the store is away, under load, while nothing else fails', async (t) => {
  const cluster = await ClusterOfDaemons.make(t)
  const { id } = await cluster.makeVolume({ name: 'data', sizeBytes: 16 * MIB })
  await cluster.start()
  await cluster.whole(id)
  const clients = await Promise.all([clientOf(t, cluster, 'n1'), clientOf(t, cluster, 'n3')])
  const [client, reader] = clients as [StampedClient, StampedClient]
  client.start()
  await more(client, 200)
  await cluster.storeProcess.kill()
  const outageMs = 3 * DEFAULT_TIMING.graceMs
  // The first client of a node since its daemon began: where the primary is, the node was told before.
  const late = await clientOf(t, cluster, 'n2')
  const askedMs = performance.now()
  t.ok(await late.read(0, 1))
  t.equal(late.counts.errors, 0, `a node nobody used yet, without a store: ${performance.now() - askedMs} ms`)
  const endMs = performance.now() + outageMs
  while (performance.now() < endMs) await more(client, 50)
  const page = await holdfast(['status', '--endpoint', cluster.node('n2').paths.api])
  t.match(page.stdout + page.stderr, /no cluster store answers at .*volumes go on/, 'who asks is told')
  await cluster.storeProcess.start()
  await more(client, 200)
  await client.pause()
  await cluster.whole(id)
  await client.verify()
  t.same(client.problems, [], `${client.counts.writes} writes, ${outageMs} ms without a store`)
  t.equal(client.reconnects + reader.reconnects, 0)
  t.same(cluster.nodes.flatMap((node) => node.errors()), [])
  await cluster.storeProcess.kill()
  // A beat is under way, or a look of the controller, when the store is gone.
  await sleep(1500)
  for (const node of cluster.nodes) {
    t.equal(await node.stop(), 0)
    const { stopMs } = node.log().find(({ message }) => message === 'stopped') as unknown as { stopMs: number }
    t.ok(stopMs < STOP_DEADLINE_MS / 2, `${node.name} stops without a store, in ${stopMs} ms`)
  }
})

t.test('a primary that is stopped gives its lead away before it ends', async (t) => {
  const cluster = await ClusterOfDaemons.make(t)
  const { id } = await cluster.makeVolume({ name: 'data', sizeBytes: 16 * MIB })
  await cluster.start()
  const { primary } = await cluster.whole(id)
  const client = await clientOf(t, cluster, cluster.nodes.find(({ name }) => name !== primary)!.name)
  client.start()
  await more(client, 100)
  t.equal(await cluster.node(primary).stop(), 0)
  t.not((await cluster.config(id)).primary, primary, 'when it has ended another one leads')
  await more(client, 100)
  await cluster.node(primary).start()
  await cluster.whole(id)
  await client.pause()
  await client.verify()
  t.same(client.problems, [])
  t.equal(client.reconnects, 0)
})

t.test('a node is stopped and started under its own client', async (t) => {
  const cluster = await ClusterOfDaemons.make(t)
  const { id } = await cluster.makeVolume({ name: 'data', sizeBytes: 16 * MIB })
  await cluster.start()
  await cluster.whole(id)
  const client = new StampedClient({
    socketPath: cluster.node('n1').paths.nbd, exportName: 'data', random: randomNumber, depth: 16, isCluster: true,
  })
  t.teardown(() => client.close())
  await client.connected()
  client.start()
  for (const round of [1, 2]) {
    await more(client, 100)
    t.equal(await cluster.node('n1').stop(), 0)
    await cluster.node('n1').start()
    await more(client, 100)
    t.equal(client.reconnects, round, 'it connected anew')
    await cluster.whole(id)
  }
  await client.pause()
  await client.verify()
  t.same(client.problems, [], 'what the stop left unanswered was asked again, and nothing was refused')
  t.equal(client.counts.errors, 0)
})
