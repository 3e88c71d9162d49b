/**
 * Whether a database still has everything that was ever written to it. LevelDB opens without a word when it has lost
 * its older part: CURRENT removed (only the log is replayed, into a new database), a MANIFEST cut short (tables that
 * were written after the cut are deleted as unknown), or, killed while it made its former log into a table, that log
 * cut at its end (what was cut is taken for a write that did not end, and the present log replayed behind it). The
 * newest batches are then there and say that the index is up to date, while older pages are holes that would read as
 * zeroes.
 *
 * So each batch writes a mark, numbered without gaps, and the head says the newest number. What LevelDB can lose
 * silently lies between a moment in the past and the beginning of its present log, so the last batch before that log
 * is lost with it; the marks kept reach back further. A mark that is missing tells of a loss.
 *
 * Marks are kept and forgotten in groups: one begins when the one before holds `GROUP_BYTES`.
 */
import type { Level } from 'level'
import type { IndexOperation } from '../../engine/ports.ts'

const GROUP_BYTES = 256 * 1024
/** Reach back over 4 MiB: the log being written and the one made into a table have a write buffer and a batch each. */
const GROUPS_KEPT = 16
/** So many bytes 0xff, behind every key of the engine, then the number; number 0 is the head. */
const PREFIX_BYTES = 16
/** What a mark and the head take in a log. */
const MARK_BYTES = 2 * (PREFIX_BYTES + 4 + 4)

export class LevelHistory {
  /** The number of the first mark of each group that is kept, oldest first; the last is being written. */
  private readonly groups: number[]
  /** How many groups there were before those. */
  private forgotten: number
  private newest: number
  private bytes = 0

  constructor({ groups, forgotten, newest }: { groups: number[]; forgotten: number; newest: number }) {
    this.groups = groups
    this.forgotten = forgotten
    this.newest = newest
    // An open begins a new log, so a new group reaches back as far, whatever the last one holds.
    this.bytes = GROUP_BYTES
  }

  /** Of a database without an entry. */
  static empty(): LevelHistory {
    return new LevelHistory({ groups: [], forgotten: 0, newest: 0 })
  }

  /** The same operations, and what says that they were written; all of it is taken. */
  *marked(operations: Iterable<IndexOperation>): Generator<IndexOperation> {
    const number = ++this.newest
    if (this.bytes >= GROUP_BYTES) {
      this.bytes = 0
      this.groups.push(number)
      if (this.groups.length > GROUPS_KEPT) {
        const first = this.groups.shift()!
        for (let old = first; old < this.groups[0]!; old++) yield { type: 'del', key: keyOf(old) }
        this.forgotten++
      }
    }
    this.bytes += MARK_BYTES
    for (const operation of operations) {
      this.bytes += operation.key.length + (operation.type === 'put' ? operation.value.length : 0)
      yield operation
    }
    yield { type: 'put', key: keyOf(number), value: bytesOf(this.forgotten + this.groups.length - 1) }
    yield { type: 'put', key: keyOf(0), value: bytesOf(number) }
  }
}

/** The history of an open database, or what is wrong with it. Reads the marks, as many as 4 MiB had batches. */
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
    return any === undefined ? LevelHistory.empty() : 'the oldest part of it is missing'
  }
  if (numberOf(head[0]) !== 0) return 'its newest part is missing'
  if (found.some(([, value]) => value.length !== 4)) return 'its marks are not those of this version'
  const newest = viewOf(head[1]).getUint32(0)
  const groups: number[] = []
  let forgotten = 0
  let number = newest - marks.length
  for (const [key, value] of marks) {
    if (numberOf(key) !== ++number) return `what was written ${newest - number} batches ago is missing`
    const group = viewOf(value).getUint32(0)
    if (groups.length === 0) forgotten = group
    if (group === forgotten + groups.length) groups.push(number)
  }
  // Marks are forgotten when there are groups enough, and the oldest group is whole or not there at all.
  const whole = forgotten === 0 ? groups[0] === 1 : groups.length === GROUPS_KEPT
  return whole ? new LevelHistory({ groups, forgotten, newest }) : 'the oldest part of it is missing'
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const numberOf = (key: Uint8Array): number => viewOf(key).getUint32(PREFIX_BYTES)

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
