/**
 * Payloads of stamped blocks in all forms beside each other: whether a block is compressed, and how much room its blob
 * takes, follows from its stamp, so that a version has one form whoever makes it. Copies must not care.
 */
import { crc32c } from '@node-rs/crc32'
import type { Payload } from '../../engine/replication/record.ts'
import { compressBlock } from '../../engine/transform/lz4-block.ts'
import { TRANSFORM } from '../../engine/transform/transform.ts'
import { BLOCK_BYTES, UNIT_BYTES, UNITS_PER_BLOCK } from '../../engine/units.ts'
import { blobsOf, payloadOf, type Blobs } from '../../engine/volume/copy-headers.ts'
import { restoredBlob } from '../../engine/volume/restored-blocks.ts'

const isCompressed = (stamp: number): boolean => stamp % 3 === 1

/**
 * @param stamps  one a block
 * @param least  units of which a blob has a whole number
 */
export function mixedPayload(bytes: Uint8Array, stamps: readonly number[], least = 1): Payload {
  if (!stamps.some(isCompressed)) return payloadOf(crc32c, bytes)
  const blobs = stamps.map((stamp, i) => {
    const block = bytes.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES)
    if (!isCompressed(stamp)) return block
    const blob = new Uint8Array((1 + (stamp % (UNITS_PER_BLOCK / least - 1))) * least * UNIT_BYTES)
    return compressBlock(block, blob) === 0 ? block : blob
  })
  const units = Uint8Array.from(blobs, (blob) => blob.length / UNIT_BYTES)
  const all = new Uint8Array(blobs.reduce((sum, blob) => sum + blob.length, 0))
  let at = 0
  for (const blob of blobs) {
    all.set(blob, at)
    at += blob.length
  }
  const crcs = blobs.map((blob) => crc32c(blob) >>> 0)
  const data: Blobs = { bytes: all, crcs, stored: { transform: TRANSFORM.lz4, units } }
  return { bytes: all.length, data }
}

/** Throws when a blob is none. */
export function blocksOf(payload: Payload): Uint8Array[] {
  const { bytes, crcs, stored } = blobsOf(payload)
  const units = stored === undefined ? [...crcs as number[]].map(() => UNITS_PER_BLOCK) : [...stored.units as number[]]
  let at = 0
  return units.map((count) => {
    const block = restoredBlob(bytes.subarray(at, (at += count * UNIT_BYTES)), stored?.transform ?? 0, count)
    if (block === undefined) throw new Error('a blob that no frontend made')
    return block
  })
}
