/**
 * Two nodes and the cluster store elsewhere: whichever of them leads dies as a host, the other one goes on with what
 * was acknowledged, and so it is the other way round once the first is back. `status` says what two nodes can keep.
 */
// test-timeout-seconds: 180
import t from 'tap'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import { NbdConnection, READ, WRITE } from '../../cli/load/nbd-connection.ts'
import { MIB } from '../../engine/units.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { until } from './until.ts'

const BLOCK = 4096

t.test('one of two nodes is lost, then the other', async (t) => {
  const hosts: Record<string, string> = { n1: '127.0.0.2', n2: '127.0.0.3' }
  const setUp = (name: string, store: string) => {
    const at = { host: hosts[name]!, port: 0 }
    return { change: { cluster: { store, listenPeer: at, listenApi: at } } }
  }
  const cluster = await ClusterOfDaemons.make(t, { names: ['n1', 'n2'], setUp })
  await cluster.start()
  const api = (name: string) => cluster.api(name)
  await until(() => api('n1').listNodes(), ({ nodes }) =>
    nodes.length === 2 && nodes.every(({ disks }) => disks.length === 1))
  const made = await api('n1').createVolume({ name: 'data', sizeBytes: 16 * MIB, parameters: {} })
  t.match(made, { replicas: 1, minInSync: 1, health: 'healthy' }, 'two copies, as two nodes allow')
  const page = await holdfast(['status', '--endpoint', cluster.node('n2').paths.api])
  t.match(page.stdout, /^it cannot promise more: two nodes, and the cluster store elsewhere as a witness: either/m)
  t.match(page.stdout, /^node n1: up; safe to reboot: yes, because/m)

  let block = 0
  const primaryOf = ({ copies }: Volume) => copies.find(({ role }) => role === 'primary')?.node
  for (const round of ['one', 'the other']) {
    const healthy = await until(() => api('n1').getVolume({ name: 'data' }), ({ health }) => health === 'healthy')
    const victim = primaryOf(healthy)!
    const user = victim === 'n1' ? 'n2' : 'n1'
    const client = (await NbdConnection.open(cluster.node(user).paths.nbd, 'data', true))!
    const write = () => client.ask({ type: WRITE, offset: block * BLOCK, data: Buffer.alloc(BLOCK, ++block) })
    t.match(await write(), { errno: 0 })
    await cluster.node(victim).killNode()
    t.match(await write(), { errno: 0 }, `${round} is lost, and a write goes on at ${user}`)
    for (let known = 0; known < block; known++) {
      const data = Buffer.alloc(BLOCK, known + 1)
      t.match(await client.ask({ type: READ, offset: known * BLOCK, length: BLOCK }), { errno: 0, data })
    }
    const alone = await until(() => api(user).getVolume({ name: 'data' }), ({ health }) => health === 'at-risk')
    t.equal(primaryOf(alone), user)
    const { nodes } = await until(() => api(user).status(), (status) =>
      status.nodes.some(({ name, state }) => name === victim && state === 'down'))
    t.match(nodes.find(({ name }) => name === user), { safeToReboot: false }, 'the only one left')
    await client.disconnect()
    await cluster.node(victim).start()
  }
  await cluster.whole(made.id)
  for (const node of cluster.nodes) t.equal(await node.stop(), 0, `${node.name} stops cleanly`)
})
