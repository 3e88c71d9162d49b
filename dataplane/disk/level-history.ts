/**
 * Whether a database still has everything that was ever written to it. LevelDB opens without a word when it has lost
 * its older part: CURRENT removed (only the log is replayed, into a new database), or a MANIFEST cut short (tables
 * that were written after the cut are deleted as unknown). The newest batches are then there, in the log, and say
 * that the index is up to date, while pages in older tables are holes that would read as zeroes.
 *
 * So every `MARK_EVERY_BYTES` a mark is written, numbered without gaps, and each batch says the newest number. What
 * LevelDB can lose silently is all that was written between a moment in the past and the beginning of its present log,
 * so at least the table before that log; the marks kept reach back further. A mark that is missing tells of a loss.
 */
import type { Level } from 'level'
import type { IndexOperation } from '../../engine/ports.ts'

const MARK_EVERY_BYTES = 256 * 1024
/** Reach back over 16 MiB: the log that is written and the one that is made into a table have a write buffer's size. */
const MARKS_KEPT = 64
/** So many bytes 0xff, behind every key of the engine, then the number; number 0 is the head. */
const PREFIX_BYTES = 16

export class LevelHistory {
  private newest: number
  private bytes = 0

  constructor(newest: number) {
    this.newest = newest
  }

  /** The same operations, and what says that they were written. */
  marked(operations: readonly IndexOperation[]): IndexOperation[] {
    for (const operation of operations)
      this.bytes += operation.key.length + (operation.type === 'put' ? operation.value.length : 0)
    const all = [...operations]
    if (this.bytes >= MARK_EVERY_BYTES || this.newest === 0) {
      this.bytes = 0
      this.newest++
      all.push({ type: 'put', key: keyOf(this.newest), value: Uint8Array.of(1) })
      if (this.newest > MARKS_KEPT) all.push({ type: 'del', key: keyOf(this.newest - MARKS_KEPT) })
    }
    all.push({ type: 'put', key: keyOf(0), value: bytesOf(this.newest) })
    return all
  }
}

/** The history of an open database, or what is wrong with it. Reads a handful of keys. */
export async function readHistory(database: Level<Uint8Array, Uint8Array>): Promise<LevelHistory | string> {
  try {
    return await checkedHistory(database)
  } catch (error) {
    return (error as Error).message
  }
}

async function checkedHistory(database: Level<Uint8Array, Uint8Array>): Promise<LevelHistory | string> {
  const found = await database.iterator({ gte: keyOf(0) }).all()
  const [head, ...marks] = found
  if (head === undefined) {
    const [any] = await database.keys({ limit: 1 }).all()
    return any === undefined ? new LevelHistory(0) : 'the oldest part of it is missing'
  }
  const newest = viewOf(head[1]).getUint32(0)
  const numbers = new Set(marks.map(([key]) => viewOf(key).getUint32(PREFIX_BYTES)))
  if (viewOf(head[0]).getUint32(PREFIX_BYTES) !== 0) return 'its newest part is missing'
  for (let number = Math.max(1, newest - MARKS_KEPT + 1); number <= newest; number++)
    if (!numbers.has(number)) return `what was written ${newest - number} marks ago is missing`
  return new LevelHistory(newest)
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

function bytesOf(number: number): Uint8Array {
  const bytes = new Uint8Array(4)
  viewOf(bytes).setUint32(0, number)
  return bytes
}

function keyOf(number: number): Uint8Array {
  const key = new Uint8Array(PREFIX_BYTES + 4).fill(0xff)
  viewOf(key).setUint32(PREFIX_BYTES, number)
  return key
}
