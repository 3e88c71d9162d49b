/**
 * What may be done to a block before it is stored: bits of a record's `transform` (FORMAT.md 2.3). The frontend of a
 * write does it, the frontend of a read undoes it; copies keep blobs and never look into them.
 */
import { BLOB_UNITS_MAX, UNITS_PER_BLOCK } from '../units.ts'

/** `lost`: what was stored is nowhere any more (volume/lost-mark.ts); nobody undoes that. */
export const TRANSFORM = { none: 0, lz4: 1, cipher: 2, lost: 4 } as const

/** Of the longest blob in a record of that transform: one that is encrypted has a unit before it. */
export const unitsMost = (transform: number): number =>
  (transform & TRANSFORM.cipher) === 0 ? UNITS_PER_BLOCK : BLOB_UNITS_MAX
