/**
 * Structures of a disk read synchronously and checked against their place (FORMAT.md): roots, frames, batches, bodies,
 * blobs. For the offline tools, which have no daemon, no index and no second thread; nothing here writes.
 *
 * Whatever does not fit its checksum or its place is undefined, whatever the reason; the caller decides what it means.
 */
import type { Crc32c } from '../ports.ts'
import { BLOCK_BYTES, UNIT_BYTES } from '../units.ts'
import { BATCH_MAGIC, checkBatchHeader, decodeRecords, headerBlocksFor, peekBatchHeader } from './batch.ts'
import type { BatchHeader } from './batch.ts'
import { hasMagic } from './block-seal.ts'
import { hexToUuid, uuidToHex, viewOf } from './bytes.ts'
import { rootOffsetBytes, ROOT_SLOTS, SEGMENT_AREA_BYTES, SEGMENT_BYTES_LEAST, segmentOffsetBytes } from './geometry.ts'
import { blockIdentity, recordSeed, volumeTag } from './identity.ts'
import type { RecordHeader } from './record.ts'
import { chooseRoot } from './root.ts'
import type { Root } from './root.ts'
import { decodeSegmentHeader, decodeTrailer, encodeSegmentHeader } from './segment.ts'
import type { SegmentHeader, Trailer } from './segment.ts'

/** What a medium writes whole, at the least. */
const SECTOR_BYTES = 512

/** Bytes of the disk, undefined when the medium fails there. The result is read before the next call. */
export type ReadAt = (offsetBytes: number, lengthBytes: number) => Uint8Array | undefined

export interface LogDisk {
  read: ReadAt
  crc32c: Crc32c
  diskUuid: string
  segmentBytes: number
  segmentCount: number
  streamCount: number
}

export interface ReadBatch {
  header: BatchHeader
  records: RecordHeader[]
  /** Where it lies in the segment. */
  startBlock: number
}

export interface Frame {
  segment: number
  header: SegmentHeader | undefined
  trailer: Trailer | undefined
  /** The batch in block 1, proved by its checksum. */
  first: BatchHeader | undefined
  /** Something that was ours stands in the header block or the trailer block and does not fit its checksum. */
  trailerDamaged: boolean
  /** The header is half the one in use, half the free one: a crash came while the segment was given back. */
  headerTorn: boolean
}

export function readRoot(disk: LogDisk, streamId: number): Root | undefined {
  const slots: Uint8Array[] = []
  for (let slot = 0; slot < ROOT_SLOTS; slot++) {
    const bytes = disk.read(rootOffsetBytes(streamId, slot), BLOCK_BYTES)
    if (bytes !== undefined) slots.push(bytes.slice())
  }
  return chooseRoot(slots, { diskUuid: disk.diskUuid, streamId }, disk.crc32c)
}

export function readFrame(disk: LogDisk, segment: number): Frame {
  const { crc32c, diskUuid, segmentBytes } = disk
  const blocks = segmentBytes / BLOCK_BYTES
  const head = readBlocks(disk, segment, 0, 1)?.slice()
  const said = head === undefined ? undefined : decodeSegmentHeader(head, crc32c, { diskUuid, segment })
  const tail = readBlocks(disk, segment, blocks - 1, 1)?.slice()
  const end = tail && decodeTrailer(tail, crc32c, { diskUuid, segment, segmentBlocks: blocks })
  const begin = firstBatch(disk, segment)
  // It says free of a former use: the header of the present one was written, and is lost.
  const used = Math.max(end?.generation ?? 0, begin?.generation ?? 0)
  const header = said?.free === true && used > said.generation ? undefined : said
  // An older use leaves its batches behind: only those of the frame's generation mean something.
  const isIn = (generation: number, frame: { generation: number } | undefined): boolean =>
    frame === undefined || generation === frame.generation
  const counts = header?.free !== true
  const trailer = counts && end !== undefined && isIn(end.generation, header) ? end : undefined
  const first = counts && begin !== undefined && isIn(begin.generation, header ?? trailer) ? begin : undefined
  return {
    segment, header, trailer, first,
    headerTorn: header === undefined && head !== undefined && trailer !== undefined && isTorn(head, trailer, crc32c),
    trailerDamaged:
      trailer === undefined && header?.free !== true && (tail === undefined || isDamagedTrailer(tail, header)),
  }
}

/** Whether each sector is that of the header in use or that of the free one; the trailer tells what both were. */
function isTorn(head: Uint8Array, trailer: Trailer, crc32c: Crc32c): boolean {
  const inUse = encodeSegmentHeader({ ...trailer, free: false }, crc32c)
  const free = encodeSegmentHeader({ ...trailer, firstBatch: 0, incarnation: 0, free: true }, crc32c)
  for (let at = 0; at < BLOCK_BYTES; at += SECTOR_BYTES) {
    const isLike = (other: Uint8Array): boolean => {
      for (let i = at; i < at + SECTOR_BYTES; i++) if (head[i] !== other[i]) return false
      return true
    }
    if (!isLike(inUse) && !isLike(free)) return false
  }
  return true
}

/** A trailer of an older generation is what the last use left; anything else under our magic is damage. */
function isDamagedTrailer(tail: Uint8Array, header: SegmentHeader | undefined): boolean {
  if (!hasMagic(tail, 'HFSEGEND')) return false
  return header === undefined || viewOf(tail).getUint32(36, true) >= header.generation
}

function firstBatch(disk: LogDisk, segment: number): BatchHeader | undefined {
  const block = readBlocks(disk, segment, 1, 1)
  if (block === undefined || viewOf(block).getUint32(0, true) !== BATCH_MAGIC) return undefined
  const generation = viewOf(block).getUint32(44, true)
  return readBatch(disk, { segment, generation, startBlock: 1 })?.header
}

/** One batch header with its records, undefined when there is no whole one at this place. */
export function readBatch(
  disk: LogDisk,
  place: { segment: number; generation: number; startBlock: number; incarnation?: number; salt?: Uint8Array },
): ReadBatch | undefined {
  const { startBlock } = place
  const blocksMost = disk.segmentBytes / BLOCK_BYTES - 1 - startBlock
  if (startBlock < 1 || blocksMost < 1) return undefined
  let region = readBlocks(disk, place.segment, startBlock, 1)
  if (region === undefined) return undefined
  const header = peekBatchHeader(region, {
    diskTag: hexToUuid(disk.diskUuid).subarray(0, 8), segment: place.segment, generation: place.generation,
    startBlock, blocksMost,
    ...(place.incarnation !== undefined && { incarnation: place.incarnation }),
    ...(place.salt !== undefined && { salt: place.salt }),
  })
  if (header === undefined) return undefined
  const blocks = headerBlocksFor(header.headerBytes)
  if (blocks > 1) region = readBlocks(disk, place.segment, startBlock, blocks)
  if (region === undefined || !checkBatchHeader(region, disk.crc32c)) return undefined
  const records = decodeRecords(region, header)
  return records === undefined ? undefined : { header, records, startBlock }
}

/** The body of a control record, undefined when it cannot be read or is not what was written. */
export function readBody(
  disk: LogDisk,
  segment: number,
  batch: ReadBatch,
  record: RecordHeader,
): Uint8Array | undefined {
  const inSegment = batch.startBlock * BLOCK_BYTES + record.payloadUnits * UNIT_BYTES
  const body = disk.read(segmentOffsetBytes(disk.segmentBytes, segment) + inSegment, record.bodyBytes)
  return body !== undefined && disk.crc32c(body) >>> 0 === record.bodyCrc ? body : undefined
}

export interface Blob {
  lba: number
  /** From the segment's start. */
  units: number
  /** Undefined: `reason` says why. */
  bytes: Uint8Array | undefined
  reason: 'unreadable' | 'checksum' | undefined
}

/** Read and check those blobs of a write record that are wanted. The bytes are valid until the next read. */
export function eachBlob(
  disk: LogDisk,
  segment: number,
  batch: ReadBatch,
  record: RecordHeader,
  isWanted: (lba: number, units: number) => boolean,
  visit: (blob: Blob) => void,
): void {
  const seed = recordSeed(volumeTag(disk.crc32c, record.volumeId), record.epoch, record.seq)
  let units = (batch.startBlock * BLOCK_BYTES) / UNIT_BYTES + record.payloadUnits
  for (let i = 0; i < record.blockCount; i++) {
    const lba = record.lba + i
    const storedUnits = record.storedUnits[i]!
    if (isWanted(lba, units)) {
      const at = segmentOffsetBytes(disk.segmentBytes, segment) + units * UNIT_BYTES
      const bytes = disk.read(at, storedUnits * UNIT_BYTES)
      const fits = bytes !== undefined && (disk.crc32c(bytes) ^ blockIdentity(seed, lba)) >>> 0 === record.crcs[i]
      if (fits) visit({ lba, units, bytes, reason: undefined })
      else visit({ lba, units, bytes: undefined, reason: bytes === undefined ? 'unreadable' : 'checksum' })
    }
    units += storedUnits
  }
}

export function readBlocks(disk: LogDisk, segment: number, block: number, blocks: number): Uint8Array | undefined {
  return disk.read(segmentOffsetBytes(disk.segmentBytes, segment) + block * BLOCK_BYTES, blocks * BLOCK_BYTES)
}

/**
 * Where the segments of a disk lie when no superblock copy is left: two headers of one disk tell its uuid and the
 * segments' size. Undefined when there are no such two.
 */
export function findGeometry(
  read: ReadAt,
  diskBytes: number,
  crc32c: Crc32c,
): { diskUuid: string; segmentBytes: number } | undefined {
  const seen = new Map<string, number>()
  for (let offset = SEGMENT_AREA_BYTES; offset + BLOCK_BYTES <= diskBytes; offset += SEGMENT_BYTES_LEAST) {
    const block = read(offset, BLOCK_BYTES)
    if (block === undefined || !hasMagic(block, 'HFSEGMNT')) continue
    const diskUuid = uuidToHex(block.subarray(16, 32))
    const segment = viewOf(block).getUint32(32, true)
    if (segment === 0 || decodeSegmentHeader(block, crc32c, { diskUuid, segment }) === undefined) continue
    const segmentBytes = (offset - SEGMENT_AREA_BYTES) / segment
    if (segmentBytes % SEGMENT_BYTES_LEAST !== 0) continue
    // A guest's data may hold such a header; it does not hold two that agree with where they lie.
    const key = `${diskUuid}/${segmentBytes}`
    const times = (seen.get(key) ?? 0) + 1
    seen.set(key, times)
    if (times === 2) return { diskUuid, segmentBytes }
  }
  return undefined
}
