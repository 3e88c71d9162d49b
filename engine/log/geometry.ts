/**
 * Where things lie on a disk, in bytes (FORMAT.md 1): superblock copies, root slots, segments.
 *
 *     0        16 KiB   32 KiB   48 KiB       1 MiB                2 MiB
 *     | sb 0   | sb 1   | sb 2   | sb 3 ..    | root slots ..      | segment 0 | segment 1 | ..
 */
import { assert } from '../assert.ts'
import { BLOCK_BYTES, MIB } from '../units.ts'

export const SUPERBLOCK_COPIES = 4
const SUPERBLOCK_STRIDE_BYTES = 16 * 1024
export const ROOT_AREA_BYTES = MIB
export const STREAMS_MAX = 64
export const ROOT_SLOTS = 2
export const SEGMENT_AREA_BYTES = 2 * MIB
export const SEGMENT_BYTES_DEFAULT = 32 * MIB
/** Also the unit of a segment's size. */
export const SEGMENT_BYTES_LEAST = 64 * 1024
/** Fewer cannot be cleaned: open segments of data and of cleaner copies, one victim, and the reserve. */
export const DISK_SEGMENTS_LEAST = 8
export const DISK_BYTES_LEAST = diskBytesFor(DISK_SEGMENTS_LEAST, SEGMENT_BYTES_DEFAULT)

const superblocksEnd = (SUPERBLOCK_COPIES - 1) * SUPERBLOCK_STRIDE_BYTES + BLOCK_BYTES
const rootsEnd = ROOT_AREA_BYTES + STREAMS_MAX * ROOT_SLOTS * BLOCK_BYTES
assert(superblocksEnd <= ROOT_AREA_BYTES, 'superblocks end before the roots')
assert(rootsEnd <= SEGMENT_AREA_BYTES, 'roots end before the segments')

export function superblockOffsetBytes(copy: number): number {
  assert(copy >= 0 && copy < SUPERBLOCK_COPIES, 'a superblock copy is 0..3')
  return copy * SUPERBLOCK_STRIDE_BYTES
}

export function rootOffsetBytes(streamId: number, slot: number): number {
  assert(streamId >= 0 && streamId < STREAMS_MAX, 'a stream id is 0..63')
  assert(slot === 0 || slot === 1, 'a root slot is 0 or 1')
  return ROOT_AREA_BYTES + (ROOT_SLOTS * streamId + slot) * BLOCK_BYTES
}

export function segmentOffsetBytes(segmentBytes: number, segment: number): number {
  return SEGMENT_AREA_BYTES + segment * segmentBytes
}

/** Whole segments that fit; what lies behind the last one is unused. */
export function segmentCountFor(diskBytes: number, segmentBytes: number): number {
  assert(isSegmentSize(segmentBytes), 'a segment is a positive multiple of 64 KiB')
  return Math.max(0, Math.floor((diskBytes - SEGMENT_AREA_BYTES) / segmentBytes))
}

/** The smallest disk that has so many segments. */
export function diskBytesFor(segmentCount: number, segmentBytes: number): number {
  return SEGMENT_AREA_BYTES + segmentCount * segmentBytes
}

export function isSegmentSize(segmentBytes: number): boolean {
  return segmentBytes > 0 && segmentBytes % SEGMENT_BYTES_LEAST === 0
}
