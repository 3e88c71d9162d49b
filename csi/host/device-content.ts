/**
 * What is on a block device, before anything is done to it (csi/SPEC.md S4, N2).
 *
 * Blank means: `blkid` knows nothing on it, and its first and last MiB read as zeroes. Unfinished: it has the mark of a
 * file system that is being made (format-mark.ts). All else that is no file system of ours is left alone.
 */
import { GIB, MIB } from '../../engine/units.ts'
import { PIECE_BYTES, READ_THROUGH_MS, isZero, readAll, withDevice } from './device-bytes.ts'
import { markedAmong } from './format-mark.ts'
import { hostCommand } from './host-command.ts'

const EDGE_BYTES = MIB
const PROBE_DEADLINE_MS = 60_000
/** Most devices are read through within the deadline of kubelet's call, which is 2 minutes. */
export const READ_THROUGH_BYTES_MAX = 16 * GIB
const NOTHING_FOUND = 2
const AMBIGUOUS = 8
/** As a part of a sentence. */
export const UNKNOWN_DATA = 'data that is no file system'

export type DeviceContent =
  | { kind: 'blank' }
  /** mkfs began on it when it had so many bytes, and nobody has mounted what it made. */
  | { kind: 'unfinished'; markedBytes: number }
  | { kind: 'file-system'; fsType: string }
  /** Not blank, and nothing on it that looks like anything. */
  | { kind: 'data' }
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
  if (shown === undefined || wasNeverMounted(shown, edges.first)) {
    const markedBytes = await markedAmong(devicePath, shown === undefined ? [] : [bytesOf(shown, edges.first)])
    if (markedBytes !== undefined) return { kind: 'unfinished', markedBytes }
  }
  if (fsType !== undefined) return { kind: 'file-system', fsType }
  if (shown !== undefined) return { kind: 'foreign', found: UNKNOWN_DATA }
  return { kind: edges.isZero ? 'blank' : 'data' }
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

/** How large a file system is by its own superblock; where that says nonsense, so is this. */
function bytesOf(fsType: string, first: Buffer): number {
  if (fsType === 'xfs') return first.readUInt32BE(4) * Number(first.readBigUInt64BE(8))
  const blockBytes = 1024 * 2 ** Math.min(first.readUInt32LE(1024 + 0x18), 6)
  const is64Bit = (first.readUInt32LE(EXT4_INCOMPATIBLE.offset) & EXT4_64BIT) !== 0
  const blocks = first.readUInt32LE(1024 + 0x4) + (is64Bit ? first.readUInt32LE(1024 + 0x150) * 2 ** 32 : 0)
  return blocks * blockBytes
}

async function readEdges(devicePath: string): Promise<{ isZero: boolean; first: Buffer }> {
  return withDevice(devicePath, 'r', async (file, sizeBytes) => {
    const [first, last] = [Math.min(EDGE_BYTES, sizeBytes), Math.max(0, sizeBytes - EDGE_BYTES)]
    const bytes = [await readAll(file, 0, first), await readAll(file, last, sizeBytes - last)] as const
    return { isZero: bytes.every(isZero), first: bytes[0] }
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
const EXT4_64BIT = 0x80

/** An ext4 whose last changes are in its journal only: mounted without that (`noload`), it shows them in part. */
export async function hasUnreadJournal(devicePath: string): Promise<boolean> {
  return withDevice(devicePath, 'r', async (file) => {
    const { offset, bytes } = EXT4_INCOMPATIBLE
    return ((await readAll(file, offset, bytes)).readUInt32LE() & EXT4_RECOVER) !== 0
  })
}
