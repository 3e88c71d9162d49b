/**
 * What every structure of one block shares (superblock, root, segment header, trailer): eight bytes of magic at its
 * start, and at its end (byte 4092) the crc32c of everything before.
 */
import type { Crc32c } from '../ports.ts'
import { BLOCK_BYTES } from '../units.ts'
import { viewOf } from './bytes.ts'

const CRC_AT = BLOCK_BYTES - 4

export function seal(bytes: Uint8Array, crc32c: Crc32c): void {
  viewOf(bytes).setUint32(CRC_AT, crc32c(bytes.subarray(0, CRC_AT)) >>> 0, true)
}

export function isSealed(bytes: Uint8Array, crc32c: Crc32c): boolean {
  return viewOf(bytes).getUint32(CRC_AT, true) === crc32c(bytes.subarray(0, CRC_AT)) >>> 0
}

export function hasMagic(bytes: Uint8Array, magic: string): boolean {
  for (let i = 0; i < magic.length; i++) if (bytes[i] !== magic.charCodeAt(i)) return false
  return true
}
