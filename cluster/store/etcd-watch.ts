/**
 * A watch that goes on when its stream does not: it connects, resumes behind what it has told, on the next endpoint if
 * need be, for as long as nobody closes it. It ends by itself only when the store has forgotten what comes next
 * (`gone`), or is not the store we know (`failed`).
 *
 *   ready endpoint (recognised, S4) -> create from `told` -> events > told -> told moves on
 *      ^                                                          |
 *      +------ pause, doubling while nothing comes --- stream ends, canceled, silent connection
 *
 * `told` moves over whole responses, and over progress notices of the server's own accord; never over one that was
 * asked for, since etcd may send that before the events it covers. The watch begins at `told` itself and drops what is
 * not above it: with older etcd a deletion at exactly the compacted revision is told to nobody who asks from there.
 */
import { HoldfastError } from '../../engine/errors.ts'
import { KEY_PATTERN } from './cluster-store.ts'
import type { Change, Position, Version, Watch, WatchEvent } from './cluster-store.ts'
import { isStrange } from './endpoint-set.ts'
import type { Endpoint, EndpointSet, WatchCall } from './endpoint-set.ts'
import { revisionOf } from './etcd-api.ts'
import type { WatchResponse } from './etcd-api.ts'
import type { StoreIdentity } from './store-identity.ts'

const RESUME_FIRST_MS = 50
const RESUME_MOST_MS = 5000

export interface EtcdWatchOptions {
  from: Uint8Array
  end: Uint8Array
  endpoints: EndpointSet
  identity: StoreIdentity
  /** For finding an endpoint that is ready. */
  timeoutMs: number
  after: Position
  keyOf(bytes: Uint8Array): string
  onEvent(event: WatchEvent): void
  onEnd(): void
}

export class EtcdWatch implements Watch {
  private readonly options: EtcdWatchOptions
  private call: WatchCall | undefined
  private told: number
  private endPause: () => void = () => {}
  private isEnded = false
  private pauseMs = RESUME_FIRST_MS

  constructor(options: EtcdWatchOptions) {
    this.options = options
    this.told = revisionOf(options.after)
    void this.run()
  }

  close(): void {
    this.isEnded = true
    this.call?.cancel()
    this.endPause()
    this.options.onEnd()
  }

  private end(event: WatchEvent): void {
    if (this.isEnded) return
    this.close()
    this.options.onEvent(event)
  }

  private async run(): Promise<void> {
    const { endpoints, timeoutMs } = this.options
    while (!this.isEnded) {
      const endpoint = await endpoints.ready(timeoutMs)
      if (this.isEnded) return
      if (endpoint instanceof HoldfastError) {
        if (isStrange(endpoint)) return this.end({ type: 'failed', error: endpoint })
      } else {
        await this.follow(endpoint)
        endpoints.failed(endpoint)
      }
      if (this.isEnded) return
      await this.pause()
      this.pauseMs = Math.min(2 * this.pauseMs, RESUME_MOST_MS)
    }
  }

  private pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, this.pauseMs)
      this.endPause = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  /** One stream, to its end. */
  private follow(endpoint: Endpoint): Promise<void> {
    const { from, end } = this.options
    const call = endpoint.watch()
    this.call = call
    const createRequest = {
      key: from, rangeEnd: end, startRevision: String(this.told), progressNotify: true, fragment: true,
    }
    return new Promise((resolve) => {
      call.on('data', (response: WatchResponse) => this.onResponse(endpoint, call, response))
      // Its reason does not matter: whatever it is, the next stream tells.
      call.on('error', () => undefined)
      call.on('status', () => resolve())
      call.write({ createRequest })
    })
  }

  private onResponse(endpoint: Endpoint, call: WatchCall, response: WatchResponse): void {
    if (this.isEnded || call !== this.call) return
    const { created, canceled, fragment, compactRevision, header } = response
    // A member may lag behind, so its revision says nothing about time (S4); its cluster id does.
    const strange = this.options.identity.check(endpoint.url, header, 0)
    if (strange !== undefined) return isStrange(strange) ? this.end({ type: 'failed', error: strange }) : call.cancel()
    if (canceled) {
      if (compactRevision !== '0') return this.end({ type: 'gone' })
      return call.cancel()
    }
    if (created) return
    // An event of nothing is no event of a cluster store: asked anew, a little later each time.
    if (response.events.some(({ kv }) => kv === null)) return call.cancel()
    this.pauseMs = RESUME_FIRST_MS
    const events = response.events.filter(({ kv }) => revisionOf(kv.modRevision) > this.told)
    const newest = revisionOf(response.events.at(-1)?.kv.modRevision ?? header.revision)
    // The last revision of a piece may go on in the next one.
    const told = Math.max(this.told, fragment ? newest - 1 : newest)
    // A key that none of ours can be is somebody else's.
    const changes: Change[] = events.map(({ type, kv }) => type === 'DELETE'
      ? { key: this.options.keyOf(kv.key), value: undefined, version: undefined }
      : { key: this.options.keyOf(kv.key), value: kv.value, version: kv.modRevision as Version })
      .filter(({ key }) => KEY_PATTERN.test(key))
    if (changes.length > 0) this.options.onEvent({ type: 'changed', changes, position: String(told) as Position })
    this.told = told
  }
}
