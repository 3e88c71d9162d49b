/**
 * Three real daemons whose cluster store is a real Kubernetes API: a volume under load, the API away for a while, then
 * the primary killed. No write is lost, none fails.
 */
// test-timeout-seconds: 300
import t from 'tap'
import { MIB } from '../../engine/units.ts'
import { StampedClient } from '../../cli/load/stamped-client.ts'
import { ClusterOfDaemons, randomNumber } from '../cluster/cluster-of-daemons.ts'
import { startKubernetes } from '../conformance/cluster-store/kube-process.ts'
import { leftOut } from './kube-binaries.ts'

const AWAY_MS = 20_000
const LOOK_MS = 20

async function more(client: StampedClient, count: number): Promise<void> {
  const until = client.counts.writes + count
  while (client.counts.writes < until) await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
}

t.test('a volume under load, without the API for a while', { skip: leftOut('etcd', 'kube-apiserver') }, async (t) => {
  const kubernetes = await startKubernetes(t)
  const cluster = await ClusterOfDaemons.make(t, { storeProcess: kubernetes })
  const { id } = await cluster.makeVolume({ name: 'data', sizeBytes: 16 * MIB })
  await cluster.start()
  const { primary } = await cluster.whole(id)
  const client = new StampedClient({
    socketPath: cluster.node('n2').paths.nbd, exportName: 'data', random: randomNumber, depth: 8, isCluster: true,
  })
  t.teardown(() => client.close())
  await client.connected()
  client.start()
  await more(client, 200)

  kubernetes.signal('SIGSTOP')
  for (const endMs = performance.now() + AWAY_MS; performance.now() < endMs;) await more(client, 20)
  kubernetes.signal('SIGCONT')
  const heldMs = Math.round(client.held.longestMs)
  t.equal(client.counts.errors, 0, `${client.counts.writes} writes, held ${heldMs} ms at most`)

  const back = cluster.node(primary).ready()
  cluster.node(primary).killDaemon()
  await more(client, 200)
  await back
  await cluster.whole(id)
  await client.pause()
  await client.verify()
  t.same(client.problems, [], `${client.counts.writes} writes, ${client.counts.verifiedBlocks} blocks verified`)
  t.equal(client.counts.errors, 0)
  for (const node of cluster.nodes) t.equal(await node.stop(), 0, `${node.name} stops cleanly`)
})
