/**
 * The cluster store of a cluster on paper: keys in memory behind the interface that the control plane has, with a count
 * of what it is asked and of the bytes that go to and fro. Each call takes `callMs` of the clock's time, and `atOnce`
 * of them are served at a time; the others wait in line, as behind a log that syncs in groups.
 */
import type {
  CasOutcome, Change, ClusterStore, CompareAndSwap, Entry, KeyRange, Page, Position, Version, Watch, WatchEvent,
} from '../../cluster/store/cluster-store.ts'
import { PAGE_ENTRIES_MAX } from '../../cluster/store/cluster-store.ts'
import type { PaperClock } from './paper-clock.ts'

export interface StoreCounts {
  reads: number
  /** Pages of lists, and the entries on them. */
  pages: number
  listed: number
  swaps: number
  lost: number
  /** Changes that were told to somebody who watches. */
  told: number
  bytesIn: number
  bytesOut: number
}

const nothing = (): StoreCounts => ({
  reads: 0, pages: 0, listed: 0, swaps: 0, lost: 0, told: 0, bytesIn: 0, bytesOut: 0,
})

interface Listener extends KeyRange {
  tell(event: WatchEvent): void
}

export class PaperStore implements ClusterStore {
  counts = nothing()
  /** Of whoever stands for many, and is not counted. */
  onChange: (change: Change) => void = () => undefined
  readonly #entries = new Map<string, Entry>()
  /** In order. */
  #keys: string[] = []
  #isSorted = true
  readonly #listeners = new Set<Listener>()
  #revision = 0
  readonly #clock: PaperClock
  readonly #callMs: number
  /** When each of those who serve is free. */
  readonly #freeAtMs: number[]

  constructor(clock: PaperClock, { callMs, atOnce }: { callMs: number; atOnce: number }) {
    this.#clock = clock
    this.#callMs = callMs
    this.#freeAtMs = Array.from({ length: atOnce }, () => 0)
  }

  /** What was counted since the last time. */
  takeCounts(): StoreCounts {
    const { counts } = this
    this.counts = nothing()
    return counts
  }

  /** Before anybody asks for anything. */
  load(key: string, value: Uint8Array): void {
    this.#put(key, value)
  }

  /** What is there, for whoever is not counted. */
  peek(key: string): Entry | undefined {
    return this.#entries.get(key)
  }

  get size(): { keys: number; bytes: number } {
    let bytes = 0
    for (const { key, value } of this.#entries.values()) bytes += key.length + value.length
    return { keys: this.#entries.size, bytes }
  }

  async get(key: string) {
    await this.#served()
    this.counts.reads++
    const value = this.#entries.get(key)
    this.counts.bytesOut += value === undefined ? 0 : sizeOf(value)
    return { ok: true as const, value }
  }

  async list({ prefix, from, limit = PAGE_ENTRIES_MAX, after }: Parameters<ClusterStore['list']>[0]) {
    await this.#served()
    if (!this.#isSorted) this.#keys.sort()
    this.#isSorted = true
    const keys = this.#keys
    const least = after === undefined ? larger(prefix, from ?? '') : `${after}\0`
    const entries: Entry[] = []
    let at = firstFrom(keys, least)
    for (; at < keys.length && keys[at]!.startsWith(prefix) && entries.length < limit; at++) {
      entries.push(this.#entries.get(keys[at]!)!)
    }
    const isMore = at < keys.length && keys[at]!.startsWith(prefix)
    this.counts.pages++
    this.counts.listed += entries.length
    for (const entry of entries) this.counts.bytesOut += sizeOf(entry)
    const next = isMore ? (entries.at(-1)!.key as unknown as Page['next']) : undefined
    return { ok: true as const, value: { entries, position: `${this.#revision}` as Position, next } }
  }

  async compareAndSwap({ key, version, value }: CompareAndSwap): Promise<CasOutcome> {
    this.counts.bytesIn += key.length + (value?.length ?? 0)
    await this.#served()
    this.counts.swaps++
    const current = this.#entries.get(key)
    if (current?.version !== version) {
      this.counts.lost++
      return { outcome: 'lost', current }
    }
    const entry = value === undefined ? this.#remove(key) : this.#put(key, value)
    this.#tell({ key, value, version: entry?.version })
    return { outcome: 'won', version: entry?.version }
  }

  watch({ prefix, from }: KeyRange & { after: Position }, tell: (event: WatchEvent) => void): Watch {
    const listener: Listener = { prefix, from, tell }
    this.#listeners.add(listener)
    return { close: () => void this.#listeners.delete(listener) }
  }

  known(): undefined {
    return undefined
  }

  close(): void {
    this.#listeners.clear()
  }

  #put(key: string, value: Uint8Array): Entry {
    const entry = { key, value, version: `${++this.#revision}` as Version }
    if (!this.#entries.has(key)) this.#isSorted = this.#keys.push(key) === 0
    this.#entries.set(key, entry)
    return entry
  }

  #remove(key: string): undefined {
    this.#revision++
    this.#entries.delete(key)
    this.#keys.splice(this.#keys.indexOf(key), 1)
  }

  #tell(change: Change): void {
    const position = `${this.#revision}` as Position
    this.onChange(change)
    for (const { prefix, from, tell } of this.#listeners) {
      if (!change.key.startsWith(prefix) || (from !== undefined && change.key < from)) continue
      this.counts.told++
      this.counts.bytesOut += change.key.length + (change.value?.length ?? 0)
      queueMicrotask(() => tell({ type: 'changed', changes: [change], position }))
    }
  }

  /** Its turn has come, and is over. */
  #served(): Promise<void> {
    if (this.#callMs === 0) return Promise.resolve()
    const nowMs = this.#clock.nowMs()
    let first = 0
    for (let i = 1; i < this.#freeAtMs.length; i++) if (this.#freeAtMs[i]! < this.#freeAtMs[first]!) first = i
    const endMs = Math.max(nowMs, this.#freeAtMs[first]!) + this.#callMs
    this.#freeAtMs[first] = endMs
    return this.#clock.sleep(endMs - nowMs)
  }
}

const sizeOf = ({ key, value }: Entry): number => key.length + value.length
const larger = (a: string, b: string): string => (a > b ? a : b)

/** Of keys in order: where those begin that are not less. */
function firstFrom(keys: readonly string[], least: string): number {
  let [low, high] = [0, keys.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (keys[middle]! < least) low = middle + 1
    else high = middle
  }
  return low
}
