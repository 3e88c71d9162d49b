/**
 * Risk: with several data workers in a node something goes to the wrong one: a write, a beacon, a promise, a report
 * that an instance ended. Three nodes as processes, volumes on every worker with a stamped client each; daemons and
 * hosts are killed, and started with another number of workers. Clients see no error, blocks hold what they may, and
 * at rest the copies are the same, each where its stream is.
 */
// test-timeout-seconds: 240
import t from 'tap'
import type { Test } from 'tap'
import { StampedClient } from '../../cli/load/stamped-client.ts'
import { findHomes } from '../../dataplane/copy-homes.ts'
import { prepareDisk, releaseDisk } from '../../dataplane/disk-preparation.ts'
import { knownIdentity } from '../../dataplane/node-folder.ts'
import { MIB } from '../../engine/units.ts'
import { ClusterOfDaemons, randomNumber } from '../cluster/cluster-of-daemons.ts'
import type { ClusterNodeProcess } from '../cluster/cluster-node-process.ts'
import { hex } from '../dataplane/copy/hosts.ts'
import { contentOnDisk, differences } from '../nemesis/copies-at-rest.ts'

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

interface Volume {
  id: string
  /** The node of its client. */
  at: string
  client: StampedClient
}

/** An id that says which worker a volume is at, on nodes with two, three or six of them. */
const idOf = (number: number): string => number.toString(16).padStart(8, '0') + hex().slice(8)

async function clientOf(t: Test, node: ClusterNodeProcess, exportName: string): Promise<StampedClient> {
  const client = new StampedClient({
    socketPath: node.paths.nbd, exportName, random: randomNumber, depth: 4, requestBlocksMax: 16, isCluster: true,
  })
  t.teardown(() => client.close())
  await client.connected()
  return client
}

async function makeVolumes(cluster: ClusterOfDaemons, count: number): Promise<string[]> {
  const ids: string[] = []
  for (let number = 0; number < count; number++) {
    const spec = await cluster.makeVolume({ id: idOf(number), name: `data-${number}`, sizeBytes: 8 * MIB })
    ids.push(spec.id)
  }
  return ids
}

/** Each through a node of its own, so that frontends and primaries are at workers of different nodes. */
async function attachAll(t: Test, cluster: ClusterOfDaemons, ids: readonly string[], nodes: readonly string[]) {
  const volumes: Volume[] = []
  for (const [number, id] of ids.entries()) {
    const at = nodes[number]!
    const client = await clientOf(t, cluster.node(at), `data-${number}`)
    client.start()
    volumes.push({ id, at, client })
  }
  return volumes
}

async function more(volumes: readonly Volume[], count: number): Promise<void> {
  for (const { client } of volumes) {
    const until = client.counts.writes + count
    while (client.counts.writes < until) await sleep(5)
  }
}

async function whole(cluster: ClusterOfDaemons, volumes: ReadonlyArray<{ id: string }>): Promise<void> {
  for (const { id } of volumes) await cluster.whole(id)
}

async function verifyAll(t: Test, volumes: readonly Volume[]): Promise<void> {
  for (const { client } of volumes) {
    await client.pause()
    await client.verify()
    t.same(client.problems, [], `${client.counts.writes} writes, ${client.counts.reads} reads`)
    t.equal(client.counts.errors, 0)
  }
}

/** Where the copies of a node that stopped are. */
async function homesOf({ name, config, paths }: ClusterNodeProcess, workers: number): Promise<Map<string, number>> {
  const { clusterId, nodeId } = knownIdentity(paths.identity)!
  const prepared = prepareDisk(config.disks[0]!, { nodeName: name, nodeId, clusterId }, workers)
  if (!prepared.ok) throw prepared.error
  const log = { event: (): void => undefined }
  const homes = await findHomes({ disks: [prepared.value], indexDir: paths.index, workers, log })
  releaseDisk(prepared.value)
  return new Map(homes)
}

async function sameAtRest(t: Test, cluster: ClusterOfDaemons, ids: readonly string[]): Promise<void> {
  t.same(cluster.nodes.flatMap((node) => node.errors()), [])
  for (const node of cluster.nodes) t.equal(await node.stop(), 0, `${node.name} stops cleanly`)
  for (const id of ids) {
    const [one, ...others] = cluster.nodes.map(({ config }) => contentOnDisk(config.disks[0]!.path, id))
    t.ok(one!.size > 0)
    for (const other of others) t.same(differences(one!, other), [], `copies of ${id} are the same`)
  }
}

t.test('two workers in each node: kill -9 of the daemon that leads, then of its host', async (t) => {
  const cluster = await ClusterOfDaemons.make(t, { workers: 2 })
  const ids = await makeVolumes(cluster, 2)
  await cluster.start()
  await whole(cluster, ids.map((id) => ({ id })))
  const volumes = await attachAll(t, cluster, ids, ['n2', 'n3'])
  await more(volumes, 60)

  const back = cluster.node('n1').ready()
  cluster.node('n1').killDaemon()
  await more(volumes, 60)
  await back
  await whole(cluster, volumes)
  await more(volumes, 40)

  await cluster.node('n1').killNode()
  await more(volumes, 60)
  for (const { id } of volumes) t.notOk((await cluster.config(id)).inSync.includes('n1'), 'n1 was let go')
  await cluster.node('n1').start()
  await whole(cluster, volumes)
  await more(volumes, 40)
  await verifyAll(t, volumes)
  for (const { client } of volumes) t.equal(client.reconnects, 0, 'clients kept their connections')
  await sameAtRest(t, cluster, ids)
  for (const node of cluster.nodes) {
    const homes = await homesOf(node, 2)
    t.same(ids.map((id) => homes.get(id)), [0, 1], `${node.name}: every worker has its own`)
  }
})

t.test('other numbers of workers in each node, and others again after a start', async (t) => {
  const cluster = await ClusterOfDaemons.make(t)
  const [n1, n2, n3] = cluster.nodes as [ClusterNodeProcess, ClusterNodeProcess, ClusterNodeProcess]
  n1.config.workers = 3
  n2.config.workers = 2
  const ids = await makeVolumes(cluster, 3)
  await cluster.start()
  await whole(cluster, ids.map((id) => ({ id })))
  const volumes = await attachAll(t, cluster, ids, ['n3', 'n2', 'n3'])
  await more(volumes, 60)
  for (const [node, workers] of [[n1, 2], [n1, 1], [n3, 2]] as const) {
    await node.killNode()
    await more(volumes.filter(({ at }) => at !== node.name), 50)
    node.config.workers = workers
    await node.start()
    await whole(cluster, volumes)
    await more(volumes, 40)
  }
  await verifyAll(t, volumes)
  await sameAtRest(t, cluster, ids)
  const homes = await homesOf(n3, 2)
  t.same(ids.map((id) => homes.get(id)), [0, 0, 0], 'copies that one worker made are where they were made')
})
