/** A node that cannot come into its cluster says why, in one sentence with what to do; one that can wait does. */
// test-timeout-seconds: 120
import t from 'tap'
import { agreeOnClusterId } from '../../cluster/membership/cluster-id.ts'
import { MIB } from '../../engine/units.ts'
import { ClusterNodeProcess } from '../cluster/cluster-node-process.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
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

  const many = new ClusterNodeProcess('n2', {
    dir: temporaryFolder(t), diskBytes: DISK_BYTES, store, change: { workers: 2 },
  })
  t.match(await refusal(many), /2 data workers is not supported; start it with --workers 1/)

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
  for (const node of [twin, namesake, many, moved, brought]) t.notMatch(node.stderr, /\n {4}at /, 'no stack trace')
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
