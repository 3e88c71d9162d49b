/** Reads a block that LevelDB compressed with Snappy; only blocks that list other blocks are ever read. */
import { ByteCursor } from './byte-cursor.ts'

/** Larger than any block that lists others: the bound for what a damaged length may claim. */
const BYTES_MAX = 64 * 2 ** 20

/** Undefined when the bytes are not what a compressor writes. */
export function snappyDecoded(bytes: Uint8Array): Uint8Array | undefined {
  const cursor = new ByteCursor(bytes)
  const length = cursor.varint()
  if (cursor.hasFailed || length > BYTES_MAX) return undefined
  const decoded = new Uint8Array(length)
  let filled = 0
  while (!cursor.isAtEnd) {
    const tag = cursor.byte()
    const kind = tag & 3
    if (kind === 0) {
      const short = tag >> 2
      const count = 1 + (short < 60 ? short : cursor.fixed(short - 59))
      const from = cursor.at
      cursor.skip(count)
      if (cursor.hasFailed || filled + count > length) return undefined
      decoded.set(bytes.subarray(from, cursor.at), filled)
      filled += count
      continue
    }
    const count = kind === 1 ? 4 + ((tag >> 2) & 7) : 1 + (tag >> 2)
    const back = kind === 1 ? (tag >> 5) * 256 + cursor.byte() : cursor.fixed(kind === 2 ? 2 : 4)
    if (cursor.hasFailed || back === 0 || back > filled || filled + count > length) return undefined
    // Byte by byte: what is copied may overlap what it is copied to.
    for (const end = filled + count; filled < end; filled++) decoded[filled] = decoded[filled - back]!
  }
  return filled === length ? decoded : undefined
}
