/**
 * The frame of a segment (FORMAT.md 2.1 and 2.4): the header block before its batches, the summary and the trailer
 * block behind them. The summary lets a rebuild read the headers of a segment without walking it.
 *
 *     | header | batch | batch | ..      | summary blocks | trailer |
 *
 * A frame is trusted only when it names this disk and this segment, and a trailer only under the generation of the
 * header: an older use of the same place never counts.
 */
import { assert } from '../assert.ts'
import type { Crc32c } from '../ports.ts'
import { BLOCK_BYTES } from '../units.ts'
import { hasMagic, isSealed, seal } from './block-seal.ts'
import { getU48, hexToUuid, putText, putU48, putU48Padded, uuidToHex, viewOf } from './bytes.ts'
import { FORMAT_VERSION } from './superblock.ts'

const HEADER_MAGIC = 'HFSEGMNT'
const TRAILER_MAGIC = 'HFSEGEND'
export const SUMMARY_ENTRY_BYTES = 16
export const TRAILER_FLAG = { sealedByRecovery: 1 } as const

export interface SegmentHeader {
  streamId: number
  /** 32 lower-case hex digits. */
  diskUuid: string
  segment: number
  generation: number
  firstBatch: number
  incarnation: number
  /** Given back: what it holds counts for nothing, its generation is remembered. */
  free: boolean
}

export interface SummaryEntry {
  startBlock: number
  headerCrc: number
  batch: number
  headerBlocks: number
}

export interface Trailer extends Omit<SegmentHeader, 'free'> {
  /** firstBatch - 1 when the segment is empty. */
  lastBatch: number
  batchCount: number
  summaryBlocks: number
  /** First block behind the last batch. */
  endBlock: number
  summaryCrc: number
  /** Bits of TRAILER_FLAG. */
  flags: number
}

/** What the sealer knows; the rest of a trailer follows from the entries. */
export interface Seal extends Omit<SegmentHeader, 'free'> {
  endBlock: number
  flags: number
  /** In order of batch number. */
  entries: readonly SummaryEntry[]
}

export function encodeSegmentHeader(header: SegmentHeader, crc32c: Crc32c): Uint8Array {
  const bytes = new Uint8Array(BLOCK_BYTES)
  putFrame(bytes, HEADER_MAGIC, header)
  viewOf(bytes).setUint32(48, header.incarnation, true)
  viewOf(bytes).setUint32(52, header.free ? 1 : 0, true)
  seal(bytes, crc32c)
  return bytes
}

export function decodeSegmentHeader(
  bytes: Uint8Array,
  crc32c: Crc32c,
  expect: { diskUuid: string; segment: number },
): SegmentHeader | undefined {
  if (!isFrame(bytes, HEADER_MAGIC, crc32c)) return undefined
  const view = viewOf(bytes)
  const free = view.getUint32(52, true) === 1
  const header = { ...getFrame(bytes), incarnation: view.getUint32(48, true), free }
  const isExpected = header.diskUuid === expect.diskUuid && header.segment === expect.segment
  return isExpected && header.generation > 0 ? header : undefined
}

export function summaryBlocksFor(batchCount: number): number {
  return Math.ceil((batchCount * SUMMARY_ENTRY_BYTES) / BLOCK_BYTES)
}

/** Summary blocks and the trailer block, to be written so that they end where the segment ends. */
export function encodeSeal(sealed: Seal, crc32c: Crc32c): Uint8Array {
  const { entries } = sealed
  const summaryBlocks = summaryBlocksFor(entries.length)
  const bytes = new Uint8Array((summaryBlocks + 1) * BLOCK_BYTES)
  const view = viewOf(bytes)
  let lastBatch = sealed.firstBatch - 1
  for (const [i, entry] of entries.entries()) {
    assert(entry.batch > lastBatch, 'the batches of a segment are in order')
    lastBatch = entry.batch
    const at = i * SUMMARY_ENTRY_BYTES
    view.setUint32(at, entry.startBlock, true)
    view.setUint32(at + 4, entry.headerCrc, true)
    putU48(view, at + 8, entry.batch)
    view.setUint16(at + 14, entry.headerBlocks, true)
  }
  const block = bytes.subarray(summaryBlocks * BLOCK_BYTES)
  putFrame(block, TRAILER_MAGIC, sealed)
  const trailer = viewOf(block)
  // An empty segment of batch 0 would need -1: batch numbers begin with 1.
  putU48Padded(trailer, 48, lastBatch)
  trailer.setUint32(56, entries.length, true)
  trailer.setUint32(60, summaryBlocks, true)
  trailer.setUint32(64, sealed.endBlock, true)
  trailer.setUint32(68, crc32c(bytes.subarray(0, entries.length * SUMMARY_ENTRY_BYTES)) >>> 0, true)
  trailer.setUint32(72, sealed.incarnation, true)
  trailer.setUint32(76, sealed.flags, true)
  seal(block, crc32c)
  return bytes
}

/** @param block  the last block of the segment */
export function decodeTrailer(
  block: Uint8Array,
  crc32c: Crc32c,
  expect: { diskUuid: string; segment: number; generation?: number; segmentBlocks?: number },
): Trailer | undefined {
  if (!isFrame(block, TRAILER_MAGIC, crc32c)) return undefined
  const view = viewOf(block)
  const trailer: Trailer = {
    ...getFrame(block),
    lastBatch: getU48(view, 48),
    batchCount: view.getUint32(56, true),
    summaryBlocks: view.getUint32(60, true),
    endBlock: view.getUint32(64, true),
    summaryCrc: view.getUint32(68, true),
    incarnation: view.getUint32(72, true),
    flags: view.getUint32(76, true),
  }
  const { batchCount, summaryBlocks, endBlock } = trailer
  if (trailer.diskUuid !== expect.diskUuid || trailer.segment !== expect.segment) return undefined
  if (expect.generation !== undefined && trailer.generation !== expect.generation) return undefined
  if (endBlock < 1 + batchCount || summaryBlocks !== summaryBlocksFor(batchCount)) return undefined
  if (expect.segmentBlocks !== undefined && endBlock + summaryBlocks + 1 > expect.segmentBlocks) return undefined
  return trailer
}

/** @param bytes  the summary blocks; undefined when they are not what the trailer sealed. */
export function decodeSummary(bytes: Uint8Array, trailer: Trailer, crc32c: Crc32c): SummaryEntry[] | undefined {
  const { batchCount, endBlock } = trailer
  const lengthBytes = batchCount * SUMMARY_ENTRY_BYTES
  if (bytes.length < lengthBytes) return undefined
  if (crc32c(bytes.subarray(0, lengthBytes)) >>> 0 !== trailer.summaryCrc) return undefined
  const view = viewOf(bytes)
  const entries: SummaryEntry[] = []
  for (let at = 0; at < lengthBytes; at += SUMMARY_ENTRY_BYTES) {
    const entry = {
      startBlock: view.getUint32(at, true),
      headerCrc: view.getUint32(at + 4, true),
      batch: getU48(view, at + 8),
      headerBlocks: view.getUint16(at + 14, true),
    }
    if (entry.startBlock < 1 || entry.headerBlocks < 1) return undefined
    if (entry.startBlock + entry.headerBlocks > endBlock) return undefined
    entries.push(entry)
  }
  return entries
}

/** The fields header and trailer have in common, at the same places. */
function putFrame(bytes: Uint8Array, magic: string, header: Omit<SegmentHeader, 'free'>): void {
  assert(header.generation > 0, 'generation 0 means that a segment was never used')
  const view = viewOf(bytes)
  putText(bytes, 0, 8, magic)
  view.setUint32(8, FORMAT_VERSION, true)
  view.setUint32(12, header.streamId, true)
  bytes.set(hexToUuid(header.diskUuid), 16)
  view.setUint32(32, header.segment, true)
  view.setUint32(36, header.generation, true)
  putU48Padded(view, 40, header.firstBatch)
}

function getFrame(bytes: Uint8Array): Omit<SegmentHeader, 'incarnation' | 'free'> {
  const view = viewOf(bytes)
  return {
    streamId: view.getUint32(12, true),
    diskUuid: uuidToHex(bytes.subarray(16, 32)),
    segment: view.getUint32(32, true),
    generation: view.getUint32(36, true),
    firstBatch: getU48(view, 40),
  }
}

function isFrame(bytes: Uint8Array, magic: string, crc32c: Crc32c): boolean {
  assert(bytes.length === BLOCK_BYTES, 'a segment header or trailer is one block')
  return hasMagic(bytes, magic) && isSealed(bytes, crc32c) && viewOf(bytes).getUint32(8, true) === FORMAT_VERSION
}
