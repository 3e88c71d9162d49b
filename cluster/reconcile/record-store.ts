/**
 * Records of the cluster store, one at a time, for those who wish: read, and changed by compare-and-swap on what was
 * read. An unknown outcome is read again and judged by its content (cluster/store/FORMAT.md S2).
 */
import { HoldfastError } from '../../engine/errors.ts'
import type { ClusterStore, Cursor, Version } from '../store/cluster-store.ts'

/** A key that changes under our hands so often is left to the caller. */
const TRIES_MAX = 8

export interface Stored<T> {
  value: T
  version: Version
}

type Decode<T> = (value: Uint8Array) => T | undefined

export class RecordStore {
  private readonly store: ClusterStore

  constructor(store: ClusterStore) {
    this.store = store
  }

  /** Linearizable. @throws HoldfastError of the store, or `store-record` */
  async read<T>(key: string, decode: Decode<T>): Promise<Stored<T> | undefined> {
    const read = await this.store.get(key)
    if (!read.ok) throw read.error
    if (read.value === undefined) return undefined
    const value = decode(read.value.value)
    // What cannot be read is not taken for nothing.
    if (value === undefined) throw new HoldfastError('store-record', { key })
    return { value, version: read.value.version }
  }

  /** Those below a prefix that can be read. */
  async list<T>(prefix: string, decode: (rest: string, value: Uint8Array) => T | undefined): Promise<T[]> {
    const found: T[] = []
    let after: Cursor | undefined
    do {
      const page = await this.store.list({ prefix, after })
      if (!page.ok) throw page.error
      for (const { key, value } of page.value.entries) {
        const one = decode(key.slice(prefix.length), value)
        if (one !== undefined) found.push(one)
      }
      after = page.value.next
    } while (after !== undefined)
    return found
  }

  /**
   * Once, on that version (undefined: absent); deleted when there is no value. Answers whether it was done.
   * @throws HoldfastError of the store; `store-outcome` when reading does not say what came of it
   */
  async put(key: string, version: Version | undefined, value: Uint8Array | undefined): Promise<boolean> {
    const cas = await this.store.compareAndSwap({ key, version, value })
    if (cas.outcome === 'won') return true
    if (cas.outcome === 'lost') return false
    if (cas.outcome === 'refused') throw cas.error
    const read = await this.store.get(key)
    const found = read.ok ? read.value : undefined
    if (!read.ok || found?.version === version) {
      // It may happen yet.
      throw new HoldfastError('store-outcome', { what: key, reason: cas.error.message })
    }
    return found !== undefined && value !== undefined && Buffer.compare(found.value, value) === 0
  }

  /** Whatever it has. @throws HoldfastError of the store, or `store-contended` */
  async remove(key: string): Promise<void> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const found = await this.read(key, (value) => value)
      if (found === undefined || (await this.put(key, found.version, undefined))) return
    }
    throw new HoldfastError('store-contended', { what: key })
  }

  /**
   * What is there becomes what `next` makes of it, tried again when somebody else was faster. `next` may refuse by
   * throwing. It is put anew even when it is the same, so that whoever read it before has an old version.
   */
  async change<T>(
    key: string, decode: Decode<T>, encode: (value: T) => Uint8Array, next: (found: T | undefined) => Promise<T>,
  ): Promise<T> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const found = await this.read(key, decode)
      const value = await next(found?.value)
      if (await this.put(key, found?.version, encode(value))) return value
    }
    throw new HoldfastError('store-contended', { what: key })
  }
}
