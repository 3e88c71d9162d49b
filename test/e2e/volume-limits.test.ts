/**
 * Limits of volumes on real processes: a client that asks for all it can gets what is allowed and no more, before and
 * after a change, a restart and a failover; nodes that hold a volume together share it.
 */
// test-timeout-seconds: 240
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

/** In flight in all, of however many clients: how many answers may be of requests from before a look. */
const IN_FLIGHT = 32
const BURST_SECONDS = 0.1
const LOOK_MS = 1_000
/** For one in which the machine did not stand still. */
const LOOKS_MOST = 5

/** Answers over so long, to somebody who asks for more. */
async function looked(count: () => number, ms: number): Promise<{ answers: number; seconds: number }> {
  const [from, fromMs] = [count(), performance.now()]
  await new Promise((resolve) => setTimeout(resolve, ms))
  return { answers: count() - from, seconds: (performance.now() - fromMs) / 1000 }
}

/**
 * What was asked since the look began is what the limit let through since, and its burst at most: so much is true
 * however long a disk, a node or this process stood still. On a busy machine less is asked.
 */
async function isAbout(t: Test, count: () => number, limit: number, what: string): Promise<void> {
  for (let looks = 1; ; looks++) {
    const { answers, seconds } = await looked(count, LOOK_MS)
    const most = Math.floor(limit * (seconds + BURST_SECONDS)) + IN_FLIGHT
    t.ok(answers <= most, `${what}: ${answers} in ${seconds.toFixed(2)} s, at ${limit} a second ${most} at most`)
    const isEnough = answers >= limit * seconds * 0.3
    if (isEnough || looks === LOOKS_MOST) return void t.ok(isEnough, `${what}: and not much less`)
  }
}

// Side by side: both look at clocks most of the time.
const buffered = true
t.jobs = 2

t.test('a node by itself: kept to, changed while clients wait, there after a kill', { buffered }, async (t) => {
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
  const clients = await Promise.all([1, 2].map(async () =>
    new Greedy(await opened(node.paths.nbd, 'data'), IN_FLIGHT / 2)))
  const answers = () => clients.reduce((sum, one) => sum + one.answers, 0)
  await until(async () => answers(), (count) => count > 20)
  await isAbout(t, answers, 200, 'two clients')
  const qos = (...limits: string[]) => say('volume', 'qos', 'data', ...limits)
  t.match(await qos('--iops', '1000'), /^limits of volume data: 1000 requests\/s, burst 100ms\n$/)
  await isAbout(t, answers, 1000, 'after a change')
  t.match(await qos('--bandwidth', '1Mi', '--iops', 'none'), /: 1 MiB\/s, burst 100ms\n$/)
  await isAbout(t, answers, 256, 'by bytes')
  t.match(await qos(), /^2: holdfast: no limit is named; e\.g\. --iops 500/)
  t.match(await qos('--iops', '5'), /^2: holdfast: qos-iops = "5" is not allowed; allowed: none/)
  await Promise.all(clients.map((client) => client.stop()))
  t.equal(clients.reduce((sum, { errors }) => sum + errors, 0), 0, 'nobody got an error')

  const { pid } = await node.client(t).getNode({ name: 'n1' })
  process.kill(pid, 'SIGKILL')
  await node.ready()
  const json = JSON.parse(await say('volume', 'inspect', 'data', '-o', 'json')) as Volume
  t.same(json.qos, { iops: 0, bandwidthBytes: MIB, burstMs: 100 })
  const again = new Greedy(await opened(node.paths.nbd, 'data'), IN_FLIGHT, false)
  await until(async () => again.answers, (count) => count > 30)
  await isAbout(t, () => again.answers, 256, 'after the daemon was killed')
  await again.stop()
})

t.test('a cluster: through a failover, and shared by the nodes that hold the volume', { buffered }, async (t) => {
  const cluster = await ClusterOfDaemons.make(t)
  const { id } = await cluster.makeVolume({ name: 'data', sizeBytes: 16 * MIB })
  await cluster.start()
  const api = (name: string) => cluster.api(name)
  const volume = await until(() => api('n1').getVolume({ name: 'data' }), ({ health }) => health === 'healthy')
  const primary = primaryOf(volume)
  const [user, other] = ['n1', 'n2', 'n3'].filter((name) => name !== primary) as [string, string]
  const client = new Greedy(await opened(cluster.node(user).paths.nbd, 'data'), IN_FLIGHT)
  await until(async () => client.answers, (count) => count > 500)
  const parameters = { 'qos-iops': '200', 'qos-burst': '100ms' }
  const limited = await api(other).modifyVolume({ name: 'data', parameters })
  t.same(limited.qos, { iops: 200, bandwidthBytes: 0, burstMs: 100 })
  await until(() => looked(() => client.answers, 300), ({ answers, seconds }) => answers < 250 * seconds)
  await isAbout(t, () => client.answers, 200, 'at a node that does not lead')
  await cluster.node(primary).killNode()
  const before = client.answers
  await until(async () => client.answers, (count) => count > before + 100)
  await isAbout(t, () => client.answers, 200, 'after the primary died')
  await client.stop()
  t.equal(client.errors, 0)

  for (const node of [user, other]) await api(user).attachVolume({ name: 'data', node, mode: 'shared', force: true })
  const both = await Promise.all([user, other].map(async (name) =>
    new Greedy(await opened(cluster.node(name).paths.nbd, id), IN_FLIGHT / 2)))
  await until(async () => Math.min(...both.map(({ answers }) => answers)), (count) => count > 50)
  await isAbout(t, () => both[0]!.answers + both[1]!.answers, 200, 'two nodes together')
  await api(user).detachVolume({ name: 'data', node: other })
  await until(() => looked(() => both[0]!.answers, 300), ({ answers, seconds }) => answers > 150 * seconds)
  await isAbout(t, () => both[0]!.answers, 200, 'the one that is left')
  await Promise.all(both.map((one) => one.stop()))
  t.equal(both[0]!.errors, 0)
})
