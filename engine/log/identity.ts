/**
 * Who a block is, as 32 bits mixed into its stored checksum (FORMAT.md 2.3), so that a block which lies whole at the
 * wrong place, or is an older version of the right one, fails like a rotten one.
 *
 *     stored = (crc32c(blob) ^ blockIdentity(recordSeed(volumeTag(..), epoch, seq), lba)) >>> 0
 *
 * The three steps follow what changes how often: the tag once a volume, the seed once a record, the identity a block.
 * The blob's own crc needs no seed, so it is computed once, wherever the bytes are first seen.
 *
 * Every step is a bijection of the running hash (xor, odd multiplication, xor-shift), so for one volume two ids that
 * differ in one 32-bit word only never share an identity.
 */
import type { Crc32c } from '../ports.ts'

const HIGH_UNIT = 0x1_0000_0000

function mix(h: number, word: number): number {
  h = Math.imul(h ^ word, 0x85ebca6b)
  h ^= h >>> 13
  h = Math.imul(h, 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** @param volumeId 16 raw bytes */
export function volumeTag(crc32c: Crc32c, volumeId: Uint8Array): number {
  return crc32c(volumeId) >>> 0
}

export function recordSeed(tag: number, epoch: number, seq: number): number {
  const high = Math.floor(seq / HIGH_UNIT)
  return mix(mix(mix(tag, epoch), seq - high * HIGH_UNIT), high)
}

export function blockIdentity(seed: number, lba: number): number {
  const high = Math.floor(lba / HIGH_UNIT)
  return mix(mix(seed, lba - high * HIGH_UNIT), high)
}
