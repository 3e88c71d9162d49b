/**
 * Opening and making what a disk is to the kernel: a preallocated file or a block device, held by exactly one daemon.
 *
 * The lock is `flock` on our open file description: it ends with the process however that ends, and /proc/locks tells
 * the holder. A block device is opened O_EXCL besides, which mounted file systems, LVM and other holders respect.
 *
 * A new file is made as `.<name>.holdfast-new` beside its place and renamed when it is whole and synced, so that a
 * crash leaves no disk of half its size.
 */
import fs from 'node:fs'
import path from 'node:path'
import { getSystemErrorMessage } from 'node:util'
import { HoldfastError } from '../../engine/errors.ts'
import { BLOCK_BYTES } from '../../engine/units.ts'
import type { Result } from '../../engine/volume/store-api.ts'
import { EAGAIN, errnoName, lockExclusive } from '../../cluster/libc.ts'
import { blockDeviceBytes, preallocate } from '../libc.ts'

const { O_RDWR, O_CREAT, O_EXCL } = fs.constants

/** An open, locked disk. The lock lasts until every duplicate of `fd` is closed; descriptors for I/O are others. */
export interface DiskFile {
  readonly path: string
  readonly fd: number
  /** A whole number of blocks. */
  readonly sizeBytes: number
  readonly kind: 'file' | 'device'
}

/** Open what is there. The content is not looked at. */
export function openDiskFile(diskPath: string): Result<DiskFile> {
  let fd: number | undefined
  try {
    const kind = kindOf(fs.statSync(diskPath))
    if (kind === undefined) return refused(diskPath, 'it is neither a file nor a block device')
    fd = fs.openSync(diskPath, kind === 'device' ? O_RDWR | O_EXCL : O_RDWR)
    const locked = lock(fd, diskPath)
    if (locked !== undefined) {
      fs.closeSync(fd)
      return { ok: false, error: locked }
    }
    const bytes = kind === 'device' ? blockDeviceBytes(fd) : fs.fstatSync(fd).size
    if (bytes < 0) {
      fs.closeSync(fd)
      return refused(diskPath, message(bytes), errnoName(-bytes))
    }
    return { ok: true, value: { path: diskPath, fd, sizeBytes: bytes - (bytes % BLOCK_BYTES), kind } }
  } catch (error) {
    if (fd !== undefined) fs.closeSync(fd)
    return openFailure(diskPath, error)
  }
}

/** Make a file of this size with all its space reserved, durable, and open it. Refuses a path that exists. */
export function createDiskFile(diskPath: string, sizeBytes: number): Result<DiskFile> {
  const newPath = path.join(path.dirname(diskPath), `.${path.basename(diskPath)}.holdfast-new`)
  let fd: number | undefined
  try {
    fd = fs.openSync(newPath, O_RDWR | O_CREAT, 0o600)
    const locked = lock(fd, diskPath)
    if (locked !== undefined) {
      fs.closeSync(fd)
      return { ok: false, error: locked }
    }
    // It may be a leftover of somebody with other habits.
    fs.fchmodSync(fd, 0o600)
    const problem = fs.existsSync(diskPath) ? 'it exists already' : allocate(fd, sizeBytes)
    if (problem !== undefined) {
      fs.unlinkSync(newPath)
      fs.closeSync(fd)
      return refused(diskPath, problem)
    }
    fs.fsyncSync(fd)
    fs.renameSync(newPath, diskPath)
    syncFolder(path.dirname(diskPath))
    return { ok: true, value: { path: diskPath, fd, sizeBytes, kind: 'file' } }
  } catch (error) {
    if (fd !== undefined) fs.closeSync(fd)
    return openFailure(diskPath, error)
  }
}

/** Another open file description of the same disk. Throws a system error. */
export function reopen(disk: DiskFile): number {
  return fs.openSync(`/proc/self/fd/${disk.fd}`, O_RDWR)
}

function allocate(fd: number, sizeBytes: number): string | undefined {
  fs.ftruncateSync(fd, 0)
  const result = preallocate(fd, sizeBytes)
  return result < 0 ? `reserving ${sizeBytes} bytes: ${message(result)}` : undefined
}

function kindOf(stat: fs.Stats): DiskFile['kind'] | undefined {
  if (stat.isFile()) return 'file'
  return stat.isBlockDevice() ? 'device' : undefined
}

function lock(fd: number, diskPath: string): HoldfastError | undefined {
  const result = lockExclusive(fd)
  if (result === -EAGAIN) return new HoldfastError('disk-busy', { disk: diskPath, pid: lockHolder(fd) ?? 'unknown' })
  if (result >= 0) return undefined
  return new HoldfastError('disk-open', { disk: diskPath, reason: `locking: ${message(result)}` })
}

/** Who holds the lock, as far as /proc/locks names it (not across pid namespaces, not on every file system). */
function lockHolder(fd: number): number | undefined {
  const { dev, ino } = fs.fstatSync(fd, { bigint: true })
  const major = Number(((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn))
  const minor = Number((dev & 0xffn) | ((dev >> 12n) & ~0xffn))
  const hex = (value: number) => value.toString(16).padStart(2, '0')
  const pattern = new RegExp(`FLOCK +\\S+ +WRITE +(\\d+) ${hex(major)}:${hex(minor)}:${ino} `)
  const found = pattern.exec(fs.readFileSync('/proc/locks', 'utf8'))
  return found === null || found[1] === '0' ? undefined : Number(found[1])
}

function syncFolder(folder: string): void {
  const fd = fs.openSync(folder, 'r')
  try {
    fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
}

function message(negativeErrno: number): string {
  return `${errnoName(-negativeErrno)}, ${getSystemErrorMessage(negativeErrno)}`
}

function refused(diskPath: string, reason: string, code?: string): Result<never> {
  const cause = code === undefined ? {} : { cause: { code } }
  return { ok: false, error: new HoldfastError('disk-open', { disk: diskPath, reason }, cause) }
}

/**
 * Of what a call on it threw. The code of the system error is the cause; what Node itself does not take, as a path with
 * a zero in it, reaches no system. Anything else is thrown on.
 */
export function openFailure(diskPath: string, error: unknown): Result<never> {
  const { errno, code, message: words } = error as NodeJS.ErrnoException
  if (code?.startsWith('ERR_') === true) return refused(diskPath, words, code)
  if (typeof errno !== 'number' || code === undefined) throw error
  if (code === 'EBUSY') return refused(diskPath, 'the device is in use (mounted, or held by another driver)', code)
  return refused(diskPath, message(errno), code)
}
