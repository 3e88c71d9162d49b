/**
 * CSI's Node service: what kubelet asks becomes calls of staging and publishing, one at a time for each volume. What a
 * request lacks is told before anything is looked at, and whether there is such a volume before its paths are. What is
 * foreign is nobody's: ended as if it had never been, and no path of it is touched.
 */
import type { ControlClient } from '../../cluster/api/client.ts'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { csiService } from '../definition.ts'
import { growFileSystem } from '../host/file-systems.ts'
import type { FileSystem } from '../host/file-systems.ts'
import type { HostDevice } from '../host/host-devices.ts'
import { isReadOnly } from '../host/mountinfo.ts'
import type { Mount } from '../host/mountinfo.ts'
import { isVolumeId } from '../names.ts'
import type { Operations } from '../operations.ts'
import { CsiRefusal, notFound, outOfRange, precondition } from '../refusal.ts'
import type { CsiService } from '../server.ts'
import { topologyOf } from '../topology.ts'
import { volumeCondition } from '../volume-condition.ts'
import { volumeById } from '../controller/volumes.ts'
import type { KeyAtStage } from './key-at-stage.ts'
import { attachmentOf, given, ownVolume, useOf } from './node-requests.ts'
import type {
  NodeExpandVolumeRequest, NodeGetVolumeStatsRequest, NodePublishVolumeRequest, NodeStageVolumeRequest,
  NodeUnpublishVolumeRequest, NodeUnstageVolumeRequest,
} from './node-requests.ts'
import { publish, unpublish } from './publishing.ts'
import { stageNoteOf } from './stage-notes.ts'
import { stage } from './staging.ts'
import type { StagingOptions } from './staging.ts'
import { unstage } from './unstaging.ts'
import { mountOf } from '../host/volume-mounts.ts'
import { conditionHere, usageOf } from './volume-stats.ts'

const CAPABILITIES = [
  'STAGE_UNSTAGE_VOLUME', 'GET_VOLUME_STATS', 'EXPAND_VOLUME', 'VOLUME_CONDITION', 'SINGLE_NODE_MULTI_WRITER',
]

export interface NodeServiceOptions extends StagingOptions {
  api: ControlClient
  keys: Pick<KeyAtStage, 'put' | 'take'>
  operations: Operations
  zone: string
  /** So many volumes on this host at most. */
  volumesMax: number
}

export function nodeService(options: NodeServiceOptions): CsiService {
  const { operations } = options
  const alone = <T>(volumeId: string, what: string, step: () => Promise<T>): Promise<T> =>
    operations.run([volumeId], what, step)
  return {
    definition: csiService('Node'),
    calls: {
      NodeGetCapabilities: () => Promise.resolve({ capabilities: CAPABILITIES.map((type) => ({ rpc: { type } })) }),
      NodeGetInfo: () => Promise.resolve({
        nodeId: options.node, maxVolumesPerNode: options.volumesMax,
        accessibleTopology: topologyOf({ name: options.node, zone: options.zone }),
      }),
      NodeStageVolume: (request: NodeStageVolumeRequest) => {
        const staged = stageOf(options, request)
        return alone(request.volumeId, 'NodeStageVolume', staged)
      },
      NodeUnstageVolume: async ({ volumeId, stagingTargetPath }: NodeUnstageVolumeRequest) => {
        const asked = pathOf(volumeId, stagingTargetPath, 'staging target path')
        if (!isVolumeId(volumeId)) return {}
        const path = options.kubelet.inside(asked)
        return alone(volumeId, 'NodeUnstageVolume', async () => {
          await unstage(options, volumeId, path)
          if (await options.devices.find(volumeId) === undefined) options.keys.take(volumeId)
          return {}
        })
      },
      NodePublishVolume: async (request: NodePublishVolumeRequest) => publishOf(options, alone, request),
      NodeUnpublishVolume: async ({ volumeId, targetPath }: NodeUnpublishVolumeRequest) => {
        const asked = pathOf(volumeId, targetPath, 'target path')
        if (!isVolumeId(volumeId)) return {}
        const path = options.kubelet.inside(asked)
        return alone(volumeId, 'NodeUnpublishVolume', async () => {
          await unpublish(options.devices, volumeId, path)
          return {}
        })
      },
      NodeGetVolumeStats: (request: NodeGetVolumeStatsRequest) => statsOf(options, request),
      NodeExpandVolume: async (request: NodeExpandVolumeRequest) => {
        pathOf(request.volumeId, request.volumePath, 'volume path')
        ownVolume(request.volumeId)
        return alone(request.volumeId, 'NodeExpandVolume', () => expand(options, request))
      },
    },
  }
}

/** @throws CsiRefusal INVALID_ARGUMENT */
function pathOf(volumeId: string, path: string, name: string): string {
  given(volumeId, 'volume id')
  return given(path, name)
}

/** What it asks is looked at at once; what it does comes later. */
function stageOf(options: NodeServiceOptions, request: NodeStageVolumeRequest): () => Promise<object> {
  const { volumeId, stagingTargetPath, volumeCapability, publishContext, secrets } = request
  pathOf(volumeId, stagingTargetPath, 'staging target path')
  const use = useOf(volumeCapability)
  ownVolume(volumeId)
  const stagingPath = options.kubelet.inside(stagingTargetPath)
  const attachment = attachmentOf(publishContext)
  return async () => {
    const volume = await volumeById(options.api, volumeId)
    try {
      await stage(options, { volume, attachment, use, stagingPath }, () => options.keys.put(volume, secrets))
    } catch (error) {
      await takeUnusedKey(options, volumeId)
      throw error
    }
    return {}
  }
}

/** Nobody unstages what was refused for good. What is not taken now goes with an unstage. */
async function takeUnusedKey({ devices, keys }: NodeServiceOptions, volumeId: string): Promise<void> {
  try {
    if (await devices.find(volumeId) === undefined) keys.take(volumeId)
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error
  }
}

type Alone = <T>(volumeId: string, what: string, step: () => Promise<T>) => Promise<T>

async function publishOf(
  options: NodeServiceOptions, alone: Alone, request: NodePublishVolumeRequest,
): Promise<object> {
  const { volumeId, stagingTargetPath, targetPath, volumeCapability, publishContext, readonly } = request
  pathOf(volumeId, targetPath, 'target path')
  const use = useOf(volumeCapability, readonly)
  ownVolume(volumeId)
  if (stagingTargetPath === '') throw precondition('the staging target path is missing: a volume is staged first')
  const { kubelet, devices } = options
  const [stagingPath, path] = [kubelet.inside(stagingTargetPath), kubelet.inside(targetPath)]
  const { generation } = attachmentOf(publishContext)
  return alone(volumeId, 'NodePublishVolume', async () => {
    const device = await devices.find(volumeId)
    if (device !== undefined && device.generation !== generation) {
      const reason = `generation ${device.generation} is staged on this host`
      throw new HoldfastError('generation-past', { volume: volumeId, asked: generation, reason })
    }
    await publish(devices, { volumeId, stagingPath, targetPath: path, use })
    return {}
  })
}

interface Shown {
  device: HostDevice
  mount: Mount
  path: string
}

/** What a path shows of a volume. @throws CsiRefusal NOT_FOUND */
async function shownAt({ devices, kubelet }: NodeServiceOptions, volumeId: string, asked: string): Promise<Shown> {
  ownVolume(volumeId)
  const device = await devices.find(volumeId)
  if (device === undefined) throw notFound(`volume ${volumeId} is not on this host`)
  // Elsewhere nothing of ours is.
  const path = kubelet.isInside(asked) ? kubelet.inside(asked) : undefined
  const mount = path === undefined ? undefined : mountOf(device, path)
  if (path === undefined || mount === undefined) throw notFound(`volume ${volumeId} is not at ${JSON.stringify(asked)}`)
  return { device, mount, path }
}

async function statsOf(options: NodeServiceOptions, request: NodeGetVolumeStatsRequest): Promise<object> {
  const { volumeId, volumePath } = request
  pathOf(volumeId, volumePath, 'volume path')
  const { device, mount, path } = await shownAt(options, volumeId, volumePath)
  const usage = await usageOf(device, mount, path)
  const here = await conditionHere(device, mount)
  if (here !== undefined) return { usage, volumeCondition: here }
  const volume = await volumeUnlessSilent(options, volumeId)
  const silent = { abnormal: true, message: 'the data process of this host does not answer; I/O may be held' }
  return { usage, volumeCondition: volume === undefined ? silent : volumeCondition(volume) }
}

/** How full it is can be told while nobody says how the volume is. */
async function volumeUnlessSilent({ api }: NodeServiceOptions, volumeId: string): Promise<Volume | undefined> {
  try {
    return await volumeById(api, volumeId)
  } catch (error) {
    if (error instanceof HoldfastError || error instanceof CsiRefusal) return undefined
    throw error
  }
}

/** The device shows the size that the volume has, and the file system that of its device. */
async function expand(options: NodeServiceOptions, request: NodeExpandVolumeRequest): Promise<object> {
  const { volumeId, volumePath, capacityRange } = request
  const { mount, path } = await shownAt(options, volumeId, volumePath)
  const { name, sizeBytes } = await volumeById(options.api, volumeId)
  const { requiredBytes = 0, limitBytes = 0 } = capacityRange ?? {}
  if (requiredBytes > sizeBytes || (limitBytes > 0 && limitBytes < sizeBytes)) {
    throw outOfRange(`volume ${name} has ${sizeBytes} bytes: the controller resizes it, a node follows`)
  }
  const device = await options.devices.resize(volumeId, sizeBytes)
  const staged = stageNoteOf(device)
  if (staged !== undefined && staged.fileSystem !== '' && !device.readOnly) {
    // What a pod may only read at its path is grown where it is staged.
    const mountPoint = isReadOnly(mount) ? staged.path : path
    await growFileSystem(device.path, mountPoint, staged.fileSystem as FileSystem)
  }
  return { capacityBytes: device.sizeBytes }
}
