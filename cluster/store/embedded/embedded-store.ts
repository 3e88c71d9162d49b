/**
 * The embedded store without its network: changes of the history that are durable before anybody hears of them.
 *
 *   change -> history moves on at once -> waits -> one synced batch for all that wait -> answered, in order
 *
 * D1: what is shown is the committed revision. A change that found nothing to do waits too: it may have found so
 *     because of one that is not durable yet.
 * D2: a batch that fails ends the store: `onFailed` is called once, and nothing is answered any more.
 */
import { assert } from '../../../engine/assert.ts'
import type { KeyHistory, KeyRecord } from './key-history.ts'
import { openStoreFolder } from './store-folder.ts'
import type { Database, OpenedStore } from './store-folder.ts'
import { HEAD_KEY, checksumOf, encodeHead, encodeRecord, recordKey } from './store-record.ts'
import type { StoreHead } from './store-record.ts'

/** History beyond either is compacted by half. */
export interface HistoryBounds {
  revisionsMax: number
  bytesMax: number
}

export const HISTORY_BOUNDS: HistoryBounds = { revisionsMax: 10_000, bytesMax: 32 * 2 ** 20 }

type Operation = { type: 'put'; key: Buffer; value: Buffer } | { type: 'del'; key: Buffer }

export class EmbeddedStore {
  readonly history: KeyHistory
  /** What is durable, and may be shown. */
  committedRevision: number
  /** Bytes of changes that are not durable yet. */
  waitingBytes = 0
  /** After the committed revision moved. */
  onCommitted: () => void = () => {}
  onFailed: (error: Error) => void = () => {}
  private readonly database: Database
  private readonly bounds: HistoryBounds
  private head: StoreHead
  private records: KeyRecord[] = []
  private dropped: KeyRecord[] = []
  private waiting: Array<() => void> = []
  private commits: Promise<void> | undefined
  private isClosed = false

  constructor({ database, history, head }: OpenedStore, bounds: HistoryBounds) {
    this.database = database
    this.history = history
    this.bounds = bounds
    this.head = head
    this.committedRevision = head.revision
  }

  get clusterId(): bigint {
    return this.head.clusterId
  }

  get memberId(): bigint {
    return this.head.memberId
  }

  /**
   * Change one key, or find that there is nothing to change. `apply` runs at once and answers with the record it made;
   * the promise is kept when that, and all it was decided on, is durable. It is never kept when the store fails.
   */
  change<T>(bytes: number, apply: (history: KeyHistory) => { record: KeyRecord | undefined; answer: T }): Promise<T> {
    const { record, answer } = apply(this.history)
    if (record !== undefined) this.records.push(record)
    this.waitingBytes += bytes
    return this.durable(() => {
      this.waitingBytes -= bytes
      return answer
    })
  }

  /** Forget what is not needed at `revision` or later, which has to be a committed one above the compacted one. */
  compact(revision: number): Promise<void> {
    assert(revision <= this.committedRevision, 'only what is durable is compacted')
    // Not one by one: a compaction may drop more than an argument list takes.
    for (const record of this.history.compact(revision)) this.dropped.push(record)
    return this.durable(() => undefined)
  }

  /** What was accepted is durable and answered; the folder is let go. */
  async close(): Promise<void> {
    this.isClosed = true
    await this.commits
    await this.database.close()
  }

  private durable<T>(answer: () => T): Promise<T> {
    assert(!this.isClosed, 'a closed store is not changed')
    return new Promise((resolve) => {
      this.waiting.push(() => resolve(answer()))
      this.commits ??= this.commitAll()
    })
  }

  private async commitAll(): Promise<void> {
    // What arrives in this turn of the loop shares the first batch.
    await new Promise((resolve) => setImmediate(resolve))
    while (this.waiting.length > 0) {
      const { waiting, records, dropped } = this
      this.waiting = []
      this.records = []
      this.dropped = []
      const revision = this.history.newestRevision
      try {
        if (records.length + dropped.length > 0) await this.write(revision, records, dropped)
      } catch (error) {
        this.onFailed(error as Error)
        // Never ends: nobody may take for done what waits behind a failed sync.
        return new Promise(() => {})
      }
      this.committedRevision = revision
      for (const answer of waiting) answer()
      this.onCommitted()
      this.compactByItself()
    }
    this.commits = undefined
  }

  private async write(revision: number, records: KeyRecord[], dropped: KeyRecord[]): Promise<void> {
    let { records: count, checksumSum } = this.head
    const operations: Operation[] = []
    for (const record of records) {
      const value = encodeRecord(record)
      operations.push({ type: 'put', key: recordKey(record.revision), value })
      count++
      checksumSum += checksumOf(value)
    }
    for (const record of dropped) {
      operations.push({ type: 'del', key: recordKey(record.revision) })
      count--
      checksumSum -= checksumOf(encodeRecord(record))
    }
    const { compactedRevision } = this.history
    const head = { ...this.head, revision, compactedRevision, records: count, checksumSum }
    operations.push({ type: 'put', key: HEAD_KEY, value: encodeHead(head) })
    await this.database.batch(operations, { sync: true })
    this.head = head
  }

  private compactByItself(): void {
    const { history, bounds, committedRevision } = this
    const kept = committedRevision - history.compactedRevision
    if (kept <= bounds.revisionsMax && history.historyBytes <= bounds.bytesMax) return
    const revision = history.compactedRevision + Math.ceil(kept / 2)
    if (revision > history.compactedRevision && !this.isClosed) void this.compact(revision)
  }
}

/** @throws HoldfastError when the folder cannot be served; it is then as it was. */
export async function openEmbeddedStore(dir: string, bounds = HISTORY_BOUNDS): Promise<EmbeddedStore> {
  return new EmbeddedStore(await openStoreFolder(dir), bounds)
}
