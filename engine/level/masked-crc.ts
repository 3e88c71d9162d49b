/** LevelDB stores checksums rotated and shifted, since the crc of bytes that hold crcs is a weak one. */
import type { Crc32c } from '../ports.ts'

const SHIFT = 0xa282ead8

/** @param stored  the number in the file */
export function isCrcOf(bytes: Uint8Array, stored: number, crc32c: Crc32c): boolean {
  const crc = crc32c(bytes)
  return (((crc >>> 15) | (crc << 17)) + SHIFT) >>> 0 === stored
}
