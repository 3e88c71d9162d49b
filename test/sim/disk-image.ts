/**
 * The bytes of a simulated disk: sparse, in blocks of 4096 B that are never changed in place, so that a clone shares
 * them and costs a map copy. A block that is absent reads as zeroes. Remembers what each block held before its last
 * change, for sectors that rot back to stale content.
 */
import { BLOCK_BYTES } from '../../engine/units.ts'
import type { Damage } from './disk.ts'
import type { Random } from './random.ts'

export const SECTOR_BYTES = 512
const SECTORS_PER_BLOCK = BLOCK_BYTES / SECTOR_BYTES
const ZEROES = new Uint8Array(BLOCK_BYTES)

/** Cut a buffer into copied blocks, appended to `into`; undefined for zeroes. */
export function blocksOf(buffer: Uint8Array, into: Array<Uint8Array | undefined>): void {
  for (let at = 0; at < buffer.byteLength; at += BLOCK_BYTES) {
    const block = buffer.subarray(at, at + BLOCK_BYTES)
    into.push(isZeroBlock(block) ? undefined : kept(block))
  }
}

/** Whether a buffer still is what `blocksOf` made of it. */
export function holdsBlock(buffer: Uint8Array, at: number, block: Uint8Array | undefined): boolean {
  return Buffer.compare(buffer.subarray(at, at + BLOCK_BYTES), block ?? ZEROES) === 0
}

const isZeroBlock = (block: Uint8Array): boolean => block[0] === 0 && Buffer.compare(block, ZEROES) === 0

/** Blocks are cut from larger pieces: thousands of small buffers are what collecting garbage costs most. */
const PIECE_BYTES = 64 * BLOCK_BYTES
let piece = new Uint8Array(0)
let pieceUsed = 0

function kept(block: Uint8Array): Uint8Array {
  if (pieceUsed === piece.length) {
    piece = new Uint8Array(PIECE_BYTES)
    pieceUsed = 0
  }
  const copy = piece.subarray(pieceUsed, (pieceUsed += BLOCK_BYTES))
  copy.set(block)
  return copy
}

export class DiskImage {
  private blocks: Map<number, Uint8Array>
  private former: Map<number, Uint8Array>

  constructor(blocks = new Map<number, Uint8Array>(), former = new Map<number, Uint8Array>()) {
    this.blocks = blocks
    this.former = former
  }

  clone(): DiskImage {
    return new DiskImage(new Map(this.blocks), new Map(this.former))
  }

  /**
   * Put blocks one behind the other at `offsetBytes` (nowhere when undefined), of which only the sectors (of 512 B,
   * counted from the write's start) that `keep` lets through.
   */
  apply(
    offsetBytes: number | undefined,
    blocks: ReadonlyArray<Uint8Array | undefined>,
    keep?: (sector: number) => boolean,
  ): void {
    if (offsetBytes === undefined) return
    const first = offsetBytes / BLOCK_BYTES
    for (let i = 0; i < blocks.length; i++) {
      if (keep === undefined) {
        this.set(first + i, blocks[i])
        continue
      }
      const mixed = this.block(first + i).slice()
      for (let sector = 0; sector < SECTORS_PER_BLOCK; sector++) {
        if (!keep(i * SECTORS_PER_BLOCK + sector)) continue
        const at = sector * SECTOR_BYTES
        mixed.set((blocks[i] ?? ZEROES).subarray(at, at + SECTOR_BYTES), at)
      }
      this.set(first + i, mixed)
    }
  }

  /** Have the blocks at these offsets hold what they hold in another image. */
  putBack(offsetsBytes: Iterable<number>, from: DiskImage): void {
    for (const offset of offsetsBytes) this.set(offset / BLOCK_BYTES, from.blocks.get(offset / BLOCK_BYTES))
  }

  read(offsetBytes: number, into: Uint8Array): void {
    for (let at = 0; at < into.byteLength;) {
      const from = (offsetBytes + at) % BLOCK_BYTES
      const part = this.block((offsetBytes + at - from) / BLOCK_BYTES).subarray(from, from + into.byteLength - at)
      into.set(part, at)
      at += part.length
    }
  }

  /** Offsets of all sectors of blocks that are not zeroes, in order. */
  sectors(): number[] {
    const offsets: number[] = []
    for (const block of [...this.blocks.keys()].sort((a, b) => a - b)) {
      for (let at = 0; at < BLOCK_BYTES; at += SECTOR_BYTES) offsets.push(block * BLOCK_BYTES + at)
    }
    return offsets
  }

  damage(sectorOffsetBytes: number, how: Damage, random: Random, sizeBytes: number): boolean {
    const sector = new Uint8Array(this.sector(sectorOffsetBytes))
    switch (how) {
      case 'flip': {
        // Different bytes, so that two flips never cancel.
        const first = random.int(SECTOR_BYTES)
        for (let flips = random.between(1, 8); flips > 0; flips--) {
          sector[(first + flips * 61) % SECTOR_BYTES]! ^= 1 << random.int(8)
        }
        break
      }
      case 'zero':
        sector.fill(0)
        break
      case 'ones':
        sector.fill(0xff)
        break
      case 'stale': {
        const block = Math.floor(sectorOffsetBytes / BLOCK_BYTES)
        const at = sectorOffsetBytes % BLOCK_BYTES
        sector.set((this.former.get(block) ?? ZEROES).subarray(at, at + SECTOR_BYTES))
        break
      }
      case 'neighbour': {
        const next = sectorOffsetBytes + SECTOR_BYTES
        sector.set(this.sector(next < sizeBytes ? next : sectorOffsetBytes - SECTOR_BYTES))
      }
    }
    return this.setSector(sectorOffsetBytes, sector)
  }

  copySector(sectorOffsetBytes: number, from: DiskImage): void {
    this.setSector(sectorOffsetBytes, from.sector(sectorOffsetBytes))
  }

  /** False when it changes nothing. */
  setSector(sectorOffsetBytes: number, bytes: Uint8Array): boolean {
    if (Buffer.compare(this.sector(sectorOffsetBytes), bytes) === 0) return false
    const number = Math.floor(sectorOffsetBytes / BLOCK_BYTES)
    const block = this.block(number).slice()
    block.set(bytes, sectorOffsetBytes % BLOCK_BYTES)
    if (Buffer.compare(block, ZEROES) === 0) this.blocks.delete(number)
    else this.blocks.set(number, block)
    return true
  }

  sector(sectorOffsetBytes: number): Uint8Array {
    const at = sectorOffsetBytes % BLOCK_BYTES
    return this.block(Math.floor(sectorOffsetBytes / BLOCK_BYTES)).subarray(at, at + SECTOR_BYTES)
  }

  private block(number: number): Uint8Array {
    return this.blocks.get(number) ?? ZEROES
  }

  private set(number: number, block: Uint8Array | undefined): void {
    const old = this.blocks.get(number)
    if (old !== undefined) this.former.set(number, old)
    if (block === undefined) this.blocks.delete(number)
    else this.blocks.set(number, block)
  }
}
