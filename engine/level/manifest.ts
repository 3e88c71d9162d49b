/**
 * Which tables a LevelDB database consists of, from its MANIFEST: others that lie there are left over from a flush or a
 * compaction that did not end, may be half written, and are deleted by LevelDB when it opens.
 *
 * A MANIFEST is a log: pieces of 32 KiB hold fragments (u32 masked crc32c of kind and data, u16 length, u8 kind, data),
 * fragments make records, and a record is a list of changes, each a tag and its numbers. Reading ends where a fragment
 * is not whole, as it does for LevelDB; whether that is an end or damage, LevelDB says when it opens.
 */
import type { Crc32c } from '../ports.ts'
import { ByteCursor } from './byte-cursor.ts'
import { isCrcOf } from './masked-crc.ts'

const PIECE_BYTES = 32 * 1024
const HEADER_BYTES = 7
const FRAGMENT = { whole: 1, first: 2, middle: 3, last: 4 } as const
const TAG = {
  comparator: 1, logNumber: 2, nextFile: 3, lastSequence: 4, compactPointer: 5,
  tableGone: 6, tableAdded: 7, formerLogNumber: 9,
} as const

/** The numbers of the tables, as far as the MANIFEST can be read. */
export function liveTables(manifest: Uint8Array, crc32c: Crc32c): Set<number> {
  const live = new Set<number>()
  for (const record of recordsOf(manifest, crc32c)) if (!applied(record, live)) break
  return live
}

function* recordsOf(log: Uint8Array, crc32c: Crc32c): Generator<Uint8Array> {
  let begun: Uint8Array[] = []
  for (let at = 0; at + HEADER_BYTES <= log.length;) {
    const leftInPiece = PIECE_BYTES - (at % PIECE_BYTES)
    if (leftInPiece < HEADER_BYTES) {
      at += leftInPiece
      continue
    }
    const header = new ByteCursor(log, at)
    const [stored, length, kind] = [header.fixed(4), header.fixed(2), header.byte()]
    const end = header.at + length
    if (end > log.length || !isCrcOf(log.subarray(header.at - 1, end), stored, crc32c)) return
    if (kind === FRAGMENT.whole || kind === FRAGMENT.first) begun = []
    begun.push(log.subarray(header.at, end))
    if (kind === FRAGMENT.whole || kind === FRAGMENT.last) yield joined(begun)
    at = end
  }
}

function joined(parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** False when it is no list of changes that we know. */
function applied(record: Uint8Array, live: Set<number>): boolean {
  const cursor = new ByteCursor(record)
  // Changes of one record take tables away before they add some, whatever their order: a table moves between levels.
  const added: number[] = []
  while (!cursor.isAtEnd) {
    const tag = cursor.varint()
    switch (tag) {
      case TAG.comparator:
        skipBytes(cursor)
        break
      case TAG.logNumber:
      case TAG.nextFile:
      case TAG.lastSequence:
      case TAG.formerLogNumber:
        cursor.varint()
        break
      case TAG.compactPointer:
        cursor.varint()
        skipBytes(cursor)
        break
      case TAG.tableGone:
        cursor.varint()
        live.delete(cursor.varint())
        break
      case TAG.tableAdded:
        cursor.varint()
        added.push(cursor.varint())
        cursor.varint()
        skipBytes(cursor)
        skipBytes(cursor)
        break
      default:
        return false
    }
  }
  for (const number of added) live.add(number)
  return !cursor.hasFailed
}

function skipBytes(cursor: ByteCursor): void {
  cursor.skip(cursor.varint())
}
