/**
 * `IndexPort` over `level` (LevelDB): one folder, one stream, one thread. Its content is a cache that the store
 * rebuilds from its log, so an open that fails for any reason but the lock is answered with "discard".
 *
 * What LevelDB does not do for us: reads do not verify block checksums (values carry their own, checked-index.ts); an
 * open drops batches from the middle of a damaged write-ahead log, goes on behind them, and says so in its LOG only; an
 * open does not notice that older tables are gone. An index with such a gap would show old versions of blocks, so the
 * LOG is read after each open, and level-history.ts tells what is missing.
 *
 * Memory stays bounded whatever the size: tables are mapped, and a mapped page counts as resident, so the number of
 * open tables (64, LevelDB's floor) times their size (1 MiB, its floor too) is the bound. A scan of 1 GB leaves 54 MB
 * resident with tables of 1 MiB and 126 MB with 2 MiB; random gets of 6 KiB cost 80 and 70 us. A write buffer becomes
 * one table, so it has no more than that either.
 *
 * What is asked together goes together into one job of the thread pool and one promise, up to `GET_KEYS_MAX` keys; at
 * most two run, so that a storm of misses leaves the thread pool to the disks. (16 hot keys: 3.3 us each, alone 16-27
 * us.)
 */
import fs from 'node:fs'
import path from 'node:path'
import { Level } from 'level'
import { assert } from '../../engine/assert.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { IndexOperation, IndexPort, Outcome } from '../../engine/ports.ts'
import { trimHeap } from '../libc.ts'
import { LevelHistory, readHistory } from './level-history.ts'

type Database = Level<Uint8Array, Uint8Array>
type Entry = [key: Uint8Array, value: Uint8Array]
type Values = Array<Uint8Array | undefined>

/**
 * Memtables, values and what a checkpoint collects go through malloc, which keeps what is freed in pieces: 277 MiB
 * resident under random overwrites, 195-220 MiB when free pages are given back after a checkpoint.
 */
const TRIM_EVERY_MS = 1000
let trimmedAtMs = 0

function trimAfterCheckpoint(): void {
  const nowMs = performance.now()
  if (nowMs - trimmedAtMs < TRIM_EVERY_MS) return
  trimmedAtMs = Infinity
  trimHeap(() => (trimmedAtMs = performance.now()))
}

/** Of one job. With fewer, the pool waits for this thread, which has other things to do, more often than it works. */
const GET_KEYS_MAX = 160
const GETS_RUNNING_MAX = 2

const SYNCED = { sync: true }

interface Get {
  keys: readonly Uint8Array[]
  done: (ok: boolean, values: Values) => void
}

interface Range {
  from: Uint8Array
  below: Uint8Array
  limit: number
  done: (ok: boolean, entries: Entry[]) => void
}

const RANGES_RUNNING_MAX = 2
/** A page of the map has one key, or some. */
const RANGE_FIRST_STEP = 8
const RANGE_STEP = 256

export type IndexOpening =
  | { kind: 'open'; index: LevelIndex }
  /** Another process or thread holds it. */
  | { kind: 'in-use'; error: HoldfastError }
  /** Damaged, foreign or unreadable: `discardIndex`, open again, rebuild. */
  | { kind: 'discard'; reason: string }

/** Open the database in `folder`; made, with its parents, when there is none. */
export async function openLevelIndex(folder: string): Promise<IndexOpening> {
  try {
    const database = await openDatabase(folder)
    const dropped = await droppedAtOpen(folder)
    const history = dropped ?? (await readHistory(database))
    if (typeof history !== 'string') return { kind: 'open', index: new LevelIndex(folder, database, history) }
    await database.close()
    return { kind: 'discard', reason: history }
  } catch (error) {
    const cause = (error as Error).cause as (Error & { code?: string }) | undefined
    if (cause?.code === 'LEVEL_LOCKED') {
      return { kind: 'in-use', error: new HoldfastError('folder-in-use', { dir: folder, pid: 'unknown' }, { cause }) }
    }
    return { kind: 'discard', reason: cause?.message ?? (error as Error).message }
  }
}

/** Delete the folder, whatever is in it. */
export function discardIndex(folder: string): Promise<void> {
  return fs.promises.rm(folder, { recursive: true, force: true })
}

/**
 * What LevelDB lost is a line such as `3.log: dropping 533 bytes; Corruption: ..`. It begins a LOG with each open and
 * keeps the one before, which shows a gap that was found by a process that died before it discarded the index.
 */
async function droppedAtOpen(folder: string): Promise<string | undefined> {
  for (const name of ['LOG', 'LOG.old']) {
    const file = path.join(folder, name)
    if (!fs.existsSync(file)) continue
    const found = /[^/ ]+: dropping .*$/m.exec(await fs.promises.readFile(file, 'utf8'))
    if (found !== null) return found[0]
  }
  return undefined
}

async function openDatabase(folder: string): Promise<Database> {
  await fs.promises.mkdir(folder, { recursive: true })
  const database: Database = new Level(folder, {
    keyEncoding: 'view',
    valueEncoding: 'view',
    compression: false,
    cacheSize: 4 * 1024 * 1024,
    writeBufferSize: 1024 * 1024,
    maxOpenFiles: 34,
    maxFileSize: 1024 * 1024,
  })
  await database.open()
  return database
}

/** A table that is damaged, shorter than it was, or gone; not a full or failing file system, which no rebuild heals. */
function isDamage(error: unknown): boolean {
  const { code, message } = error as Error & { code?: string }
  if (code === 'LEVEL_CORRUPTION') return true
  return code === 'LEVEL_IO_ERROR' && /Invalid argument|No such file/.test(message)
}

export class LevelIndex implements IndexPort {
  readonly folder: string
  /** An operation found damage; LevelDB refuses all writes from then on. */
  onDamaged: () => void = () => {}
  private database: Database
  private history: LevelHistory
  private readonly waitingGets: Get[] = []
  private getsRunning = 0
  private readonly waitingRanges: Range[] = []
  private rangesRunning = 0

  constructor(folder: string, database: Database, history: LevelHistory) {
    this.folder = folder
    this.database = database
    this.history = history
  }

  batch(operations: Iterable<IndexOperation>, done: Outcome): void {
    this.write(this.history.marked(operations)).then(
      () => {
        trimAfterCheckpoint()
        done(true)
      },
      (error) => {
        this.failed(error)
        done(false)
      },
    )
  }

  /** Put together by calls: 0.3 us an operation on this thread, and 0.7 as one array. */
  private async write(operations: Iterable<IndexOperation>): Promise<void> {
    const batch = this.database.batch()
    for (const operation of operations) {
      if (operation.type === 'put') batch.put(operation.key, operation.value)
      else batch.del(operation.key)
    }
    await batch.write(SYNCED)
  }

  getMany(keys: readonly Uint8Array[], done: (ok: boolean, values: Values) => void): void {
    if (keys.length <= GET_KEYS_MAX) this.waitingGets.push({ keys, done })
    else {
      const parts: Values[] = []
      let left = Math.ceil(keys.length / GET_KEYS_MAX)
      let allOk = true
      for (let part = 0; part * GET_KEYS_MAX < keys.length; part++) {
        const ended = (ok: boolean, values: Values): void => {
          parts[part] = values
          allOk &&= ok
          if (--left === 0) done(allOk, allOk ? parts.flat() : [])
        }
        this.waitingGets.push({ keys: keys.slice(part * GET_KEYS_MAX, (part + 1) * GET_KEYS_MAX), done: ended })
      }
    }
    this.startGets()
  }

  range(
    { from, below, limit }: { from: Uint8Array; below: Uint8Array; limit: number },
    done: (ok: boolean, entries: Array<[key: Uint8Array, value: Uint8Array]>) => void,
  ): void {
    assert(limit > 0, 'a range has a limit')
    if (this.database.status !== 'open') {
      // Unlike the others, `iterator` throws; so it does while `clear` runs.
      setImmediate(done, false, [])
      return
    }
    this.waitingRanges.push({ from, below, limit, done })
    this.startRanges()
  }

  /**
   * Few iterators at a time, few entries at a step: measured with 6 KiB values and 32 readers, an `all()` for each left
   * 700 MiB of native memory behind, this way 190 MiB stay, most of them before the first read.
   */
  private startRanges(): void {
    while (this.rangesRunning < RANGES_RUNNING_MAX) {
      const range = this.waitingRanges.shift()
      if (range === undefined) return
      this.rangesRunning++
      void this.runRange(range).then((entries) => {
        this.rangesRunning--
        this.startRanges()
        range.done(entries !== undefined, entries ?? [])
      })
    }
  }

  private async runRange({ from, below, limit }: Range): Promise<Entry[] | undefined> {
    try {
      const iterator = this.database.iterator({ gte: from, lt: below, highWaterMarkBytes: 64 * 1024 })
      try {
        const entries = await iterator.nextv(Math.min(limit, RANGE_FIRST_STEP))
        for (let step = entries; step.length > 0 && entries.length < limit;) {
          step = await iterator.nextv(Math.min(limit - entries.length, RANGE_STEP))
          // Not spread into `push`: a step may be longer than an argument list.
          for (const entry of step) entries.push(entry)
        }
        if (entries.length === limit) {
          // LevelDB leaves out what it cannot read, and says so at the end only.
          iterator.seek(below)
          await iterator.nextv(1)
        }
        return entries
      } finally {
        await iterator.close()
      }
    } catch (error) {
      this.failed(error)
      return undefined
    }
  }

  /** A new database in place of this one: dropping files is quicker than deleting entries, and heals damage. */
  clear(done: Outcome): void {
    this.database
      .close()
      .then(() => discardIndex(this.folder))
      .then(() => openDatabase(this.folder))
      .then(
        (database) => {
          this.database = database
          this.history = LevelHistory.empty()
          done(true)
        },
        () => done(false),
      )
  }

  /** Finish what runs and let go of the folder. */
  close(): Promise<void> {
    return this.database.close()
  }

  private failed(error: unknown): void {
    if (isDamage(error)) this.onDamaged()
  }

  private startGets(): void {
    while (this.getsRunning < GETS_RUNNING_MAX) {
      const get = this.waitingGets.shift()
      if (get === undefined) return
      this.getsRunning++
      const ended = (ok: boolean, values: Values): void => {
        this.getsRunning--
        // What waited meanwhile runs in the pool while the answers are dealt with here.
        this.startGets()
        get.done(ok, values)
      }
      this.database.getMany(get.keys as Uint8Array[]).then(
        (values) => ended(true, values),
        (error) => {
          this.failed(error)
          ended(false, [])
        },
      )
    }
  }
}
