/**
 * A staged volume is shown to a pod: its mount at another path, or its device node on a file. What a publish wishes is
 * noted before it is done: that a mount is to be read-only shows only after a second step, and a repeated call has to
 * tell one that was cut off from one that was meant otherwise.
 */
import { HoldfastError } from '../../engine/errors.ts'
import type { HostDevice, HostDevices, StagedMount } from '../host/host-devices.ts'
import { isReadOnly, mountAt } from '../host/mountinfo.ts'
import { bindMount, makeMountPoint, makeReadOnly, removeMountPoint, unmountAll } from '../host/mounting.ts'
import type { Use } from './node-requests.ts'
import { PUBLISHED, otherDevices, stageNoteOf } from './stage-notes.ts'
import { isMountOf, mountOf } from '../host/volume-mounts.ts'

export interface PublishWish {
  volumeId: string
  stagingPath: string
  targetPath: string
  use: Use
}

const READ_ONLY = 'ro'

export async function publish(devices: HostDevices, wish: PublishWish): Promise<void> {
  const { volumeId, stagingPath, targetPath, use } = wish
  const device = await stagedDevice(devices, wish)
  const isBlock = use.fsType === undefined
  const isOnlyRead = use.isReadOnly || device.readOnly
  const note: StagedMount = { path: targetPath, fileSystem: PUBLISHED, options: isOnlyRead ? [READ_ONLY] : [] }
  // A note alone may be of a pod that went with the host, or of a publish that was cut off.
  const other = device.mounts.find(({ path, fileSystem }) => path !== targetPath && fileSystem === PUBLISHED
    && mountOf(device, path) !== undefined)
  if (use.isForOnePod && other !== undefined)
    throw new HoldfastError('volume-published', { volume: volumeId, path: other.path })
  const present = mountOf(device, targetPath)
  const noted = device.mounts.find(({ path, fileSystem }) => path === targetPath && fileSystem === PUBLISHED)
  if (present === undefined) {
    const foreign = mountAt(targetPath)
    if (foreign !== undefined) {
      const found = `${foreign.fsType} of ${foreign.source}`
      throw new HoldfastError('mount-foreign', { path: targetPath, found, volume: volumeId })
    }
    await makeMountPoint(targetPath, isBlock ? 'file' : 'folder')
  } else if (noted !== undefined && noted.options.join() !== note.options.join()) {
    const words = ({ options }: StagedMount): string => options.includes(READ_ONLY) ? 'read-only' : 'for writing'
    const differs = { volume: volumeId, path: targetPath, present: words(noted), wanted: words(note) }
    throw new HoldfastError('mount-differs', differs)
  }
  if (noted === undefined || noted.options.join() !== note.options.join()) {
    const others = device.mounts.filter((one) => one !== noted)
    await devices.note(volumeId, { mounts: [...others, note] })
  }
  if (present === undefined) await bindMount(isBlock ? device.path : stagingPath, targetPath)
  const shown = mountOf(device, targetPath)
  if (shown === undefined) throw new HoldfastError('volume-unstaged', { volume: volumeId, path: stagingPath })
  if (isOnlyRead && !isReadOnly(shown)) await makeReadOnly(targetPath)
}

/** @throws HoldfastError `volume-unstaged`, `mount-differs` */
async function stagedDevice(devices: HostDevices, wish: PublishWish): Promise<HostDevice> {
  const { volumeId, stagingPath, targetPath, use } = wish
  const device = await devices.find(volumeId)
  const note = device === undefined ? undefined : stageNoteOf(device)
  if (device?.state !== 'attached' || note?.path !== stagingPath) {
    throw new HoldfastError('volume-unstaged', { volume: volumeId, path: stagingPath })
  }
  const isBlock = use.fsType === undefined
  if (isBlock !== (note.fileSystem === '')) {
    const words = (asked: boolean): string => asked ? 'a block device' : 'a file system'
    const differs = { volume: volumeId, path: stagingPath, present: words(!isBlock), wanted: words(isBlock) }
    throw new HoldfastError('mount-differs', { ...differs, wanted: `${differs.wanted} at ${targetPath}` })
  }
  if (isBlock || mountOf(device, stagingPath) !== undefined) return device
  throw new HoldfastError('volume-unstaged', { volume: volumeId, path: stagingPath })
}

/** The path is gone when this resolves. What else is mounted there is not touched. */
export async function unpublish(devices: HostDevices, volumeId: string, targetPath: string): Promise<void> {
  const device = await devices.find(volumeId)
  const others = await otherDevices(devices, volumeId)
  const order = { volume: volumeId, devicePath: device?.path ?? '', isOurs: isMountOf(device, others) }
  await unmountAll(targetPath, order)
  await removeMountPoint(targetPath)
  if (device === undefined) return
  const mounts = device.mounts.filter(({ path, fileSystem }) => path !== targetPath || fileSystem !== PUBLISHED)
  if (mounts.length !== device.mounts.length) await devices.note(volumeId, { mounts })
}
