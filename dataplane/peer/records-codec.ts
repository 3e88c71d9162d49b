/**
 * `append`, `log` and `reconcile`: records, laid by hand (PROTOCOL.md section 5.1). A list that is larger than a frame
 * may be is cut between two records; every piece repeats the head, and all but the last say that there is more.
 */
import { assert } from '../../engine/assert.ts'
import type { PeerMessage } from '../../engine/replication/messages.ts'
import type { RecordId } from '../../engine/replication/record-id.ts'
import type { ControlChange, ReplicatedRecord } from '../../engine/replication/record.ts'
import { BLOCK_BYTES, SLICE_BLOCKS, U48_MAX } from '../../engine/units.ts'
import { blobsOf } from '../../engine/volume/copy-headers.ts'
import { isOnePage, putBlocks, tableBytes, takeBlocks, transformOf } from './block-payload.ts'
import type { FrameBody } from './block-payload.ts'
import { getU48Padded, putU32, putU48Padded } from './byte-fields.ts'
import { decodeValue, encodeValue } from './control-value.ts'
import type { ControlWriter } from './control-writer.ts'
import { changeShape } from './message-shapes.ts'
import { CONTROL_BYTES_MAX, PAYLOAD_BYTES_MAX } from './protocol.ts'
import { getRequestId, isZeroBetween, putRequestId, REQUEST_ID_BYTES } from './request-id-fields.ts'

export type RecordsMessage = Extract<PeerMessage, { type: 'append' | 'log' | 'reconcile' }>

const HEAD_BYTES = 28
const RECORD_BYTES = 32 + REQUEST_ID_BYTES
const KIND = { write: 1, zero: 2, trim: 3, control: 4 } as const
const KIND_NAMES = [undefined, 'write', 'zero', 'trim', 'control'] as const
const HAS_REQUEST = 1
const HAS_ANSWERED_BELOW = 2
/** What a record takes at most beside its checksums: a change names epochs or an id. */
const CHANGE_BYTES_MAX = 64 * 1024
/** Any: its table is the longest. */
const TRANSFORMED = 1
const BLOCKS_MAX = PAYLOAD_BYTES_MAX / BLOCK_BYTES

/** Lays records from `first` on, as many as one frame takes. @returns the first one that is left */
export function encodeRecords(out: ControlWriter, message: RecordsMessage, first: number): number {
  const { records } = message
  const id = message.type === 'log' ? undefined : idOf(message)
  const head = out.room(HEAD_BYTES)
  putU32(out.view, head, id?.epoch ?? 0)
  putU48Padded(out.view, head + 4, id?.seq ?? 0)
  putU48Padded(out.view, head + 12, message.type === 'log' ? 0 : message.commitSeq)
  out.view.setUint32(head + 20, 0, true)
  let next = first
  let payloadBytes = 0
  for (; next < records.length; next++) {
    const record = records[next]!
    const bytes = record.kind === 'write' ? blobsOf(record.payload).bytes.length : 0
    assert(bytes <= PAYLOAD_BYTES_MAX, 'a write fits a frame')
    const tailBytes = (record.kind === 'write' ? tableBytes(TRANSFORMED, record.blockCount) : 0) + CHANGE_BYTES_MAX
    const isFull = payloadBytes + bytes > PAYLOAD_BYTES_MAX
      || out.controlBytes + RECORD_BYTES + tailBytes > CONTROL_BYTES_MAX
    if (next > first && isFull) break
    payloadBytes += bytes
    encodeRecord(out, record)
  }
  // The control part may have moved meanwhile.
  const headAt = out.headAt
  out.view.setUint32(headAt + 24, next - first, true)
  return next
}

function encodeRecord(out: ControlWriter, record: ReplicatedRecord): void {
  const { request } = record
  const at = out.room(RECORD_BYTES)
  const { view } = out
  view.setUint8(at, KIND[record.kind])
  const flags = request === undefined ? 0 : HAS_REQUEST + (request.answeredBelow === undefined ? 0 : HAS_ANSWERED_BELOW)
  view.setUint8(at + 1, flags)
  const transform = record.kind === 'write' ? transformOf(record.payload) : 0
  view.setUint16(at + 2, transform, true)
  putU32(view, at + 4, record.epoch)
  putU48Padded(view, at + 8, record.seq)
  if (request === undefined) out.bytes.fill(0, at + 32, at + RECORD_BYTES)
  else putRequestId(view, at + 32, request)
  if (record.kind === 'control') {
    putU48Padded(view, at + 16, 0)
    const change = encodeValue(record.change)
    assert(change.length <= CHANGE_BYTES_MAX, 'a change is small')
    putU32(view, at + 24, 0)
    putU32(view, at + 28, change.length)
    out.put(change)
    return
  }
  putU48Padded(view, at + 16, record.lba)
  putU32(view, at + 24, record.blockCount)
  putU32(view, at + 28, record.kind === 'write' ? tableBytes(transform, record.blockCount) : 0)
  if (record.kind === 'write') putBlocks(out, record.payload, record.blockCount)
}

/** @returns the message with the records of this frame, or why it is refused */
export function decodeRecords(type: RecordsMessage['type'], epoch: number, body: FrameBody): RecordsMessage | string {
  const { view, at } = body
  if (body.end - at < HEAD_BYTES) return 'the head is cut off'
  const id = { epoch: view.getUint32(at, true), seq: getU48Padded(view, at + 4) }
  const commitSeq = getU48Padded(view, at + 12)
  if (id.seq < 0 || commitSeq < 0 || view.getUint32(at + 20, true) !== 0) return 'the head has impossible values'
  const count = view.getUint32(at + 24, true)
  body.at += HEAD_BYTES
  if (count * RECORD_BYTES > body.end - body.at) return 'more records than bytes'
  const records: ReplicatedRecord[] = []
  for (let i = 0; i < count; i++) {
    const record = decodeRecord(body)
    if (typeof record === 'string') return record
    records.push(record)
  }
  if (body.at !== body.end || body.payloadAt !== body.payloadEnd) return 'something lies behind the records'
  if (type === 'append') return { type, epoch, previous: id, records, commitSeq }
  if (type === 'reconcile') return { type, epoch, fork: id, records, commitSeq }
  if (id.epoch !== 0 || id.seq !== 0 || commitSeq !== 0) return 'a log has no such head'
  return { type, epoch, records }
}

function decodeRecord(body: FrameBody): ReplicatedRecord | string {
  const { bytes, view, at } = body
  if (body.end - at < RECORD_BYTES) return 'a record is cut off'
  body.at += RECORD_BYTES
  const kind = KIND_NAMES[bytes[at]!]
  const flags = bytes[at + 1]!
  const epoch = view.getUint32(at + 4, true)
  const seq = getU48Padded(view, at + 8)
  const lba = getU48Padded(view, at + 16)
  const blockCount = view.getUint32(at + 24, true)
  const tailBytes = view.getUint32(at + 28, true)
  if (kind === undefined || flags > 3 || flags === HAS_ANSWERED_BELOW) return 'a record of unknown kind'
  const transform = view.getUint16(at + 2, true)
  if ((transform !== 0 && kind !== 'write') || seq < 0 || lba < 0) return 'a record has impossible values'
  const hasRequest = flags !== 0
  const request = hasRequest ? getRequestId(view, at + 32, flags > HAS_REQUEST) : undefined
  if (hasRequest ? request === undefined : !isZeroBetween(bytes, at + 32, at + RECORD_BYTES))
    return 'a record has an impossible request id'
  if (kind === 'control') {
    if (lba !== 0 || blockCount !== 0 || tailBytes > CHANGE_BYTES_MAX || body.end - body.at < tailBytes)
      return 'a change is cut off'
    const decoded = decodeValue(bytes.subarray(body.at, body.at + tailBytes))
    body.at += tailBytes
    if ('refused' in decoded) return decoded.refused
    if (!changeShape(decoded.value)) return 'a change of unknown shape'
    return { epoch, seq, request, kind, change: decoded.value as unknown as ControlChange }
  }
  if (blockCount === 0 || lba + blockCount - 1 > U48_MAX) return 'a record covers no blocks'
  if (kind !== 'write') {
    if (tailBytes !== 0 || blockCount > SLICE_BLOCKS) return 'a record covers too many blocks'
    return { epoch, seq, request, kind, lba, blockCount }
  }
  if (blockCount > BLOCKS_MAX || tailBytes !== tableBytes(transform, blockCount))
    return 'a record with other blocks than it says'
  if (!isOnePage(lba, blockCount)) return 'a record lies on two pages'
  const payload = takeBlocks(body, blockCount, transform)
  if (payload === undefined) return 'a block is missing or damaged'
  return { epoch, seq, request, kind, lba, blockCount, payload }
}

const idOf = (message: Extract<RecordsMessage, { type: 'append' | 'reconcile' }>): RecordId =>
  message.type === 'append' ? message.previous : message.fork

/** Messages that came in several frames: `next` behind `first`. */
export function joinRecords(first: RecordsMessage, next: RecordsMessage): string | undefined {
  if (next.type !== first.type || next.epoch !== first.epoch) return 'the pieces of a message do not fit'
  if (first.type !== 'log' && next.type !== 'log') {
    const [a, b] = [idOf(first), idOf(next)]
    if (a.epoch !== b.epoch || a.seq !== b.seq || first.commitSeq !== next.commitSeq)
      return 'the pieces of a message do not fit'
  }
  for (const record of next.records) first.records.push(record)
  return undefined
}
