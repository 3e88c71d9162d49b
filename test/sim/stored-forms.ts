/**
 * Payloads of stamped blocks in all forms beside each other: whether a block is compressed, whether its blob has a unit
 * before it as an encrypted one has, and how much room it takes, follows from its stamp, so that a version has one form
 * whoever makes it. Copies must not care.
 */
import { crc32c } from '@node-rs/crc32'
import type { Payload } from '../../engine/replication/record.ts'
import { compressBlock } from '../../engine/transform/lz4-block.ts'
import { TRANSFORM } from '../../engine/transform/transform.ts'
import { BLOCK_BYTES, UNIT_BYTES, UNITS_PER_BLOCK } from '../../engine/units.ts'
import { blobsOf, payloadOf, type Blobs } from '../../engine/volume/copy-headers.ts'
import { restoredBlob } from '../../engine/volume/restored-blocks.ts'

const isCompressed = (stamp: number): boolean => stamp % 3 === 1
const isSealed = (stamp: number): boolean => stamp % 7 === 3
/** What a sealed blob begins with; nothing is encrypted here. */
const SEAL = Uint8Array.from({ length: UNIT_BYTES }, (_, i) => 0xa5 ^ i)

/**
 * @param stamps  one a block
 * @param least  units of which a blob has a whole number
 */
export function mixedPayload(bytes: Uint8Array, stamps: readonly number[], least = 1): Payload {
  const sealed = least === 1 && stamps.some(isSealed)
  if (!sealed && !stamps.some(isCompressed)) return payloadOf(crc32c, bytes)
  const blobs = stamps.map((stamp, i) => {
    const blob = plainBlob(stamp, i)
    return sealed && isSealed(stamp) ? new Uint8Array([...SEAL, ...blob]) : blob
  })
  function plainBlob(stamp: number, i: number): Uint8Array {
    const block = bytes.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES)
    if (!isCompressed(stamp)) return block
    const blob = new Uint8Array((1 + (stamp % (UNITS_PER_BLOCK / least - 1))) * least * UNIT_BYTES)
    return compressBlock(block, blob) === 0 ? block : blob
  }
  const units = Uint8Array.from(blobs, (blob) => blob.length / UNIT_BYTES)
  const all = new Uint8Array(blobs.reduce((sum, blob) => sum + blob.length, 0))
  let at = 0
  for (const blob of blobs) {
    all.set(blob, at)
    at += blob.length
  }
  const crcs = blobs.map((blob) => crc32c(blob) >>> 0)
  const transform = sealed ? TRANSFORM.lz4 | TRANSFORM.cipher : TRANSFORM.lz4
  const data: Blobs = { bytes: all, crcs, stored: { transform, units } }
  return { bytes: all.length, data }
}

/** Throws when a blob is none. */
export function blocksOf(payload: Payload): Uint8Array[] {
  const { bytes, crcs, stored } = blobsOf(payload)
  const units = stored === undefined ? [...crcs as number[]].map(() => UNITS_PER_BLOCK) : [...stored.units as number[]]
  let at = 0
  return units.map((count) => {
    const blob = bytes.subarray(at, (at += count * UNIT_BYTES))
    const transform = stored?.transform ?? 0
    const isOfSealed = (transform & TRANSFORM.cipher) !== 0 && SEAL.every((byte, i) => blob[i] === byte)
    const plain = isOfSealed ? blob.subarray(UNIT_BYTES) : blob
    const block = restoredBlob(plain, transform & ~TRANSFORM.cipher, plain.length / UNIT_BYTES)
    if (block === undefined) throw new Error('a blob that no frontend made')
    return block
  })
}
