/**
 * The KV service of the embedded store: what a request means, and what of it is not served. Reads show the committed
 * revision; changes are decided on the newest one and answered when it is durable (embedded-store.ts, D1).
 */
import { revisionOf } from '../etcd-api.ts'
import type {
  Compare, CompactionRequest, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, RequestOp, ResponseHeader, Sent,
  RangeResponse, TxnRequest, TxnResponse,
} from '../etcd-api.ts'
import type { EmbeddedStore } from './embedded-store.ts'
import { bytesOfRecord } from './key-history.ts'
import type { KeyHistory, KeyRange, KeyRecord } from './key-history.ts'
import {
  answerTooLarge, compacted, emptyKey, future, noSpace, tooLarge, tooManyRequests, unserved,
} from './refusals.ts'

export const KEY_BYTES_MAX = 1024
export const VALUE_BYTES_MAX = 64 * 1024
const LIVE_BYTES_MAX = 64 * 2 ** 20
const WAITING_BYTES_MAX = 16 * 2 ** 20
const ANSWER_BYTES_MAX = 16 * 2 ** 20

const textOf = (key: Uint8Array): string => Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')

function keyText(key: Uint8Array): string {
  if (key.length === 0) throw emptyKey()
  if (key.length > KEY_BYTES_MAX) throw tooLarge()
  return textOf(key)
}

export function keyRangeOf(key: string, rangeEnd: Uint8Array): KeyRange {
  if (rangeEnd.length === 0) return { from: key, below: `${key}\0` }
  return { from: key, below: rangeEnd.length === 1 && rangeEnd[0] === 0 ? undefined : textOf(rangeEnd) }
}

export function keyValueOf(record: KeyRecord, withValue: boolean): KeyValue {
  return {
    key: Buffer.from(record.key, 'latin1'),
    createRevision: String(record.createRevision),
    modRevision: String(record.revision),
    version: String(record.version),
    value: withValue ? record.value : new Uint8Array(0),
    lease: '0',
  }
}

export class KvService {
  private readonly store: EmbeddedStore
  private readonly header: (revision: number) => ResponseHeader

  constructor(store: EmbeddedStore, header: (revision: number) => ResponseHeader) {
    this.store = store
    this.header = header
  }

  range(request: RangeRequest): RangeResponse {
    const { committedRevision, history } = this.store
    if (request.sortTarget !== 'KEY' || request.sortOrder === 'DESCEND') throw unserved('an order that is not by key')
    for (const filter of ['minModRevision', 'maxModRevision', 'minCreateRevision', 'maxCreateRevision'] as const) {
      if (request[filter] !== '0') throw unserved(`a range with ${filter}`)
    }
    const asked = revisionOf(request.revision)
    const revision = asked > 0 ? asked : committedRevision
    if (revision > committedRevision) throw future()
    if (revision < history.compactedRevision) throw compacted()
    const limit = revisionOf(request.limit)
    const range = keyRangeOf(keyText(request.key), request.rangeEnd)
    const most = request.countOnly ? 0 : limit > 0 ? limit : Infinity
    const { records, count } = history.range(range, revision, most)
    let bytes = 0
    for (const record of records) bytes += bytesOfRecord(record)
    if (bytes > ANSWER_BYTES_MAX) throw answerTooLarge(ANSWER_BYTES_MAX)
    return {
      header: this.header(committedRevision),
      kvs: records.map((record) => keyValueOf(record, !request.keysOnly)),
      more: !request.countOnly && count > records.length,
      count: String(count),
    }
  }

  put(request: PutRequest): Promise<{ header: ResponseHeader }> {
    checkPut(request)
    const key = keyText(request.key)
    return this.change(request.value.length, (history) => {
      const record = putWithinBounds(history, key, request.value)
      return { record, answer: { header: this.header(record.revision) } }
    })
  }

  deleteRange(request: DeleteRangeRequest): Promise<{ header: ResponseHeader; deleted: string }> {
    checkDelete(request)
    const key = keyText(request.key)
    return this.change(0, (history) => {
      const record = history.delete(key)
      const deleted = record === undefined ? '0' : '1'
      return { record, answer: { header: this.header(history.newestRevision), deleted } }
    })
  }

  /** The one shape that is served: compare one number of one key; change that key, or tell what it is. */
  txn({ compare, success, failure }: TxnRequest): Promise<Sent<TxnResponse>> {
    const [condition, ...furtherConditions] = compare
    const [operation, ...furtherOperations] = success
    const [otherwise, ...furtherOtherwise] = failure
    if (condition === undefined || furtherConditions.length > 0) throw unserved('a transaction without one compare')
    if (operation === undefined || furtherOperations.length > 0) throw unserved('a transaction without one change')
    if (furtherOtherwise.length > 0) throw unserved('a transaction with several reads')
    const key = keyText(condition.key)
    const wanted = wantedNumber(condition)
    const value = changeOf(operation, key)
    const tells = otherwise !== undefined && isReadOf(otherwise, key)
    return this.change<Sent<TxnResponse>>(value?.length ?? 0, (history) => {
      const before = history.latest(key)
      if (numberOf(condition, before) !== wanted) {
        const header = this.header(history.newestRevision)
        const kvs = before === undefined ? [] : [keyValueOf(before, true)]
        const responseRange = { header, kvs, more: false, count: String(kvs.length) }
        return { record: undefined, answer: { header, succeeded: false, responses: tells ? [{ responseRange }] : [] } }
      }
      const record = value === undefined ? history.delete(key) : putWithinBounds(history, key, value)
      const header = this.header(history.newestRevision)
      const deleted = record === undefined ? '0' : '1'
      const response = value === undefined ? { responseDeleteRange: { header, deleted } } : { responsePut: { header } }
      return { record, answer: { header, succeeded: true, responses: [response] } }
    })
  }

  async compact({ revision: text }: CompactionRequest): Promise<{ header: ResponseHeader }> {
    const revision = revisionOf(text)
    if (revision > this.store.committedRevision) throw future()
    if (revision <= this.store.history.compactedRevision) throw compacted()
    await this.store.compact(revision)
    return { header: this.header(this.store.committedRevision) }
  }

  private change<T>(
    bytes: number,
    apply: (history: KeyHistory) => { record: KeyRecord | undefined; answer: T },
  ): Promise<T> {
    if (this.store.waitingBytes + bytes > WAITING_BYTES_MAX) throw tooManyRequests()
    // Also what changes nothing takes room while it waits.
    return this.store.change(bytes + KEY_BYTES_MAX, apply)
  }
}

function putWithinBounds(history: KeyHistory, key: string, value: Uint8Array): KeyRecord {
  const before = history.latest(key)
  const growth = value.length - (before?.value.length ?? 0) + (before === undefined ? key.length : 0)
  if (growth > 0 && history.liveBytes + growth > LIVE_BYTES_MAX) throw noSpace()
  // Its own bytes: what came over the network is a piece of a larger buffer.
  return history.put(key, Uint8Array.from(value))
}

function checkPut({ value, lease, prevKv, ignoreValue, ignoreLease }: PutRequest): void {
  if (lease !== '0') throw unserved('a lease')
  if (prevKv) throw unserved('prev_kv')
  if (ignoreValue || ignoreLease) throw unserved('a put that keeps its value or lease')
  if (value.length > VALUE_BYTES_MAX) throw tooLarge()
}

function checkDelete({ rangeEnd, prevKv }: DeleteRangeRequest): void {
  if (rangeEnd.length > 0) throw unserved('a deletion of more than one key')
  if (prevKv) throw unserved('prev_kv')
}

const COMPARED = {
  version: ['VERSION', (record: KeyRecord) => record.version],
  createRevision: ['CREATE', (record: KeyRecord) => record.createRevision],
  modRevision: ['MOD', (record: KeyRecord) => record.revision],
} as const

function comparedOf({ target }: Compare): keyof typeof COMPARED {
  const name = (Object.keys(COMPARED) as Array<keyof typeof COMPARED>).find((each) => COMPARED[each][0] === target)
  if (name === undefined) throw unserved(`a compare of ${target}`)
  return name
}

/** As etcd: a number that is left out is 0. */
function wantedNumber(compare: Compare): number {
  const { result, rangeEnd } = compare
  if (result !== 'EQUAL' || rangeEnd.length > 0) throw unserved('a compare that is not EQUAL of one key')
  return revisionOf(compare[comparedOf(compare)] ?? '0')
}

const numberOf = (compare: Compare, record: KeyRecord | undefined): number =>
  record === undefined ? 0 : COMPARED[comparedOf(compare)][1](record)

/** The value to put, undefined for a deletion. */
function changeOf({ request, requestPut, requestDeleteRange }: RequestOp, key: string): Uint8Array | undefined {
  const change = requestPut ?? requestDeleteRange
  if (change === undefined) throw unserved(`a transaction that begins with ${request ?? 'nothing'}`)
  if (textOf(change.key) !== key) throw unserved('a transaction over several keys')
  if (requestPut === undefined) checkDelete(requestDeleteRange!)
  else checkPut(requestPut)
  return requestPut?.value
}

function isReadOf({ requestRange: read }: RequestOp, key: string): true {
  if (read === undefined) throw unserved('a transaction that changes something when its compare fails')
  if (textOf(read.key) !== key || read.rangeEnd.length > 0) throw unserved('a transaction over several keys')
  if (read.revision !== '0' || read.countOnly || read.keysOnly) throw unserved('a transaction that reads anything else')
  return true
}
