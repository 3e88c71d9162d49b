/**
 * A disk (file or block device) opened for reading only, with what its superblock says. The lock of a daemon is
 * respected by a warning: reading beside it is harmless, but what it is just writing looks like damage. While we have
 * the lock no daemon starts underneath.
 *
 * When no superblock copy is left, uuid and segment size are found from the segments themselves, so that a disk whose
 * first MiB was overwritten can still be salvaged.
 */
import fs from 'node:fs'
import { crc32c } from '../../dataplane/checksum.ts'
import { EAGAIN, lockExclusive } from '../../cluster/libc.ts'
import { blockDeviceBytes } from '../../dataplane/libc.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { SUPERBLOCK_COPIES, STREAMS_MAX, segmentCountFor, superblockOffsetBytes } from '../../engine/log/geometry.ts'
import { findGeometry } from '../../engine/log/disk-reader.ts'
import type { LogDisk, ReadAt } from '../../engine/log/disk-reader.ts'
import { chooseSuperblock, decodeSuperblock } from '../../engine/log/superblock.ts'
import type { Superblock, SuperblockResult } from '../../engine/log/superblock.ts'
import { BLOCK_BYTES } from '../../engine/units.ts'
import { usageError } from '../arguments.ts'
import type { Output } from '../output.ts'

const WINDOW_BYTES = 128 * 1024

export interface DiskImage extends LogDisk {
  path: string
  sizeBytes: number
  /** Undefined: all copies are lost, the geometry was found from the segments. */
  superblock: Superblock | undefined
  copies: SuperblockResult[]
  close(): void
}

/** Open all of them, or say which one cannot be used. */
export function openDisks(paths: readonly string[], output: Output): DiskImage[] {
  const disks: DiskImage[] = []
  try {
    for (const path of paths) disks.push(openDisk(path, output))
    checkOneNode(disks)
    return disks
  } catch (error) {
    for (const disk of disks) disk.close()
    throw error
  }
}

export function openDisk(path: string, output: Output): DiskImage {
  const fd = openReadOnly(path)
  try {
    if (lockExclusive(fd) === -EAGAIN) {
      output.note(`warning: a daemon uses ${path}; what it is just writing may look like damage, stop it to be sure`)
    }
    const stat = fs.fstatSync(fd)
    const sizeBytes = stat.isBlockDevice() ? blockDeviceBytes(fd) : stat.size
    const read = readerOf(fd)
    const copies: Uint8Array[] = []
    for (let copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
      // A copy that cannot be read is a damaged one.
      const bytes = read(superblockOffsetBytes(copy), BLOCK_BYTES)
      copies.push(bytes?.slice() ?? new Uint8Array(BLOCK_BYTES).fill(0xff))
    }
    const geometry = geometryOf(path, { read, sizeBytes, copies })
    return {
      ...geometry, path, sizeBytes, read, crc32c, close: () => fs.closeSync(fd),
      copies: copies.map((bytes) => decodeSuperblock(bytes, crc32c)),
    }
  } catch (error) {
    fs.closeSync(fd)
    throw error
  }
}

function geometryOf(
  path: string,
  disk: { read: ReadAt; sizeBytes: number; copies: Uint8Array[] },
): Pick<DiskImage, 'superblock' | 'diskUuid' | 'segmentBytes' | 'segmentCount' | 'streamCount'> {
  const { read, sizeBytes, copies } = disk
  const chosen = chooseSuperblock(copies, crc32c)
  if (chosen.ok) {
    const { diskUuid, segmentBytes, segmentCount, streamCount } = chosen.value
    return { superblock: chosen.value, diskUuid, segmentBytes, segmentCount, streamCount }
  }
  if (chosen.reason === 'newer') {
    const { version, known } = chosen
    throw new HoldfastError('format-newer', { what: 'the superblock', disk: path, version, known })
  }
  const found = findGeometry(read, sizeBytes, crc32c)
  if (found === undefined) {
    const { reason } = chosen
    const what = reason === 'blank' ? 'it is blank' : `its superblock is ${reason} and no segment was found`
    throw usageError(`${path} is not a Holdfast disk: ${what}`, 'check the path')
  }
  const { diskUuid, segmentBytes } = found
  const segmentCount = segmentCountFor(sizeBytes, segmentBytes)
  return { superblock: undefined, diskUuid, segmentBytes, segmentCount, streamCount: STREAMS_MAX }
}

/** Descriptors are compared by revision, which only one copy of a volume counts: disks of two nodes do not mix. */
function checkOneNode(disks: readonly DiskImage[]): void {
  const uuids = new Map<string, string>()
  let owner: DiskImage | undefined
  for (const disk of disks) {
    const same = uuids.get(disk.diskUuid)
    if (same !== undefined) throw usageError(`${same} and ${disk.path} are the same disk`, 'name each disk once')
    uuids.set(disk.diskUuid, disk.path)
    if (disk.superblock === undefined) continue
    if (owner !== undefined && owner.superblock!.nodeId !== disk.superblock.nodeId) {
      const [one, other] = [owner.superblock!.nodeName, disk.superblock.nodeName]
      throw usageError(
        `${owner.path} belongs to node ${one}, ${disk.path} to node ${other}`, 'name the disks of one node at a time',
      )
    }
    owner ??= disk
  }
}

function openReadOnly(path: string): number {
  try {
    const stat = fs.statSync(path)
    if (!stat.isFile() && !stat.isBlockDevice()) {
      throw new HoldfastError('disk-open', { disk: path, reason: 'it is neither a file nor a block device' })
    }
    return fs.openSync(path, fs.constants.O_RDONLY)
  } catch (error) {
    if (error instanceof HoldfastError) throw error
    const { code } = error as NodeJS.ErrnoException
    throw new HoldfastError('disk-open', { disk: path, reason: code === 'ENOENT' ? 'no such file' : String(code) })
  }
}

/**
 * Small reads come out of a window, because headers are read one after the other. No Buffer leaves here: its `slice`
 * does not copy.
 */
function readerOf(fd: number): ReadAt {
  const window = new Uint8Array(WINDOW_BYTES)
  let windowFrom = 0
  let windowBelow = 0
  let large = new Uint8Array(0)
  return (offsetBytes, lengthBytes) => {
    if (lengthBytes <= WINDOW_BYTES / 2) {
      if (offsetBytes < windowFrom || offsetBytes + lengthBytes > windowBelow) {
        windowFrom = offsetBytes
        windowBelow = offsetBytes + Math.max(0, readInto(fd, window, offsetBytes))
      }
      const at = offsetBytes - windowFrom
      if (offsetBytes + lengthBytes <= windowBelow) return window.subarray(at, at + lengthBytes)
      // A bad sector further on in the window must not hide what is whole before it.
      windowBelow = windowFrom
    }
    if (large.length < lengthBytes) large = new Uint8Array(lengthBytes)
    const into = large.subarray(0, lengthBytes)
    return readInto(fd, into, offsetBytes) === lengthBytes ? into : undefined
  }
}

/** Bytes read, -1 when the medium fails. */
function readInto(fd: number, into: Uint8Array, offsetBytes: number): number {
  let done = 0
  try {
    while (done < into.length) {
      const count = fs.readSync(fd, into, done, into.length - done, offsetBytes + done)
      if (count === 0) break
      done += count
    }
  } catch {
    return -1
  }
  return done
}
