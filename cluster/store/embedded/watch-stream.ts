/**
 * One Watch call of the embedded store with its watches. A watch is a cursor: the next revision it has to tell. `pump`
 * tells each what lies between its cursor and the committed revision, and stops when the stream is full; so a client
 * that does not read costs one response, and falls behind the compacted revision at worst, which it is told.
 */
import type { ServerDuplexStream } from '@grpc/grpc-js'
import { revisionOf } from '../etcd-api.ts'
import type { Event, ResponseHeader, Sent, WatchCreateRequest, WatchRequest, WatchResponse } from '../etcd-api.ts'
import type { EmbeddedStore } from './embedded-store.ts'
import { bytesOfRecord } from './key-history.ts'
import type { KeyRange, KeyRecord } from './key-history.ts'
import { keyRangeOf, keyValueOf } from './kv-service.ts'
import { compacted, unserved } from './refusals.ts'

const WATCHES_MAX = 1000
const RESPONSE_BYTES_MAX = 2 ** 20
/** In the place of an id: none, or all of the stream. */
const NO_WATCH = '-1'

interface Watch {
  id: number
  range: KeyRange
  kinds: ReadonlySet<KeyRecord['kind']>
  nextRevision: number
  notifiesProgress: boolean
  /** Events were told since the last progress notice. */
  isBusy: boolean
}

export type WatchCall = ServerDuplexStream<WatchRequest, Sent<WatchResponse>>

export class WatchStream {
  private readonly call: WatchCall
  private readonly store: EmbeddedStore
  private readonly header: (revision: number) => ResponseHeader
  private readonly watches = new Map<number, Watch>()
  private isFull = false
  private isProgressAsked = false

  constructor(call: WatchCall, store: EmbeddedStore, header: (revision: number) => ResponseHeader) {
    this.call = call
    this.store = store
    this.header = header
    call.on('drain', () => {
      this.isFull = false
      call.resume()
      this.pump()
    })
  }

  onRequest({ createRequest, cancelRequest, requestUnion }: WatchRequest): void {
    if (createRequest) this.create(createRequest)
    else if (cancelRequest) this.cancel(Number(cancelRequest.watchId))
    else if (requestUnion === 'progressRequest') this.isProgressAsked = true
    this.pump()
  }

  /** Tell what is new, as far as there is room. */
  pump(): void {
    for (const watch of this.watches.values()) {
      while (!this.isFull && this.watches.has(watch.id) && this.isBehind(watch)) this.tell(watch)
    }
    if (this.isProgressAsked && !this.isFull) {
      this.isProgressAsked = false
      this.send(NO_WATCH, {})
    }
  }

  /** From time to time: those who had nothing to hear learn how far that goes. */
  notifyProgress(): void {
    for (const watch of this.watches.values()) {
      const isTold = watch.isBusy || this.isBehind(watch)
      if (watch.notifiesProgress && !isTold && !this.isFull) this.send(String(watch.id), {})
      watch.isBusy = false
    }
  }

  private create(request: WatchCreateRequest): void {
    const asked = Number(request.watchId)
    const start = revisionOf(request.startRevision)
    const refused = (cancelReason: string) => this.send(NO_WATCH, { created: true, canceled: true, cancelReason })
    if (start < 0) return refused(compacted().message)
    if (request.prevKv) return refused(unserved('prev_kv').message)
    if (asked < 0) return refused(unserved('a watch id below 0').message)
    if (this.watches.size >= WATCHES_MAX) return refused(`holdfast store: a stream has at most ${WATCHES_MAX} watches`)
    if (asked !== 0 && this.watches.has(asked)) return refused('mvcc: duplicate watch ID provided on the WatchStream')
    const id = asked === 0 ? this.freeId() : asked
    const key = request.key.length === 0 ? '\0' : Buffer.from(request.key).toString('latin1')
    const kinds = new Set<KeyRecord['kind']>(['put', 'delete'])
    if (request.filters.includes('NOPUT')) kinds.delete('put')
    if (request.filters.includes('NODELETE')) kinds.delete('delete')
    this.watches.set(id, {
      id,
      range: keyRangeOf(key, request.rangeEnd),
      kinds,
      nextRevision: start === 0 ? this.store.committedRevision + 1 : start,
      notifiesProgress: request.progressNotify,
      isBusy: false,
    })
    this.send(String(id), { created: true })
  }

  private cancel(id: number): void {
    if (this.watches.delete(id)) this.send(String(id), { canceled: true })
  }

  private freeId(): number {
    let id = 0
    while (this.watches.has(id)) id++
    return id
  }

  private isBehind({ nextRevision }: Watch): boolean {
    return nextRevision <= this.store.committedRevision
  }

  private tell(watch: Watch): void {
    const { history, committedRevision } = this.store
    const id = String(watch.id)
    if (watch.nextRevision < history.compactedRevision) {
      this.watches.delete(watch.id)
      return this.send(id, { canceled: true, compactRevision: String(history.compactedRevision) })
    }
    const events: Event[] = []
    let bytes = 0
    let revision = watch.nextRevision
    for (; revision <= committedRevision && bytes < RESPONSE_BYTES_MAX; revision++) {
      const record = history.eventAt(revision)
      // Revision 1 has none.
      if (record === undefined || !isWatched(watch, record)) continue
      events.push({ type: record.kind === 'put' ? 'PUT' : 'DELETE', kv: keyValueOf(record, true) })
      bytes += bytesOfRecord(record)
    }
    watch.nextRevision = revision
    if (events.length === 0) return
    watch.isBusy = true
    this.send(id, { events }, revision - 1)
  }

  private send(watchId: string, response: Sent<WatchResponse>, revision = this.store.committedRevision): void {
    this.isFull = !this.call.write({ header: this.header(revision), watchId, ...response })
    // Who does not read the answers is not asked for more requests.
    if (this.isFull) this.call.pause()
  }
}

function isWatched({ range, kinds }: Watch, { key, kind }: KeyRecord): boolean {
  return kinds.has(kind) && key >= range.from && (range.below === undefined || key < range.below)
}
