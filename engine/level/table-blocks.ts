/**
 * Whether every byte of a LevelDB table is what was written. LevelDB has it all (each block ends with a checksum), but
 * classic-level never asks for it: reads may answer with what rotted, and a compaction that meets keys out of order
 * ends the process by an assertion.
 *
 *   data blocks | filter | list of filters | list of data blocks | footer (48 bytes)
 *   block:  content, 1 byte kind (0 plain, 1 Snappy), u32 crc32c of content and kind, masked
 *   list:   entries (3 varints: shared, own, value length; own key bytes; value: handle), u32 restarts.., their count
 *   handle: 2 varints, offset and size of the content
 *   footer: handles of both lists, zeroes up to 40 bytes, 8 bytes that mark a table
 */
import type { Crc32c } from '../ports.ts'
import { ByteCursor } from './byte-cursor.ts'
import { isCrcOf } from './masked-crc.ts'
import { snappyDecoded } from './snappy.ts'

interface Handle {
  offset: number
  size: number
}

const FOOTER_BYTES = 48
const TRAILER_BYTES = 5
const MARK = [0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb]
const KIND = { plain: 0, snappy: 1 } as const

/** What is damaged in a table, in words; undefined when nothing is. Costs a checksum over the table. */
export function tableDamage(table: Uint8Array, crc32c: Crc32c): string | undefined {
  const lists = footerOf(table)
  if (lists === undefined) return 'its footer is damaged'
  for (const list of [lists.blocks, lists.filters]) {
    const content = contentOf(table, list, crc32c)
    const handles = content === undefined ? undefined : handlesOf(content)
    if (handles === undefined) return sentence(list)
    for (const handle of handles) if (!isWhole(table, handle, crc32c)) return sentence(handle)
  }
  return undefined
}

const sentence = ({ offset }: Handle): string => `its block at byte ${offset} is damaged`

function footerOf(table: Uint8Array): { filters: Handle; blocks: Handle } | undefined {
  const start = table.length - FOOTER_BYTES
  const markAt = table.length - MARK.length
  if (start < 0 || MARK.some((byte, i) => table[markAt + i] !== byte)) return undefined
  const cursor = new ByteCursor(table.subarray(0, markAt), start)
  const filters = handleAt(cursor)
  const blocks = handleAt(cursor)
  if (cursor.hasFailed || table.subarray(cursor.at, markAt).some((byte) => byte !== 0)) return undefined
  // They follow each other, so a handle that changed cannot name another block.
  return endOf(filters) === blocks.offset && endOf(blocks) === start ? { filters, blocks } : undefined
}

function handleAt(cursor: ByteCursor): Handle {
  const offset = cursor.varint()
  return { offset, size: cursor.varint() }
}

const endOf = ({ offset, size }: Handle): number => offset + size + TRAILER_BYTES

function isWhole(table: Uint8Array, handle: Handle, crc32c: Crc32c): boolean {
  const { offset, size } = handle
  if (endOf(handle) > table.length - FOOTER_BYTES) return false
  const stored = new ByteCursor(table, offset + size + 1).fixed(4)
  return isCrcOf(table.subarray(offset, offset + size + 1), stored, crc32c)
}

function contentOf(table: Uint8Array, handle: Handle, crc32c: Crc32c): Uint8Array | undefined {
  if (!isWhole(table, handle, crc32c)) return undefined
  const { offset, size } = handle
  const content = table.subarray(offset, offset + size)
  const kind = table[offset + size]
  if (kind === KIND.snappy) return snappyDecoded(content)
  return kind === KIND.plain ? content : undefined
}

function handlesOf(list: Uint8Array): Handle[] | undefined {
  const restarts = new ByteCursor(list, list.length - 4).fixed(4)
  const end = list.length - 4 * (restarts + 1)
  if (list.length < 4 || end < 0) return undefined
  const cursor = new ByteCursor(list.subarray(0, end))
  const handles: Handle[] = []
  while (!cursor.isAtEnd) {
    cursor.varint()
    const keyBytes = cursor.varint()
    const valueBytes = cursor.varint()
    cursor.skip(keyBytes)
    const valueAt = cursor.at
    handles.push(handleAt(cursor))
    if (cursor.at !== valueAt + valueBytes) return undefined
  }
  return cursor.hasFailed ? undefined : handles
}
