/**
 * A volume as Kubernetes uses it, on three daemons: made by a name that is a label, asked for by its id alone, attached
 * with the lead beside it, changed while it is written to, and detached so that what comes late is refused.
 */
// test-timeout-seconds: 300
import t from 'tap'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import { allVolumes } from '../../cluster/api/volume-page.ts'
import { MIB } from '../../engine/units.ts'
import { NbdConnection, WRITE } from '../../cli/load/nbd-connection.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { until } from './until.ts'

t.setTimeout(290_000)

t.test('made, attached, changed, moved, detached', async (t) => {
  const cluster = await ClusterOfDaemons.make(t)
  await cluster.start()
  const api = cluster.api('n1')
  await until(() => api.listNodes(), ({ nodes }) => nodes.filter(({ disks }) => disks.length === 1).length === 3)
  const labels = { 'csi-name': 'PVC of shop', 'csi-pvc': 'data-db-0', 'csi-pvc-namespace': 'shop' }
  const parameters = { replicas: '1', 'attach-mode': 'single', 'read-check': 'confirm', 'failure-mode': 'soft' }
  const request = { name: 'csi-1', sizeBytes: 64 * MIB, parameters, labels, preferredNodes: ['n2'] }
  const made = await api.createVolume(request)
  const { id: name } = made
  t.match(made, { labels, readCheck: 'confirm', failureMode: 'soft', minInSync: 2, attach: { holders: [] } })
  t.equal(made.copies.find(({ role }) => role === 'primary')?.node, 'n2')
  t.same((await allVolumes(cluster.api('n3'))).map(({ id }) => id), [name])
  const { largestBytes, localBytes } = await api.capacity({ parameters: { replicas: '2' }, node: 'n3', zone: '' })
  t.ok(largestBytes > 0 && localBytes >= largestBytes)

  const replica = made.copies.find(({ role }) => role === 'replica')!.node
  const attached = await api.attachVolume({ name, node: replica, mode: 'single', force: false, primary: true })
  const held = attached.attach.holders[0]!
  t.equal(held.node, replica)
  const isLed = ({ copies }: Volume) => copies.some(({ node, role }) => node === replica && role === 'primary')
  await until(() => api.getVolume({ name }), isLed)
  const client = (await NbdConnection.open(cluster.node(replica).paths.nbd, 'csi-1', true))!
  const write = async (mib: number) => {
    const answer = await client.ask({ type: WRITE, offset: mib * MIB, data: Buffer.alloc(4096, 1) })
    return answer === 'closed' ? answer : answer.errno
  }
  t.equal(await write(0), 0)
  const wishes = { replicas: '2', 'io-timeout': '1m', 'on-full': 'error' }
  const changed = await api.modifyVolume({ name, parameters: wishes })
  t.match(changed, { replicas: 2, ioTimeoutMs: 60_000, onFull: 'error' })
  t.equal(await write(1), 0, 'the same connection')
  await until(() => api.getVolume({ name }), ({ health }) => health === 'healthy')

  const [other] = ['n1', 'n2', 'n3'].filter((node) => node !== replica)
  await t.rejects(api.attachVolume({ name, node: other!, mode: 'single', force: false }), {
    code: 'volume-attached', message: new RegExp(`attached to ${replica}`),
  })
  const snapshot = await api.createSnapshot({ volume: name, name: 'first', labels: {}, id: 'c'.repeat(32) })
  t.same((await api.listSnapshots({ volume: '', limit: 10, after: '' })).snapshots, [snapshot])
  t.same((await api.detachVolume({ name, node: '', all: true })).attach.holders, [])
  t.not(await write(2), 0, 'what comes late is refused')
  await client.disconnect().catch(() => undefined)
  await t.rejects(api.detachVolume({ name, node: replica }), { code: 'volume-not-attached' })
  const { attach } = await api.attachVolume({ name, node: other!, mode: 'single', force: false })
  t.ok(attach.generation > held.generation)
  await api.detachVolume({ name, node: other! })
  await api.deleteSnapshot({ volume: name, name: snapshot.id, id: '' })
  await api.deleteVolume({ name, force: false })
  t.same((await api.listVolumes()).volumes, [])
})
