/**
 * A record of a batch header: 104 fixed bytes, then a table of 8 bytes a block (write) and, with META, 32 bytes of
 * meta a block; a control record has the length and the crc of its JSON body instead (FORMAT.md 2.3).
 *
 * `encodeRecord` runs once a write: it only sets fields of a DataView and allocates nothing. Every byte of the record
 * is written, because the header buffer is reused. `decodeRecord` reads what a disk holds, so it checks bounds and
 * ranges before it believes a length, and answers undefined instead of throwing.
 */
import { assert } from '../assert.ts'
import { unitsMost } from '../transform/transform.ts'
import { PAGE_BLOCKS, SLICE_BLOCKS, U48_MAX } from '../units.ts'
import { getU48, putU48, putU48Padded } from './bytes.ts'

const HIGH_UNIT = 0x1_0000_0000
/** An incarnation is a whole number that a double holds. */
const INCARNATION_HIGH_END = 0x20_0000

export const RECORD_KIND = { write: 1, zero: 2, trim: 3, control: 4 } as const
export const OPERATION = {
  create: 1,
  resize: 2,
  snapshot: 3,
  snapshotDelete: 4,
  clone: 5,
  rollback: 6,
  delete: 7,
  epoch: 8,
  change: 9,
  snapshotLeaf: 10,
} as const
/**
 * `moved`: a cleaner's copy of an older record. `meta`: the table carries 32 B of meta a block. `fill`: a version that
 * another copy sent, in no order.
 */
export const RECORD_FLAG = { moved: 1, meta: 2, fill: 4 } as const

const LOCAL: ReadonlySet<number> = new Set([OPERATION.create, OPERATION.change, OPERATION.snapshotLeaf])

/** Whether a record of a copy has a seq of the volume's history of its own (FORMAT.md section 7). */
export const isReplicated = ({ kind, operation }: { kind: number; operation: number }): boolean =>
  kind !== RECORD_KIND.control || !LOCAL.has(operation)

/** Whether a record's body is a descriptor. */
export const hasDescriptor = ({ kind, operation }: { kind: number; operation: number }): boolean =>
  kind === RECORD_KIND.control && operation !== OPERATION.snapshotLeaf

/** `bornBatch` of what it is not known of: no trim may be forgotten for it. */
export const BORN_FIRST = 1
export const RECORD_FIXED_BYTES = 104
const TABLE_ENTRY_BYTES = 8
export const META_BYTES = 32
const CONTROL_TAIL_BYTES = 8
export const WRITE_BLOCKS_MAX = PAGE_BLOCKS
export const RANGE_BLOCKS_MAX = SLICE_BLOCKS
export const RECORD_BYTES_MAX = RECORD_FIXED_BYTES + WRITE_BLOCKS_MAX * (TABLE_ENTRY_BYTES + META_BYTES)

const { write: WRITE, control: CONTROL } = RECORD_KIND
const FLAGS_KNOWN = RECORD_FLAG.moved | RECORD_FLAG.meta | RECORD_FLAG.fill
const TRANSFORM_MOST = 7
const OPERATION_MOST = OPERATION.snapshotLeaf

assert(RECORD_BYTES_MAX % 8 === 0 && RECORD_BYTES_MAX < 2 ** 16, 'the longest record fits its u16')

export interface RecordHeader {
  /** One of RECORD_KIND. */
  kind: number
  /** Bits of RECORD_FLAG. */
  flags: number
  blockCount: number
  /** 16 raw bytes. */
  volumeId: Uint8Array
  /** Control: the revision of the descriptor. */
  lba: number
  part: number
  parts: number
  seq: number
  epoch: number
  attachGeneration: number
  previousSeq: number
  transform: number
  operation: number
  frontendIncarnation: number
  keyId: number
  requestNumber: number
  sliceGeneration: number
  /** Write, control: where the blobs start, from the batch's start. */
  payloadUnits: number
  /** The three of a moved write: the place it was copied from; else 0. `fromUnits` counts from the segment's start. */
  fromSegment: number
  fromGeneration: number
  fromUnits: number
  /** The oldest batch whose trims it may have escaped (FORMAT.md section 6); of a record that is no copy its own. */
  bornBatch: number
  /** Control; else 0. */
  bodyBytes: number
  bodyCrc: number
  /** Write: one a block (more are ignored); else empty. */
  crcs: Uint32Array | readonly number[]
  storedUnits: Uint8Array | readonly number[]
  /** With META: 32 bytes a block. */
  meta?: Uint8Array
}

const EMPTY: readonly number[] = []

/** A header with everything that most records have not. */
export function blankRecord(of: {
  kind: number
  volumeId: Uint8Array
  lba: number
  blockCount: number
  epoch: number
  seq: number
}): RecordHeader {
  return {
    kind: of.kind,
    flags: 0,
    blockCount: of.blockCount,
    volumeId: of.volumeId,
    lba: of.lba,
    part: 0,
    parts: 0,
    seq: of.seq,
    epoch: of.epoch,
    attachGeneration: 0,
    previousSeq: 0,
    transform: 0,
    operation: 0,
    frontendIncarnation: 0,
    keyId: 0,
    requestNumber: 0,
    sliceGeneration: 0,
    payloadUnits: 0,
    fromSegment: 0,
    fromGeneration: 0,
    fromUnits: 0,
    bornBatch: 0,
    bodyBytes: 0,
    bodyCrc: 0,
    crcs: EMPTY,
    storedUnits: EMPTY,
  }
}

export function recordBytes(record: { kind: number; flags: number; blockCount: number }): number {
  if (record.kind === WRITE) {
    const perBlock = (record.flags & RECORD_FLAG.meta) === 0 ? TABLE_ENTRY_BYTES : TABLE_ENTRY_BYTES + META_BYTES
    return RECORD_FIXED_BYTES + record.blockCount * perBlock
  }
  return record.kind === CONTROL ? RECORD_FIXED_BYTES + CONTROL_TAIL_BYTES : RECORD_FIXED_BYTES
}

/** How many units of payload the record's blobs take. */
export function recordPayloadUnits(record: RecordHeader): number {
  if (record.kind === CONTROL) return Math.ceil(record.bodyBytes / 64)
  let units = 0
  for (let i = 0; i < record.blockCount && record.kind === WRITE; i++) units += record.storedUnits[i]!
  return units
}

/**
 * Put `record` at `at`, which is a multiple of 8. The caller has made room (`recordBytes`).
 * @returns the record's length in bytes
 */
export function encodeRecord(view: DataView, at: number, record: RecordHeader): number {
  const { kind, flags, blockCount, volumeId } = record
  assert(hasSaneShape(kind, flags, blockCount, record.lba), 'a record has the shape of its kind')
  const lengthBytes = recordBytes(record)
  const isMovedWrite = kind === WRITE && (flags & RECORD_FLAG.moved) !== 0
  view.setUint8(at, kind)
  view.setUint8(at + 1, flags)
  view.setUint16(at + 2, lengthBytes, true)
  view.setUint32(at + 4, blockCount, true)
  for (let i = 0; i < 16; i++) view.setUint8(at + 8 + i, volumeId[i]!)
  putU48(view, at + 24, record.lba)
  view.setUint16(at + 30, record.part, true)
  putU48(view, at + 32, record.seq)
  view.setUint16(at + 38, record.parts, true)
  view.setUint32(at + 40, record.epoch, true)
  view.setUint32(at + 44, record.attachGeneration, true)
  putU48(view, at + 48, record.previousSeq)
  view.setUint8(at + 54, record.transform)
  view.setUint8(at + 55, record.operation)
  const incarnationHigh = Math.floor(record.frontendIncarnation / HIGH_UNIT)
  assert(incarnationHigh < INCARNATION_HIGH_END, 'an incarnation is a whole number that a double holds')
  view.setUint32(at + 56, record.frontendIncarnation - incarnationHigh * HIGH_UNIT, true)
  view.setUint32(at + 60, record.keyId, true)
  putU48(view, at + 64, record.requestNumber)
  view.setUint16(at + 70, 0, true)
  view.setUint32(at + 72, record.sliceGeneration, true)
  view.setUint32(at + 76, record.payloadUnits, true)
  view.setUint32(at + 80, isMovedWrite ? record.fromSegment : 0, true)
  view.setUint32(at + 84, isMovedWrite ? record.fromGeneration : 0, true)
  view.setUint32(at + 88, isMovedWrite ? record.fromUnits : 0, true)
  view.setUint32(at + 92, incarnationHigh, true)
  putU48Padded(view, at + 96, record.bornBatch)
  if (kind === WRITE) putTable(view, at + RECORD_FIXED_BYTES, record)
  else if (kind === CONTROL) {
    view.setUint32(at + 104, record.bodyBytes, true)
    view.setUint32(at + 108, record.bodyCrc, true)
  }
  return lengthBytes
}

function putTable(view: DataView, at: number, record: RecordHeader): void {
  const { blockCount, crcs, storedUnits, meta } = record
  const most = unitsMost(record.transform)
  for (let i = 0; i < blockCount; i++, at += TABLE_ENTRY_BYTES) {
    const units = storedUnits[i]!
    assert(units >= 1 && units <= most, 'a blob has 1 to 64 units, and one more when it is encrypted')
    view.setUint32(at, crcs[i]!, true)
    // The u8 and its three reserved bytes in one go.
    view.setUint32(at + 4, units, true)
  }
  if ((record.flags & RECORD_FLAG.meta) === 0) return
  assert(meta !== undefined && meta.length >= blockCount * META_BYTES, 'META comes with 32 bytes a block')
  for (let i = 0; i < blockCount * META_BYTES; i++) view.setUint8(at + i, meta[i]!)
}

/**
 * The record at `at`, which ends at or before `end`; undefined when what stands there is none. The result shares no
 * memory with the view.
 */
export function decodeRecord(view: DataView, at: number, end: number): RecordHeader | undefined {
  const bounded = Math.min(end, view.byteLength)
  if (at < 0 || at + RECORD_FIXED_BYTES > bounded) return undefined
  const kind = view.getUint8(at)
  const flags = view.getUint8(at + 1)
  const blockCount = view.getUint32(at + 4, true)
  const lba = getU48(view, at + 24)
  const transform = view.getUint8(at + 54)
  const operation = view.getUint8(at + 55)
  if (!hasSaneShape(kind, flags, blockCount, lba) || transform > TRANSFORM_MOST) return undefined
  const incarnationHigh = view.getUint32(at + 92, true)
  if (incarnationHigh >= INCARNATION_HIGH_END) return undefined
  if (kind === CONTROL ? operation < 1 || operation > OPERATION_MOST : operation !== 0) return undefined
  const lengthBytes = view.getUint16(at + 2, true)
  if (lengthBytes !== recordBytes({ kind, flags, blockCount }) || at + lengthBytes > bounded) return undefined
  const isMovedWrite = kind === WRITE && (flags & RECORD_FLAG.moved) !== 0
  const tableBlocks = kind === WRITE ? blockCount : 0
  const record: RecordHeader = {
    kind,
    flags,
    blockCount,
    volumeId: bytesAt(view, at + 8, 16),
    lba,
    part: view.getUint16(at + 30, true),
    parts: view.getUint16(at + 38, true),
    seq: getU48(view, at + 32),
    epoch: view.getUint32(at + 40, true),
    attachGeneration: view.getUint32(at + 44, true),
    previousSeq: getU48(view, at + 48),
    transform,
    operation,
    frontendIncarnation: incarnationHigh * HIGH_UNIT + view.getUint32(at + 56, true),
    keyId: view.getUint32(at + 60, true),
    requestNumber: getU48(view, at + 64),
    sliceGeneration: view.getUint32(at + 72, true),
    payloadUnits: view.getUint32(at + 76, true),
    fromSegment: isMovedWrite ? view.getUint32(at + 80, true) : 0,
    fromGeneration: isMovedWrite ? view.getUint32(at + 84, true) : 0,
    fromUnits: isMovedWrite ? view.getUint32(at + 88, true) : 0,
    bornBatch: getU48(view, at + 96),
    bodyBytes: kind === CONTROL ? view.getUint32(at + 104, true) : 0,
    bodyCrc: kind === CONTROL ? view.getUint32(at + 108, true) : 0,
    crcs: new Uint32Array(tableBlocks),
    storedUnits: new Uint8Array(tableBlocks),
  }
  return getTable(view, at + RECORD_FIXED_BYTES, record, tableBlocks) ? record : undefined
}

function getTable(view: DataView, at: number, record: RecordHeader, tableBlocks: number): boolean {
  const crcs = record.crcs as Uint32Array
  const storedUnits = record.storedUnits as Uint8Array
  const most = unitsMost(record.transform)
  for (let i = 0; i < tableBlocks; i++, at += TABLE_ENTRY_BYTES) {
    const units = view.getUint8(at + 4)
    if (units < 1 || units > most) return false
    crcs[i] = view.getUint32(at, true)
    storedUnits[i] = units
  }
  if ((record.flags & RECORD_FLAG.meta) !== 0) record.meta = bytesAt(view, at, tableBlocks * META_BYTES)
  return true
}

/** Kind, flags and range that belong together; one rule for what is written and what is read. */
function hasSaneShape(kind: number, flags: number, blockCount: number, lba: number): boolean {
  if ((flags & ~FLAGS_KNOWN) !== 0) return false
  if (kind === CONTROL) return blockCount === 0 && (flags & RECORD_FLAG.meta) === 0
  const last = lba + blockCount - 1
  if (blockCount < 1 || last > U48_MAX) return false
  if (kind === WRITE) return blockCount <= WRITE_BLOCKS_MAX && isWithinOne(PAGE_BLOCKS, lba, last)
  if (kind !== RECORD_KIND.zero && kind !== RECORD_KIND.trim) return false
  return (flags & RECORD_FLAG.meta) === 0 && blockCount <= RANGE_BLOCKS_MAX && isWithinOne(SLICE_BLOCKS, lba, last)
}

function isWithinOne(sizeBlocks: number, first: number, last: number): boolean {
  return Math.floor(first / sizeBlocks) === Math.floor(last / sizeBlocks)
}

function bytesAt(view: DataView, at: number, lengthBytes: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + at, lengthBytes).slice()
}
