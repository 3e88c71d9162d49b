/**
 * The mark of a block that nobody has any more (engine/replication/SPEC.md D8): a blob as long as what was lost, under
 * the same id and with the same checksum, of a transform that says that it is none. So logs, cleaners, checkpoints and
 * comparisons of copies treat it as the block itself, and whoever reads it meets damage.
 *
 * A checksum is 32 bits: zeroes, and four bytes that make them fit (CRC-32C is linear).
 */
import { crcOf, epochOf, seqOf, storedUnitsOf, transformOf } from '../log/entry.ts'
import { blockIdentity, recordSeed } from '../log/identity.ts'
import type { Payload, VersionId } from '../replication/record.ts'
import { TRANSFORM } from '../transform/transform.ts'
import { UNIT_BYTES } from '../units.ts'
import type { Blobs } from './copy-headers.ts'
import type { CopyReading } from './copy-reader.ts'

const POLYNOMIAL = 0x82f6_3b78
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte
  for (let bit = 0; bit < 8; bit++) value = (value & 1) === 0 ? value >>> 1 : (value >>> 1) ^ POLYNOMIAL
  return value >>> 0
})
/** Which entry of the table begins with a byte: each does once. */
const BY_FIRST = Uint8Array.from({ length: 256 }, (_, first) => TABLE.findIndex((value) => value >>> 24 === first))

export const isLostMark = (transform: number): boolean => (transform & TRANSFORM.lost) !== 0

/** @param lost  what was asked for, and nobody has */
export const isAmong = (lost: readonly VersionId[], lba: number, words: Uint32Array, w = 0): boolean =>
  lost.some((id) => id.lba === lba && id.seq === seqOf(words, w) && id.epoch === epochOf(words, w))

/** In place of the block of an entry. */
export function lostMark({ crc32c, tag }: CopyReading, lba: number, words: Uint32Array): Payload {
  const units = storedUnitsOf(words, 0)
  const identity = blockIdentity(recordSeed(tag, epochOf(words, 0), seqOf(words, 0)), lba)
  const crc = (crcOf(words, 0) ^ identity) >>> 0
  const bytes = new Uint8Array(units * UNIT_BYTES)
  fitChecksum(bytes, crc, crc32c(bytes.subarray(0, -4)) >>> 0)
  const stored = { transform: transformOf(words, 0) | TRANSFORM.lost, units: [units] }
  return { bytes: bytes.length, data: { bytes, crcs: [crc], stored } satisfies Blobs }
}

/** Set the last four bytes so that the checksum of all is `crc`. @param before  of what is in front of them */
function fitChecksum(bytes: Uint8Array, crc: number, before: number): void {
  let register = ~crc >>> 0
  for (let i = 0; i < 4; i++) {
    const index = BY_FIRST[register >>> 24]!
    register = (((register ^ TABLE[index]!) << 8) | index) >>> 0
  }
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).setUint32(bytes.length - 4, register ^ ~before, true)
}
