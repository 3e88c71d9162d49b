/**
 * Which mounts are of a volume, as the kernel shows them: of its device, or of the node of its device on a file. Also
 * those that were left when its device was lost: they look like mounts of ours, and of no device that is another's.
 */
import { statSync } from 'node:fs'
import type { HostDevice } from './host-devices.ts'
import { mountAt, readMounts } from './mountinfo.ts'
import type { Mount } from './mountinfo.ts'

const OWN_DEVICE = /^\/dev\/(?:nbd|loop)\d+$/
const OWN_DEVICE_NODE = /^\/(?:nbd|loop)\d+$/

/** `major:minor` of a device node, as mountinfo has it; undefined: there is none. */
export function deviceNumber(path: string): string | undefined {
  const stats = path === '' ? undefined : statSync(path, { throwIfNoEntry: false })
  if (stats?.isBlockDevice() !== true) return undefined
  // As the kernel packs it: the minor's low byte, twelve bits of the major, the rest of the minor.
  const { rdev } = stats
  return `${(rdev >> 8) & 0xfff}:${(rdev & 0xff) | ((rdev >>> 12) & 0xfff00)}`
}

/**
 * Without a number of its device, also whatever looks like a device of ours and is none of `others`: so only of a path
 * that was named for this volume.
 * @param others  devices of other volumes
 */
export function isMountOf(device: HostDevice | undefined, others: readonly HostDevice[]): (mount: Mount) => boolean {
  const number = device === undefined ? undefined : deviceNumber(device.path)
  const taken = new Set(others.map(({ path }) => deviceNumber(path)))
  return (mount) => {
    const shown = shownDevice(mount)
    if (number !== undefined) return shown === number
    return (OWN_DEVICE.test(mount.source) || isDeviceNode(mount)) && !taken.has(shown)
  }
}

const isDeviceNode = ({ fsType, root }: Mount): boolean => fsType === 'devtmpfs' && OWN_DEVICE_NODE.test(root)

/** Of a bound device node its own, else that of the file system. */
function shownDevice(mount: Mount): string | undefined {
  return isDeviceNode(mount) ? deviceNumber(mount.mountPoint) : mount.device
}

/**
 * What a path shows of that device; undefined: nothing. While the entry knows no device, only what was noted at it.
 * @param others  devices of other volumes
 */
export function mountOf(device: HostDevice, path: string, others: readonly HostDevice[] = []): Mount | undefined {
  const mount = mountAt(path)
  return mount !== undefined && isKnownMountOf(device, others)(mount) ? mount : undefined
}

/** The newest first. As `mountOf`: what merely looks like a mount of ours may be another's, and is left out. */
export function allMountsOf(device: HostDevice, others: readonly HostDevice[] = []): Mount[] {
  return readMounts().filter(isKnownMountOf(device, others)).reverse()
}

function isKnownMountOf(device: HostDevice, others: readonly HostDevice[]): (mount: Mount) => boolean {
  const isOurs = isMountOf(device, others)
  if (deviceNumber(device.path) !== undefined) return isOurs
  return (mount) => device.mounts.some(({ path }) => path === mount.mountPoint) && isOurs(mount)
}
