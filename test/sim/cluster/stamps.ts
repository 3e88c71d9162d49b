/**
 * What clients write: every block of every write holds a number of its own, from which the checkers know who wrote it.
 * A narrow write makes a new number that remembers what the rest of its block held.
 */
import type { BlockVersion, Payload } from '../../../engine/replication/record.ts'
import { BLOCK_BYTES } from '../../../engine/units.ts'
import { blocksOf, mixedPayload } from '../stored-forms.ts'

export class Stamps {
  /** Of a narrow write's number: what the rest of the block held. */
  readonly bases = new Map<number, number>()
  private readonly writers = new Map<number, { writer: string; lba: number }>()
  private last = 0

  next(writer: string, lba: number, base?: number): number {
    const stamp = ++this.last
    this.writers.set(stamp, { writer, lba })
    if (base !== undefined) this.bases.set(stamp, base)
    return stamp
  }

  /** Undefined: nobody wrote this. */
  origin(stamp: number): { writer: string; lba: number } | undefined {
    return this.writers.get(stamp)
  }
}

/** How numbers become payload and come back. */
export interface StampCodec {
  payloadOf(stamps: number[]): Payload
  /** One a block. */
  stampsOf(payload: Payload): readonly number[]
  /** 0 = zeroes. */
  stampOf(version: BlockVersion | undefined): number
}

/** For the store in memory. */
export const NUMBERS: StampCodec = {
  payloadOf: (stamps) => ({ bytes: stamps.length * BLOCK_BYTES, data: stamps }),
  stampsOf: (payload) => payload.data as number[],
  stampOf: (version) => (version?.kind === 'write' ? (version.payload!.data as number) : 0),
}

/** Rot comes by sectors, and what it may damage is counted by blocks: a sector is of one blob. */
const UNITS_PER_SECTOR = 8

/** For the store of the engine: blocks whose every word is the number, -1 when they differ; some are compressed. */
export const BYTES: StampCodec = {
  payloadOf(stamps) {
    const bytes = new Uint8Array(stamps.length * BLOCK_BYTES)
    stamps.forEach((stamp, i) => new Uint32Array(bytes.buffer, i * BLOCK_BYTES, 1024).fill(stamp))
    return mixedPayload(bytes, stamps, UNITS_PER_SECTOR)
  },
  stampsOf: (payload) => blocksOf(payload).map(wordOf),
  stampOf: (version) => (version?.kind === 'write' ? wordOf(blocksOf(version.payload!)[0]!) : 0),
}

function wordOf(block: Uint8Array): number {
  const view = new DataView(block.buffer, block.byteOffset, BLOCK_BYTES)
  const word = view.getUint32(0, true)
  for (let at = 4; at < BLOCK_BYTES; at += 4) if (view.getUint32(at, true) !== word) return -1
  return word
}
