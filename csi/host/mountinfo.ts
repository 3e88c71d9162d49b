/**
 * What is mounted, from /proc/self/mountinfo: the only thing that is believed about mounts (csi/SPEC.md N5). Of several
 * mounts over each other on one point the last one in the list is what a path shows.
 */
import { readFileSync } from 'node:fs'

export interface Mount {
  /** Of the mount, and of that it hangs on. */
  id: number
  parentId: number
  /** `major:minor` of the device. */
  device: string
  /** Which part of the file system is mounted: `/` is all, else a bind mount of a folder or file. */
  root: string
  mountPoint: string
  /** Of the mount point: `ro`, `noatime`, `nosuid` ... */
  options: string[]
  fsType: string
  /** E.g. `/dev/nbd0`. */
  source: string
  /** Of the file system: `rw`, `errors=remount-ro` ... */
  superOptions: string[]
}

const MOUNTINFO = '/proc/self/mountinfo'

/** `\040` is a blank, `\134` a backslash: the kernel writes blanks, tabs, newlines and backslashes so. */
const unescaped = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)))

/** A line that has not the form is left out: it is no mount of ours. */
export function parseMountinfo(text: string): Mount[] {
  const mounts: Mount[] = []
  for (const line of text.split('\n')) {
    const words = line.split(' ')
    // Optional fields of any number end with a single dash.
    const dash = words.indexOf('-', 6)
    if (dash < 0 || words.length < dash + 4) continue
    const [id, parentId, device, root, mountPoint, options] = words
    const [fsType, source, superOptions] = words.slice(dash + 1)
    mounts.push({
      id: Number(id), parentId: Number(parentId), device: device!, root: unescaped(root!),
      mountPoint: unescaped(mountPoint!), options: options!.split(','),
      fsType: unescaped(fsType!), source: unescaped(source!), superOptions: superOptions!.split(','),
    })
  }
  return mounts
}

/** More looks than a host needs that mounts all the time. */
const LOOKS_MAX = 100

/**
 * It is read in pieces, and kernels before 5.8 lose lines between them when another mount ends meanwhile. So it counts
 * only when it reads the same twice.
 * Paths are bytes: one that is not UTF-8 has the same characters here as from `fs` with latin1.
 * @param read  the text as it is now
 */
export function readMounts(read = () => readFileSync(MOUNTINFO, 'utf8')): Mount[] {
  let text = read()
  for (let looks = 1; looks < LOOKS_MAX; looks++) {
    const again = read()
    if (again === text) break
    text = again
  }
  return parseMountinfo(text)
}

/** What a path shows; undefined: nothing is mounted on it. @param mountPoint  absolute, without symbolic links */
export function mountAt(mountPoint: string, mounts = readMounts()): Mount | undefined {
  return mounts.findLast((mount) => mount.mountPoint === mountPoint)
}

/** All of one device, bind mounts too, the newest first: in the order in which they can be unmounted. */
export function mountsOf(device: string, mounts = readMounts()): Mount[] {
  return mounts.filter((mount) => mount.device === device).reverse()
}

export const isReadOnly = ({ options }: Mount): boolean => options.includes('ro')
