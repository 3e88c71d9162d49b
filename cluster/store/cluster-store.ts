/**
 * What Holdfast asks of a cluster store, and nothing more: one key at a time, so that etcd, the embedded store and
 * later the Kubernetes API can serve. Every call ends, by its deadline at the latest, in a value; none throws for what
 * the world does. FORMAT.md section 1 has the rules (S1-S6) that stand behind these words.
 */
import type { HoldfastError } from '../../engine/errors.ts'

/** Of one value of one key. Opaque: handed back, never compared with anything but `===`. */
export type Version = string & { readonly opaque: 'version' }
/** A moment in the history of the store. Opaque. */
export type Position = string & { readonly opaque: 'position' }
/** Where the next page of a list begins; of the same moment as the first. Opaque. */
export type Cursor = string & { readonly opaque: 'cursor' }

export const VALUE_BYTES_MAX = 64 * 1024
/**
 * Keys are printable ASCII without blanks, e.g. `volumes/demo`. Another key is a bug of the caller; one that somebody
 * put into the store is told to nobody.
 */
export const KEY_PATTERN = /^[\x21-\x7e]{1,512}$/
export const PAGE_ENTRIES_MAX = 128

export interface Entry {
  key: string
  value: Uint8Array
  version: Version
}

/** Keys that begin with `prefix`, from `from` on in their order; undefined: all of them. */
export interface KeyRange {
  prefix: string
  from?: string | undefined
}

export type StoreAnswer<T> = { ok: true; value: T } | { ok: false; error: HoldfastError }

export interface Page {
  /** In order of their keys. */
  entries: Entry[]
  /** The moment the list shows; a watch from here misses nothing. */
  position: Position
  /** Undefined on the last page. */
  next: Cursor | undefined
}

export type CasOutcome =
  /** It is durable. No version when the key was deleted. */
  | { outcome: 'won'; version: Version | undefined }
  /** Another value is there, or none. Nothing was changed. */
  | { outcome: 'lost'; current: Entry | undefined }
  /** It may have happened, or happen yet. Read the key again and judge by its content. */
  | { outcome: 'unknown'; error: HoldfastError }
  /** It did not happen, and will not. */
  | { outcome: 'refused'; error: HoldfastError }

export interface CompareAndSwap {
  key: string
  /** Of the value that has to be there; undefined: the key has to be absent. */
  version: Version | undefined
  /** The new value; undefined: the key is deleted (then `version` is given). */
  value: Uint8Array | undefined
}

/** A key was put, or deleted (no value, no version). */
export interface Change {
  key: string
  value: Uint8Array | undefined
  version: Version | undefined
}

export type WatchEvent =
  /** In order. A change may be told again after an interruption. */
  | { type: 'changed'; changes: Change[]; position: Position }
  /** What happened since the position is not kept any more: list again. The watch has ended. */
  | { type: 'gone' }
  /** It is not the store we know (S4). The watch has ended. */
  | { type: 'failed'; error: HoldfastError }

export interface Watch {
  /** No event after this returns. */
  close(): void
}

/** Which store it is and how far it was seen. Kept by the caller across restarts, so that time travel is noticed. */
export interface KnownStore {
  clusterId: string
  revision: number
}

export interface ClusterStore {
  /** Linearizable. */
  get(key: string): Promise<StoreAnswer<Entry | undefined>>
  /**
   * One page of a range of keys, linearizable. All pages are of one moment; when the store keeps
   * that one no more, the answer is the error `store-history`: begin again.
   * @param limit  entries, 1 to PAGE_ENTRIES_MAX (the default)
   */
  list(options: KeyRange & { limit?: number; after?: Cursor | undefined }): Promise<StoreAnswer<Page>>
  /** Sent at most once. Refused with `store-value-size` when the value has more than VALUE_BYTES_MAX. */
  compareAndSwap(change: CompareAndSwap): Promise<CasOutcome>
  /** Changes of a range of keys, behind `after`. Connects, waits and resumes by itself until it ends. */
  watch(options: KeyRange & { after: Position }, listener: (event: WatchEvent) => void): Watch
  /** Undefined until something was read. */
  known(): KnownStore | undefined
  /** Ends the watches, and the calls that are under way. Nothing of it keeps the process alive afterwards. */
  close(): void
}
