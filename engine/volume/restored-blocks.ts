/**
 * Blocks as their user wrote them, out of blobs as copies have them: the inverse of what a frontend did to a write. A
 * blob was verified by its checksum before; what was stored under a right checksum and is no block is damage too.
 */
import type { BlockVersion, Payload } from '../replication/record.ts'
import { decompressBlock } from '../transform/lz4-block.ts'
import { TRANSFORM } from '../transform/transform.ts'
import { BLOCK_BYTES, UNITS_PER_BLOCK } from '../units.ts'
import { blobsOf, type Blobs } from './copy-headers.ts'

const isStoredOtherwise = ({ payload }: BlockVersion): boolean =>
  payload !== undefined && blobsOf(payload).stored !== undefined

/** @returns the same when nothing was done to them; undefined when a blob is no block */
export function restored(versions: BlockVersion[]): BlockVersion[] | undefined {
  if (!versions.some(isStoredOtherwise)) return versions
  const blocks: BlockVersion[] = []
  for (const version of versions) {
    const payload = version.payload === undefined ? undefined : blockOf(version.payload)
    if (payload === undefined && version.payload !== undefined) return undefined
    blocks.push({ ...version, payload })
  }
  return blocks
}

/** Of one blob. The checksum of the block is nobody's any more: it says 0. */
function blockOf(payload: Payload): Payload | undefined {
  const { bytes, stored } = blobsOf(payload)
  if (stored === undefined) return payload
  const block = restoredBlob(bytes, stored.transform, stored.units[0]!)
  return block && { bytes: BLOCK_BYTES, data: { bytes: block, crcs: [0] } satisfies Blobs }
}

/** The block of a verified blob of so many units; undefined when it is none, or the transform is not known here. */
export function restoredBlob(blob: Uint8Array, transform: number, units: number): Uint8Array | undefined {
  if ((transform & ~TRANSFORM.lz4) !== 0) return undefined
  if (units === UNITS_PER_BLOCK) return blob
  if (transform === TRANSFORM.none) return undefined
  const block = new Uint8Array(BLOCK_BYTES)
  return decompressBlock(blob, block) ? block : undefined
}
