/**
 * What the embedded store knows: every key as it was at every revision since the compacted one. Pure, all in memory.
 *
 *   versions   key -> its records, oldest first; the first may be older than the compacted revision, the others are not
 *   events     record of each revision from the compacted one on, without gaps
 *
 * A put or delete takes the next revision at once; the caller shows it to nobody before it is durable, by asking for
 * what was at the revision that is. Keys are bytes in text of one character a byte, which orders them as bytes.
 *
 * H1: `events` has exactly one record for each revision in (compacted, newest], and one of the compacted revision if
 *     anything happened then.
 * H2: reading at a revision >= the compacted one gives what was there then, whatever was compacted.
 */
import { assert } from '../../../engine/assert.ts'

/** What happened to one key at one revision: a version of it, and an event of the history. */
export interface KeyRecord {
  readonly revision: number
  readonly kind: 'put' | 'delete'
  readonly key: string
  /** Of the put that made the key; 0 of a delete. */
  readonly createRevision: number
  /** Puts since then; 0 of a delete. */
  readonly version: number
  readonly value: Uint8Array
}

/** Keys from `from` on, below `below`; without it all of them. */
export interface KeyRange {
  from: string
  below: string | undefined
}

export interface RangeResult {
  records: KeyRecord[]
  /** In the whole range, beyond the limit too. */
  count: number
}

const NOTHING = new Uint8Array(0)
/** What a record costs beside its bytes, in memory and on disk. */
const OVERHEAD_BYTES = 256

/** An empty store has revision 1, as etcd's. */
export const FIRST_REVISION = 1

export const bytesOfRecord = ({ key, value }: KeyRecord): number => key.length + value.length + OVERHEAD_BYTES

export class KeyHistory {
  newestRevision = FIRST_REVISION
  compactedRevision = 0
  /** Of the keys that are there. */
  liveBytes = 0
  /** Of everything else that is kept. */
  historyBytes = 0
  private keys: string[] = []
  private readonly versions = new Map<string, KeyRecord[]>()
  private events: KeyRecord[] = []

  /** The records of a store in order of revision, all that compaction left. False: some are missing. */
  load(records: readonly KeyRecord[], newestRevision: number, compactedRevision: number): boolean {
    this.newestRevision = newestRevision
    this.compactedRevision = compactedRevision
    for (const record of records) {
      const versions = this.versions.get(record.key)
      if (versions === undefined) this.versions.set(record.key, [record])
      else versions.push(record)
      if (record.revision >= compactedRevision) this.events.push(record)
    }
    this.keys = [...this.versions.keys()].sort(byBytes)
    for (const versions of this.versions.values())
      versions.forEach((record, i) => this.account(record, i === versions.length - 1, 1))
    const firstToBe = Math.max(compactedRevision, FIRST_REVISION) + 1
    const first = this.events.findIndex(({ revision }) => revision >= firstToBe)
    const contiguous = first < 0 ? [] : this.events.slice(first)
    return contiguous.length === Math.max(0, newestRevision - firstToBe + 1)
      && contiguous.every(({ revision }, i) => revision === firstToBe + i)
  }

  /** The newest put of a key that is there. */
  latest(key: string): KeyRecord | undefined {
    const record = this.versions.get(key)?.at(-1)
    return record?.kind === 'put' ? record : undefined
  }

  put(key: string, value: Uint8Array): KeyRecord {
    const before = this.latest(key)
    const revision = this.newestRevision + 1
    const createRevision = before?.createRevision ?? revision
    return this.append({ revision, kind: 'put', key, createRevision, version: (before?.version ?? 0) + 1, value })
  }

  /** Undefined, and no revision taken, when the key is not there. */
  delete(key: string): KeyRecord | undefined {
    if (this.latest(key) === undefined) return undefined
    const revision = this.newestRevision + 1
    return this.append({ revision, kind: 'delete', key, createRevision: 0, version: 0, value: NOTHING })
  }

  /** What one key was at a revision. */
  at(key: string, revision: number): KeyRecord | undefined {
    assert(revision >= this.compactedRevision, 'H2: what is compacted is not read')
    const record = this.versions.get(key)?.findLast((version) => version.revision <= revision)
    return record?.kind === 'put' ? record : undefined
  }

  /** @param limit  records to give, Infinity for all; the count goes on. Cost O(keys in the range). */
  range({ from, below }: KeyRange, revision: number, limit: number): RangeResult {
    const records: KeyRecord[] = []
    let count = 0
    for (let i = this.positionOf(from); i < this.keys.length; i++) {
      const key = this.keys[i]!
      if (below !== undefined && key >= below) break
      const record = this.at(key, revision)
      if (record === undefined) continue
      count++
      if (records.length < limit) records.push(record)
    }
    return { records, count }
  }

  /** What happened at `revision`; there is something at each one behind the compacted one. */
  eventAt(revision: number): KeyRecord | undefined {
    const first = this.events[0]
    return first === undefined ? undefined : this.events[revision - first.revision]
  }

  /**
   * Forget what is not needed to read at `revision` or later. @returns the records that are gone.
   * A deletion at `revision` itself is kept until the next time: a watch that begins there has to be told of it.
   */
  compact(revision: number): KeyRecord[] {
    assert(revision > this.compactedRevision && revision <= this.newestRevision, 'compaction goes forward')
    const gone: KeyRecord[] = []
    const emptied = new Set<string>()
    const touched = new Set<string>()
    for (const event of this.events) {
      if (event.revision > revision) break
      touched.add(event.key)
    }
    for (const key of touched) {
      const versions = this.versions.get(key)!
      const newest = versions.findLastIndex((version) => version.revision <= revision)
      assert(newest >= 0, 'H1: an event is a version of its key')
      const { kind, revision: at } = versions[newest]!
      const kept = kind === 'delete' && at < revision ? newest + 1 : newest
      for (const record of versions.slice(0, kept)) {
        gone.push(record)
        this.account(record, false, -1)
      }
      versions.splice(0, kept)
      if (versions.length === 0) emptied.add(key)
    }
    for (const key of emptied) this.versions.delete(key)
    if (emptied.size > 0) this.keys = this.keys.filter((key) => !emptied.has(key))
    this.compactedRevision = revision
    const first = this.events.findIndex((event) => event.revision >= revision)
    this.events = first < 0 ? [] : this.events.slice(first)
    return gone
  }

  private append(record: KeyRecord): KeyRecord {
    const versions = this.versions.get(record.key)
    if (versions === undefined) {
      this.versions.set(record.key, [record])
      this.keys.splice(this.positionOf(record.key), 0, record.key)
    } else {
      const before = versions.at(-1)!
      this.account(before, true, -1)
      this.account(before, false, 1)
      versions.push(record)
    }
    this.account(record, true, 1)
    this.events.push(record)
    this.newestRevision = record.revision
    return record
  }

  private account(record: KeyRecord, isNewest: boolean, sign: 1 | -1): void {
    const bytes = sign * bytesOfRecord(record)
    if (isNewest && record.kind === 'put') this.liveBytes += bytes
    else this.historyBytes += bytes
  }

  /** Of the first key that is not below. */
  private positionOf(key: string): number {
    let low = 0
    let high = this.keys.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.keys[middle]! < key) low = middle + 1
      else high = middle
    }
    return low
  }
}

const byBytes = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
