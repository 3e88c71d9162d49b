/** NodeGetVolumeStats: how full a file system is, and whether something is wrong with the volume on this host. */
import { statfs } from 'node:fs/promises'
import { hasUnreadJournal } from '../host/device-content.ts'
import type { HostDevice } from '../host/host-devices.ts'
import { isReadOnly } from '../host/mountinfo.ts'
import type { Mount } from '../host/mountinfo.ts'
import type { VolumeCondition } from '../messages.ts'

export interface VolumeUsage { available: number; total: number; used: number; unit: 'BYTES' | 'INODES' }

/** Of a block device only its size is known: what of it is used only its user knows. */
export async function usageOf(device: HostDevice, mount: Mount, path: string): Promise<VolumeUsage[]> {
  if (mount.fsType === 'devtmpfs') return [{ available: 0, total: device.sizeBytes, used: 0, unit: 'BYTES' }]
  const { bsize, blocks, bfree, bavail, files, ffree } = await statfs(path)
  return [
    { available: bavail * bsize, total: blocks * bsize, used: (blocks - bfree) * bsize, unit: 'BYTES' },
    { available: ffree, total: files, used: files - ffree, unit: 'INODES' },
  ]
}

/**
 * What this host sees beside the health of the volume; undefined: nothing wrong.
 * @param mount  at the path that was asked for
 */
export async function conditionHere(device: HostDevice, mount: Mount): Promise<VolumeCondition | undefined> {
  const wrong = (message: string): VolumeCondition => ({ abnormal: true, message })
  if (device.state !== 'attached') return wrong(`its device is ${device.state} on this host`)
  if (device.readOnly && mount.fsType === 'ext4' && await hasUnreadJournal(device.path)) {
    return wrong('its file system was not unmounted in order, and is read without its journal: the last changes are '
      + 'missing or shown in part; use it once for writing (a clone of a snapshot), which replays that')
  }
  // The mount was made for writing, and the kernel made the file system read-only since.
  const isStopped = !device.readOnly && !isReadOnly(mount) && mount.superOptions.includes('ro')
  if (!isStopped) return undefined
  return wrong('its file system went read-only after an error of its device: end the pod, so that it is staged anew')
}
