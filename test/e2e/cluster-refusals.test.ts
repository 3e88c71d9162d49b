/** A node that cannot come into its cluster says why, in one sentence with what to do; one that can wait does. */
// test-timeout-seconds: 120
import { existsSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { agreeOnClusterId } from '../../cluster/membership/cluster-id.ts'
import type { ClusterStore } from '../../cluster/store/cluster-store.ts'
import { MIB } from '../../engine/units.ts'
import { ClusterNodeProcess } from '../cluster/cluster-node-process.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { listAll } from '../conformance/cluster-store/calls-suite.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const DISK_BYTES = 320 * MIB

/** What a node says that is refused; it ends. */
async function refusal(node: ClusterNodeProcess): Promise<string> {
  node.spawn()
  await node.ended()
  return node.stderr
}

t.test('who is refused', async (t) => {
  const cluster = await ClusterOfDaemons.make(t, { names: ['n1'] })
  await cluster.start()
  const store = cluster.storeProcess.address
  const n1 = cluster.node('n1')
  const disk = n1.config.disks[0]!

  const twin = new ClusterNodeProcess('n1', { dir: cluster.dir, diskBytes: DISK_BYTES, store })
  t.match(await refusal(twin), /n1 is in use by process \d+; stop that process/, 'a second daemon on its folder')

  const namesake = new ClusterNodeProcess('n1', { dir: temporaryFolder(t), diskBytes: DISK_BYTES, store })
  t.match(await refusal(namesake), /node name n1 belongs to another node .*; give this node another name/)

  t.equal(await n1.stop(), 0)
  const other = await ClusterOfDaemons.make(t, { names: ['n1', 'n2'] })
  const elsewhere = other.storeProcess.address
  await agreeOnClusterId(other.store, 'd'.repeat(32))
  const moved = new ClusterNodeProcess('n1', { dir: cluster.dir, diskBytes: DISK_BYTES, store: elsewhere })
  t.match(await refusal(moved), /the cluster store at \S+ is another one/, 'the folder knows its store')

  const brought = new ClusterNodeProcess('n2', {
    dir: temporaryFolder(t), diskBytes: DISK_BYTES, store: elsewhere, change: { disks: [disk] },
  })
  const said = await refusal(brought)
  const id = '[0-9a-f]{32}'
  t.match(said, new RegExp(`disk ${disk.path} belongs to cluster ${id}, the cluster store at .* to ${id}`))
  t.match(said, /; name the store of its cluster/)
  for (const node of [twin, namesake, moved, brought]) t.notMatch(node.stderr, /\n {4}at /, 'no stack trace')
})

t.test('who is refused for a disk leaves nothing behind', async (t) => {
  const cluster = await ClusterOfDaemons.make(t, { names: ['n1'] })
  await cluster.start()
  const n1 = cluster.node('n1')
  const store = cluster.storeProcess.address
  const left = async (of: ClusterStore) => (await listAll(of, '')).entries.map(({ key }) => key).sort()
  const nodesLeft = async () => (await left(cluster.store)).filter((key) => key.startsWith('nodes/'))
  const dir = temporaryFolder(t)
  const tried = (diskPath: string, sizeBytes: number, at = store) => new ClusterNodeProcess('n5', {
    dir, diskBytes: DISK_BYTES, store: at,
    change: { disks: [{ path: diskPath, sizeBytes, pool: 'default', tags: [] }] },
  })
  const mine = path.join(dir, 'mine')
  t.match(await refusal(tried(mine, 4 * MIB)), /disk \S+mine has 4194304 bytes, the least is/)
  t.same(await nodesLeft(), ['nodes/n1'], 'a disk that is too small')
  t.notOk(existsSync(mine))

  t.equal(await n1.stop(), 0)
  const { path: theirs } = n1.config.disks[0]!
  const ofNode = /belongs to node n1 of this cluster .*; start n1 with it, or give an empty disk/
  const said = await refusal(tried(theirs, DISK_BYTES))
  t.match(said, ofNode)
  t.notMatch(said, /adopt/, 'a cluster refuses that')
  t.same(await nodesLeft(), ['nodes/n1'], 'a disk of another node')

  const other = await ClusterOfDaemons.make(t, { names: [] })
  const elsewhere = other.storeProcess.address
  const atEmpty = await refusal(tried(theirs, DISK_BYTES, elsewhere))
  t.match(atEmpty, /belongs to node n1 of cluster [0-9a-f]{32}, not to node n5, and the cluster store at \S+ is empty/)
  t.match(atEmpty, /; name the store of its cluster with `--store`, or give n5 an empty disk; .* rebuild --from-nodes/)
  t.notMatch(atEmpty, /adopt/)
  t.same(await left(other.store), [], 'an empty store stays empty')
  await agreeOnClusterId(other.store, 'd'.repeat(32))
  t.match(await refusal(tried(theirs, DISK_BYTES, elsewhere)), /belongs to cluster [0-9a-f]{32}, the cluster store at/)
  t.same(await left(other.store), ['cluster'], 'a disk of another cluster')

  const n5 = tried(mine, DISK_BYTES)
  t.teardown(() => n5.killNode())
  await n5.start()
  t.same(await nodesLeft(), ['nodes/n1', 'nodes/n5'], 'its folder is bound to none of those clusters')
  t.equal(await n5.stop(), 0)
})

t.test('who would be the first in its zone is refused, unless that is meant', async (t) => {
  const zones: Record<string, string> = { n1: 'a', n2: 'a', n3: 'a-slip' }
  const setUp = (name: string) => ({ change: { zone: zones[name]! } })
  const cluster = await ClusterOfDaemons.make(t, { names: ['n1', 'n2', 'n3'], setUp, diskBytes: DISK_BYTES })
  const n3 = cluster.node('n3')
  for (const node of cluster.nodes.slice(0, 2)) await node.start()
  const left = async () => (await listAll(cluster.store, 'nodes/')).entries.map(({ key }) => key)
  const said = await refusal(n3)
  t.match(said, /^holdfast: no other node is in zone a-slip: they are in a; start node n3 with the `--zone` that is/)
  t.match(said, /, or add `--new-zone` if /)
  t.same(await left(), ['nodes/n1', 'nodes/n2'], 'it is no node')
  t.notOk(existsSync(n3.config.disks[0]!.path), 'and has no disk')

  n3.config.isFirstInZone = true
  await n3.start()
  t.same([await left(), n3.stderr], [['nodes/n1', 'nodes/n2', 'nodes/n3'], said])
  t.equal(await n3.stop(), 0)
  delete n3.config.isFirstInZone
  await n3.start()
  t.equal(n3.stderr, said, 'from then on it is in its zone')
  for (const node of cluster.nodes) t.equal(await node.stop(), 0)
})

t.test('a node whose store is down waits for it, and says so', async (t) => {
  const cluster = await ClusterOfDaemons.make(t, { names: ['n1'] })
  await cluster.storeProcess.stop()
  const n1 = cluster.node('n1')
  n1.spawn()
  const ready = n1.ready()
  while (!/node n1 waits for its cluster store/.test(n1.stderr)) await new Promise((resolve) => setTimeout(resolve, 20))
  t.match(n1.stderr, /no cluster store answers at .*; start it, or check `--store`/)
  t.ok(n1.log().some(({ message }) => message === 'waiting for the cluster store'))
  await cluster.storeProcess.start()
  await ready
  t.equal(n1.stderr.match(/waits/g)?.length, 1, 'once')
  t.equal(await n1.stop(), 0)
})
