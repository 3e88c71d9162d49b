/**
 * Limits of volumes on real processes: a client that asks for all it can gets what is allowed and no more, before and
 * after a change, a restart and a failover; nodes that hold a volume together share it.
 */
// test-timeout-seconds: 240
// test-serial: counts answers a second
import t from 'tap'
import type { Test } from 'tap'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import { MIB } from '../../engine/units.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { NodeProcess } from '../dataplane/node-process.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { Greedy, opened } from './greedy-client.ts'
import { primaryOf, until } from './until.ts'

/** Answers a second over so long, to somebody who asks for more. */
async function rateOf(count: () => number, ms: number): Promise<number> {
  const [from, fromMs] = [count(), performance.now()]
  await new Promise((resolve) => setTimeout(resolve, ms))
  return ((count() - from) * 1000) / (performance.now() - fromMs)
}

/** A client's clock and the node's differ by what an answer takes; a machine that stands still passes less. */
function isAbout(t: Test, rate: number, limit: number, what: string): void {
  t.ok(rate <= limit * 1.15, `${what}: ${Math.round(rate)} a second of ${limit} that are allowed`)
  t.ok(rate >= limit * 0.3, `${what}: and not much less`)
}

t.test('a node by itself: kept to, changed while clients wait, there after a kill', async (t) => {
  const dir = temporaryFolder(t)
  const node = new NodeProcess(t, dir)
  await node.ready()
  const say = async (...words: string[]) => {
    const { code, stdout, stderr } = await holdfast([...words, '--endpoint', node.paths.api])
    return code === 0 ? stdout : `${code}: ${stderr}`
  }
  const limits = ['--qos-iops', '200', '--qos-burst', '100ms']
  t.match(await say('volume', 'create', 'data', '--size', '16Mi', ...limits), /volume data is ready/)
  t.match(await say('volume', 'inspect', 'data'), /limits +200 requests\/s, burst 100ms\n/)
  const clients = await Promise.all([1, 2].map(async () => new Greedy(await opened(node.paths.nbd, 'data'), 64)))
  const answers = () => clients.reduce((sum, one) => sum + one.answers, 0)
  await until(async () => answers(), (count) => count > 20)
  isAbout(t, await rateOf(answers, 1500), 200, 'two clients')
  const qos = (...limits: string[]) => say('volume', 'qos', 'data', ...limits)
  t.match(await qos('--iops', '1000'), /^limits of volume data: 1000 requests\/s, burst 100ms\n$/)
  isAbout(t, await rateOf(answers, 1500), 1000, 'after a change')
  t.match(await qos('--bandwidth', '1Mi', '--iops', 'none'), /: 1 MiB\/s, burst 100ms\n$/)
  isAbout(t, await rateOf(answers, 1500), 256, 'by bytes')
  t.match(await qos(), /^2: holdfast: no limit is named; e\.g\. --iops 500/)
  t.match(await qos('--iops', '5'), /^2: holdfast: qos-iops = "5" is not allowed; allowed: none/)
  await Promise.all(clients.map((client) => client.stop()))
  t.equal(clients.reduce((sum, { errors }) => sum + errors, 0), 0, 'nobody got an error')

  const { pid } = await node.client(t).getNode({ name: 'n1' })
  process.kill(pid, 'SIGKILL')
  await node.ready()
  const json = JSON.parse(await say('volume', 'inspect', 'data', '-o', 'json')) as Volume
  t.same(json.qos, { iops: 0, bandwidthBytes: MIB, burstMs: 100 })
  const again = new Greedy(await opened(node.paths.nbd, 'data'), 16, false)
  await until(async () => again.answers, (count) => count > 30)
  isAbout(t, await rateOf(() => again.answers, 1500), 256, 'after the daemon was killed')
  await again.stop()
})

t.test('a cluster: through a failover, and shared by the nodes that hold the volume', async (t) => {
  const cluster = await ClusterOfDaemons.make(t)
  const { id } = await cluster.makeVolume({ name: 'data', sizeBytes: 16 * MIB })
  await cluster.start()
  const api = (name: string) => cluster.api(name)
  const volume = await until(() => api('n1').getVolume({ name: 'data' }), ({ health }) => health === 'healthy')
  const primary = primaryOf(volume)
  const [user, other] = ['n1', 'n2', 'n3'].filter((name) => name !== primary) as [string, string]
  const client = new Greedy(await opened(cluster.node(user).paths.nbd, 'data'), 32)
  await until(async () => client.answers, (count) => count > 500)
  const parameters = { 'qos-iops': '200', 'qos-burst': '100ms' }
  const limited = await api(other).modifyVolume({ name: 'data', parameters })
  t.same(limited.qos, { iops: 200, bandwidthBytes: 0, burstMs: 100 })
  const isLimited = (rate: number) => rate < 250
  await until(() => rateOf(() => client.answers, 300), isLimited)
  isAbout(t, await rateOf(() => client.answers, 1500), 200, 'at a node that does not lead')
  await cluster.node(primary).killNode()
  const before = client.answers
  await until(async () => client.answers, (count) => count > before + 100)
  isAbout(t, await rateOf(() => client.answers, 1500), 200, 'after the primary died')
  await client.stop()
  t.equal(client.errors, 0)

  for (const node of [user, other]) await api(user).attachVolume({ name: 'data', node, mode: 'shared', force: true })
  const both = await Promise.all([user, other].map(async (name) =>
    new Greedy(await opened(cluster.node(name).paths.nbd, id), 32)))
  await until(async () => Math.min(...both.map(({ answers }) => answers)), (count) => count > 50)
  isAbout(t, await rateOf(() => both[0]!.answers + both[1]!.answers, 1500), 200, 'two nodes together')
  await api(user).detachVolume({ name: 'data', node: other })
  await until(() => rateOf(() => both[0]!.answers, 300), (rate) => rate > 150)
  isAbout(t, await rateOf(() => both[0]!.answers, 1500), 200, 'the one that is left')
  await Promise.all(both.map((one) => one.stop()))
  t.equal(both[0]!.errors, 0)
})
