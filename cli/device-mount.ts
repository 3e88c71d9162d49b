/**
 * `holdfast attach --mount`: the file system of a volume on a folder of this host, made when the volume is blank, and
 * nothing else is ever overwritten. What is mounted is noted at the keeper before, so that `holdfast detach` undoes it.
 */
import { realpathSync } from 'node:fs'
import type { FileSystem } from '../csi/host/file-systems.ts'
import { checkFileSystem, growFileSystem, makeUnlessThere, ownOptions } from '../csi/host/file-systems.ts'
import type { HostDevice, HostDevices } from '../csi/host/host-devices.ts'
import { mountAt } from '../csi/host/mountinfo.ts'
import { makeMountPoint, mountDevice, unmountAll } from '../csi/host/mounting.ts'
import { allMountsOf, isMountOf, mountOf } from '../csi/host/volume-mounts.ts'
import { HoldfastError } from '../engine/errors.ts'

export interface MountOrder {
  /** For sentences. */
  name: string
  folder: string
  fsType: FileSystem
  /** As of a FormatWish. */
  heldData(): Promise<string | undefined>
}

/** @throws HoldfastError `mount-shared`: others may have it mounted, or mount it later */
export function checkMountable(volume: string, mode: HostDevice['mode']): void {
  if (mode === 'shared') throw new HoldfastError('mount-shared', { volume })
}

/**
 * Mounted there when it resolves; on a device that has grown the file system is grown too.
 * @throws HoldfastError `mount-shared`, `mount-foreign`, and of its steps
 */
export async function mountOn(devices: HostDevices, device: HostDevice, order: MountOrder): Promise<void> {
  const { name: volume, fsType } = order
  const { path: devicePath, readOnly: isReadOnly, volumeId } = device
  checkMountable(volume, device.mode)
  await makeMountPoint(order.folder, 'folder')
  const folder = realpathSync(order.folder)
  if (mountOf(device, folder) === undefined) {
    const foreign = mountAt(folder)
    if (foreign !== undefined) {
      const found = `${foreign.fsType} of ${foreign.source}`
      throw new HoldfastError('mount-foreign', { path: folder, found, volume })
    }
    const wish = { volume, devicePath, fsType, isReadOnly, heldData: order.heldData }
    // What is mounted somewhere is in use: neither formatted nor checked.
    if (allMountsOf(device).length === 0) {
      await makeUnlessThere(wish)
      await checkFileSystem(wish)
    }
    const options = ownOptions(fsType, isReadOnly)
    const others = device.mounts.filter(({ path }) => path !== folder)
    await devices.note(volumeId, { mounts: [...others, { path: folder, fileSystem: fsType, options }] })
    await mountDevice({ devicePath, mountPoint: folder, fsType, options })
  }
  if (!isReadOnly) await growFileSystem(devicePath, folder, fsType)
}

/** What `mountOn` mounted is unmounted, the newest first; also of a device that is gone. Refused while it is used. */
export async function unmountNoted(devices: HostDevices, name: string, device: HostDevice): Promise<void> {
  const others = (await devices.list()).filter(({ volumeId }) => volumeId !== device.volumeId)
  const order = { volume: name, devicePath: device.path, isOurs: isMountOf(device, others) }
  for (const { path } of device.mounts.toReversed()) await unmountAll(path, order)
}
