/**
 * A volume leaves this host: what was written reaches it, its mount ends, and then its device. Of an attachment that is
 * over the device ends while it is unmounted, since its I/O fails only then.
 */
import { HoldfastError } from '../../engine/errors.ts'
import type { HostDevice, HostDevices } from '../host/host-devices.ts'
import { syncMount, unmountAll } from '../host/mounting.ts'
import { isMountOf, mountOf } from '../host/volume-mounts.ts'
import { attachmentEnd } from './attachment-end.ts'
import type { AskVolume } from './attachment-end.ts'
import { otherDevices, stageNoteOf } from './stage-notes.ts'
import type { StagingOptions } from './staging.ts'

/**
 * Of an attachment that is over. Its I/O fails only once the device is disconnected, and an unmount that has to write
 * would wait for that; the device is gone only once it is unmounted. So both go on at once.
 */
export async function endOver(devices: HostDevices, volumeId: string, unmountIt: () => Promise<void>): Promise<void> {
  const detached = devices.detach(volumeId, { force: true }).catch((error: unknown) => {
    // Of those who use it, the mounts are ending.
    if (!(error instanceof HoldfastError) || error.code !== 'device-busy') throw error
  })
  const [unmounted, ended] = await Promise.allSettled([unmountIt(), detached])
  for (const one of [unmounted, ended]) if (one.status === 'rejected') throw one.reason
  await devices.detach(volumeId, { force: true })
}

/** Volumes of which was told that writes failed, since they were staged last. Numbers of mounts are given again. */
const told = new Set<string>()

/** It may be written from now on. */
export const stagedAnew = (volumeId: string): void => void told.delete(volumeId)

/** Told once: who comes again knows it, and goes on. @throws HoldfastError `host-command` */
export async function syncOnce(volumeId: string, mountPoint: string): Promise<void> {
  if (told.has(volumeId)) return
  try {
    await syncMount(mountPoint)
  } catch (error) {
    told.add(volumeId)
    throw error
  }
}

/** Nothing of it is mounted or attached here afterwards; of what is staged at another path nothing is touched. */
export async function unstage(options: StagingOptions, volumeId: string, stagingPath: string): Promise<void> {
  const { devices } = options
  const device = await devices.find(volumeId)
  const others = await otherDevices(devices, volumeId)
  const order = { volume: volumeId, devicePath: device?.path ?? '', isOurs: isMountOf(device, others) }
  const unmountIt = (): Promise<void> => unmountAll(stagingPath, order)
  const noted = device === undefined ? undefined : stageNoteOf(device)
  if (device === undefined || (noted !== undefined && noted.path !== stagingPath)) return unmountIt()
  if (await isOver(options, device)) return endOver(devices, volumeId, unmountIt)
  const isWritten = !device.readOnly && noted?.fileSystem !== '' && mountOf(device, stagingPath) !== undefined
  if (isWritten) await syncOnce(volumeId, stagingPath)
  await unmountIt()
  await devices.detach(volumeId)
  told.delete(volumeId)
}

/** While nobody knows, it is taken to be attached. */
async function isOver({ api, elsewhere, node }: StagingOptions, device: HostDevice): Promise<boolean> {
  const asked: AskVolume[] = [(name) => api.getVolume({ name }), ...elsewhere === undefined ? [] : [elsewhere]]
  return ['over', 'gone'].includes(await attachmentEnd(asked, node, device))
}
