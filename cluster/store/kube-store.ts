/**
 * The cluster store on the Kubernetes API: each entry a custom resource (kube-records.ts). FORMAT.md section 1 has the
 * rules, csi/kube/SPEC.md section 2 what stands for what.
 *
 *   get, list           recognised -> GET or LIST without resourceVersion, which is linearizable -> answer; else again
 *   compareAndSwap      recognised -> POST | PUT with uid and resourceVersion | DELETE with both, once
 *                       -> won | lost (409, 404) | refused (other 4xx, not sent) | unknown (the rest)
 *
 * S4: an answer about one object tells how far the store was at least, not how far it is. So the store is *recognised*
 * before the first call, each minute, and after each call without an answer (kube-recognition.ts); that something is
 * *not* there is believed only when it was recognised after that was said.
 */
import { assert } from '../../engine/assert.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { isRecord } from '../../engine/value-shape.ts'
import type { ApiAccess } from '../kubernetes/api-access.ts'
import { ApiClient } from '../kubernetes/api-client.ts'
import type { ApiAnswer, ApiCall, ApiFailure } from '../kubernetes/api-client.ts'
import { pause } from '../pause.ts'
import { KEY_PATTERN, PAGE_ENTRIES_MAX, VALUE_BYTES_MAX } from './cluster-store.ts'
import type {
  CasOutcome, ClusterStore, CompareAndSwap, Cursor, Entry, KeyRange, KnownStore, Page, Position, StoreAnswer, Version,
  Watch, WatchEvent,
} from './cluster-store.ts'
import {
  entryOf, objectName, objectOf, partsOf, recordsPath, resourceVersionOf, selectorOf,
} from './kube-records.ts'
import { KubeRecognition } from './kube-recognition.ts'
import { KubeWatch } from './kube-watch.ts'
import { NO_HEADER, StoreIdentity } from './store-identity.ts'

const TIMEOUT_DEFAULT_MS = 5000
const RETRY_FIRST_MS = 50
const RETRY_MOST_MS = 500

export interface KubeStoreOptions {
  access: ApiAccess
  known?: KnownStore | undefined
  /** For each call. */
  timeoutMs?: number
  /** After which a watch that tells nothing is begun anew; unset: longer than the API is silent by itself. */
  silenceMs?: number
}

/** Nothing is connected before something is asked. */
export function connectKubeStore(options: KubeStoreOptions): ClusterStore {
  return new KubeStore(options)
}

class KubeStore implements ClusterStore {
  readonly #client: ApiClient
  readonly #path: string
  readonly #endpoint: string
  readonly #timeoutMs: number
  readonly #silenceMs: number | undefined
  readonly #identity: StoreIdentity
  readonly #watches = new Set<KubeWatch>()
  readonly #whose: KubeRecognition
  #isClosed = false

  constructor({ access, known, timeoutMs, silenceMs }: KubeStoreOptions) {
    this.#silenceMs = silenceMs
    this.#client = new ApiClient(access)
    this.#path = recordsPath(access.namespace)
    this.#endpoint = `${access.server.origin} (namespace ${access.namespace})`
    this.#timeoutMs = timeoutMs ?? TIMEOUT_DEFAULT_MS
    this.#identity = new StoreIdentity(known)
    this.#whose = new KubeRecognition({
      client: this.#client, identity: this.#identity, endpoint: this.#endpoint, timeoutMs: this.#timeoutMs,
      failed: (failure) => this.#failed(failure),
    })
  }

  async get(key: string): Promise<StoreAnswer<Entry | undefined>> {
    assert(KEY_PATTERN.test(key), 'a key is short and printable')
    const untilMs = performance.now() + this.#timeoutMs
    const answer = await this.#read({ method: 'GET', path: this.#pathOf(key) })
    if (answer.ok) return this.#entry(answer.body, key)
    const { failure } = answer
    const error = isAbsent(failure) ? await this.#whose.recognisedSince(untilMs) : this.#failed(failure)
    return error === undefined ? { ok: true, value: undefined } : { ok: false, error }
  }

  async list(options: KeyRange & { limit?: number; after?: Cursor | undefined }): Promise<StoreAnswer<Page>> {
    const { prefix, from = prefix, limit = PAGE_ENTRIES_MAX, after } = options
    assert(from.startsWith(prefix), 'a range begins within its prefix')
    assert(limit >= 1 && limit <= PAGE_ENTRIES_MAX, 'a page has at least one entry, and not too many')
    const untilMs = performance.now() + this.#timeoutMs
    const selector = selectorOf(prefix)
    const entries: Entry[] = []
    let position = ''
    let next: string | undefined = after
    do {
      const query: Record<string, string> = { limit: String(limit - entries.length) }
      if (selector !== undefined) query.labelSelector = selector
      if (next !== undefined) query.continue = next
      const { revision } = this.#identity
      const answer = await this.#read({ method: 'GET', path: this.#path, query })
      if (!answer.ok) {
        const isForgotten = answer.failure.status === 410
        const forgotten = new HoldfastError('store-history', { position: position === '' ? 'that page' : position })
        return { ok: false, error: isForgotten ? forgotten : this.#failed(answer.failure) }
      }
      const { items, metadata } = answer.body
      position = resourceVersionOf(answer.body)
      const isList = Array.isArray(items) && /^\d+$/.test(position)
      if (!isList) return { ok: false, error: this.#refused('its list is none') }
      // A page that continues another one is of that moment.
      if (after === undefined && next === undefined) {
        const strange = this.#seen(position, revision)
        if (strange !== undefined) return { ok: false, error: strange }
      }
      for (const item of items) {
        const entry = isRecord(item) ? entryOf(item) : undefined
        if (entry !== undefined && entry.key.startsWith(prefix) && entry.key >= from) entries.push(entry)
      }
      const token = isRecord(metadata) ? metadata.continue : undefined
      next = typeof token === 'string' && token !== '' ? token : undefined
    } while (next !== undefined && entries.length < limit)
    const strange = entries.length === 0 ? await this.#whose.recognisedSince(untilMs) : undefined
    if (strange !== undefined) return { ok: false, error: strange }
    return { ok: true, value: { entries, position: position as Position, next: next as Cursor | undefined } }
  }

  async compareAndSwap({ key, version, value }: CompareAndSwap): Promise<CasOutcome> {
    assert(KEY_PATTERN.test(key), 'a key is short and printable')
    assert(version !== undefined || value !== undefined, 'what is absent is not deleted')
    if (value !== undefined && value.length > VALUE_BYTES_MAX) {
      const detail = { key, size: value.length, most: VALUE_BYTES_MAX }
      return { outcome: 'refused', error: new HoldfastError('store-value-size', detail) }
    }
    const deadlineMs = performance.now() + this.#timeoutMs
    const strange = await this.#whose.recognised()
    if (strange !== undefined) return { outcome: 'refused', error: strange }
    const leftMs = deadlineMs - performance.now()
    if (leftMs < this.#timeoutMs / 10) {
      // Sent now it would be unknown rather than won.
      return { outcome: 'refused', error: this.#unreachable('it took too long to connect') }
    }
    const answer = await this.#client.call({ ...this.#change({ key, version, value }), deadlineMs: leftMs })
    if (answer.ok) {
      if (value === undefined) return { outcome: 'won', version: undefined }
      const entry = entryOf(answer.body)
      if (entry?.key === key) {
        this.#saw(entry.version)
        return { outcome: 'won', version: entry.version }
      }
      return { outcome: 'unknown', error: this.#refused('its answer is not what was put') }
    }
    const { failure } = answer
    const isConflict = failure.status === 409 || (version !== undefined && isAbsent(failure))
    if (isConflict) return this.#lost({ key, version, value })
    if (failure.status === 0 || failure.status >= 500) this.#whose.doubt()
    const error = this.#failed(failure)
    return { outcome: failure.isUnknown ? 'unknown' : 'refused', error }
  }

  watch(options: KeyRange & { after: Position }, listener: (event: WatchEvent) => void): Watch {
    assert(!this.#isClosed, 'a closed store is not watched')
    const watch = new KubeWatch({
      ...options,
      client: this.#client,
      path: this.#path,
      silenceMs: this.#silenceMs,
      recognised: () => this.#whose.recognised(),
      recognisedSince: () => this.#whose.recognisedSince(performance.now() + this.#timeoutMs),
      onSeen: (resourceVersion) => this.#seen(resourceVersion, 0),
      onLost: () => this.#whose.doubt(),
      onEvent: listener,
      onEnd: () => this.#watches.delete(watch),
    })
    this.#watches.add(watch)
    return watch
  }

  known(): KnownStore | undefined {
    return this.#identity.known()
  }

  close(): void {
    this.#isClosed = true
    for (const watch of this.#watches) watch.close()
    this.#client.close()
  }

  #change({ key, version, value }: CompareAndSwap): ApiCall {
    const path = this.#pathOf(key)
    if (value === undefined) {
      const preconditions = partsOf(version!)
      return { method: 'DELETE', path, body: { apiVersion: 'v1', kind: 'DeleteOptions', preconditions } }
    }
    const body = objectOf(key, value, version)
    return version === undefined ? { method: 'POST', path: this.#path, body } : { method: 'PUT', path, body }
  }

  /**
   * A conflict: it did not happen. But where what is there is still what was expected, something else refused it (a
   * webhook, a quota); and where it is what was sent, something in between may have sent it twice. Where a deletion
   * finds nothing there is nothing to tell apart.
   */
  async #lost({ key, version, value }: CompareAndSwap): Promise<CasOutcome> {
    const found = await this.get(key)
    if (!found.ok) return { outcome: 'refused', error: found.error }
    const current = found.value
    if (current?.version === version) {
      return { outcome: 'refused', error: this.#refused('a conflict of something else than the record') }
    }
    const isAsSent = value !== undefined && current !== undefined && isSame(current.value, value)
    if (!isAsSent) return { outcome: 'lost', current }
    return { outcome: 'unknown', error: this.#refused('it conflicts with what is there, which is the same') }
  }

  /** Again and again until the deadline, as long as there is no answer, or one that may be another next time. */
  async #read(call: ApiCall): Promise<ApiAnswer> {
    const deadlineMs = performance.now() + this.#timeoutMs
    for (let retryMs = RETRY_FIRST_MS; ; retryMs = Math.min(2 * retryMs, RETRY_MOST_MS)) {
      const strange = await this.#whose.recognised()
      const leftMs = Math.max(1, deadlineMs - performance.now())
      const answer = strange === undefined
        ? await this.#client.call({ ...call, deadlineMs: leftMs })
        : { ok: false as const, failure: { status: 0, isUnknown: false, reason: '', strange } }
      if (answer.ok) return answer
      const { status } = answer.failure
      const isOfNoObject = status === 404 && !isAbsent(answer.failure)
      if (status === 0 || status >= 500 || isOfNoObject) this.#whose.doubt()
      const mayPass = (status === 0 && !isFinal(strange)) || status === 429 || status >= 500
      if (this.#isClosed || !mayPass || performance.now() + retryMs > deadlineMs) return answer
      await pause(retryMs)
    }
  }

  #seen(revision: string, revisionBefore: number): HoldfastError | undefined {
    const clusterId = this.#identity.known()!.clusterId
    return this.#identity.check(this.#endpoint, { ...NO_HEADER, clusterId, revision }, revisionBefore)
  }

  /** Where the store was at least. */
  #saw(version: Version): void {
    this.#seen(partsOf(version).resourceVersion, 0)
  }

  #entry(body: Record<string, unknown>, key: string): StoreAnswer<Entry | undefined> {
    const entry = entryOf(body)
    if (entry?.key === key) {
      this.#saw(entry.version)
      return { ok: true, value: entry }
    }
    return { ok: false, error: this.#refused(`its object ${objectName(key)} is no record of ours`) }
  }

  readonly #pathOf = (key: string): string => `${this.#path}/${objectName(key)}`

  #failed(failure: ApiFailure & { strange?: HoldfastError }): HoldfastError {
    const { status, reason, strange } = failure
    if (this.#isClosed) return new HoldfastError('shutting-down', {})
    if (strange !== undefined) return strange
    if (status === 0 || status === 429 || status >= 500) return this.#unreachable(reason)
    return this.#refused(status === 404 ? `${reason} (its custom resources come with the chart)` : reason)
  }

  #unreachable(reason: string): HoldfastError {
    return new HoldfastError('store-unreachable', { endpoints: this.#endpoint, reason })
  }

  #refused(reason: string): HoldfastError {
    return new HoldfastError('store-refused', { endpoint: this.#endpoint, reason })
  }
}

const isSame = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0

/** Another store, or one that went back: it does not pass by waiting. */
const isFinal = (error: HoldfastError | undefined): boolean =>
  error !== undefined && error.code !== 'store-unreachable'

/** The object is not there. Where the whole kind is not known, the API says so without a name. */
const isAbsent = ({ status, reason }: ApiFailure): boolean => status === 404 && reason.includes(' "k')
