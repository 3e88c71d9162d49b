/**
 * Risk: without any limit a volume with deep queues starves one that asks for little. Real processes, a node by itself
 * and one of a cluster; what is counted is each one's share, not time.
 */
// test-timeout-seconds: 240
import t from 'tap'
import type { Test } from 'tap'
import { connectControlApi } from '../../cluster/api/client.ts'
import type { ControlClient } from '../../cluster/api/client.ts'
import { WRITE } from '../../cli/load/nbd-connection.ts'
import type { NbdConnection } from '../../cli/load/nbd-connection.ts'
import { MIB } from '../../engine/units.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { NodeProcess } from '../dataplane/node-process.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { BLOCK, Greedy, opened } from './greedy-client.ts'
import { until } from './until.ts'

/** Of so many requests on their way together each one's share is what is counted, so a slow machine is no excuse. */
async function sharesOf(deep: NbdConnection[], shallow: NbdConnection, asked: number): Promise<number[]> {
  const crowd = deep.map((connection) => new Greedy(connection, 512))
  const answers = () => crowd.reduce((sum, one) => sum + one.answers, 0)
  await until(async () => answers(), (count) => count > 2000)
  const between: number[] = []
  for (let i = 0; i < asked; i++) {
    const before = answers()
    await shallow.ask({ type: WRITE, offset: i * 4096, data: BLOCK })
    between.push(answers() - before)
  }
  await Promise.all(crowd.map((one) => one.stop()))
  return between.sort((a, b) => a - b)
}

async function starvesNobody(t: Test, socketPath: string, api: ControlClient): Promise<void> {
  await until(() => api.listNodes(), ({ nodes }) => nodes.length === 1 && nodes[0]!.disks.length === 1)
  for (const name of ['deep', 'shallow']) {
    await api.createVolume({ name, sizeBytes: 16 * MIB, parameters: { replicas: '0' } })
  }
  const deep = await Promise.all([1, 2, 3, 4].map(() => opened(socketPath, 'deep')))
  const shallow = await opened(socketPath, 'shallow')
  const between = await sharesOf(deep, shallow, 100)
  await shallow.disconnect()
  const [median, most] = [between[50]!, between.at(-1)!]
  t.comment(`behind one request of the other: ${median} of the deep one (median), ${most} at most`)
  t.ok(most <= 4 * 2048, 'it waits for what was in front of it, and not for what came later')
}

t.test('without limits: 2048 writes on their way starve nobody who has one', async (t) => {
  const node = new NodeProcess(t, temporaryFolder(t))
  await node.ready()
  await starvesNobody(t, node.paths.nbd, node.client(t))
})

t.test('the same on a node of a cluster', async (t) => {
  const cluster = await ClusterOfDaemons.make(t, { names: ['n1'] })
  await cluster.start()
  const { nbd, api: socketPath } = cluster.node('n1').paths
  const api = connectControlApi({ socketPath, source: 'the test' })
  t.teardown(() => api.close())
  await starvesNobody(t, nbd, api)
})
