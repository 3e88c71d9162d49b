/**
 * Mounts of devices of ours, made and ended by mount(8) and umount(8). That a mount is there, or gone, is what
 * mountinfo says afterwards, never what a program answered (csi/SPEC.md N5).
 */
import { mkdir, open, rmdir, stat, unlink } from 'node:fs/promises'
import path from 'node:path'
import { HoldfastError } from '../../engine/errors.ts'
import { hostCommand } from './host-command.ts'
import { mountAt } from './mountinfo.ts'
import type { Mount } from './mountinfo.ts'

const MOUNT_DEADLINE_MS = 10 * 60_000
const UNMOUNT_DEADLINE_MS = 10 * 60_000
/** More mounts over each other on one point than anybody makes. */
const STACKED_MOUNTS_MAX = 32

/** What decides what is mounted, or where: not a user's to say. */
const REFUSED_OPTION = /^(?:r?bind|move|remount|loop|offset|sizelimit|helper|users?|owner|group|[xX]-.*)(?:=|$)/
// Text between double quotes may hold commas (SELinux contexts).
const OPTION = /(?:"[^"]*"|[^,"])+/g

/** Of mount flags, one option each. @throws HoldfastError `mount-options` */
export function mountOptions(flags: readonly string[]): string[] {
  return flags.flatMap((flag) => flag.match(OPTION) ?? []).map((option) => {
    if (/[\u0000-\u0020\u007f]/.test(option) || REFUSED_OPTION.test(option))
      throw new HoldfastError('mount-options', { option: JSON.stringify(option) })
    return option
  })
}

export interface MountWish {
  devicePath: string
  mountPoint: string
  fsType: string
  options: readonly string[]
}

export async function mountDevice({ devicePath, mountPoint, fsType, options }: MountWish): Promise<void> {
  const words = options.length === 0 ? [] : ['-o', options.join(',')]
  await hostCommand('mount', ['-c', '-t', fsType, ...words, devicePath, mountPoint], {
    what: `mount ${fsType} of ${devicePath} on ${mountPoint}`, deadlineMs: MOUNT_DEADLINE_MS,
  })
}

/** `source`, a folder or a device node, shows at `mountPoint` too; read-only is a second step, so look for both. */
export async function bindMount(source: string, mountPoint: string): Promise<void> {
  await hostCommand('mount', ['-c', '--bind', source, mountPoint], {
    what: `show ${source} at ${mountPoint}`, deadlineMs: MOUNT_DEADLINE_MS,
  })
}

export async function makeReadOnly(mountPoint: string): Promise<void> {
  await hostCommand('mount', ['-c', '-o', 'remount,bind,ro', mountPoint], {
    what: `make ${mountPoint} read-only`, deadlineMs: MOUNT_DEADLINE_MS,
  })
}

/** What was written there is in the volume, or it fails. @throws HoldfastError `host-command` */
export async function syncMount(mountPoint: string): Promise<void> {
  const what = `bring to the volume what was written at ${mountPoint} and is in memory only`
  await hostCommand('sync', ['-f', mountPoint], { what, deadlineMs: UNMOUNT_DEADLINE_MS })
}

export interface UnmountOrder {
  /** For sentences. */
  volume: string
  /** Empty: not known, as after a boot. */
  devicePath: string
  isOurs(mount: Mount): boolean
}

/**
 * Nothing that `isOurs` is mounted there afterwards. In use: it fails, unless its device is dead: then it goes from the
 * tree at once, and the kernel ends it with its last user.
 * @throws HoldfastError `host-command`, `mount-foreign`
 */
export async function unmountAll(mountPoint: string, { volume, devicePath, isOurs }: UnmountOrder): Promise<void> {
  for (let stacked = 0; stacked < STACKED_MOUNTS_MAX; stacked++) {
    const mount = mountAt(mountPoint)
    if (mount === undefined) return
    if (!isOurs(mount)) {
      const found = `${mount.fsType} of ${mount.source}`
      throw new HoldfastError('mount-foreign', { path: mountPoint, found, volume })
    }
    await unmount(mount, devicePath)
  }
  if (mountAt(mountPoint) === undefined) return
  const outcome = `left something mounted: more than ${STACKED_MOUNTS_MAX} mounts lie over each other there`
  throw new HoldfastError('host-command', { program: 'umount', what: `unmount ${mountPoint}`, outcome })
}

async function unmount(mount: Mount, devicePath: string): Promise<void> {
  const { mountPoint } = mount
  const run = { what: `unmount ${mountPoint}`, deadlineMs: UNMOUNT_DEADLINE_MS }
  try {
    await hostCommand('umount', ['-c', mountPoint], run)
  } catch (error) {
    if (mountAt(mountPoint)?.id !== mount.id) return
    if (!(await isDead(deviceUnder(mount, devicePath)))) throw error
    await hostCommand('umount', ['-c', '-l', mountPoint], run)
  }
}

/** The source of a device node that was bound is devtmpfs, which says nothing of the device: that is what it shows. */
function deviceUnder({ source, mountPoint }: Mount, devicePath: string): string {
  if (devicePath !== '') return devicePath
  return path.isAbsolute(source) ? source : mountPoint
}

const DEAD = ['EIO', 'ENOENT', 'ENXIO', 'ENODEV', 'ENOTCONN', 'ESHUTDOWN']
const FLUSHES = 2
const FLUSH_PAUSE_MS = 200

/** It is not there, or one flush after the other fails. Only asked when an unmount has failed. */
async function isDead(devicePath: string): Promise<boolean> {
  for (let flushes = 0; flushes < FLUSHES; flushes++) {
    if (flushes > 0) await new Promise((resolve) => setTimeout(resolve, FLUSH_PAUSE_MS))
    if (!DEAD.includes(await flush(devicePath))) return false
  }
  return true
}

/** It reaches the volume: what is read may be in memory. @returns the code of its error; empty: none */
async function flush(devicePath: string): Promise<string> {
  try {
    const file = await open(devicePath, 'r')
    try {
      if ((await file.stat()).isBlockDevice()) await file.sync()
    } finally {
      await file.close()
    }
    return ''
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? ''
  }
}

/** The last part of the path is made if need be: what is above it is kubelet's. */
export async function makeMountPoint(mountPoint: string, kind: 'folder' | 'file'): Promise<void> {
  try {
    if (kind === 'folder') await mkdir(mountPoint, { mode: 0o750 })
    else await (await open(mountPoint, 'wx', 0o640)).close()
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    const refused = (reason: string): HoldfastError => new HoldfastError('mount-path', { path: mountPoint, reason })
    if (code !== 'EEXIST') throw refused(`it cannot be made (${code})`)
    const stats = await stat(mountPoint)
    if (stats.isDirectory() !== (kind === 'folder')) throw refused(`it is there, and no ${kind}`)
  }
}

/** What `makeMountPoint` made. Something in a folder stays, and is told. */
export async function removeMountPoint(mountPoint: string): Promise<void> {
  try {
    const stats = await stat(mountPoint)
    await (stats.isDirectory() ? rmdir(mountPoint) : unlink(mountPoint))
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return
    const reason = code === 'ENOTEMPTY' ? 'there is something in it, and nothing is mounted' : code
    throw new HoldfastError('mount-path', { path: mountPoint, reason }, { cause: error })
  }
}
