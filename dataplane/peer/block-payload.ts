/**
 * Blocks on the wire: raw, one behind the other, each with the crc32c that it has without its identity, in the control
 * part. The control part's own checksum covers those, so every byte of a frame is covered, a block's crc is computed
 * once where its bytes were first seen, and damage in the memory of a node between is found too.
 */
import { assert } from '../../engine/assert.ts'
import { BLOCK_BYTES, PAGE_BLOCKS } from '../../engine/units.ts'
import { blobsOf } from '../../engine/volume/copy-headers.ts'
import type { Payload } from '../../engine/replication/record.ts'
import { crc32c } from '../checksum.ts'
import type { ControlWriter } from './control-writer.ts'

export const CRC_BYTES = 4

/** A write lies within one page of the map (FORMAT.md 2.3): the store asserts what is held against a peer here. */
export const isOnePage = (lba: number, blockCount: number): boolean => (lba % PAGE_BLOCKS) + blockCount <= PAGE_BLOCKS

/** Lists the blocks and lays their checksums: `blockCount` times four bytes. */
export function putBlocks(out: ControlWriter, payload: Payload, blockCount: number): void {
  const { bytes, crcs } = blobsOf(payload)
  assert(bytes.length === blockCount * BLOCK_BYTES, 'a payload is whole blocks')
  assert(crcs.length >= blockCount, 'each block comes with its crc')
  const at = out.room(blockCount * CRC_BYTES)
  for (let i = 0; i < blockCount; i++) out.view.setUint32(at + i * CRC_BYTES, crcs[i]!, true)
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

/** @returns undefined when there are not as many blocks, or one is damaged */
export function takeBlocks(body: FrameBody, blockCount: number): Payload | undefined {
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

function takeBlock(body: FrameBody): Payload | undefined {
  const { bytes, view } = body
  const crc = view.getUint32(body.at, true)
  const block = new Uint8Array(bytes.buffer, bytes.byteOffset + body.payloadAt, BLOCK_BYTES)
  if (crc32c(block) >>> 0 !== crc) return undefined
  body.at += CRC_BYTES
  body.payloadAt += BLOCK_BYTES
  return { bytes: BLOCK_BYTES, data: { bytes: block, crcs: [crc] } }
}
