/**
 * What a kubelet asks of a real kernel: a blank 10 GiB volume published, staged and shown, ten volumes on one host,
 * ext4 and xfs that grow while they are mounted, readers of a snapshot whose file system was never unmounted, and a
 * block device. Told with its times.
 */
import path from 'node:path'
import { GIB, MIB } from '../../engine/units.ts'
import { BLOCK, Kubernetes, fileSystem } from './guest-kubelet.ts'
import type { Published } from './guest-kubelet.ts'
import type { Story } from './story.ts'

const BLANK_BYTES = 10 * GIB
const MANY = 10
const MANY_BYTES = 16 * MIB
/** The least of xfs is 300 MiB. */
const FILE_SYSTEM_BYTES = 320 * MIB
const GROWN_BYTES = 448 * MIB
const DEVICES = MANY + 6

export async function tellStaging(story: Story): Promise<void> {
  await story.start(DEVICES)
  const cluster = await Kubernetes.start(story)
  await tellBlank(cluster)
  for (const fsType of ['ext4', 'xfs']) await tellFileSystem(cluster, fsType)
  await tellBlock(cluster)
  await tellMany(cluster)
  const wrong = await story.errors()
  if (wrong !== '') throw new Error(wrong)
  story.tell('0 I/O errors')
}

async function tellBlank(cluster: Kubernetes): Promise<void> {
  const { story, guest } = cluster
  const ext4 = fileSystem('ext4')
  for (let round = 1; round <= 3; round++) {
    const volumeId = await cluster.create(`blank-${round}`, BLANK_BYTES, ext4)
    const startedMs = performance.now()
    const published = await cluster.publish(guest, volumeId, ext4)
    const publishMs = Math.round(performance.now() - startedMs)
    const { ms } = await cluster.show(guest, published)
    const [stageMs, showMs] = ms as [number, number]
    const sum = ((publishMs + stageMs + showMs) / 1000).toFixed(1)
    story.tell(`a blank 10 GiB volume: publish ${publishMs} ms, stage ${stageMs} ms, show ${showMs} ms: ${sum} s`)
    await end(cluster, published)
    await story.control.deleteVolume({ name: volumeId, force: false, purge: true })
    const inTrash = async () => (await story.control.listVolumes({ isInTrash: true })).volumes
    await story.until('it is gone', async () => (await inTrash()).length === 0)
  }
}

async function tellMany(cluster: Kubernetes): Promise<void> {
  const { story, guest } = cluster
  const ext4 = fileSystem('ext4')
  const names = Array.from({ length: MANY }, (_, i) => `many-${i}`)
  const ids = await Promise.all(names.map((name) => cluster.create(name, MANY_BYTES, ext4)))
  const startedMs = performance.now()
  const published = await Promise.all(ids.map((id) => cluster.publish(guest, id, ext4)))
  const shownMs: number[] = []
  for (const one of published) shownMs.push((await cluster.show(guest, one)).ms.reduce((sum, ms) => sum + ms))
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
  const devices = (await story.guest.must('cat /sys/block/nbd*/pid 2>/dev/null | wc -l')).trim()
  story.tell(`${MANY} volumes published, staged and shown in ${seconds} s, ${devices} devices `
    + `(stage and show alone, ms: ${shownMs.join(' ')})`)
  for (const one of published) await end(cluster, one)
}

async function tellFileSystem(cluster: Kubernetes, fsType: string): Promise<void> {
  const { story, guest } = cluster
  const { guest: machine } = story
  const capability = fileSystem(fsType)
  const volumeId = await cluster.create(`with-${fsType}`, FILE_SYSTEM_BYTES, capability)
  const published = await cluster.publish(guest, volumeId, capability)
  const { target } = await cluster.show(guest, published)
  const file = path.join(target, 'file')
  await machine.must(`head -c 8M /dev/urandom > ${file} && sync -f ${file} && sha256sum < ${file} > /run/${fsType}.sum`)
  const size = async (): Promise<string> => (await machine.must(`df -m --output=size ${target} | tail -n 1`)).trim()
  const before = await size()
  await cluster.controller('ControllerExpandVolume', {
    volumeId, capacityRange: { requiredBytes: GROWN_BYTES }, volumeCapability: capability, secrets: {},
  })
  const request = { volumeId, volumePath: target, capacityRange: null }
  const [grown] = await guest.call([{ rpc: 'NodeExpandVolume', request }])
  if (grown!.code !== 0) throw new Error(`${fsType} was not grown: ${grown!.message}`)
  story.tell(`${fsType}: grown while mounted from ${before} to ${await size()} MiB in ${grown!.ms} ms`)
  for (const isFrozen of [false, true]) await tellReaders(cluster, published, fsType, isFrozen)
  await end(cluster, published)
  const again = await cluster.publish(guest, volumeId, capability)
  await cluster.show(guest, again)
  await machine.must(`sha256sum < ${file} | cmp - /run/${fsType}.sum`)
  await end(cluster, again)
}

/**
 * Of a snapshot that is taken while the file system is in use its log is dirty, and nobody may replay it there: it can
 * be mounted, and shows what the log does not know of. Of one that was frozen meanwhile it shows all.
 */
async function tellReaders(cluster: Kubernetes, of: Published, fsType: string, isFrozen: boolean): Promise<void> {
  const { volumeId } = of
  const { story, guest } = cluster
  const { guest: machine } = story
  const readers = fileSystem(fsType, 'MULTI_NODE_READER_ONLY')
  const log = `${guest.at(volumeId)}.shown/late`
  await machine.must(`for i in 1 2 3 4 5 6 7 8; do echo $i > ${log}.$i; done; sync -f ${log}.1; `
    + `echo x > ${log}.9; sync ${log}.9`)
  const name = `${fsType}-${isFrozen ? 'frozen' : 'in-use'}`
  if (isFrozen) await machine.must(`fsfreeze -f ${guest.at(volumeId)}.shown`)
  const { snapshot } = await cluster.controller('CreateSnapshot', { sourceVolumeId: volumeId, name })
  if (isFrozen) await machine.must(`fsfreeze -u ${guest.at(volumeId)}.shown`)
  const source = { snapshot: { snapshotId: snapshot.snapshotId } }
  const cloneId = await cluster.create(`read-${name}`, GROWN_BYTES, readers, source)
  const published = await cluster.publish(guest, cloneId, readers)
  const { target } = await cluster.show(guest, published)
  await machine.must(isFrozen ? `sha256sum < ${target}/file | cmp - /run/${fsType}.sum` : `ls ${target}`)
  const refused = await machine.run(`echo x > ${target}/new`)
  if (refused.code === 0) throw new Error('a reader of a snapshot writes')
  const options = (await machine.must(`awk '$2 == "${target}" { print $4 }' /proc/mounts`)).trim()
  story.tell(`${fsType}: a snapshot of it, ${isFrozen ? 'frozen' : 'in use'}, is read (${options})`)
  await end(cluster, published)
}

async function tellBlock(cluster: Kubernetes): Promise<void> {
  const { story, guest } = cluster
  const volumeId = await cluster.create('block', MANY_BYTES, BLOCK)
  const published = await cluster.publish(guest, volumeId, BLOCK)
  const { target, ms } = await cluster.show(guest, published)
  await story.guest.must(`[ -b ${target} ] && head -c 4M /dev/urandom > /run/bytes && dd if=/run/bytes of=${target} `
    + `oflag=direct bs=64k status=none && dd if=${target} iflag=direct bs=64k count=64 status=none | cmp - /run/bytes`)
  story.tell(`a block device: staged and shown in ${ms.join(' + ')} ms, written and read past the page cache`)
  await end(cluster, published)
}

async function end(cluster: Kubernetes, published: Published): Promise<void> {
  await cluster.hide(cluster.guest, published)
  await cluster.unpublish(cluster.guest, published.volumeId)
}
