/**
 * Sizes and integers that must not be mixed. Numbers travel in option objects with their unit in the name
 * (`offsetBytes`, `lba`, `countBlocks`); nothing here uses bitwise operators on an LBA, a seq or a batch number,
 * because those exceed 32 bits.
 */
export const BLOCK_BYTES = 4096
/** Stored blobs are counted in units of 64 B, so that a transformed (compressed) block can be packed densely. */
export const UNIT_BYTES = 64
export const UNITS_PER_BLOCK = BLOCK_BYTES / UNIT_BYTES
/** The longest blob: one of an encrypted block (FORMAT.md 2.3). */
export const BLOB_UNITS_MAX = UNITS_PER_BLOCK + 1
/** A page of the extent map covers 1 MiB of a volume, and a volume is a whole number of them. */
export const PAGE_BLOCKS = 256
export const MIB = 1024 * 1024
export const GIB = 1024 * MIB
/** The unit of placement: 1 GiB of a volume's address space lies on one disk of a node. */
export const SLICE_BYTES = GIB
export const SLICE_BLOCKS = SLICE_BYTES / BLOCK_BYTES
export const VOLUME_BYTES_MAX = 64 * 1024 * GIB
/** Largest value of the u48 fields (lba, seq) of the formats. */
export const U48_MAX = 2 ** 48 - 1
