/** What level-index-writer.ts puts into an index, and its tests expect there: checkpoints of entries without a gap. */

/** Six fill a log; the last one begins another. */
export const CHECKPOINTS = 61
/** Entries a checkpoint; each is a key without a gap and 3,000 bytes. */
export const ENTRIES = 60
/** The key whose only byte says which checkpoint was the last. */
export const META: Uint8Array = Uint8Array.of(0x6d)

/** The key of an entry, counted from 0: `p` and four bytes, so that keys sort as numbers do. */
export function keyOf(entry: number): Uint8Array {
  const key = new Uint8Array(5)
  key[0] = 0x70
  new DataView(key.buffer).setUint32(1, entry)
  return key
}
