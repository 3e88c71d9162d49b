/**
 * What the codec tests share: the ways a sector goes bad, ids, and golden bytes. A golden form shows the non-zero
 * rows of 16 bytes as `offset: hex`, so that a change of the format is seen as the field that moved.
 */
import { crc32c as nativeCrc32c } from '@node-rs/crc32'
import type { Crc32c } from '../../../engine/ports.ts'

export const crc32c: Crc32c = (bytes, previous) => nativeCrc32c(bytes, previous)
export const CLUSTER_ID = '000102030405060708090a0b0c0d0e0f'
export const NODE_ID = '101112131415161718191a1b1c1d1e1f'
export const DISK_UUID = 'd0d1d2d3d4d5d6d7d8d9dadbdcdddedf'
export const BOOT_ID = 'b0b1b2b3b4b5b6b7b8b9babbbcbdbebf'

export function golden(bytes: Uint8Array): string[] {
  const rows: string[] = []
  for (let at = 0; at < bytes.length; at += 16) {
    const row = Buffer.from(bytes.subarray(at, at + 16))
    if (row.some((byte) => byte !== 0)) rows.push(`${String(at).padStart(4, '0')}: ${row.toString('hex')}`)
  }
  return rows
}

const SECTOR_BYTES = 512
const WAYS: Record<string, (sector: Uint8Array) => void> = {
  'one bit of the first byte flipped': (sector) => void (sector[0]! ^= 1),
  'one bit in the middle flipped': (sector) => void (sector[255]! ^= 0x80),
  'one bit of the last byte flipped': (sector) => void (sector[511]! ^= 1),
  'zeroed': (sector) => void sector.fill(0),
  'all ones': (sector) => void sector.fill(0xff),
}

/** Every 512 B sector damaged in every way that changes it. */
export function* damagedCopies(whole: Uint8Array): Generator<{ name: string; bytes: Uint8Array }> {
  for (let at = 0; at < whole.length; at += SECTOR_BYTES) {
    for (const [way, damage] of Object.entries(WAYS)) {
      const bytes = whole.slice()
      damage(bytes.subarray(at, at + SECTOR_BYTES))
      if (Buffer.compare(bytes, whole) !== 0) yield { name: `sector at ${at} ${way}`, bytes }
    }
  }
}
