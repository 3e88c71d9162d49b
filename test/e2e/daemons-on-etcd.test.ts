/**
 * Risk: daemons need their cluster store where they must not, and a real etcd behaves otherwise than the embedded one
 * does. Three nodes on an etcd; a client writes through n2 while etcd stands still, is gone, and comes back on its
 * data; then the primary's daemon is killed. It sees pauses and no error, also while etcd is full (NOSPACE).
 *
 *   ETCD_OUTAGE_SECONDS=600   how long etcd is away, 12
 *   ETCD_CLIENT_DEPTH=1       requests in flight, 8
 */
// test-timeout-seconds: 1200
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { MIB } from '../../engine/units.ts'
import { StampedClient } from '../../cli/load/stamped-client.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons, randomNumber } from '../cluster/cluster-of-daemons.ts'
import { ETCD, etcdMissing, startStore } from '../conformance/cluster-store/store-process.ts'
import type { StoreProcess } from '../conformance/cluster-store/store-process.ts'

const OUTAGE_MS = 1000 * Number(process.env.ETCD_OUTAGE_SECONDS ?? 12)
const DEPTH = Number(process.env.ETCD_CLIENT_DEPTH ?? 8)
const LOOK_MS = 20
/** Longer than a grace, and than nodes count as silent. */
const FULL_MS = 12_000
const DEAD_MS = 4000
/** Answers of which each is due while etcd is away. */
const STEP_WRITES = 20

async function more(client: StampedClient, count: number): Promise<void> {
  const until = client.counts.writes + count
  while (client.counts.writes < until) await sleep(LOOK_MS)
}

/** The load goes on for so long. */
async function during(client: StampedClient, forMs: number): Promise<void> {
  for (const endMs = performance.now() + forMs; performance.now() < endMs;) await more(client, STEP_WRITES)
}

/** A volume in three copies that a client of n2 writes to, on an etcd. */
async function underLoad(t: Test) {
  const etcd = await startStore(t, ETCD)
  const cluster = await ClusterOfDaemons.make(t, { storeProcess: etcd })
  const { id } = await cluster.makeVolume({ name: 'data', sizeBytes: 16 * MIB })
  await cluster.start()
  const { primary } = await cluster.whole(id)
  const client = new StampedClient({
    socketPath: cluster.node('n2').paths.nbd, exportName: 'data', random: randomNumber, depth: DEPTH, isCluster: true,
  })
  t.teardown(() => client.close())
  await client.connected()
  client.start()
  await more(client, 200)
  return { etcd, cluster, id, primary, client }
}

/** As when its database is full: nothing is taken any more until it is told that there is room. */
async function fullAlarm(etcd: StoreProcess, action: 'ACTIVATE' | 'DEACTIVATE'): Promise<void> {
  const body = JSON.stringify({ action, memberID: '1', alarm: 'NOSPACE' })
  const said = await fetch(`${etcd.address}/v3/maintenance/alarm`, { method: 'POST', body })
  if (!said.ok) throw new Error(`etcd answers ${said.status}: ${await said.text()}`)
}

t.test('etcd is full, and a replica dies meanwhile', { skip: etcdMissing() }, async (t) => {
  const { etcd, cluster, id, primary, client } = await underLoad(t)
  await fullAlarm(etcd, 'ACTIVATE')
  await during(client, FULL_MS)
  const heldMs = Math.round(client.held.longestMs)
  t.equal(client.counts.errors, 0, `a full etcd: ${client.counts.writes} writes, held ${heldMs} ms at most`)

  // It cannot be let go, nor count its start: its volume waits for it, and it for etcd.
  const replica = cluster.nodes.find(({ name }) => name !== primary && name !== 'n2')!
  const back = replica.ready()
  replica.killDaemon()
  await sleep(DEAD_MS)
  t.ok((await cluster.config(id)).inSync.includes(replica.name))
  await fullAlarm(etcd, 'DEACTIVATE')
  await back
  await cluster.whole(id)
  await more(client, 200)
  await client.pause()
  await client.verify()
  t.same(client.problems, [], `${client.counts.writes} writes, held ${Math.round(client.held.longestMs)} ms at most`)
  t.equal(client.counts.errors + client.reconnects, 0)
  t.same(cluster.nodes.flatMap((node) => node.errors()), [])
  for (const node of cluster.nodes) t.equal(await node.stop(), 0, `${node.name} stops cleanly`)
})

t.test(`etcd is away for ${OUTAGE_MS / 1000} s under load, then a primary dies`, { skip: etcdMissing() }, async (t) => {
  const { etcd, cluster, id, client } = await underLoad(t)

  const before = { ...client.counts }
  etcd.signal('SIGSTOP')
  await during(client, OUTAGE_MS / 2)
  await etcd.kill()
  await during(client, OUTAGE_MS / 2)
  const page = await holdfast(['status', '--endpoint', cluster.node('n2').paths.api])
  t.match(page.stdout + page.stderr, /no cluster store answers at .*volumes go on/, 'who asks is told')
  const written = client.counts.acknowledgedWrites - before.acknowledgedWrites
  const read = client.counts.reads - before.reads
  const heldMs = Math.round(client.held.longestMs)
  t.equal(client.counts.errors, 0, `without etcd: ${written} writes and ${read} reads, held ${heldMs} ms at most`)

  await etcd.start()
  const { primary } = await cluster.whole(id)
  // Its supervisor starts it again; where it is n2's, the client connects anew.
  const isOwn = primary === 'n2'
  const back = cluster.node(primary).ready()
  cluster.node(primary).killDaemon()
  await more(client, 200)
  await back
  await cluster.whole(id)
  await more(client, 100)
  await client.pause()
  await client.verify()
  const { writes, reads, verifiedBlocks } = client.counts
  t.same(client.problems, [], `${writes} writes and ${reads} reads in all, ${verifiedBlocks} blocks verified`)
  t.equal(client.counts.errors, 0)
  t.equal(client.reconnects, isOwn ? 1 : 0, `${primary} led when it was killed`)
  t.same(cluster.nodes.flatMap((node) => node.errors()), [])
  for (const node of cluster.nodes) t.equal(await node.stop(), 0, `${node.name} stops cleanly`)
})
