/**
 * Versions of blocks, as filling, repair and the answers to reads carry them: `fill`, `versions`, `snapshot-blocks`
 * (PROTOCOL.md 5.3, 5.6).
 */
import { assert } from '../../engine/assert.ts'
import type { FrontendMessage, PeerMessage } from '../../engine/replication/messages.ts'
import type { BlockVersion, VersionId } from '../../engine/replication/record.ts'
import { TRANSFORM } from '../../engine/transform/transform.ts'
import { CRC_BYTES, FILLING_TRANSFORMS, putBlocks, takeBlocks, transformOf } from './block-payload.ts'
import type { FrameBody } from './block-payload.ts'
import { getU48Padded, getU53, putU32, putU48Padded, putU53 } from './byte-fields.ts'
import type { ControlWriter } from './control-writer.ts'

const VERSION_BYTES = 24
const KIND = { write: 1, zero: 2, trim: 3 } as const
const KIND_NAMES = [undefined, 'write', 'zero', 'trim'] as const

export function encodeVersions(out: ControlWriter, versions: readonly BlockVersion[]): void {
  for (const { epoch, seq, lba, kind, payload } of versions) {
    const at = out.room(VERSION_BYTES)
    const { view } = out
    view.setUint8(at, KIND[kind])
    view.setUint8(at + 1, payload === undefined ? 0 : 1)
    view.setUint16(at + 2, payload === undefined ? 0 : transformOf(payload), true)
    putU32(view, at + 4, epoch)
    putU48Padded(view, at + 8, seq)
    putU48Padded(view, at + 16, lba)
    if (payload !== undefined) putBlocks(out, payload, 1)
  }
}

/** Takes exactly `count` versions, and nothing may be left behind them. */
export function decodeVersions(body: FrameBody, count: number, known?: number): BlockVersion[] | string {
  const { bytes, view } = body
  if (count * VERSION_BYTES > body.end - body.at) return 'more versions than bytes'
  const versions: BlockVersion[] = []
  for (let i = 0; i < count; i++) {
    const { at } = body
    if (body.end - at < VERSION_BYTES) return 'a version is cut off'
    body.at += VERSION_BYTES
    const kind = KIND_NAMES[bytes[at]!]
    const blocks = bytes[at + 1]!
    const epoch = view.getUint32(at + 4, true)
    const seq = getU48Padded(view, at + 8)
    const lba = getU48Padded(view, at + 16)
    const transform = view.getUint16(at + 2, true)
    if (kind === undefined || blocks > 1 || (transform !== 0 && blocks === 0) || seq < 0 || lba < 0)
      return 'a version has impossible values'
    const payload = blocks === 1 ? takeBlocks(body, 1, transform, known) : undefined
    if (blocks === 1 && payload === undefined) return 'a block is missing or damaged'
    const version: BlockVersion = { epoch, seq, lba, kind, payload }
    if ((transform & TRANSFORM.lost) !== 0) version.isMark = true
    versions.push(version)
  }
  return body.at === body.end && body.payloadAt === body.payloadEnd ? versions : 'something lies behind the versions'
}

type Fill = Extract<PeerMessage, { type: 'fill' }>

const FILL_BYTES = 24
const APPLIED_BYTES = 8
/** In the count of slices done. */
const HAS_APPLIED = 2 ** 31

export function encodeFill(out: ControlWriter, { fill, number, versions, slicesDone, appliedSeq }: Fill): void {
  const hasApplied = appliedSeq !== undefined
  const slicesAt = FILL_BYTES + (hasApplied ? APPLIED_BYTES : 0)
  const at = out.room(slicesAt + slicesDone.length * CRC_BYTES)
  const { view } = out
  putU53(view, at, fill)
  putU53(view, at + 8, number)
  putU32(view, at + 16, slicesDone.length + (hasApplied ? HAS_APPLIED : 0))
  putU32(view, at + 20, versions.length)
  if (hasApplied) putU53(view, at + FILL_BYTES, appliedSeq)
  slicesDone.forEach((slice, i) => putU32(view, at + slicesAt + i * CRC_BYTES, slice))
  encodeVersions(out, versions)
}

export function decodeFill(epoch: number, body: FrameBody): Fill | string {
  const { view, at } = body
  if (body.end - at < FILL_BYTES) return 'the head is cut off'
  const fill = getU53(view, at)
  const number = getU53(view, at + 8)
  const counted = view.getUint32(at + 16, true)
  const hasApplied = counted >= HAS_APPLIED
  const doneCount = hasApplied ? counted - HAS_APPLIED : counted
  const versionCount = view.getUint32(at + 20, true)
  body.at += FILL_BYTES
  if (hasApplied && body.end - body.at < APPLIED_BYTES) return 'the head is cut off'
  const appliedSeq = hasApplied ? getU53(view, body.at) : 0
  if (hasApplied) body.at += APPLIED_BYTES
  const isPossible = fill >= 0 && number >= 0 && appliedSeq >= 0
  if (!isPossible || doneCount * CRC_BYTES > body.end - body.at) return 'the head has impossible values'
  const slicesDone: number[] = []
  for (let i = 0; i < doneCount; i++) slicesDone.push(view.getUint32(body.at + i * CRC_BYTES, true))
  body.at += doneCount * CRC_BYTES
  const versions = decodeVersions(body, versionCount, FILLING_TRANSFORMS)
  if (typeof versions === 'string') return versions
  const message: Fill = { type: 'fill', epoch, fill, number, versions, slicesDone }
  return hasApplied ? { ...message, appliedSeq } : message
}

type FoundVersions = Extract<PeerMessage, { type: 'versions' }>

const FOUND_BYTES = 8
const ID_BYTES = 20
/** The number of the question, and how many ids of damaged ones follow those that are missing. */
const ASKED_BYTES = 12
/** In the count of missing ones. */
const HAS_ASKED = 2 ** 31

export function encodeFoundVersions(
  out: ControlWriter,
  { versions, missing, damaged = [], asked }: FoundVersions,
): void {
  const hasAsked = asked !== undefined
  assert(hasAsked || damaged.length === 0, 'what is damaged is said to who numbers its questions')
  const idsAt = FOUND_BYTES + (hasAsked ? ASKED_BYTES : 0)
  const ids = [...missing, ...damaged]
  const at = out.room(idsAt + ids.length * ID_BYTES)
  const { view } = out
  putU32(view, at, missing.length + (hasAsked ? HAS_ASKED : 0))
  putU32(view, at + 4, versions.length)
  if (hasAsked) {
    putU53(view, at + FOUND_BYTES, asked)
    putU32(view, at + FOUND_BYTES + 8, damaged.length)
  }
  ids.forEach(({ epoch, seq, lba }, i) => {
    putU32(view, at + idsAt + i * ID_BYTES, epoch)
    putU48Padded(view, at + idsAt + i * ID_BYTES + 4, seq)
    putU48Padded(view, at + idsAt + i * ID_BYTES + 12, lba)
  })
  encodeVersions(out, versions)
}

export function decodeFoundVersions(epoch: number, body: FrameBody): FoundVersions | string {
  const { view, at } = body
  if (body.end - at < FOUND_BYTES) return 'the head is cut off'
  const counted = view.getUint32(at, true)
  const hasAsked = counted >= HAS_ASKED
  const missingCount = hasAsked ? counted - HAS_ASKED : counted
  const versionCount = view.getUint32(at + 4, true)
  body.at += FOUND_BYTES
  if (hasAsked && body.end - body.at < ASKED_BYTES) return 'the head is cut off'
  const asked = hasAsked ? getU53(view, body.at) : 0
  const damagedCount = hasAsked ? view.getUint32(body.at + 8, true) : 0
  if (hasAsked) body.at += ASKED_BYTES
  if (asked < 0) return 'the head has impossible values'
  const ids = takeIds(body, missingCount + damagedCount)
  if (typeof ids === 'string') return ids
  const versions = decodeVersions(body, versionCount)
  if (typeof versions === 'string') return versions
  const message: FoundVersions = { type: 'versions', epoch, versions, missing: ids.slice(0, missingCount) }
  if (damagedCount > 0) message.damaged = ids.slice(missingCount)
  if (hasAsked) message.asked = asked
  return message
}

function takeIds(body: FrameBody, count: number): VersionId[] | string {
  const { view } = body
  if (count * ID_BYTES > body.end - body.at) return 'more ids than bytes'
  const ids: VersionId[] = []
  for (let i = 0; i < count; i++, body.at += ID_BYTES) {
    const seq = getU48Padded(view, body.at + 4)
    const lba = getU48Padded(view, body.at + 12)
    if (seq < 0 || lba < 0) return 'an id has impossible values'
    ids.push({ epoch: view.getUint32(body.at, true), seq, lba })
  }
  return ids
}

type SnapshotBlocks = Extract<FrontendMessage, { type: 'snapshot-blocks' }>

const SNAPSHOT_BYTES = 24

export function encodeSnapshotBlocks(out: ControlWriter, { reader, number, versions }: SnapshotBlocks): void {
  const at = out.room(SNAPSHOT_BYTES)
  const { view } = out
  putU53(view, at, reader)
  putU53(view, at + 8, number)
  putU32(view, at + 16, versions.length)
  putU32(view, at + 20, 0)
  encodeVersions(out, versions)
}

export function decodeSnapshotBlocks(epoch: number, body: FrameBody): SnapshotBlocks | string {
  const { view, at } = body
  if (body.end - at < SNAPSHOT_BYTES) return 'the head is cut off'
  const reader = getU53(view, at)
  const number = getU53(view, at + 8)
  const count = view.getUint32(at + 16, true)
  body.at += SNAPSHOT_BYTES
  if (reader < 0 || number < 0 || view.getUint32(at + 20, true) !== 0) return 'the head has impossible values'
  const versions = decodeVersions(body, count)
  return typeof versions === 'string' ? versions : { type: 'snapshot-blocks', reader, number, epoch, versions }
}
