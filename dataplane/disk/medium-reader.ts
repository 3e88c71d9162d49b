/**
 * Reads a disk past the page cache (O_DIRECT), for whoever wants to know what is on the medium: through the cache a
 * block that was read since it was written is good for as long as it stays there. It also leaves the cache to others.
 *
 * Three reads at a time, into memory that is used again and lies on a page boundary, as O_DIRECT wants it. Where a file
 * system has no such reads (tmpfs, which has no medium) they go through the cache. What is written and still dirty the
 * kernel writes out before it reads it.
 */
import fs from 'node:fs'
import { BLOCK_BYTES, MIB } from '../../engine/units.ts'
import { closeFd } from '../../cluster/libc.ts'
import { alignedMemory } from '../libc.ts'
import type { DiskFile } from './disk-file.ts'

/** The longest read. */
export const MEDIUM_READ_BYTES_MAX = MIB
/** At a time: what was read is looked at while more is read, and others get to the disk in between. */
export const MEDIUM_READS_MAX = 3

const { O_RDONLY, O_DIRECT } = fs.constants

export class MediumReader {
  private readonly file: DiskFile
  private fd: number | undefined
  private isDirect = true
  /** Not used by a read at present. */
  private readonly memory: Uint8Array[] = []

  constructor(file: DiskFile) {
    this.file = file
  }

  /**
   * Not more than `MEDIUM_READS_MAX` at a time.
   * @param done  runs in a later turn; the bytes are this reader's again when it returns
   */
  read(offsetBytes: number, lengthBytes: number, done: (bytes: Uint8Array | undefined) => void): void {
    try {
      this.fd ??= this.open()
    } catch {
      return void setImmediate(done, undefined)
    }
    const memory = this.memory.pop() ?? alignedMemory(MEDIUM_READ_BYTES_MAX, BLOCK_BYTES)
    const bytes = memory.subarray(0, lengthBytes)
    this.readInto(this.fd, bytes, offsetBytes, 0, (ok) => {
      done(ok ? bytes : undefined)
      this.memory.push(memory)
    })
  }

  close(): void {
    if (this.fd !== undefined) closeFd(this.fd)
    this.fd = undefined
  }

  private open(): number {
    const path = `/proc/self/fd/${this.file.fd}`
    if (!this.isDirect) return fs.openSync(path, O_RDONLY)
    try {
      return fs.openSync(path, O_RDONLY | O_DIRECT)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error
      this.isDirect = false
      return fs.openSync(path, O_RDONLY)
    }
  }

  private readInto(
    fd: number,
    bytes: Uint8Array,
    offsetBytes: number,
    fromBytes: number,
    done: (ok: boolean) => void,
  ): void {
    fs.read(fd, bytes, fromBytes, bytes.byteLength - fromBytes, offsetBytes + fromBytes, (error, result) => {
      const isShort = error === null && result > 0 && fromBytes + result < bytes.byteLength
      // A short direct read ends on a sector, from which the next one may begin.
      if (isShort) return this.readInto(fd, bytes, offsetBytes, fromBytes + result, done)
      done(error === null && result > 0)
    })
  }
}
