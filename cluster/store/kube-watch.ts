/**
 * A watch of the cluster store on the Kubernetes API that goes on when its stream does not (FORMAT.md S3): from the
 * last resourceVersion that was told, or that a bookmark named. It ends by itself when what comes next is forgotten
 * (`gone`), or the store is not the one we know (`failed`).
 *
 * A deletion is told when the store was recognised after it came: with the definition of our kind, or our namespace,
 * all records are deleted, and nobody meant that. What comes behind it waits. Where it is so, the watch begins again
 * from what was told, until it is the store that we know, or is known not to be.
 */
import { HoldfastError } from '../../engine/errors.ts'
import type { ApiClient } from '../kubernetes/api-client.ts'
import { watchApi } from '../kubernetes/api-watch.ts'
import type { ApiEvent, WatchEnd } from '../kubernetes/api-watch.ts'
import type { Change, KeyRange, Position, Watch, WatchEvent } from './cluster-store.ts'
import { entryOf, resourceVersionOf, selectorOf } from './kube-records.ts'

const RESUME_FIRST_MS = 50
const RESUME_MOST_MS = 5000
/** Told one after the other at the same place, e.g. of a deletion whose former value is compacted: it stays so. */
const ERRORS_MOST = 3

export interface KubeWatchOptions extends KeyRange {
  client: ApiClient
  path: string
  after: Position
  silenceMs: number | undefined
  /** @returns why it is not the store that we know, or cannot be reached */
  recognised(): Promise<HoldfastError | undefined>
  /** The same, by a look that begins now. */
  recognisedSince(): Promise<HoldfastError | undefined>
  onSeen(resourceVersion: string): void
  /** A stream ended: who answers next has to be recognised. */
  onLost(): void
  onEvent(event: WatchEvent): void
  onEnd(): void
}

export class KubeWatch implements Watch {
  readonly #o: KubeWatchOptions
  #told: string
  #pauseMs = RESUME_FIRST_MS
  #errors = 0
  #isEnded = false
  #close: () => void = () => {}
  /** What came and is not told: the first of it is a deletion that is looked at. Another list: that stream is over. */
  #waiting: ApiEvent[] = []

  constructor(options: KubeWatchOptions) {
    this.#o = options
    this.#told = options.after
    void this.#begin()
  }

  close(): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#close()
    this.#o.onEnd()
  }

  async #begin(): Promise<void> {
    const strange = await this.#o.recognised()
    if (this.#isEnded) return
    if (strange !== undefined) return this.#notOurs(strange)
    const selector = selectorOf(this.#o.prefix)
    this.#close = watchApi(this.#o.client, {
      path: this.#o.path,
      query: selector === undefined ? {} : { labelSelector: selector },
      resourceVersion: this.#told,
      silenceMs: this.#o.silenceMs,
      onEvent: (event) => this.#take(event),
      onEnd: (end: WatchEnd) => {
        this.#waiting = []
        if (end !== 'gone' && end.isTold === true) this.#errors++
        if (end === 'gone' || this.#errors >= ERRORS_MOST) return this.#end({ type: 'gone' })
        this.#o.onLost()
        this.#again()
      },
    })
  }

  #notOurs(strange: HoldfastError): void {
    const isFinal = strange.code === 'store-replaced' || strange.code === 'store-behind'
    if (isFinal) this.#end({ type: 'failed', error: strange })
    else this.#again()
  }

  #again(): void {
    const timer = setTimeout(() => void this.#begin(), this.#pauseMs)
    this.#pauseMs = Math.min(2 * this.#pauseMs, RESUME_MOST_MS)
    this.#close = () => clearTimeout(timer)
  }

  #take(event: ApiEvent): void {
    if (this.#waiting.length === 0 && event.type !== 'DELETED') return this.#tell(event)
    if (this.#waiting.push(event) === 1) void this.#tellWaiting(this.#waiting)
  }

  async #tellWaiting(waiting: ApiEvent[]): Promise<void> {
    while (waiting.length > 0) {
      const came = waiting.length
      const strange = await this.#o.recognisedSince()
      if (this.#isEnded || waiting !== this.#waiting) return
      if (strange !== undefined) {
        this.#waiting = []
        this.#close()
        this.#o.onLost()
        return this.#notOurs(strange)
      }
      for (const event of waiting.slice(0, came)) {
        this.#tell(event)
        if (this.#isEnded) return
      }
      waiting.splice(0, came)
    }
  }

  #tell({ type, object }: ApiEvent): void {
    this.#pauseMs = RESUME_FIRST_MS
    const resourceVersion = resourceVersionOf(object)
    if (resourceVersion === '') return
    this.#told = resourceVersion
    this.#errors = 0
    this.#o.onSeen(resourceVersion)
    const entry = type === 'BOOKMARK' ? undefined : entryOf(object)
    const { prefix, from = prefix } = this.#o
    if (entry === undefined || !entry.key.startsWith(prefix) || entry.key < from) return
    const { key, value, version } = entry
    const change: Change = type === 'DELETED'
      ? { key, value: undefined, version: undefined }
      : { key, value, version }
    this.#o.onEvent({ type: 'changed', changes: [change], position: resourceVersion as Position })
  }

  #end(event: WatchEvent): void {
    this.#isEnded = true
    this.#close()
    this.#o.onEnd()
    this.#o.onEvent(event)
  }
}
