/** What the operator wishes of a disk: `disk-wishes/<uuid>` (engine/control/node-status.ts). */
import type { DiskWish } from '../../engine/control/node-status.ts'
import { isFlag } from '../../engine/value-shape.ts'
import { encodeJson, parseRecord } from './json-value.ts'

export const DISK_WISH_PREFIX = 'disk-wishes/'

export const diskWishKey = (uuid: string): string => `${DISK_WISH_PREFIX}${uuid}`

export const encodeDiskWish = (wish: DiskWish): Uint8Array => encodeJson(wish)

export function decodeDiskWish(value: Uint8Array): DiskWish | undefined {
  const found = parseRecord(value)
  return isFlag(found?.isEvicted) ? { isEvicted: found.isEvicted } : undefined
}
