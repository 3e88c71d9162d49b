/**
 * What clients write: every block of every write holds a number of its own, from which the checkers know who wrote it.
 * A narrow write makes a new number that remembers what the rest of its block held.
 */
import type { BlockVersion, Payload } from '../../../engine/replication/record.ts'
import { BLOCK_BYTES } from '../../../engine/units.ts'

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

export const payloadOf = (stamps: number[]): Payload => ({ bytes: stamps.length * BLOCK_BYTES, data: stamps })

export const stampsOf = (payload: Payload): readonly number[] => payload.data as number[]

/** 0 = zeroes. */
export const stampOf = (version: BlockVersion | undefined): number =>
  version?.kind === 'write' ? (version.payload!.data as number) : 0
