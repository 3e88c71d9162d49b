/**
 * What is allocated, as the protocol tells it: the payload of a BLOCK_STATUS chunk, and the plan of a read that
 * leaves zeroes out. Pure.
 *
 * All lengths are clipped to the request by subtraction in doubles, which are exact up to 2^53; 32-bit descriptors
 * only ever hold lengths that fit (a compact request is shorter than 2^32, and an extent ends within its request).
 *
 * Source: doc/proto.md "NBD_REPLY_TYPE_BLOCK_STATUS", "NBD_REPLY_TYPE_BLOCK_STATUS_EXT", "NBD_CMD_READ".
 */
import { assert } from '../../engine/assert.ts'
import type { Extent } from '../../engine/volume/block-device.ts'
import { BASE_ALLOCATION_ID, NBD_STATE_HOLE, NBD_STATE_ZERO } from './protocol.ts'
import { setU64 } from './reply-writer.ts'

/** Descriptors in one reply; clients ask again from where they end (the text's own bound is 2^20). */
export const EXTENTS_MAX = 4096

export function stateFlags(extent: Extent): number {
  return (extent.hole ? NBD_STATE_HOLE : 0) | (extent.zero ? NBD_STATE_ZERO : 0)
}

/** Payload of the one status chunk, for base:allocation. */
export function encodeBlockStatus(extents: readonly Extent[], lengthBytes: number, extended: boolean): Uint8Array {
  const clipped = clip(extents, lengthBytes)
  assert(clipped.length > 0, 'a block status has at least one extent')
  const descriptorBytes = extended ? 16 : 8
  const firstAt = extended ? 8 : 4
  const payload = new Uint8Array(firstAt + clipped.length * descriptorBytes)
  const view = new DataView(payload.buffer)
  view.setUint32(0, BASE_ALLOCATION_ID)
  if (extended) view.setUint32(4, clipped.length)
  clipped.forEach((extent, index) => {
    const at = firstAt + index * descriptorBytes
    if (extended) {
      setU64(view, at, extent.lengthBytes)
      setU64(view, at + 8, stateFlags(extent))
    } else {
      assert(extent.lengthBytes <= 0xffffffff, 'an extent of a compact request fits 32 bits')
      view.setUint32(at, extent.lengthBytes)
      view.setUint32(at + 4, stateFlags(extent))
    }
  })
  return payload
}

function clip(extents: readonly Extent[], lengthBytes: number): Extent[] {
  const clipped: Extent[] = []
  let leftBytes = lengthBytes
  for (const extent of extents) {
    if (leftBytes === 0) break
    assert(extent.lengthBytes > 0, 'extents are not empty')
    const partBytes = Math.min(extent.lengthBytes, leftBytes)
    clipped.push(partBytes === extent.lengthBytes ? extent : { ...extent, lengthBytes: partBytes })
    leftBytes -= partBytes
  }
  return clipped
}

export interface ReadPart {
  hole: boolean
  offsetBytes: number
  lengthBytes: number
}

/**
 * Cut a read into data and zeroes. What the extents do not cover counts as data.
 * @returns undefined when it is one piece of data, for which the plain way is cheaper
 */
export function planSparseRead(
  extents: readonly Extent[],
  range: { offsetBytes: number; lengthBytes: number },
): ReadPart[] | undefined {
  const parts: ReadPart[] = []
  let coveredBytes = 0
  const add = (hole: boolean, lengthBytes: number) => {
    const last = parts.at(-1)
    if (last?.hole === hole) last.lengthBytes += lengthBytes
    else parts.push({ hole, offsetBytes: range.offsetBytes + coveredBytes, lengthBytes })
    coveredBytes += lengthBytes
  }
  for (const extent of clip(extents, range.lengthBytes)) add(extent.zero, extent.lengthBytes)
  if (coveredBytes < range.lengthBytes) add(false, range.lengthBytes - coveredBytes)
  return parts.some((part) => part.hole) ? parts : undefined
}
