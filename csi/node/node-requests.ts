/** The requests of CSI's Node service as they travel, and what they ask in our words. */
import { accessOf } from '../controller/capabilities.ts'
import { GENERATION, MODE } from '../controller/publish-volume.ts'
import type { DeviceWish } from '../host/host-devices.ts'
import { FILE_SYSTEMS } from '../host/file-systems.ts'
import type { FileSystem } from '../host/file-systems.ts'
import { mountOptions } from '../host/mounting.ts'
import type { CapacityRange, VolumeCapability } from '../messages.ts'
import { isVolumeId } from '../names.ts'
import { invalid, notFound, precondition } from '../refusal.ts'

export interface NodeStageVolumeRequest {
  volumeId: string
  publishContext: Record<string, string>
  stagingTargetPath: string
  volumeCapability: VolumeCapability | null
  secrets: Record<string, string>
}

export interface NodeUnstageVolumeRequest { volumeId: string; stagingTargetPath: string }

export interface NodePublishVolumeRequest {
  volumeId: string
  publishContext: Record<string, string>
  stagingTargetPath: string
  targetPath: string
  volumeCapability: VolumeCapability | null
  readonly: boolean
}

export interface NodeUnpublishVolumeRequest { volumeId: string; targetPath: string }
export interface NodeGetVolumeStatsRequest { volumeId: string; volumePath: string; stagingTargetPath: string }

export interface NodeExpandVolumeRequest {
  volumeId: string
  volumePath: string
  capacityRange: CapacityRange | null
  stagingTargetPath: string
}

const FILE_SYSTEM_DEFAULT: FileSystem = 'ext4'

/** What a capability asks of a host. */
export interface Use {
  /** Undefined: a block device. */
  fsType: FileSystem | undefined
  /** Of the mount, without those that only we give. */
  options: string[]
  isReadOnly: boolean
  /** One pod has it, and no other of this host (ReadWriteOncePod). */
  isForOnePod: boolean
}

/** @throws CsiRefusal INVALID_ARGUMENT, HoldfastError `mount-options` */
export function useOf(capability: VolumeCapability | null, readonly = false): Use {
  const { isBlock, mode } = accessOf(capability)
  const isReadOnly = readonly || mode === 'read-only'
  const isForOnePod = capability!.accessMode!.mode === 'SINGLE_NODE_SINGLE_WRITER'
  if (isBlock) return { fsType: undefined, options: [], isReadOnly, isForOnePod }
  const { fsType, mountFlags } = capability!.mount!
  const options = mountOptions(mountFlags)
  const asked = fsType === '' ? FILE_SYSTEM_DEFAULT : fsType
  const known = FILE_SYSTEMS.find((one) => one === asked)
  if (known === undefined) throw invalid(`file system ${asked} is not supported: ${FILE_SYSTEMS.join(' and ')} are`)
  return {
    fsType: known, options: options.filter((option) => option !== 'ro' && option !== 'rw'),
    isReadOnly: isReadOnly || options.includes('ro'), isForOnePod,
  }
}

export type Attachment = Pick<DeviceWish, 'generation' | 'mode'>

/** What ControllerPublishVolume answered. @throws CsiRefusal FAILED_PRECONDITION: kubelet brings none, or another's */
export function attachmentOf(context: Readonly<Record<string, string>>): Attachment {
  const [generation, mode] = [context[GENERATION] ?? '', context[MODE]]
  if (!/^[1-9]\d{0,14}$/.test(generation) || (mode !== 'single' && mode !== 'shared' && mode !== 'read-only')) {
    throw precondition(`the publish context has no attach generation (${GENERATION}, ${MODE}): this volume is staged `
      + 'only where ControllerPublishVolume gave it')
  }
  return { generation: Number(generation), mode }
}

/** @throws CsiRefusal INVALID_ARGUMENT */
export function given(value: string, name: string): string {
  if (value === '') throw invalid(`the ${name} is missing`)
  return value
}

/** @throws CsiRefusal NOT_FOUND */
export function ownVolume(volumeId: string): void {
  if (!isVolumeId(volumeId)) throw notFound(`${JSON.stringify(volumeId.slice(0, 64))} is no volume of Holdfast`)
}
