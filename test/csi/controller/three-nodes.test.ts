/**
 * `holdfast csi controller` against three real nodes: a class of StorageOS with a key of its own, readers of a
 * snapshot, changed blocks, a volume given from one node to another, and a process that is killed in between.
 */
// test-timeout-seconds: 600
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { userKeyOf } from '../../../cluster/keys/user-key.ts'
import { MIB } from '../../../engine/units.ts'
import { ClusterOfDaemons } from '../../cluster/cluster-of-daemons.ts'
import { ControllerProcess } from '../controller-process.ts'
import { CsiClient } from '../csi-client.ts'

t.setTimeout(590_000)

const mount = { fsType: 'ext4', mountFlags: [], volumeMountGroup: '' }
const SINGLE = { mount, accessMode: { mode: 'SINGLE_NODE_WRITER' } }
const READERS = { mount, accessMode: { mode: 'MULTI_NODE_READER_ONLY' } }
const FORMER_CLASS = {
  fsType: 'ext4', pool: 'default', 'storageos.com/replicas': '2', 'storageos.com/encryption': 'true',
  'storageos.com/nocache': 'true', 'csi.storage.k8s.io/pvc/name': 'data', 'csi.storage.k8s.io/pvc/namespace': 'db',
}

t.test('what pods ask for', async (t) => {
  const cluster = await ClusterOfDaemons.make(t)
  await cluster.start()
  const api = cluster.api('n2')
  const controller = new ControllerProcess(t, cluster.node('n1').paths.api)
  await controller.start()
  const client = new CsiClient(t, controller.socketPath)
  const ask = (rpc: string, request: object) => client.call('Controller', rpc, request)
  const key = randomBytes(32)
  const secrets = { 'encryption-key': key.toString('hex') }
  const wanted = {
    name: 'PVC-One', capacityRange: { requiredBytes: 16 * MIB - 1 }, volumeCapabilities: [SINGLE],
    parameters: FORMER_CLASS, secrets,
  }

  const { volume } = await ask('CreateVolume', wanted)
  const made = await api.getVolume({ name: volume.volumeId })
  t.match(made, {
    sizeBytes: 16 * MIB, replicas: 2, encryption: true, keyId: userKeyOf(new Uint8Array(key)).id,
    attach: { mode: 'single', holders: [] },
    labels: { 'csi-name': 'PVC-One', 'csi-pvc': 'data', 'csi-pvc-namespace': 'db' },
  })
  t.same(volume.accessibleTopology, [])
  t.match(controller.log, /parameter storageos.com\/nocache has no effect/)
  t.notMatch(controller.log, secrets['encryption-key'])
  t.same((await ask('CreateVolume', wanted)).volume, volume)
  await t.rejects(ask('CreateVolume', { ...wanted, parameters: { ...FORMER_CLASS, pool: 'other' } }), { code: 6 })

  await t.test('published to one node, and then to another one', async (t) => {
    const { volumeId } = volume
    const publish = (nodeId: string) => ask('ControllerPublishVolume', { volumeId, nodeId, volumeCapability: SINGLE })
    const { publishContext: first } = await publish('n1')
    t.same((await publish('n1')).publishContext, first)
    await t.rejects(publish('n3'), { code: 9, details: /attached to n1 in mode single/ })
    await t.rejects(ask('DeleteVolume', { volumeId }), { code: 9 })
    await controller.kill()
    await controller.start()
    const status = (await ask('ControllerGetVolume', { volumeId })).status
    t.same(status.publishedNodeIds, ['n1'])
    await ask('ControllerUnpublishVolume', { volumeId, nodeId: 'n1' })
    const { publishContext: second } = await publish('n3')
    t.ok(Number(second['holdfast.io/generation']) > Number(first['holdfast.io/generation']))
    for (let i = 0; i < 2; i++) await ask('ControllerUnpublishVolume', { volumeId, nodeId: '' })
    t.same((await api.getVolume({ name: volumeId })).attach.holders, [])
  })

  await t.test('a snapshot, its readers, and what changed', async (t) => {
    const plain = { ...wanted, name: 'plain', parameters: {}, secrets: {} }
    await t.rejects(ask('CreateVolume', { ...plain, secrets }), { code: 3, details: /would not be encrypted/ })
    const { volume: { volumeId: sourceVolumeId } } = await ask('CreateVolume', plain)
    const request = { sourceVolumeId, name: 'snap/1' }
    const { snapshot } = await ask('CreateSnapshot', request)
    t.same((await ask('CreateSnapshot', request)).snapshot, snapshot)
    const source = { snapshot: { snapshotId: snapshot.snapshotId } }
    const keyed = { ...plain, name: 'keyed', secrets, volumeContentSource: source }
    await t.rejects(ask('CreateVolume', keyed), { code: 3, details: /as its source is not/ })
    const readable = {
      name: 'readers', capacityRange: { requiredBytes: 32 * MIB }, volumeCapabilities: [READERS],
      volumeContentSource: source,
    }
    const { volume: clone } = await ask('CreateVolume', readable)
    t.match(clone, { capacityBytes: 32 * MIB, contentSource: source })
    for (const nodeId of ['n1', 'n2']) {
      const published = { volumeId: clone.volumeId, nodeId, volumeCapability: READERS }
      t.equal((await ask('ControllerPublishVolume', published)).publishContext['holdfast.io/mode'], 'read-only')
    }
    await t.rejects(ask('CreateVolume', { ...readable, name: 'empty', volumeContentSource: null }), { code: 3 })
    const { snapshotId } = snapshot
    t.same(await client.stream('SnapshotMetadata', 'GetMetadataAllocated', { snapshotId }), [])
    const { snapshot: later } = await ask('CreateSnapshot', { ...request, name: 'snap/2' })
    const delta = { baseSnapshotId: snapshotId, targetSnapshotId: later.snapshotId }
    t.same(await client.stream('SnapshotMetadata', 'GetMetadataDelta', delta), [])
    await t.rejects(ask('DeleteVolume', { volumeId: sourceVolumeId }), { code: 9, details: /snapshots that would go/ })
    for (const nodeId of ['n1', 'n2']) await ask('ControllerUnpublishVolume', { volumeId: clone.volumeId, nodeId })
    await ask('DeleteVolume', { volumeId: clone.volumeId })
    for (const id of [snapshotId, later.snapshotId, snapshotId]) await ask('DeleteSnapshot', { snapshotId: id })
    for (const volumeId of [sourceVolumeId, volume.volumeId, sourceVolumeId]) await ask('DeleteVolume', { volumeId })
    t.same((await ask('ListVolumes', {})).entries, [])
  })
  t.notMatch(controller.log, / INTERNAL /)
})
