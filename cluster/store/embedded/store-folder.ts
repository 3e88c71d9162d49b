/**
 * The folder of an embedded store (FORMAT.md section 3): made once, opened by counting, refused in words. The caller
 * holds its `lock`.
 *
 *   nothing but lock, level.new     -> a new store: level.new complete, store.json, level.new becomes level
 *   store.json, level or level.new  -> opened; D4: everything the head promises is there, or nothing is served
 *   anything else                   -> refused, untouched
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { Level } from 'level'
import { HoldfastError } from '../../../engine/errors.ts'
import { levelDamage } from '../level-damage.ts'
import { FIRST_REVISION, KeyHistory } from './key-history.ts'
import type { KeyRecord } from './key-history.ts'
import { HEAD_KEY, RECORD_KEYS, STORE_FORMAT_VERSION, checksumOf } from './store-record.ts'
import { decodeHead, decodeRecord, encodeHead } from './store-record.ts'
import type { StoreHead } from './store-record.ts'

export type Database = Level<Buffer, Buffer>

export interface OpenedStore {
  database: Database
  history: KeyHistory
  head: StoreHead
}

interface Identity {
  clusterId: bigint
  memberId: bigint
}

const ID = /^[0-9a-f]{16}$/

/** What LevelDB says of a file system that is in order but does not let it. */
const NO_DAMAGE = /Permission denied|Read-only file system|No space left|Too many open files/

const damaged = (dir: string, reason: string, cause?: unknown): HoldfastError =>
  new HoldfastError('store-damaged', { dir, reason }, { cause })

/** Before anything is made in it, a lock for example: @throws HoldfastError when it is no place for a store. */
export function checkStoreFolder(dir: string): void {
  const names = namesIn(dir)
  const foreign = names.find((name) => name !== 'level.new')
  if (readIdentity(dir) !== undefined || foreign === undefined) return
  throw new HoldfastError('store-foreign', { dir, found: foreign })
}

const namesIn = (dir: string): string[] =>
  fs.readdirSync(dir).filter((name) => name !== 'lock' && name !== 'store.json.new')

/** @throws HoldfastError, with the folder as it was */
export async function openStoreFolder(dir: string): Promise<OpenedStore> {
  try {
    return await openOrMake(dir)
  } catch (error) {
    if (error instanceof HoldfastError) throw error
    throw new HoldfastError('folder', { dir, reason: (error as Error).message }, { cause: error })
  }
}

async function openOrMake(dir: string): Promise<OpenedStore> {
  checkStoreFolder(dir)
  if (readIdentity(dir) === undefined) await makeStore(dir)
  const identity = readIdentity(dir)!
  const names = namesIn(dir)
  const folder = path.join(dir, 'level')
  if (!names.includes('level')) {
    if (!names.includes('level.new')) throw damaged(dir, 'its level folder is gone')
    fs.renameSync(path.join(dir, 'level.new'), folder)
    syncFolder(dir)
  }
  // Before LevelDB does: a compaction that meets keys out of order ends the process by an assertion.
  const rotten = levelDamage(folder)
  if (rotten !== undefined) throw damaged(dir, `level/${rotten}`)
  const database = await openDatabase(folder, false).catch((error: unknown) => {
    const cause = (error as Error).cause as (Error & { code?: string }) | undefined
    const reason = cause?.message ?? (error as Error).message
    if (cause?.code === 'LEVEL_LOCKED') throw new HoldfastError('folder-in-use', { dir, pid: 'unknown' }, { cause })
    if (NO_DAMAGE.test(reason)) throw new HoldfastError('folder', { dir, reason }, { cause: error })
    throw damaged(dir, reason, error)
  })
  try {
    return { database, ...(await readStore(dir, database, identity)) }
  } catch (error) {
    await database.close()
    if (error instanceof HoldfastError) throw error
    throw damaged(dir, (error as Error).message, error)
  }
}

/** Who the store is, undefined when it was never made. */
function readIdentity(dir: string): Identity | undefined {
  const file = path.join(dir, 'store.json')
  if (!fs.existsSync(file)) return undefined
  let known: { format?: unknown; clusterId?: unknown; memberId?: unknown }
  try {
    known = JSON.parse(fs.readFileSync(file, 'utf8')) as typeof known
  } catch (error) {
    throw damaged(dir, `store.json cannot be read: ${(error as Error).message}`, error)
  }
  const { format, clusterId, memberId } = known ?? {}
  if (typeof format === 'number' && format !== STORE_FORMAT_VERSION) throw newer(dir, format)
  if (format !== STORE_FORMAT_VERSION || !isId(clusterId) || !isId(memberId)) {
    throw damaged(dir, 'store.json does not name a store')
  }
  return { clusterId: BigInt(`0x${clusterId}`), memberId: BigInt(`0x${memberId}`) }
}

const isId = (id: unknown): id is string => typeof id === 'string' && ID.test(id)

const newer = (dir: string, version: number): HoldfastError =>
  new HoldfastError('format-newer', { what: 'the cluster store', disk: dir, version, known: STORE_FORMAT_VERSION })

async function makeStore(dir: string): Promise<void> {
  const unfinished = path.join(dir, 'level.new')
  fs.rmSync(unfinished, { recursive: true, force: true })
  // Not zero: that is what a message says that says nothing.
  const [clusterId, memberId] = [drawId(), drawId()]
  const database = await openDatabase(unfinished, true)
  const head = encodeHead({
    formatVersion: STORE_FORMAT_VERSION,
    clusterId,
    memberId,
    revision: FIRST_REVISION,
    compactedRevision: 0,
    records: 0,
    checksumSum: 0,
  })
  await database.put(HEAD_KEY, head, { sync: true })
  await database.close()
  syncFolder(unfinished)
  const hex = (id: bigint) => id.toString(16).padStart(16, '0')
  const identity = { format: STORE_FORMAT_VERSION, clusterId: hex(clusterId), memberId: hex(memberId) }
  const file = path.join(dir, 'store.json')
  const fd = fs.openSync(`${file}.new`, 'w', 0o600)
  fs.writeSync(fd, `${JSON.stringify(identity)}\n`)
  fs.fsyncSync(fd)
  fs.closeSync(fd)
  fs.renameSync(`${file}.new`, file)
  // The folder itself may be new, and what it lies in.
  for (let folder = dir; ; folder = path.dirname(folder)) {
    syncFolder(folder)
    if (folder === path.dirname(folder)) return
  }
}

const drawId = (): bigint => randomBytes(8).readBigUInt64LE() | 1n

function syncFolder(folder: string): void {
  let fd: number
  try {
    fd = fs.openSync(folder, 'r')
  } catch (error) {
    // One above ours that we may not read was there before us.
    if ((error as NodeJS.ErrnoException).code === 'EACCES') return
    throw error
  }
  fs.fsyncSync(fd)
  fs.closeSync(fd)
}

async function openDatabase(folder: string, createIfMissing: boolean): Promise<Database> {
  const database: Database = new Level(folder, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    createIfMissing,
    // Read once, at the start: no cache is worth its memory.
    cacheSize: 1024 * 1024,
    writeBufferSize: 2 * 1024 * 1024,
  })
  await database.open()
  return database
}

/** D4: everything is read, and held against the head. */
async function readStore(dir: string, database: Database, identity: Identity): Promise<Omit<OpenedStore, 'database'>> {
  const bytes = await database.get(HEAD_KEY)
  const head = bytes === undefined ? undefined : decodeHead(bytes)
  if (head === undefined) throw damaged(dir, bytes === undefined ? 'its head is missing' : 'its head is damaged')
  if (head.formatVersion !== STORE_FORMAT_VERSION) throw newer(dir, head.formatVersion)
  if (head.clusterId !== identity.clusterId || head.memberId !== identity.memberId) {
    throw damaged(dir, 'its level folder belongs to another store')
  }
  const records: KeyRecord[] = []
  let checksumSum = 0
  for await (const [key, value] of database.iterator({ gte: RECORD_KEYS.from, lt: RECORD_KEYS.below })) {
    const record = decodeRecord(key, value)
    if (record === undefined) throw damaged(dir, `the record under key ${key.toString('hex')} is damaged`)
    records.push(record)
    checksumSum += checksumOf(value)
  }
  const history = new KeyHistory()
  const isContiguous = history.load(records, head.revision, head.compactedRevision)
  if (records.length !== head.records || checksumSum !== head.checksumSum || !isContiguous) {
    const expected = `${head.records} records up to revision ${head.revision} are expected`
    throw damaged(dir, `${expected}, and ${records.length} other ones are there`)
  }
  return { history, head }
}
