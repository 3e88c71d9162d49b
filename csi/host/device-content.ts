/**
 * What is on a block device, before anything is done to it, and the mark of a file system that is being made
 * (csi/SPEC.md S4, S5, N2).
 *
 * Blank means: `blkid` knows nothing on it, and its first and last MiB read as zeroes. All else that is no file system
 * of ours is left alone.
 *
 * The mark says that we looked, saw a blank device, and began to make a file system. It lies on the device itself, so
 * it goes where the volume goes: a host that dies over mkfs leaves a volume that the next one can make anew.
 *
 *     | first MiB ............ | ............ | last MiB: [512 KiB] MARK (4 KiB) [508 KiB] |
 *
 * There because mkfs of ext4 and xfs write the first MiB, and zero the last 64 or 128 KiB, but nothing between
 * (without discard). Were it overwritten all the same, the device would be refused, never formatted.
 *
 * The mark alone decides nothing: whoever may write a file can bring its bytes there. A device is made anew only when
 * it is marked and nobody can have mounted it: `blkid` knows nothing on it, its ext4 has no time of a last mount (the
 * kernel writes that), or its xfs is in progress (the kernel mounts none such). So no user of a mounted volume gets it
 * formatted.
 */
import { constants, readFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { HoldfastError } from '../../engine/errors.ts'
import { GIB, MIB } from '../../engine/units.ts'
import { hostCommand } from './host-command.ts'
import { deviceNumber } from './volume-mounts.ts'

const EDGE_BYTES = MIB
/** Of sizes in /sys, whatever the device has. */
const SECTOR_BYTES = 512
const MARK_BYTES = 4096
const MARK_FROM_END_BYTES = 512 * 1024
const MARK_TEXT = 'holdfast: a file system is being made here, version 1\n'
const PROBE_DEADLINE_MS = 60_000
/** Most devices are read through within the deadline of kubelet's call, which is 2 minutes. */
export const READ_THROUGH_BYTES_MAX = 16 * GIB
const READ_THROUGH_MS = 60_000
const PIECE_BYTES = 4 * MIB
const NOTHING_FOUND = 2
const AMBIGUOUS = 8

export type DeviceContent =
  | { kind: 'blank' }
  /** mkfs began on it, and nobody has mounted what it made. */
  | { kind: 'unfinished' }
  | { kind: 'file-system'; fsType: string }
  /** What was found, as a part of a sentence. */
  | { kind: 'foreign'; found: string }

/** @param devicePath  a block device, or in tests a file. @throws HoldfastError `host-command`, `device-unread` */
export async function lookAt(devicePath: string): Promise<DeviceContent> {
  const probed = await probe(devicePath)
  const edges = await readEdges(devicePath)
  const { fsType, found } = probed
  if (found !== undefined) return { kind: 'foreign', found }
  // `blkid` says nothing found also where it could not tell.
  const shown = fsType ?? magicOf(edges.first)
  if (edges.isMarked && (shown === undefined || wasNeverMounted(shown, edges.first))) return { kind: 'unfinished' }
  if (fsType !== undefined) return { kind: 'file-system', fsType }
  return edges.isZero ? { kind: 'blank' } : { kind: 'foreign', found: 'data that is no file system' }
}

interface Probed {
  fsType?: string
  found?: string
}

async function probe(devicePath: string): Promise<Probed> {
  const run = { what: `see what is on ${devicePath}`, deadlineMs: PROBE_DEADLINE_MS, allow: [NOTHING_FOUND, AMBIGUOUS] }
  const { status, stdout } = await hostCommand('blkid', ['-p', '-o', 'export', devicePath], run)
  if (status === AMBIGUOUS) return { found: 'several things at once (`wipefs` shows them)' }
  const tags = new Map(stdout.split('\n').map((line) => {
    const at = line.indexOf('=')
    return [line.slice(0, at), line.slice(at + 1)]
  }))
  const [type, partitions] = [tags.get('TYPE'), tags.get('PTTYPE')]
  if (type !== undefined && tags.get('USAGE') === 'filesystem') return { fsType: type }
  if (type !== undefined) return { found: type }
  return partitions === undefined ? {} : { found: `a partition table (${partitions})` }
}

const EXT4_MOUNT_TIME = { offset: 1024 + 0x2c, bytes: 4 }
const XFS_IN_PROGRESS = { offset: 126, bytes: 1 }

const EXT4_MAGIC = { offset: 1024 + 0x38, value: 0xef53 }
const XFS_MAGIC = 'XFSB'

function magicOf(first: Buffer): string | undefined {
  if (first.toString('latin1', 0, XFS_MAGIC.length) === XFS_MAGIC) return 'xfs'
  return first.readUInt16LE(EXT4_MAGIC.offset) === EXT4_MAGIC.value ? 'ext4' : undefined
}

/** @param first  bytes of the device, its superblock among them */
function wasNeverMounted(fsType: string, first: Buffer): boolean {
  const field = (at: { offset: number; bytes: number }): number => first.readUIntLE(at.offset, at.bytes)
  if (fsType === 'ext4') return field(EXT4_MOUNT_TIME) === 0
  return fsType === 'xfs' && field(XFS_IN_PROGRESS) !== 0
}

async function readEdges(devicePath: string): Promise<{ isZero: boolean; isMarked: boolean; first: Buffer }> {
  return withDevice(devicePath, 'r', async (file, sizeBytes) => {
    const [first, last] = [Math.min(EDGE_BYTES, sizeBytes), Math.max(0, sizeBytes - EDGE_BYTES)]
    const bytes = [await readAll(file, 0, first), await readAll(file, last, sizeBytes - last)] as const
    const mark = await readAll(file, markAt(sizeBytes), MARK_BYTES)
    return { isZero: bytes.every(isZero), isMarked: mark.equals(markBytes()), first: bytes[0] }
  })
}

/**
 * Whether every byte of it reads as zero: then a file system that is made on it overwrites nothing, whatever is known
 * of the volume. Undefined: it is too large to be read, or too slow. @throws HoldfastError `device-unread`
 */
export async function isZeroThroughout(devicePath: string): Promise<boolean | undefined> {
  return withDevice(devicePath, 'r', async (file, sizeBytes) => {
    if (sizeBytes > READ_THROUGH_BYTES_MAX) return undefined
    const untilMs = performance.now() + READ_THROUGH_MS
    for (let at = 0; at < sizeBytes; at += PIECE_BYTES) {
      if (performance.now() > untilMs) return undefined
      if (!isZero(await readAll(file, at, Math.min(PIECE_BYTES, sizeBytes - at)))) return false
    }
    return true
  })
}

const EXT4_INCOMPATIBLE = { offset: 1024 + 0x60, bytes: 4 }
const EXT4_RECOVER = 4

/** An ext4 whose last changes are in its journal only: mounted without that (`noload`), it shows them in part. */
export async function hasUnreadJournal(devicePath: string): Promise<boolean> {
  return withDevice(devicePath, 'r', async (file) => {
    const { offset, bytes } = EXT4_INCOMPATIBLE
    return ((await readAll(file, offset, bytes)).readUInt32LE() & EXT4_RECOVER) !== 0
  })
}

/** Nobody has it mounted or to himself meanwhile. */
const ALONE = constants.O_RDWR | constants.O_EXCL

/** Durable when this resolves. Only on what `lookAt` called blank. */
export async function putMark(devicePath: string): Promise<void> {
  await withDevice(devicePath, ALONE, async (file, sizeBytes) => {
    await file.write(markBytes(), 0, MARK_BYTES, markAt(sizeBytes))
    await file.sync()
  })
}

/** Durable when this resolves. What is no mark is not touched. */
export async function takeMark(devicePath: string): Promise<void> {
  await withDevice(devicePath, ALONE, async (file, sizeBytes) => {
    const mark = await readAll(file, markAt(sizeBytes), MARK_BYTES)
    if (!mark.equals(markBytes())) return
    await file.write(Buffer.alloc(MARK_BYTES), 0, MARK_BYTES, markAt(sizeBytes))
    await file.sync()
  })
}

/** Of a block device or a file. @throws HoldfastError `device-unread` */
export async function deviceBytes(devicePath: string): Promise<number> {
  return withDevice(devicePath, 'r', (_, sizeBytes) => Promise.resolve(sizeBytes))
}

const markAt = (sizeBytes: number): number => Math.max(0, sizeBytes - MARK_FROM_END_BYTES)

function markBytes(): Buffer {
  const bytes = Buffer.alloc(MARK_BYTES)
  bytes.write(MARK_TEXT)
  return bytes
}

async function withDevice<T>(
  devicePath: string, flags: string | number, use: (file: FileHandle, sizeBytes: number) => Promise<T>,
): Promise<T> {
  let file: FileHandle | undefined
  try {
    file = await open(devicePath, flags)
    return await use(file, await endOf(file, devicePath))
  } catch (error) {
    if (error instanceof HoldfastError) throw error
    const reason = (error as NodeJS.ErrnoException).code ?? (error as Error).message
    throw new HoldfastError('device-unread', { device: devicePath, reason }, { cause: error })
  } finally {
    await file?.close().catch(() => undefined)
  }
}

/** A block device has no size that `stat` would tell. */
async function endOf(file: FileHandle, devicePath: string): Promise<number> {
  const stats = await file.stat()
  if (!stats.isBlockDevice()) return stats.size
  return Number(readFileSync(`/sys/dev/block/${deviceNumber(devicePath)}/size`, 'utf8')) * SECTOR_BYTES
}

async function readAll(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length)
  let read = 0
  while (read < length) {
    const { bytesRead } = await file.read(bytes, read, length - read, offset + read)
    if (bytesRead === 0) throw new Error(`it ends at byte ${offset + read}`)
    read += bytesRead
  }
  return bytes
}

const isZero = (bytes: Buffer): boolean => bytes.equals(Buffer.alloc(bytes.length))
