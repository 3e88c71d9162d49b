/**
 * Who uses a block device of the kernel, as far as that shows without opening it: mounts, file systems that other mount
 * namespaces hold or that were unmounted lazily, devices stacked on it, loop devices. A DISCONNECT fails the I/O of all
 * of them, so it is looked here before (csi/SPEC.md section 5). Nothing here can wait for a device.
 *
 * Not seen: who has the bare device open. The kernel has no list of them.
 */
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { readMounts } from './mountinfo.ts'
import type { Mount } from './mountinfo.ts'

const DELETED = / \(deleted\)$/

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return ''
  }
}

/**
 * @param name  as in /sys/block, e.g. `nbd3`
 * @param root  of the /sys that is looked at
 * @returns what they are, for a sentence; empty: nobody is seen
 */
export function usersOf(name: string, root = '/', mounts: readonly Mount[] = readMounts()): string[] {
  const block = path.join(root, 'sys/block')
  const fileSystems = path.join(root, 'sys/fs')
  const number = textOf(path.join(block, name, 'dev'))
  // The node of a device on a file, as a block volume is shown to a pod.
  const isNode = ({ fsType, root }: Mount): boolean => fsType === 'devtmpfs' && root === `/${name}`
  const own = mounts.filter((mount) => mount.device === number || mount.source === `/dev/${name}` || isNode(mount))
  const points = own.map(({ mountPoint }) => mountPoint)
  const found = points.map((point) => `mounted on ${point}`)
  if (found.length === 0) {
    for (const kind of namesIn(fileSystems)) {
      if (existsSync(path.join(fileSystems, kind, name))) found.push(`${kind}, mounted where it is not seen from here`)
    }
  }
  found.push(...namesIn(path.join(block, name, 'holders')))
  for (const loop of namesIn(block).filter((one) => /^loop\d+$/.test(one))) {
    const file = textOf(path.join(block, loop, 'loop/backing_file')).replace(DELETED, '')
    // Named by whatever path it was opened: none of them is looked at, since that may wait.
    if (points.includes(file) || path.basename(file) === name) found.push(loop)
  }
  return found
}
