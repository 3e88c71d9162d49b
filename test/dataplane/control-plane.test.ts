/**
 * Risk: the host process of a node whose daemon is dead shows that node's certificate, and only the elected node
 * answers it: that its devices are fenced it hears by luck. Or more than a look is done for it, or it is passed round.
 */
import { randomUUID } from 'node:crypto'
import t from 'tap'
import type { Test } from 'tap'
import { AuditTrail } from '../../cluster/api/audit-trail.ts'
import { connectControlApi, connectControlNode } from '../../cluster/api/client.ts'
import type { ControlClient } from '../../cluster/api/client.ts'
import { BeatList } from '../../cluster/membership/beat-list.ts'
import { Pulse } from '../../cluster/pulse.ts'
import { RecordStore } from '../../cluster/reconcile/record-store.ts'
import { configKey, encodeConfig } from '../../cluster/store/volume-configs.ts'
import { encodeVolume, volumeKey } from '../../cluster/store/volume-records.ts'
import type { TlsFolder } from '../../cluster/tls/tls-folder.ts'
import { attachmentEnd } from '../../csi/node/attachment-end.ts'
import { clock } from '../../dataplane/clock.ts'
import { ControlPlane } from '../../dataplane/control-plane.ts'
import { firstConfig } from '../../engine/control/member-change.ts'
import { detailsOf } from '../cluster/reconcile/control-cluster.ts'
import { FakeNode } from '../cluster/reconcile/fake-node.ts'
import { storeInProcess } from '../cluster/store-in-process.ts'
import type { StoreInProcess } from '../cluster/store-in-process.ts'
import { TestCa } from '../cluster/tls/certificates.ts'
import { specOf } from './copy/hosts.ts'

const ID = 'a'.repeat(32)

async function planeOf(t: Test, node: string, server: StoreInProcess, tls: TlsFolder): Promise<ControlPlane> {
  const [store, instance] = [server.client(), randomUUID()]
  const plane = await ControlPlane.listen({
    node, instance, clusterId: tls.identity.clusterId, store, storeAddress: 'http://127.0.0.1:1', clusterKey: undefined,
    pulse: new Pulse(1000, clock), beats: new BeatList(store, () => clock.nowMs()),
    local: new FakeNode(node, instance, server.client()), listen: { host: '127.0.0.1', port: 0 }, tls,
    diff: async function* () {}, details: () => detailsOf(node), addDisk: () => t.fail('no disk') as never,
    nbdOf: () => [], whenOffered: async () => true, isStoreReachable: () => true,
    audit: new AuditTrail({ write: () => undefined }), log: { event: () => undefined },
    onBug: (error) => void t.fail(String(error)),
  })
  plane.start()
  t.teardown(() => plane.stop(1000))
  return plane
}

/** A volume that nobody holds any more, as behind a fence. */
async function putVolume(server: StoreInProcess): Promise<void> {
  const records = new RecordStore(server.client())
  const spec = specOf({ id: ID, name: 'data' })
  const more = { minInSync: 1, allowDegraded: false, firstNode: '', attachMode: 'single' as const, trash: null }
  const config = firstConfig({
    volumeId: ID, primary: 'n1', copies: new Map([['n1', randomUUID()]]), minInSync: 1, attachMode: 'single',
    nonce: randomUUID(), epoch: 1,
  })
  const attach = { ...config.attach, generation: 4 }
  await records.put(volumeKey(ID), undefined, encodeVolume({ spec, ...more }))
  await records.put(configKey(ID), undefined, encodeConfig({ ...config, attach }))
}

t.test('who has a certificate of a node and is no daemon is answered by any node', async (t) => {
  const ca = new TestCa(t)
  const [tls1, tls2] = ['n1', 'n2'].map((name) => ca.folder({ role: 'node', name })) as [TlsFolder, TlsFolder]
  const server = await storeInProcess(t)
  await putVolume(server)
  // One after the other, so that the first is elected, and each until it knows who is.
  await (await planeOf(t, 'n1', server, tls1)).control.getVolume({ name: ID })
  const other = await planeOf(t, 'n2', server, tls2)
  await other.control.getVolume({ name: ID })

  const closed = <T extends ControlClient>(client: T): T => {
    t.teardown(() => client.close())
    return client
  }
  const host = closed(connectControlApi({ address: other.api, folder: tls1, source: 'the test' }))
  const ask = (name: string) => host.getVolume({ name })
  t.equal(await attachmentEnd([ask], 'n1', { volumeId: ID, generation: 4 }), 'over')
  t.equal((await host.listVolumes()).volumes.length, 1)
  await t.rejects(host.getVolume({ name: 'none' }), { code: 'volume-not-found' })

  await t.rejects(host.deleteVolume({ name: ID, force: true }), { code: 'no-controller' }, 'no more than looks')
  const daemon = closed(connectControlNode('n2', other.api, tls1))
  await t.rejects(daemon.getVolume({ name: ID }), { code: 'no-controller' }, 'what a daemon passes on goes no further')
  t.match(await host.getVolume({ name: ID }), { attach: { generation: 4, holders: [] } })
})
