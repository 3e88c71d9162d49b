/**
 * What a kind of objects of a Kubernetes API is, kept up to date: a list, page by page, then a watch from there on; a
 * list again when the API does not keep what comes next. Of each object only what `project` makes of it is kept.
 *
 * It lags: who acts on what is here says which version he saw, or reads it once more.
 */
import type { ApiClient } from './api-client.ts'
import { listPages } from './api-list.ts'
import { nameOf, versionOf } from './api-objects.ts'
import type { ApiObject } from './api-objects.ts'
import { watchApi } from './api-watch.ts'

const AGAIN_MS = 1000
const LIST_MS = 30_000
/** Without a watch that stands what is kept counts for so long. */
const KEPT_MS = 60_000
/** One that lasted for so long stood. */
const STANDS_MS = 5_000

export interface MirrorOptions<T> {
  client: ApiClient
  /** E.g. `/api/v1/nodes`. */
  path: string
  query?: Record<string, string>
  /** Undefined: it is left out. @param version  resourceVersion */
  project(object: ApiObject, version: string): T | undefined
}

export class ApiMirror<T> {
  readonly #options: MirrorOptions<T>
  #entries = new Map<string, T>()
  #isWhole = false
  #problem = 'it was not listed yet'
  /** When the last watch began, and the last one that stood ended. */
  #watchedAtMs = Infinity
  #lostAtMs = performance.now()
  #isClosed = false
  #close: () => void = () => undefined
  #again: NodeJS.Timeout | undefined

  constructor(options: MirrorOptions<T>) {
    this.#options = options
    void this.#list()
  }

  /** By name, of all that there are; undefined: they were not listed yet, or not watched for a minute. */
  get entries(): ReadonlyMap<string, T> | undefined {
    const isKept = this.#stands() || performance.now() - this.#lostAtMs < KEPT_MS
    return this.#isWhole && isKept ? this.#entries : undefined
  }

  /** Why it was not listed or watched the last time. */
  get problem(): string {
    return this.#problem
  }

  #stands(): boolean {
    return performance.now() - this.#watchedAtMs >= STANDS_MS
  }

  close(): void {
    this.#isClosed = true
    clearTimeout(this.#again)
    this.#close()
  }

  async #list(): Promise<void> {
    const { client, path, query = {} } = this.#options
    const entries = new Map<string, T>()
    let version = ''
    for await (const page of listPages(client, { path, query, deadlineMs: LIST_MS })) {
      if (this.#isClosed) return
      // Pages of a list that is too old are not kept either: from the beginning.
      if (!page.ok) return this.#later(page.failure.reason, () => void this.#list())
      for (const item of page.items) this.#keep(entries, item)
      version = page.version
    }
    this.#entries = entries
    this.#isWhole = true
    this.#lostAtMs = performance.now()
    this.#watch(version)
  }

  #watch(resourceVersion: string): void {
    if (this.#isClosed) return
    const { client, path, query = {} } = this.#options
    let version = resourceVersion
    this.#watchedAtMs = performance.now()
    this.#close = watchApi(client, {
      path, query, resourceVersion,
      onEvent: ({ type, object }) => {
        version = versionOf(object) || version
        if (type === 'DELETED') this.#entries.delete(nameOf(object))
        else if (type !== 'BOOKMARK') this.#keep(this.#entries, object)
      },
      onEnd: (end) => {
        if (end === 'gone') return this.#later('it is to be listed again', () => void this.#list())
        this.#later(end.reason, () => this.#watch(version))
      },
    })
  }

  #later(problem: string, run: () => void): void {
    if (this.#stands()) this.#lostAtMs = performance.now()
    this.#watchedAtMs = Infinity
    this.#problem = problem
    if (!this.#isClosed) this.#again = setTimeout(run, AGAIN_MS)
  }

  #keep(entries: Map<string, T>, object: ApiObject): void {
    const entry = this.#options.project(object, versionOf(object))
    if (entry === undefined) entries.delete(nameOf(object))
    else entries.set(nameOf(object), entry)
  }
}
