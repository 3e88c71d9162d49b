/**
 * Making a disk ready for a node before any worker uses it: opened and locked, recognised by its superblock (or
 * formatted when it is blank), refused when it belongs to somebody else. The main thread does this once; the
 * descriptor, which keeps the lock, and the shared segment table go to the workers.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { HoldfastError } from '../engine/errors.ts'
import type { Detail, ErrorCode } from '../engine/errors.ts'
import {
  DISK_BYTES_LEAST,
  SEGMENT_BYTES_DEFAULT,
  SUPERBLOCK_COPIES,
  STREAMS_MAX,
  segmentCountFor,
  superblockOffsetBytes,
} from '../engine/log/geometry.ts'
import { SharedSegmentGrants } from '../engine/log/segment-grants.ts'
import {
  chooseSuperblock, encodeSuperblock, FEATURES_INCOMPATIBLE_KNOWN, type Superblock,
} from '../engine/log/superblock.ts'
import { BLOCK_BYTES } from '../engine/units.ts'
import type { Result } from '../engine/volume/store-api.ts'
import { crc32c } from './checksum.ts'
import { createDiskFile, openDiskFile, openFailure, type DiskFile } from './disk/disk-file.ts'
import { closeFd } from '../cluster/libc.ts'
import type { DiskOption } from './worker-messages.ts'

export interface NodeIdentity {
  nodeName: string
  nodeId: string
  clusterId: string
}

/** What a worker needs of a disk; can be posted to a thread. */
export interface PreparedDisk {
  file: DiskFile
  pool: string
  tags: string[]
  diskUuid: string
  segmentBytes: number
  segmentCount: number
  streamCount: number
  grants: SharedArrayBuffer
  /** One word: how many workers have recovered their streams of a disk that is added later. */
  barrier: SharedArrayBuffer
}

const SEGMENTS_WISHED = 200
const SEGMENT_BYTES_SMALLEST = 4 * 1024 * 1024

/**
 * @param streams  streams the disk needs at least (one a worker); a disk that has fewer gets more
 * @param adopt  take a disk that belongs to another node
 * @param store  of a node of a cluster, its store: a disk of another cluster is refused
 */
export function prepareDisk(
  option: DiskOption,
  identity: NodeIdentity,
  streams: number,
  adopt = false,
  store?: string,
): Result<PreparedDisk> {
  const opened = openOrCreate(option)
  if (!opened.ok) return opened
  const file = opened.value
  const result = recognised(file, option, identity, { streams, adopt, store })
  if (!result.ok) closeFd(file.fd)
  return result
}

/** Whether it would be taken by that node. Nothing is made or written, and the disk is given back. */
export function checkDisk(option: DiskOption, identity: NodeIdentity, store: string): Result<unknown> {
  if (!fs.existsSync(option.path)) return checkNewFile(option)
  const opened = openDiskFile(option.path)
  if (!opened.ok) return opened
  const file = opened.value
  try {
    return judge(file, identity, { adopt: false, store })
  } catch (error) {
    return openFailure(file.path, error)
  } finally {
    closeFd(file.fd)
  }
}

/** Its superblock may be there and not be read: a disk that answers EIO is refused like one that cannot be opened. */
function recognised(
  file: DiskFile,
  option: DiskOption,
  identity: NodeIdentity,
  how: { streams: number; adopt: boolean; store: string | undefined },
): Result<PreparedDisk> {
  try {
    return recognise(file, option, identity, how)
  } catch (error) {
    return openFailure(file.path, error)
  }
}

/** Of a disk that is there; undefined when it has none that can be read. @throws HoldfastError when it is in use */
export function readSuperblock(path: string): Superblock | undefined {
  const opened = openDiskFile(path)
  if (!opened.ok) throw opened.error
  const found = chooseSuperblock(readCopies(opened.value), crc32c)
  closeFd(opened.value.fd)
  return found.ok ? found.value : undefined
}

/** Give the lock back. */
export function releaseDisk(disk: PreparedDisk): void {
  closeFd(disk.file.fd)
}

function openOrCreate(option: DiskOption): Result<DiskFile> {
  if (fs.existsSync(option.path)) return openDiskFile(option.path)
  const checked = checkNewFile(option)
  if (!checked.ok) return checked
  try {
    fs.mkdirSync(path.dirname(option.path), { recursive: true })
  } catch (error) {
    return refused('disk-open', { disk: option.path, reason: error instanceof Error ? error.message : String(error) })
  }
  return createDiskFile(option.path, checked.value)
}

/** The size of a file that is not there yet, and that its file system has room for. */
function checkNewFile({ path: disk, sizeBytes, isKnown = false }: DiskOption): Result<number> {
  if (sizeBytes === undefined || isKnown) {
    const known = 'this node had it before: mount what it lies on, or put an empty disk there'
    const why = isKnown ? known : 'no size is given'
    const reason = `${disk} does not exist and ${why}`
    return refused('disk-open', { disk, reason }, { cause: { code: 'ENOENT' } })
  }
  if (sizeBytes < DISK_BYTES_LEAST) return tooSmall(disk, sizeBytes)
  let folder = path.dirname(disk)
  while (!fs.existsSync(folder)) folder = path.dirname(folder)
  const { bavail, bsize } = fs.statfsSync(folder)
  if (bavail * bsize >= sizeBytes) return { ok: true, value: sizeBytes - (sizeBytes % BLOCK_BYTES) }
  const reason = `${folder} has ${bavail * bsize} bytes free, the disk file needs ${sizeBytes}`
  return refused('disk-open', { disk, reason })
}

function recognise(
  file: DiskFile,
  option: DiskOption,
  identity: NodeIdentity,
  { streams, ...how }: { streams: number; adopt: boolean; store: string | undefined },
): Result<PreparedDisk> {
  const found = judge(file, identity, how)
  if (!found.ok) return found
  const superblock = found.value
  if (superblock === 'blank') return format(file, option, identity, streams)
  const now: Superblock = {
    ...superblock,
    ...identity,
    streamCount: Math.max(superblock.streamCount, Math.min(streams, STREAMS_MAX)),
    featuresIncompatible: superblock.featuresIncompatible | FEATURES_INCOMPATIBLE_KNOWN,
    generation: superblock.generation + 1,
  }
  const isOther = (key: 'nodeId' | 'streamCount' | 'featuresIncompatible'): boolean => now[key] !== superblock[key]
  // Before anything is written that a version which does not know it would misread.
  if (isOther('nodeId') || isOther('streamCount') || isOther('featuresIncompatible')) writeSuperblock(file, now)
  return prepared(file, now)
}

/** What it has, or why it is not for that node. */
function judge(
  file: DiskFile,
  identity: NodeIdentity,
  { adopt, store }: { adopt: boolean; store: string | undefined },
): Result<Superblock | 'blank'> {
  if (file.sizeBytes < DISK_BYTES_LEAST) return tooSmall(file.path, file.sizeBytes)
  const found = chooseSuperblock(readCopies(file), crc32c)
  if (!found.ok) {
    if (found.reason === 'newer') {
      const { version, known } = found
      return refused('format-newer', { what: 'superblock', disk: file.path, version, known })
    }
    if (found.reason === 'damaged') {
      return refused('format-damaged', { what: 'superblock', disk: file.path, reason: 'no copy of it is whole' })
    }
    if (found.reason === 'foreign' || !isBlank(file)) {
      return refused('disk-not-empty', { disk: file.path, found: 'data without a Holdfast superblock' })
    }
    return { ok: true, value: 'blank' }
  }
  const superblock = found.value
  if (store !== undefined && superblock.clusterId !== identity.clusterId) {
    const [known, mine] = [superblock.clusterId, identity.clusterId]
    return refused('cluster-other', { what: `disk ${file.path}`, known, store, found: mine })
  }
  if (superblock.nodeId !== identity.nodeId && !adopt) {
    const detail = { disk: file.path, owner: superblock.nodeName, uuid: superblock.diskUuid, node: identity.nodeName }
    return refused(store === undefined ? 'disk-foreign' : 'disk-of-node', detail)
  }
  if (file.sizeBytes < superblockEnd(superblock)) {
    const reason = `it has ${file.sizeBytes} bytes, its segments end at ${superblockEnd(superblock)}`
    return refused('format-damaged', { what: 'disk', disk: file.path, reason })
  }
  return { ok: true, value: superblock }
}

function format(file: DiskFile, option: DiskOption, identity: NodeIdentity, streams: number): Result<PreparedDisk> {
  const segmentBytes = segmentBytesFor(file.sizeBytes)
  const superblock: Superblock = {
    featuresCompatible: 0,
    featuresReadOnly: 0,
    featuresIncompatible: FEATURES_INCOMPATIBLE_KNOWN,
    clusterId: identity.clusterId,
    nodeId: identity.nodeId,
    nodeName: identity.nodeName,
    diskUuid: randomBytes(16).toString('hex'),
    generation: 1,
    createdMs: Date.now(),
    segmentBytes,
    segmentCount: segmentCountFor(file.sizeBytes, segmentBytes),
    streamCount: streams,
    pool: option.pool,
    tags: option.tags,
  }
  writeSuperblock(file, superblock)
  return prepared(file, superblock)
}

/** Copies 0 and 1, sync, copies 2 and 3, sync: one whole generation is on the medium at any time. */
function writeSuperblock(file: DiskFile, superblock: Superblock): void {
  const bytes = encodeSuperblock(superblock, crc32c)
  for (let copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
    fs.writeSync(file.fd, bytes, 0, BLOCK_BYTES, superblockOffsetBytes(copy))
    if (copy % 2 === 1) fs.fdatasyncSync(file.fd)
  }
}

function readCopies(file: DiskFile): Uint8Array[] {
  return Array.from({ length: SUPERBLOCK_COPIES }, (_, copy) => readBlock(file, superblockOffsetBytes(copy)))
}

function readBlock(file: DiskFile, offsetBytes: number): Uint8Array {
  const bytes = new Uint8Array(BLOCK_BYTES)
  fs.readSync(file.fd, bytes, 0, BLOCK_BYTES, offsetBytes)
  return bytes
}

/** The first MiB holds nothing: file systems, partition tables and other stores all mark themselves there. */
function isBlank(file: DiskFile): boolean {
  const bytes = Buffer.alloc(1 << 20)
  fs.readSync(file.fd, bytes, 0, bytes.length, 0)
  return bytes.every((byte) => byte === 0)
}

function prepared(file: DiskFile, superblock: Superblock): Result<PreparedDisk> {
  const { pool, tags, diskUuid, segmentBytes, segmentCount, streamCount } = superblock
  const grants = new SharedArrayBuffer(SharedSegmentGrants.byteLength(segmentCount))
  const barrier = new SharedArrayBuffer(4)
  return {
    ok: true,
    value: { file, pool, tags, diskUuid, segmentBytes, segmentCount, streamCount, grants, barrier },
  }
}

/** The default, or less on a small disk: cleaning needs many segments to choose from, and keeps some free. */
function segmentBytesFor(diskBytes: number): number {
  let segmentBytes = SEGMENT_BYTES_DEFAULT
  while (segmentBytes > SEGMENT_BYTES_SMALLEST && segmentCountFor(diskBytes, segmentBytes) < SEGMENTS_WISHED)
    segmentBytes /= 2
  return segmentBytes
}

const superblockEnd = (s: Superblock): number => 2 * 1024 * 1024 + s.segmentCount * s.segmentBytes

function refused(code: ErrorCode, detail: Detail, options?: { cause: { code: string } }) {
  return { ok: false, error: new HoldfastError(code, detail, options) } as const
}

const tooSmall = (disk: string, size: number) => refused('disk-too-small', { disk, size, least: DISK_BYTES_LEAST })
