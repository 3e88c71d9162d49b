/**
 * Blobs on the wire, as they are stored: one behind the other, each with the crc32c that it has without its identity,
 * in the control part. The control part's own checksum covers those, so every byte of a frame is covered, a blob's crc
 * is computed once where its bytes were first seen, and damage in the memory of a node between is found too.
 *
 * Where something was compressed or encrypted the units of each blob follow the checksums. What is in a blob nobody
 * looks at here.
 */
import { assert } from '../../engine/assert.ts'
import { TRANSFORM, unitsMost } from '../../engine/transform/transform.ts'
import { BLOCK_BYTES, PAGE_BLOCKS, UNIT_BYTES, UNITS_PER_BLOCK } from '../../engine/units.ts'
import { blobsOf } from '../../engine/volume/copy-headers.ts'
import type { Blobs } from '../../engine/volume/copy-headers.ts'
import type { Payload } from '../../engine/replication/record.ts'
import { crc32c } from '../checksum.ts'
import type { ControlWriter } from './control-writer.ts'

export const CRC_BYTES = 4

/** A write lies within one page of the map (FORMAT.md 2.3): the store asserts what is held against a peer here. */
export const isOnePage = (lba: number, blockCount: number): boolean => (lba % PAGE_BLOCKS) + blockCount <= PAGE_BLOCKS

/** Of a version that fills a copy: marks of what nobody has, too. */
export const FILLING_TRANSFORMS = TRANSFORM.lz4 | TRANSFORM.cipher | TRANSFORM.lost
/** Transforms that a frame may name: bits of FORMAT.md 2.3. */
const TRANSFORMS_KNOWN = TRANSFORM.lz4 | TRANSFORM.cipher

export const transformOf = (payload: Payload): number => blobsOf(payload).stored?.transform ?? TRANSFORM.none

/** What `putBlocks` takes of the control part. */
export const tableBytes = (transform: number, blockCount: number): number =>
  blockCount * (transform === TRANSFORM.none ? CRC_BYTES : CRC_BYTES + 1)

/** Lists the blobs and lays their table: a crc each, then, with a transform, a byte each for their units. */
export function putBlocks(out: ControlWriter, payload: Payload, blockCount: number): void {
  const { bytes, crcs, stored } = blobsOf(payload)
  assert(crcs.length >= blockCount, 'each block comes with its crc')
  const at = out.room(tableBytes(transformOf(payload), blockCount))
  for (let i = 0; i < blockCount; i++) out.view.setUint32(at + i * CRC_BYTES, crcs[i]!, true)
  let units = blockCount * UNITS_PER_BLOCK
  if (stored !== undefined) {
    assert(stored.transform !== TRANSFORM.none, 'what is not transformed is stored as it is')
    units = 0
    for (let i = 0; i < blockCount; i++) {
      out.view.setUint8(at + blockCount * CRC_BYTES + i, stored.units[i]!)
      units += stored.units[i]!
    }
  }
  assert(bytes.length === units * UNIT_BYTES, 'a payload is its blobs')
  out.payload(bytes)
}

/** Control and payload of a frame as they were received, read from the front. */
export interface FrameBody {
  bytes: Uint8Array
  view: DataView
  /** Control part: what is not read yet. */
  at: number
  end: number
  /** Payload: what is not taken yet. */
  payloadAt: number
  payloadEnd: number
}

/** @returns undefined when there are not as many blobs, one is damaged, or the transform is not known */
export function takeBlocks(
  body: FrameBody, blockCount: number, transform: number, known = TRANSFORMS_KNOWN,
): Payload | undefined {
  if ((transform & ~known) !== 0) return undefined
  if (transform !== TRANSFORM.none) return takeBlobs(body, blockCount, transform)
  const { bytes, view } = body
  const lengthBytes = blockCount * BLOCK_BYTES
  if (body.payloadEnd - body.payloadAt < lengthBytes || body.end - body.at < blockCount * CRC_BYTES) return undefined
  if (blockCount === 1) return takeBlock(body)
  const crcs = new Uint32Array(blockCount)
  for (let i = 0; i < blockCount; i++) {
    const crc = (crcs[i] = view.getUint32(body.at + i * CRC_BYTES, true))
    const from = body.payloadAt + i * BLOCK_BYTES
    if (crc32c(bytes.subarray(from, from + BLOCK_BYTES)) >>> 0 !== crc) return undefined
  }
  const data = { bytes: bytes.subarray(body.payloadAt, body.payloadAt + lengthBytes), crcs }
  body.at += blockCount * CRC_BYTES
  body.payloadAt += lengthBytes
  return { bytes: lengthBytes, data }
}

function takeBlobs(body: FrameBody, blockCount: number, transform: number): Payload | undefined {
  const { bytes, view, at, payloadAt } = body
  const lengthBytes = tableBytes(transform, blockCount)
  if (body.end - at < lengthBytes) return undefined
  const crcs = new Uint32Array(blockCount)
  const units = new Uint8Array(blockCount)
  const most = unitsMost(transform)
  let end = payloadAt
  for (let i = 0; i < blockCount; i++) {
    const crc = (crcs[i] = view.getUint32(at + i * CRC_BYTES, true))
    const length = (units[i] = view.getUint8(at + blockCount * CRC_BYTES + i))
    const from = end
    end += length * UNIT_BYTES
    if (length < 1 || length > most || end > body.payloadEnd) return undefined
    if (crc32c(bytes.subarray(from, end)) >>> 0 !== crc) return undefined
  }
  body.at += lengthBytes
  body.payloadAt = end
  const data: Blobs = { bytes: bytes.subarray(payloadAt, end), crcs, stored: { transform, units } }
  return { bytes: end - payloadAt, data }
}

function takeBlock(body: FrameBody): Payload | undefined {
  const { bytes, view } = body
  const crc = view.getUint32(body.at, true)
  const block = new Uint8Array(bytes.buffer, bytes.byteOffset + body.payloadAt, BLOCK_BYTES)
  if (crc32c(block) >>> 0 !== crc) return undefined
  body.at += CRC_BYTES
  body.payloadAt += BLOCK_BYTES
  return { bytes: BLOCK_BYTES, data: { bytes: block, crcs: [crc] } }
}
