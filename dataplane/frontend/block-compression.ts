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

/** A blob of more is read as slowly as a block, and needs work besides. */
const UNITS_MOST = (UNITS_PER_BLOCK * 7) / 8
const FAILURES_BEFORE_SKIPS = 8
/** Blocks passed over at most before the next try. */
const SKIPS_MOST = 256
/** Blobs are laid one behind the other in pieces of memory: a piece for each costs more than the compression. */
const PIECE_BYTES = 256 * 1024

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
  #failures = 0
  #skips = 0
  #piece = new Uint8Array(0)
  #at = 0

  constructor(mode: Compression) {
    this.mode = mode
  }

  figures(): { writtenBytes: number; storedBytes: number } {
    const { writtenBytes, storedBytes } = this
    return { writtenBytes, storedBytes }
  }

  /** @param bytes  whole blocks that nobody changes from now on; kept, when none of them is compressed */
  payloadOf(bytes: Uint8Array): Payload {
    const blobs = this.blobsOf(bytes)
    return blobs.units === undefined ? payloadOf(crc32c, bytes) : blobsPayload(blobs.bytes, blobs.units)
  }

  /** The same without checksums, for who does more to them. */
  blobsOf(bytes: Uint8Array): PlainBlobs {
    this.writtenBytes += bytes.length
    const blobs = (this.mode === 'lz4' ? this.#compressed(bytes) : undefined) ?? { bytes, units: undefined }
    this.storedBytes += blobs.bytes.length
    return blobs
  }

  #compressed(bytes: Uint8Array): PlainBlobs | undefined {
    const blockCount = bytes.length / BLOCK_BYTES
    let first = 0
    // Until one is compressed nothing is copied.
    let units = 0
    for (; first < blockCount; first++) {
      this.#reserve(bytes.length)
      units = this.#try(bytes, first, this.#at)
      if (units > 0) break
    }
    if (first === blockCount) return undefined
    const start = this.#at
    const table = new Uint8Array(blockCount).fill(UNITS_PER_BLOCK)
    table[first] = units
    const own = first * BLOCK_BYTES + units * UNIT_BYTES
    if (first > 0) {
      this.#piece.copyWithin(start + first * BLOCK_BYTES, start, start + units * UNIT_BYTES)
      this.#piece.set(bytes.subarray(0, first * BLOCK_BYTES), start)
    }
    let at = start + own
    for (let i = first + 1; i < blockCount; i++) {
      units = this.#try(bytes, i, at)
      if (units === 0) this.#piece.set(bytes.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES), at)
      else table[i] = units
      at += table[i]! * UNIT_BYTES
    }
    this.#at = at
    return { bytes: this.#piece.subarray(start, at), units: table }
  }

  /** Lays the blob of a block at `at` of the piece. @returns its units, 0 when it is stored as it is */
  #try(bytes: Uint8Array, index: number, at: number): number {
    if (this.#skips > 0) {
      this.#skips--
      return 0
    }
    this.tries++
    const block = bytes.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES)
    const used = compressBlock(block, this.#piece.subarray(at, at + UNITS_MOST * UNIT_BYTES))
    if (used === 0) {
      const more = ++this.#failures - FAILURES_BEFORE_SKIPS
      if (more >= 0) this.#skips = Math.min(SKIPS_MOST, FAILURES_BEFORE_SKIPS * 2 ** Math.min(more, 8))
      return 0
    }
    this.#failures = 0
    const units = Math.ceil(used / UNIT_BYTES)
    // A try before may have left something there.
    this.#piece.fill(0, at + used, at + units * UNIT_BYTES)
    return units
  }

  #reserve(lengthBytes: number): void {
    if (this.#piece.length - this.#at >= lengthBytes) return
    this.#piece = new Uint8Array(Math.max(PIECE_BYTES, lengthBytes))
    this.#at = 0
  }
}

function blobsPayload(bytes: Uint8Array, units: Uint8Array): Payload {
  const crcs = new Uint32Array(units.length)
  for (let i = 0, from = 0; i < units.length; i++) {
    crcs[i] = crc32c(bytes.subarray(from, (from += units[i]! * UNIT_BYTES)))
  }
  return { bytes: bytes.length, data: { bytes, crcs, stored: { transform: TRANSFORM.lz4, units } } satisfies Blobs }
}
