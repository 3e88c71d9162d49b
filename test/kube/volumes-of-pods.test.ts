/**
 * Volumes as users of Kubernetes get them: claims, pods, snapshots, clones, growth, and the end of all of it, through
 * the real controllers and sidecars with the flags and the rights that the chart gives.
 */
// test-timeout-seconds: 900
import { noOwnMounts } from '../csi/node/own-mounts.ts'
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, statfsSync, writeSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import { MIB } from '../../engine/units.ts'
import { search } from '../e2e/byte-search.ts'
import { primaryOf, until } from '../e2e/until.ts'
import { findProgram } from '../../csi/host/host-command.ts'
import { leftOut } from './kube-binaries.ts'
import { claimPath, KubeWorld, USERS } from './kube-world.ts'
import { StepTimes } from './step-times.ts'
import type { Json } from './rendered-chart.ts'

const missing = (['nbdfuse', 'mkfs.ext4', 'losetup'] as const).find((program) => findProgram(program) === undefined)
const skip = noOwnMounts ?? (missing === undefined ? leftOut(
  'etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'csi-provisioner', 'csi-attacher',
  'csi-resizer', 'csi-snapshotter', 'snapshot-controller', 'helm',
) : `${missing} is not installed`)
t.setTimeout(900_000)

const STORAGE = '/apis/storage.k8s.io/v1'
const SNAPSHOTS = `/apis/snapshot.storage.k8s.io/v1/namespaces/${USERS}/volumesnapshots`
const EVENTS = `/api/v1/namespaces/${USERS}/events`
const GROUPS = `/apis/groupsnapshot.storage.k8s.io/v1/namespaces/${USERS}/volumegroupsnapshots`
/** Only the provisioner differs from the one that existing clusters have. */
const STORAGEOS = {
  apiVersion: 'storage.k8s.io/v1', kind: 'StorageClass', metadata: { name: 'storageos-production' },
  parameters: { fsType: 'ext4', pool: 'default', 'storageos.com/replicas': '2', 'storageos.com/encryption': 'true' },
  provisioner: 'csi.holdfast.io',
}

function write(mounted: string, text: string): void {
  const fd = openSync(path.join(mounted, 'proof'), 'w')
  writeSync(fd, text.repeat(64))
  fsyncSync(fd)
  closeSync(fd)
}

const isWritten = (mounted: string, text: string): boolean =>
  readFileSync(path.join(mounted, 'proof'), 'utf8') === text.repeat(64)

t.test('from claims to nothing', { skip }, async (t) => {
  const times = new StepTimes()
  const world = await times.of('Kubernetes, three nodes, the controller pod', () => KubeWorld.start(t))
  try {
    await story(t, world, times)
  } catch (error) {
    t.comment(world.pod.lastWords().join('\n'))
    throw error
  }
  for (const line of times.lines()) t.comment(line)
})

async function story(t: Test, world: KubeWorld, times: StepTimes): Promise<void> {
  const { objects } = world
  await times.of('CSIStorageCapacity of each node and class', async () => {
    const shown = await objects.untilAll('/apis/storage.k8s.io/v1/csistoragecapacities', (all) =>
      all.filter(({ capacity }) => capacity !== undefined && capacity !== '0').length >= 6)
    const classes = new Set(shown.map(({ storageClassName }) => storageClassName))
    t.same([...classes].sort(), ['holdfast', 'holdfast-encrypted'], 'of classes that wait for their first pod')
    const owners = shown.map(({ metadata }) => metadata.ownerReferences[0])
    t.ok(owners.every(({ kind, uid }) => kind === 'Deployment' && uid === world.deployment.metadata.uid),
      'they go with the Deployment')
  })

  const { metadata: _, volumeBindingMode: __, ...like } = (await objects.find(`${STORAGE}/storageclasses/holdfast`))!
  await objects.make(`${STORAGE}/storageclasses`, { ...like, metadata: { name: 'at-once' } })
  await world.claim('at-once', 'at-once')
  await times.of('claim bound, Immediate', () => world.bound('at-once'))
  t.match(await world.volumeOf('at-once'), { sizeBytes: 64 * MIB, health: 'healthy', copies: { length: 3 } })

  await world.claim('data', 'holdfast')
  const { pod: first, kubelet: there } = await times.of('claim bound, WaitForFirstConsumer, its pod scheduled', () =>
    world.podOn('first', 'data'))
  const firstRun = await there.run(first)
  times.add('VolumeAttachment of the pod attached', firstRun.attachMs)
  times.add('staged (ext4 made) and published', firstRun.mountMs)
  write(firstRun.mounted, 'what the first pod wrote')
  const { nodeName } = first.spec
  const isLedThere = (volume: Volume): boolean => primaryOf(volume) === `n${nodeName.slice(-1)}`
  const data = await times.of('the lead is where the pod is', () => until(() => world.volumeOf('data'), isLedThere))
  t.match(data.labels, { 'csi-pvc': 'data', 'csi-pvc-namespace': USERS })

  const snapshot = (name: string, claim: string): Promise<Json> => objects.make(SNAPSHOTS, {
    apiVersion: 'snapshot.storage.k8s.io/v1', kind: 'VolumeSnapshot', metadata: { name },
    spec: { volumeSnapshotClassName: 'holdfast', source: { persistentVolumeClaimName: claim } },
  })
  await snapshot('before', 'data')
  await times.of('VolumeSnapshot ready', () =>
    objects.until(`${SNAPSHOTS}/before`, ({ status }) => status?.readyToUse === true))
  write(firstRun.mounted, 'what was written behind the snapshot')

  const others = world.kubelets.filter((one) => one.nodeName !== nodeName)
  await world.claim('restored', 'holdfast', {
    dataSource: { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'before' },
  })
  const restored = await times.of('restored to a new claim, its pod on another node runs', async () => {
    const { pod, kubelet } = await world.podOn('reader', 'restored', others[0]!.nodeName)
    return { pod, kubelet, ...await kubelet.run(pod) }
  })
  t.ok(isWritten(restored.mounted, 'what the first pod wrote'), 'it shows what the snapshot saw')
  await restored.kubelet.end(restored.pod)

  await world.claim('cloned', 'at-once', { dataSource: { kind: 'PersistentVolumeClaim', name: 'data' } })
  await times.of('claim cloned', () => world.bound('cloned'))

  await times.of('pod moved: ended, and its volume mounted on another node', async () => {
    await there.end(first)
    const { pod, kubelet } = await world.podOn('second', 'data', others[1]!.nodeName)
    const { mounted } = await kubelet.run(pod)
    t.ok(isWritten(mounted, 'what was written behind the snapshot'), 'the data followed')
    await kubelet.end(pod)
  })

  // Where root lacks CAP_SYS_RESOURCE the kernel grows no mounted ext4.
  const xfs = { ...like, metadata: { name: 'xfs' }, parameters: { 'csi.storage.k8s.io/fstype': 'xfs' } }
  await objects.make(`${STORAGE}/storageclasses`, xfs)
  await world.claim('grows', 'xfs', {}, '320Mi')
  await world.bound('grows')
  const { pod: small, kubelet: its } = await world.podOn('small', 'grows')
  write((await its.run(small)).mounted, 'what was there before it grew')
  await its.end(small)
  await objects.change(claimPath('grows'), { spec: { resources: { requests: { storage: '400Mi' } } } })
  await times.of('claim grown, the half of the controller', async () => {
    await objects.until(claimPath('grows'), ({ status }) =>
      status.allocatedResourceStatuses?.storage === 'NodeResizePending')
    t.equal((await world.volumeOf('grows')).sizeBytes, 400 * MIB)
  })
  await times.of('its next pod has it grown', async () => {
    const { pod, kubelet } = await world.podOn('large', 'grows')
    const { mounted } = await kubelet.run(pod)
    const { bsize, blocks } = statfsSync(mounted)
    t.ok(bsize * blocks > 320 * MIB, `the file system has ${Math.round(bsize * blocks / MIB)} MiB`)
    t.ok(isWritten(mounted, 'what was there before it grew'))
    await objects.until(claimPath('grows'), ({ status }) => status.capacity.storage === '400Mi')
    await kubelet.end(pod)
  })

  await objects.change(claimPath('at-once'), { spec: { volumeAttributesClassName: 'holdfast-limited' } })
  await times.of('VolumeAttributesClass in force', () =>
    objects.until(claimPath('at-once'), ({ status }) => status.currentVolumeAttributesClassName === 'holdfast-limited'))
  t.match(await world.volumeOf('at-once'), { qos: { iops: 1000 } })

  await world.claim('together', 'at-once')
  await world.bound('together')
  for (const name of ['at-once', 'together']) {
    await objects.change(claimPath(name), { metadata: { labels: { group: 'one' } } })
  }
  await objects.make(GROUPS, {
    apiVersion: 'groupsnapshot.storage.k8s.io/v1', kind: 'VolumeGroupSnapshot', metadata: { name: 'both' },
    spec: { volumeGroupSnapshotClassName: 'holdfast', source: { selector: { matchLabels: { group: 'one' } } } },
  })
  await times.of('VolumeGroupSnapshot of two volumes ready', () =>
    objects.until(`${GROUPS}/both`, ({ status }) => status?.readyToUse === true))
  t.equal((await world.api.listGroups({ limit: 10, after: '' })).groups.length, 1)

  await objects.make(`${STORAGE}/storageclasses`, STORAGEOS)
  await world.claim('of-storageos', STORAGEOS.metadata.name, {}, '64Mi', { 'storageos.com/replicas': '0' })
  await times.of('claim of a StorageOS class bound, only its provisioner changed', () => world.bound('of-storageos'))
  const encrypted = await world.volumeOf('of-storageos')
  t.match(encrypted, { encryption: true, cipher: 'aes-256-xts', replicas: 2, copies: { length: 3 } })
  const ignored = await objects.untilOne(EVENTS, ({ reason, involvedObject }) =>
    reason === 'LabelIgnored' && involvedObject.name === 'of-storageos')
  t.match(ignored, { type: 'Warning', message: /^label storageos.com\/replicas has no effect: / })
  const { pod: writer, kubelet } = await world.podOn('writer', 'of-storageos')
  const { mounted } = await kubelet.run(writer)
  write(mounted, 'a text of the encrypted volume that is found nowhere')
  t.ok(isWritten(mounted, 'a text of the encrypted volume that is found nowhere'))
  await kubelet.end(writer)
  const disks = world.cluster.nodes.flatMap(({ config }) => config.disks.map((disk) => disk.path)).filter(existsSync)
  const { hits } = search(disks, [
    ['plain', Buffer.from('what was written behind the snapshot')],
    ['encrypted', Buffer.from('a text of the encrypted volume that is found nowhere')],
  ])
  t.same([...hits], ['plain'], `of the disks of ${disks.length} nodes: the text of the plain volume and no other`)
  t.comment(`volume of class ${STORAGEOS.metadata.name}: ${JSON.stringify({
    encryption: encrypted.encryption, cipher: encrypted.cipher, replicas: encrypted.replicas, health: encrypted.health,
  })}`)

  await world.claim('for-all', 'at-once', { accessModes: ['ReadWriteMany'] })
  const refusal = await times.of('ReadWriteMany with a file system refused, in an Event', () =>
    objects.untilOne(EVENTS, ({ reason, involvedObject }) =>
      reason === 'ProvisioningFailed' && involvedObject.name === 'for-all'))
  t.match(refusal.message, /a file system cannot be mounted for writing on several nodes/)

  await times.of('all of it deleted', async () => {
    await objects.delete(`${GROUPS}/both`)
    await objects.delete(`${SNAPSHOTS}/before`)
    await objects.untilAll(SNAPSHOTS, (all) => all.length === 0)
    await objects.untilAll('/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents', (all) => all.length === 0)
    for (const { metadata } of await objects.list(claimPath())) await objects.delete(claimPath(metadata.name))
    await objects.untilAll(claimPath(), (all) => all.length === 0)
    await objects.untilAll('/api/v1/persistentvolumes', (all) => all.length === 0)
    await objects.untilAll(`${STORAGE}/volumeattachments`, (all) => all.length === 0)
  })
  t.same((await world.api.listVolumes({ limit: 100, after: '' })).volumes, [])
  t.same((await world.api.listGroups({ limit: 10, after: '' })).groups, [])
  t.same(world.pod.problems(), [], 'every sidecar has the rights that it needs, and lives')
  t.notMatch(world.pod.controller.log, / INTERNAL /)
}
