/**
 * All keys below a prefix, as they are and as they change, for caches: lists, watches from there, and lists again when
 * the store does not keep what comes next. What went meanwhile is told as gone. It does not end by itself; a store that
 * does not answer, or is another one, is asked again and again.
 *
 *   list (pages of one moment) -> each entry that is new or changed, each key that is not there any more -> onListed
 *     ^                                                                                   -> watch: each change
 *     +----- pause, unless the watch was fine before ------ gone, failed, no answer ----------+
 *
 * What is told is a hint: a change may be told twice, and all of it may be old. Nothing else may be mixed into a cache
 * that is fed from here, because versions tell no order.
 */
import type { HoldfastError } from '../../engine/errors.ts'
import type { ClusterStore, Cursor, Entry, Position, StoreAnswer, Version, Watch } from './cluster-store.ts'

export interface PrefixWatchOptions {
  store: ClusterStore
  prefix: string
  /** Keys before it are not told. */
  from?: string
  /** Undefined: the key is not there any more. */
  onChange(key: string, value: Uint8Array | undefined, version: Version | undefined): void
  /** All of one moment were told; again after an interruption. */
  onListed(): void
  /** It goes on trying. */
  onProblem(error: HoldfastError): void
  /** Before the store is asked again. */
  retryMs?: number
}

const RETRY_DEFAULT_MS = 1000

export class PrefixWatch {
  private readonly options: PrefixWatchOptions
  private readonly versions = new Map<string, Version>()
  private watch: Watch | undefined
  private retry: NodeJS.Timeout | undefined
  private isClosed = false

  constructor(options: PrefixWatchOptions) {
    this.options = options
    void this.begin()
  }

  /** Nothing is told after this returns. */
  close(): void {
    this.isClosed = true
    this.watch?.close()
    clearTimeout(this.retry)
  }

  private async begin(): Promise<void> {
    const listed = await this.list()
    if (this.isClosed) return
    if (!listed.ok) return this.again(listed.error)
    const { entries, position } = listed.value
    const gone = new Set(this.versions.keys())
    for (const { key, value, version } of entries) {
      gone.delete(key)
      if (this.versions.get(key) !== version) this.tell(key, value, version)
    }
    for (const key of gone) this.tell(key, undefined, undefined)
    this.options.onListed()
    if (!this.isClosed) this.follow(position)
  }

  /** Every page of one moment. */
  private async list(): Promise<StoreAnswer<{ entries: Entry[]; position: Position }>> {
    const { store, prefix, from } = this.options
    const entries: Entry[] = []
    let after: Cursor | undefined
    for (;;) {
      const page = await store.list({ prefix, from, after })
      if (!page.ok) return page
      entries.push(...page.value.entries)
      after = page.value.next
      if (after === undefined) return { ok: true, value: { entries, position: page.value.position } }
      if (this.isClosed) return { ok: true, value: { entries: [], position: page.value.position } }
    }
  }

  private follow(after: Position): void {
    const { store, prefix, from } = this.options
    this.watch = store.watch({ prefix, from, after }, (event) => {
      if (this.isClosed) return
      if (event.type === 'gone') return void this.begin()
      if (event.type === 'failed') return this.again(event.error)
      for (const { key, value, version } of event.changes) {
        if (!this.isClosed) this.tell(key, value, version)
      }
    })
  }

  private again(error: HoldfastError): void {
    const { onProblem, retryMs = RETRY_DEFAULT_MS } = this.options
    onProblem(error)
    if (this.isClosed) return
    this.retry = setTimeout(() => void this.begin(), retryMs)
  }

  private tell(key: string, value: Uint8Array | undefined, version: Version | undefined): void {
    if (version === undefined) this.versions.delete(key)
    else this.versions.set(key, version)
    this.options.onChange(key, value, version)
  }
}
