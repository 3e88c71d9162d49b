/**
 * The compression of one attachment: the blocks of a write become blobs here, once for every copy, and nowhere else.
 * Each block is compressed by itself, and stored compressed only when that saves an eighth of it.
 *
 * What does not compress costs next to nothing: after some blocks in a row that did not, only one of many is tried, of
 * more and more the longer it lasts, and the first that compresses ends that.
 */
import { compressBlock } from '../../engine/transform/lz4-block.ts'
import { TRANSFORM } from '../../engine/transform/transform.ts'
import type { Payload } from '../../engine/replication/record.ts'
import { BLOCK_BYTES, UNIT_BYTES, UNITS_PER_BLOCK } from '../../engine/units.ts'
import { payloadOf } from '../../engine/volume/copy-headers.ts'
import type { Blobs } from '../../engine/volume/copy-headers.ts'
import type { Compression } from '../../engine/volume/volume-spec.ts'
import { crc32c } from '../checksum.ts'
import { SlabPool } from '../slab-pool.ts'
import { BlobMemory } from './blob-memory.ts'

/** A blob of more is read as slowly as a block, and needs work besides. */
const UNITS_MOST = (UNITS_PER_BLOCK * 7) / 8
const FAILURES_BEFORE_SKIPS = 8
/** Blocks passed over at most before the next try. */
const SKIPS_MOST = 256
/** Blobs of consecutive blocks, one behind the other. */
export interface PlainBlobs {
  bytes: Uint8Array
  /** Of each blob; undefined: none was compressed. */
  units: Uint8Array | undefined
}

export class BlockCompression {
  mode: Compression
  /** Of blocks that were written, before and after. */
  writtenBytes = 0
  storedBytes = 0
  /** Blocks that were compressed, whatever came of it. */
  tries = 0
  readonly #memory: BlobMemory
  #failures = 0
  #skips = 0

  constructor(mode: Compression, memory = new BlobMemory(new SlabPool())) {
    this.mode = mode
    this.#memory = memory
  }

  figures(): { writtenBytes: number; storedBytes: number } {
    const { writtenBytes, storedBytes } = this
    return { writtenBytes, storedBytes }
  }

  /** @param bytes  whole blocks that nobody changes from now on; kept, when none of them is compressed */
  payloadOf(bytes: Uint8Array): Payload {
    const blobs = this.blobsOf(bytes)
    if (blobs.units === undefined) return payloadOf(crc32c, bytes)
    return blobsPayload(this.#memory.keep(blobs.bytes.length), blobs.units)
  }

  /** The same without checksums, for who does more to them: they are there until the next call. */
  blobsOf(bytes: Uint8Array): PlainBlobs {
    this.writtenBytes += bytes.length
    const blobs = (this.mode === 'lz4' ? this.#compressed(bytes) : undefined) ?? { bytes, units: undefined }
    this.storedBytes += blobs.bytes.length
    return blobs
  }

  #compressed(bytes: Uint8Array): PlainBlobs | undefined {
    const blockCount = bytes.length / BLOCK_BYTES
    const slab = this.#memory.room(bytes.length)
    const start = this.#memory.at
    const room = slab.bytes.subarray(start, start + bytes.length)
    let first = 0
    // Until one is compressed nothing is copied.
    let units = 0
    for (; first < blockCount; first++) {
      units = this.#try(bytes, first, room, 0)
      if (units > 0) break
    }
    if (first === blockCount) return undefined
    const table = new Uint8Array(blockCount).fill(UNITS_PER_BLOCK)
    table[first] = units
    let at = first * BLOCK_BYTES + units * UNIT_BYTES
    if (first > 0) {
      room.copyWithin(first * BLOCK_BYTES, 0, units * UNIT_BYTES)
      room.set(bytes.subarray(0, first * BLOCK_BYTES), 0)
    }
    for (let i = first + 1; i < blockCount; i++) {
      units = this.#try(bytes, i, room, at)
      if (units === 0) room.set(bytes.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES), at)
      else table[i] = units
      at += table[i]! * UNIT_BYTES
    }
    return { bytes: room.subarray(0, at), units: table }
  }

  /** Lays the blob of a block at `at` of the room. @returns its units, 0 when it is stored as it is */
  #try(bytes: Uint8Array, index: number, room: Uint8Array, at: number): number {
    if (this.#skips > 0) {
      this.#skips--
      return 0
    }
    this.tries++
    const block = bytes.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES)
    const used = compressBlock(block, room.subarray(at, at + UNITS_MOST * UNIT_BYTES))
    if (used === 0) {
      const more = ++this.#failures - FAILURES_BEFORE_SKIPS
      if (more >= 0) this.#skips = Math.min(SKIPS_MOST, FAILURES_BEFORE_SKIPS * 2 ** Math.min(more, 8))
      return 0
    }
    this.#failures = 0
    const units = Math.ceil(used / UNIT_BYTES)
    // Something else may have lain there before.
    room.fill(0, at + used, at + units * UNIT_BYTES)
    return units
  }
}

function blobsPayload(bytes: Uint8Array, units: Uint8Array): Payload {
  const crcs = new Uint32Array(units.length)
  for (let i = 0, from = 0; i < units.length; i++) {
    crcs[i] = crc32c(bytes.subarray(from, (from += units[i]! * UNIT_BYTES)))
  }
  return { bytes: bytes.length, data: { bytes, crcs, stored: { transform: TRANSFORM.lz4, units } } satisfies Blobs }
}
