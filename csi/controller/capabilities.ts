/**
 * What Kubernetes may ask of a volume, and the attach mode that it becomes. A volume is a block device: one node writes
 * to it, or several nodes read what nobody writes, or several write and agree among themselves, which file systems of
 * one host do not.
 */
import type { HoldingMode } from '../../engine/control/attach-wish.ts'
import type { AccessModeName, VolumeCapability } from '../messages.ts'
import { invalid } from '../refusal.ts'
import { fileSystemOf } from './parameters.ts'
import type { FileSystem } from './parameters.ts'

export interface Access {
  isBlock: boolean
  mode: HoldingMode
  /** Undefined: none, or whatever is usual. */
  fileSystem: FileSystem | undefined
}

const MODES: Partial<Record<AccessModeName, HoldingMode>> = {
  SINGLE_NODE_WRITER: 'single',
  SINGLE_NODE_READER_ONLY: 'read-only',
  MULTI_NODE_READER_ONLY: 'read-only',
  MULTI_NODE_MULTI_WRITER: 'shared',
  SINGLE_NODE_SINGLE_WRITER: 'single',
  SINGLE_NODE_MULTI_WRITER: 'single',
}

/** @throws CsiRefusal INVALID_ARGUMENT: nothing of the kind can be had, and why */
export function accessOf(capability: VolumeCapability | null): Access {
  if (capability === null) throw invalid('the volume capability is missing')
  const { block, mount, accessMode } = capability
  const isBlock = block !== null && block !== undefined
  if (!isBlock && (mount === null || mount === undefined)) {
    throw invalid('the volume capability has no access type: say block or mount')
  }
  if (accessMode === null) throw invalid('the volume capability has no access mode')
  const mode = MODES[accessMode.mode as AccessModeName]
  if (mode === undefined) {
    throw invalid(`access mode ${accessMode.mode} is not supported: ReadWriteOnce, ReadWriteOncePod, ReadOnlyMany, `
      + 'and ReadWriteMany for block volumes are')
  }
  if (isBlock) return { isBlock, mode, fileSystem: undefined }
  if (mode === 'shared') {
    throw invalid('a file system cannot be mounted for writing on several nodes (ReadWriteMany): ext4 and xfs on two '
      + 'nodes destroy each other\'s data; use ReadWriteOnce, or a block volume (volumeMode: Block)')
  }
  return { isBlock, mode, fileSystem: fileSystemOf(mount!.fsType) }
}

/** Of all of them, at least one. @throws CsiRefusal INVALID_ARGUMENT */
export function accessesOf(capabilities: readonly VolumeCapability[]): Access[] {
  if (capabilities.length === 0) throw invalid('the volume capabilities are missing')
  return capabilities.map(accessOf)
}

/** Who may only read is given less than the mode asks for. */
export const attachModeOf = ({ mode }: Access, readOnly: boolean): HoldingMode => readOnly ? 'read-only' : mode
