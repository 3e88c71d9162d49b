/**
 * What a frontend (NBD) may ask of a volume, in bytes. Every call ends in exactly one `done`, which may run before
 * the call returns (a read that hits the page cache does) or in a later turn. `errno` is 0 or one of the NBD values
 * of `engine/errors.ts`. A buffer handed over belongs to the volume until its `done`.
 *
 * The caller has validated ranges: `offsetBytes + lengthBytes <= sizeBytes`, `lengthBytes > 0` (asserted). Any
 * alignment is served; narrower than a block costs a read-modify-write.
 *
 * Ordering (NBD doc/proto.md "Ordering of messages and writes"): requests may end in any order; a write whose `done`
 * ran before `flush` is called is on stable storage before flush's `done`; a write with `fua` is on stable storage
 * before its own. Both hold over all callers, so CAN_MULTI_CONN may be advertised.
 */
export type Done = (errno: number) => void

export interface Extent {
  lengthBytes: number
  /** NBD_STATE_HOLE: nothing is allocated. */
  hole: boolean
  /** NBD_STATE_ZERO: reads as zeroes. */
  zero: boolean
}

export interface BlockDevice {
  readonly sizeBytes: number
  /** What the volume shows as its sector size and NBD's preferred block size: 4096 or 512. */
  readonly blockSizeBytes: number
  readonly readOnly: boolean
  /** One line for NBD_INFO_DESCRIPTION. */
  readonly description: string
  /**
   * A write that failed may still happen: what was given to it is referred to beyond its `done`, so its memory is never
   * used again, and goes when nobody refers to it any more. Unset, and after success: it is the caller's again, but for
   * those who count as users of the memory themselves.
   */
  readonly keepsPayload?: boolean
  /** What is allocated costs as much as a read to know: a read does not ask for it first. Unset: it is at hand. */
  readonly knowsZeroesOnlyByAsking?: boolean

  /** Fill `into` (its whole length) from `offsetBytes`. errno EIO: no copy with the right bytes; never wrong bytes. */
  read(offsetBytes: number, into: Uint8Array, done: Done): void
  /** Store `data` at `offsetBytes`. Held while the pool is full (or ENOSPC, as the volume's `on-full` says). */
  write(offsetBytes: number, data: Uint8Array, fua: boolean, done: Done): void
  flush(done: Done): void
  /**
   * Give the range back; reads as zeroes afterwards, on stable storage like a write. Partial edge blocks are zeroed.
   */
  trim(offsetBytes: number, lengthBytes: number, fua: boolean, done: Done): void
  /** Zero the range; `noHole` keeps it allocated in the eyes of block status. Always fast (a record, no data). */
  writeZeroes(offsetBytes: number, lengthBytes: number, options: { noHole: boolean; fua: boolean }, done: Done): void
  /**
   * What is allocated in the range, in order, adjacent extents of equal state merged. At least one extent when errno
   * is 0; they start at `offsetBytes`, end at or before `offsetBytes + lengthBytes`, and are at most `extentsMax`.
   */
  blockStatus(
    offsetBytes: number,
    lengthBytes: number,
    extentsMax: number,
    done: (errno: number, extents: Extent[]) => void,
  ): void
  /** The connection that used it is gone: its requests are not waited for, and end as soon as they can. Repeatable. */
  disconnected?(): void
}
