/**
 * The cluster store behind the etcd v3 API: etcd itself, or the embedded one. FORMAT.md section 1 has the rules; here
 * are S1 (sent at most once), S2 (sent and not answered is unknown) and S5 (deadlines, another endpoint for reads).
 *
 *   get, list           ready endpoint -> Range -> checked -> answer      failed: the next endpoint, until the deadline
 *   compareAndSwap      ready endpoint -> Txn, once -> won | lost         failed: unknown, or known not to be applied
 */
import { assert } from '../../engine/assert.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { pause } from '../pause.ts'
import { KEY_PATTERN, PAGE_ENTRIES_MAX, VALUE_BYTES_MAX } from './cluster-store.ts'
import type {
  CasOutcome, ClusterStore, CompareAndSwap, Cursor, Entry, KeyRange, KnownStore, Page, Position, StoreAnswer, Version,
  Watch, WatchEvent,
} from './cluster-store.ts'
import { EndpointSet } from './endpoint-set.ts'
import { isCertainlyNotApplied, isCompacted, isRefusal, reasonOf } from './etcd-answers.ts'
import { ROOT_DEFAULT, endOfPrefix } from './etcd-api.ts'
import type { KeyValue, RangeRequest, RangeResponse, RequestOp, Sent, TxnRequest, TxnResponse } from './etcd-api.ts'
import { EtcdWatch } from './etcd-watch.ts'
import type { StoreTls } from '../tls/store-tls.ts'
import { parseAddresses } from './store-addresses.ts'
import { nonsense, StoreIdentity } from './store-identity.ts'

const TIMEOUT_DEFAULT_MS = 5000
/** Pings while calls are under way; etcd takes one in five seconds at most. */
const KEEPALIVE_DEFAULT_MS = 10_000
const RETRY_FIRST_MS = 50
const RETRY_MOST_MS = 500

export interface EtcdStoreOptions {
  /** `http://HOST:PORT`, or `https` for TLS, several with commas between them. */
  addresses: string
  /** For `https`. */
  tls?: StoreTls | undefined
  /** What every key begins with in the store. */
  root?: string
  /** Which store it has to be, as `known()` said before; undefined: whichever it is at first. */
  known?: KnownStore | undefined
  /** For each call. */
  timeoutMs?: number
  keepaliveMs?: number
}

/** Nothing is connected before something is asked. @throws HoldfastError `store-address`, `store-needs-tls` */
export function connectEtcdStore(options: EtcdStoreOptions): ClusterStore {
  return new EtcdStore(options)
}

class EtcdStore implements ClusterStore {
  private readonly root: string
  private readonly timeoutMs: number
  private readonly identity: StoreIdentity
  private readonly endpoints: EndpointSet
  private readonly watches = new Set<EtcdWatch>()
  private isClosed = false

  constructor({ addresses, tls, root, known, timeoutMs, keepaliveMs }: EtcdStoreOptions) {
    this.root = root ?? ROOT_DEFAULT
    this.timeoutMs = timeoutMs ?? TIMEOUT_DEFAULT_MS
    this.identity = new StoreIdentity(known)
    const urls = parseAddresses(addresses)
    this.endpoints = new EndpointSet(urls, this.identity, keepaliveMs ?? KEEPALIVE_DEFAULT_MS, tls)
  }

  async get(key: string): Promise<StoreAnswer<Entry | undefined>> {
    const answer = await this.read({ key: this.bytesOf(key) })
    if (!answer.ok) return answer
    const [found] = answer.value.kvs
    return { ok: true, value: found === undefined ? undefined : this.entryOf(found) }
  }

  async list(options: KeyRange & { limit?: number; after?: Cursor | undefined }): Promise<StoreAnswer<Page>> {
    const { limit = PAGE_ENTRIES_MAX, after } = options
    assert(limit >= 1 && limit <= PAGE_ENTRIES_MAX, 'a page has at least one entry, and not too many')
    const [revision, lastKey] = after === undefined ? [undefined, undefined] : splitCursor(after)
    const { from, end } = this.rangeOf(options)
    const key = lastKey === undefined ? from : Buffer.concat([Buffer.from(lastKey, 'hex'), Uint8Array.of(0)])
    const answer = await this.read({ key, rangeEnd: end, limit: String(limit), revision: revision ?? '0' })
    if (!answer.ok) return answer
    const { kvs, more, header } = answer.value
    // A key that none of ours can be is somebody else's; the next page begins behind it all the same.
    const entries = kvs.map((found) => this.entryOf(found)).filter(({ key: one }) => KEY_PATTERN.test(one))
    const at = revision ?? header.revision
    const next = more ? (`${at} ${Buffer.from(kvs.at(-1)!.key).toString('hex')}` as Cursor) : undefined
    return { ok: true, value: { entries, position: at as Position, next } }
  }

  async compareAndSwap({ key, version, value }: CompareAndSwap): Promise<CasOutcome> {
    assert(version !== undefined || value !== undefined, 'what is absent is not deleted')
    const request = this.transaction(this.bytesOf(key), version, value)
    if (value !== undefined && value.length > VALUE_BYTES_MAX) {
      const detail = { key, size: value.length, most: VALUE_BYTES_MAX }
      return { outcome: 'refused', error: new HoldfastError('store-value-size', detail) }
    }
    const deadlineMs = performance.now() + this.timeoutMs
    const endpoint = await this.endpoints.ready(this.timeoutMs)
    if (endpoint instanceof HoldfastError) return { outcome: 'refused', error: endpoint }
    const leftMs = deadlineMs - performance.now()
    if (leftMs < this.timeoutMs / 10) {
      // Sent now it would be unknown rather than won.
      return { outcome: 'refused', error: endpoint.unreachable('it took too long to connect') }
    }
    const { revision } = this.identity
    const answer = await endpoint.call<TxnRequest, TxnResponse>('Txn', request, leftMs)
    if (!answer.ok) {
      const { error } = answer
      const reason = reasonOf(error)
      if (isCertainlyNotApplied(error)) {
        return { outcome: 'refused', error: new HoldfastError('store-refused', { endpoint: endpoint.url, reason }) }
      }
      // One that answers in words stays connected.
      if (!isRefusal(error)) this.endpoints.failed(endpoint)
      return { outcome: 'unknown', error: endpoint.unreachable(reason) }
    }
    const { header, succeeded, responses } = answer.response
    const strange = this.identity.check(endpoint.url, header, revision)
    if (strange !== undefined) return { outcome: 'unknown', error: strange }
    // The transaction has one change, so its revision is that of the value.
    if (succeeded) return { outcome: 'won', version: value === undefined ? undefined : (header.revision as Version) }
    const found = responses[0]?.responseRange?.kvs[0]
    return { outcome: 'lost', current: found === undefined ? undefined : this.entryOf(found) }
  }

  watch(options: KeyRange & { after: Position }, listener: (event: WatchEvent) => void): Watch {
    assert(!this.isClosed, 'a closed store is not watched')
    const watch = new EtcdWatch({
      ...this.rangeOf(options),
      endpoints: this.endpoints,
      identity: this.identity,
      timeoutMs: this.timeoutMs,
      after: options.after,
      keyOf: (bytes) => this.keyOf(bytes),
      onEvent: listener,
      onEnd: () => this.watches.delete(watch),
    })
    this.watches.add(watch)
    return watch
  }

  known(): KnownStore | undefined {
    return this.identity.known()
  }

  close(): void {
    this.isClosed = true
    for (const watch of this.watches) watch.close()
    this.endpoints.close()
  }

  private async read(request: Sent<RangeRequest>): Promise<StoreAnswer<RangeResponse>> {
    const deadlineMs = performance.now() + this.timeoutMs
    const leftMs = () => Math.max(1, deadlineMs - performance.now())
    for (let retryMs = RETRY_FIRST_MS; ; retryMs = Math.min(2 * retryMs, RETRY_MOST_MS)) {
      const endpoint = await this.endpoints.ready(leftMs())
      if (endpoint instanceof HoldfastError) return { ok: false, error: endpoint }
      const { revision } = this.identity
      const shareMs = Math.min(leftMs(), this.endpoints.shareMs(this.timeoutMs))
      const answer = await endpoint.call<RangeRequest, RangeResponse>('Range', request, shareMs)
      if (answer.ok) {
        if (!isWhole(answer.response)) {
          return { ok: false, error: nonsense(endpoint.url) }
        }
        const strange = this.identity.check(endpoint.url, answer.response.header, revision)
        return strange === undefined ? { ok: true, value: answer.response } : { ok: false, error: strange }
      }
      if (isCompacted(answer.error)) {
        return { ok: false, error: new HoldfastError('store-history', { position: request.revision ?? '0' }) }
      }
      const reason = reasonOf(answer.error)
      if (isRefusal(answer.error)) {
        return { ok: false, error: new HoldfastError('store-refused', { endpoint: endpoint.url, reason }) }
      }
      this.endpoints.failed(endpoint)
      if (leftMs() <= retryMs) return { ok: false, error: endpoint.unreachable(reason) }
      await pause(retryMs)
    }
  }

  /** Put or delete if the version matches, else tell what is there. */
  private transaction(key: Uint8Array, version: Version | undefined, value: Uint8Array | undefined): Sent<TxnRequest> {
    const remove: Sent<RequestOp> = { requestDeleteRange: { key } }
    const change = value === undefined ? remove : { requestPut: { key, value } }
    return {
      // A key that is not there has revision 0.
      compare: [{ result: 'EQUAL', target: 'MOD', key, modRevision: version ?? '0' }],
      success: [change],
      failure: [{ requestRange: { key } }],
    }
  }

  private bytesOf(key: string): Uint8Array {
    assert(KEY_PATTERN.test(key), 'a key is short and printable')
    return Buffer.from(this.root + key)
  }

  private keyOf(bytes: Uint8Array): string {
    return Buffer.from(bytes).toString().slice(this.root.length)
  }

  private rangeOf({ prefix, from = prefix }: KeyRange): { from: Uint8Array; end: Uint8Array } {
    assert(from.startsWith(prefix), 'a range begins within its prefix')
    const first = Buffer.from(this.root + from)
    const end = endOfPrefix(Buffer.from(this.root + prefix))
    return { from: first.length === 0 ? Uint8Array.of(0) : first, end }
  }

  private entryOf({ key, value, modRevision }: KeyValue): Entry {
    return { key: this.keyOf(key), value, version: modRevision as Version }
  }
}

/** Of what the protocol lets a server leave out, what no server does: it would have us end, or ask for ever. */
const isWhole = ({ header, kvs, more }: RangeResponse): boolean => header !== null && (!more || kvs.length > 0)

function splitCursor(cursor: Cursor): [revision: string, lastKey: string] {
  const blank = cursor.indexOf(' ')
  return [cursor.slice(0, blank), cursor.slice(blank + 1)]
}
