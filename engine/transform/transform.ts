/**
 * What may be done to a block before it is stored: bits of a record's `transform` (FORMAT.md 2.3). The frontend of a
 * write does it, the frontend of a read undoes it; copies keep blobs and never look into them.
 */
export const TRANSFORM = { none: 0, lz4: 1 } as const
