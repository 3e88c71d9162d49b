/**
 * A file system of a few megabytes for a folder, so that it can be filled up, or lose what was not synced. Needs root
 * and a loop device.
 */
import { spawnSync } from 'node:child_process'
import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs'
import path from 'node:path'
import koffi from 'koffi'
import { assert } from '../../engine/assert.ts'
import { MIB } from '../../engine/units.ts'

export const MOUNT_MISSING = 'file systems cannot be mounted here (root, loop)'
const BALLAST = 'ballast'
/** ext4: from now on nothing is written any more, not even the journal. */
const SHUTDOWN = 0x8004587d
const WITHOUT_LOG = Uint32Array.of(2)
const ioctl = koffi.load(null).func('int ioctl(int fd, unsigned long request, ...)')

export class SmallFileSystem {
  readonly #folder: string
  readonly #image: string

  private constructor(folder: string, image: string) {
    this.#folder = folder
    this.#image = image
  }

  /** Undefined: this machine does not let us. The folder is made. */
  static mount(image: string, folder: string, sizeBytes: number): SmallFileSystem | undefined {
    const fd = openSync(image, 'w')
    ftruncateSync(fd, sizeBytes)
    closeSync(fd)
    mkdirSync(folder, { recursive: true })
    if (spawnSync('mkfs.ext4', ['-q', '-m', '0', image]).status !== 0) return undefined
    if (spawnSync('mount', ['-o', 'loop', image, folder]).status !== 0) return undefined
    // The embedded store wants its folder empty.
    rmSync(path.join(folder, 'lost+found'), { recursive: true, force: true })
    return new SmallFileSystem(folder, image)
  }

  /** To the last byte. */
  fill(): void {
    const fd = openSync(path.join(this.#folder, BALLAST), 'w')
    try {
      for (let bytes = MIB; bytes >= 1; ) {
        try {
          writeSync(fd, Buffer.alloc(bytes))
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
          bytes = Math.floor(bytes / 16)
        }
      }
    } finally {
      closeSync(fd)
    }
  }

  free(): void {
    rmSync(path.join(this.#folder, BALLAST), { force: true })
  }

  /** What was not synced is gone, as by a power cut. Nobody has a file open there. */
  losePower(): void {
    const fd = openSync(this.#folder, 'r')
    const result = ioctl(fd, SHUTDOWN, 'void *', WITHOUT_LOG) as number
    closeSync(fd)
    assert(result === 0, 'the file system is shut down')
    const unmounted = spawnSync('umount', [this.#folder], { encoding: 'utf8' })
    assert(unmounted.status === 0, `nobody uses the file system: ${unmounted.stderr}`)
    const mounted = spawnSync('mount', ['-o', 'loop', this.#image, this.#folder], { encoding: 'utf8' })
    assert(mounted.status === 0, `the file system is there again: ${mounted.stderr}`)
  }

  unmount(): void {
    spawnSync('umount', [this.#folder])
    rmSync(this.#image, { force: true })
  }
}
