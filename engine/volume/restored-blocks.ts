/**
 * Blocks as their user wrote them, out of blobs as copies have them: the inverse of what a frontend did to a write. A
 * blob was verified by its checksum before; what was stored under a right checksum and is no block is damage too.
 *
 * Of an encrypted volume every block is encrypted: one that is not was put there by somebody who has no key.
 */
import type { BlockVersion, Payload } from '../replication/record.ts'
import { decompressBlock } from '../transform/lz4-block.ts'
import { TRANSFORM } from '../transform/transform.ts'
import { BLOCK_BYTES, UNIT_BYTES, UNITS_PER_BLOCK } from '../units.ts'
import { blobsOf, type Blobs, type StoredForm } from './copy-headers.ts'

/** Has the keys of a volume. */
export interface BlobOpener {
  /** What is in an encrypted blob, at most a block; below 1: it is none. */
  openedBytes(blob: Uint8Array): number
  /** @returns false: it is not what somebody with the key made for this block, and nobody may look at `into` */
  open(blob: Uint8Array, lba: number, into: Uint8Array): boolean
  /** What is stored for this block was not made by somebody with the key. */
  refused(lba: number): void
}

const isStoredOtherwise = ({ payload }: BlockVersion): boolean =>
  payload !== undefined && blobsOf(payload).stored !== undefined

const isSealed = (stored: StoredForm | undefined): stored is StoredForm =>
  stored !== undefined && (stored.transform & TRANSFORM.cipher) !== 0

/**
 * @param opener  of an encrypted volume
 * @returns the same when nothing was done to them; undefined when a blob is no block
 */
export function restored(versions: BlockVersion[], opener?: BlobOpener): BlockVersion[] | undefined {
  if (opener === undefined && !versions.some(isStoredOtherwise)) return versions
  let room = roomFor(versions, opener)
  const blocks: BlockVersion[] = []
  for (const version of versions) {
    const { lba, payload } = version
    if (payload === undefined) {
      blocks.push(version)
      continue
    }
    const { bytes, stored } = blobsOf(payload)
    let plain = bytes
    if (opener !== undefined) {
      if (!isSealed(stored)) return refused(opener, lba)
      const lengthBytes = opener.openedBytes(bytes)
      plain = room.subarray(0, lengthBytes)
      room = room.subarray(lengthBytes)
      if (!opener.open(bytes, lba, plain)) return refused(opener, lba)
    } else if (stored === undefined) {
      blocks.push(version)
      continue
    }
    const transform = opener === undefined ? stored.transform : stored.transform & ~TRANSFORM.cipher
    const block = restoredBlob(plain, transform, plain.length / UNIT_BYTES)
    if (block === undefined) return refused(opener, lba)
    blocks.push({ ...version, payload: payloadOfBlock(block) })
  }
  return blocks
}

/**
 * The block of one version of an encrypted volume, undefined when it is none.
 * @param into  of a whole block: filled when that takes no more memory than it has, and then the result
 */
export function openedBlock(
  { lba, payload }: BlockVersion, opener: BlobOpener, into: Uint8Array | undefined,
): Uint8Array | undefined {
  const { bytes, stored } = blobsOf(payload!)
  if (!isSealed(stored)) return refused(opener, lba)
  const lengthBytes = opener.openedBytes(bytes)
  const plain = into !== undefined && lengthBytes === into.length ? into : new Uint8Array(Math.max(0, lengthBytes))
  if (!opener.open(bytes, lba, plain)) return refused(opener, lba)
  return restoredBlob(plain, stored.transform & ~TRANSFORM.cipher, plain.length / UNIT_BYTES) ?? refused(opener, lba)
}

function refused(opener: BlobOpener | undefined, lba: number): undefined {
  opener?.refused(lba)
  return undefined
}

/** One piece of memory for all that is opened. */
function roomFor(versions: readonly BlockVersion[], opener: BlobOpener | undefined): Uint8Array {
  let bytes = 0
  if (opener !== undefined) {
    for (const { payload } of versions)
      if (payload !== undefined) bytes += Math.max(0, opener.openedBytes(blobsOf(payload).bytes))
  }
  return new Uint8Array(bytes)
}

/** The checksum of the block is nobody's any more: it says 0. */
const payloadOfBlock = (block: Uint8Array): Payload =>
  ({ bytes: BLOCK_BYTES, data: { bytes: block, crcs: [0] } satisfies Blobs })

/** The block of a verified blob of so many units; undefined when it is none, or the transform is not known here. */
export function restoredBlob(blob: Uint8Array, transform: number, units: number): Uint8Array | undefined {
  if ((transform & ~TRANSFORM.lz4) !== 0) return undefined
  if (units === UNITS_PER_BLOCK) return blob
  if (transform === TRANSFORM.none) return undefined
  const block = new Uint8Array(BLOCK_BYTES)
  return decompressBlock(blob, block) ? block : undefined
}
