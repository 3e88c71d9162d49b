/**
 * Which mounts are of a volume, as the kernel shows them: of its device, or of the node of its device on a file. Also
 * those that were left when its device was lost: they look like mounts of ours, and of no device that is another's.
 */
import { statSync } from 'node:fs'
import type { HostDevice } from '../host/host-devices.ts'
import { mountAt, readMounts } from '../host/mountinfo.ts'
import type { Mount } from '../host/mountinfo.ts'

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

/** @param others  devices of other volumes */
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

/** What a path shows of that device; undefined: nothing. */
export function mountOf(device: HostDevice, path: string): Mount | undefined {
  const mount = mountAt(path)
  return mount !== undefined && isMountOf(device, [])(mount) ? mount : undefined
}

/** The newest first. */
export function allMountsOf(device: HostDevice): Mount[] {
  return readMounts().filter(isMountOf(device, [])).reverse()
}
