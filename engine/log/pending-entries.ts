/**
 * New versions of blocks whose page is not in memory: a write never reads the map from disk, so what it supersedes is
 * resolved later. Entries are chained per page through one flat array (32 B each), so that a hundred thousand scattered
 * writes cost no hundred thousand objects. The chain of a page that is overwritten again and again is thinned, because
 * nothing else bounds it while a checkpoint takes long.
 */
import { copyEntry, ENTRY_WORDS } from './entry.ts'

/** Slot: the older entry's place + 1, block index (8 bits) and pushes to the page so far (24 bits), the entry. */
const STRIDE = ENTRY_WORDS + 2
/** A page is thinned after so many pushes: seldom enough that walking its chain costs each of them little. */
const THIN_EVERY = 4096
/** The array doubles from here: many a stream is opened and written little. */
const FIRST_SLOTS = 64

export class PendingEntries {
  private words = new Uint32Array(FIRST_SLOTS * STRIDE)
  /** Newest entry of each page, by page key. */
  private readonly heads = new Map<number, number>()
  /** Slots behind these were never used; of those before, thinned ones wait for another use. */
  private slots = 0
  private readonly thinned: number[] = []
  count = 0

  get pageCount(): number {
    return this.heads.size
  }

  has(pageKey: number): boolean {
    return this.heads.has(pageKey)
  }

  pages(): IterableIterator<number> {
    return this.heads.keys()
  }

  /** True when the page should be thinned. */
  push(pageKey: number, index: number, entry: Uint32Array, entryAt: number): boolean {
    const slot = this.thinned.pop() ?? this.slots++
    if (this.slots * STRIDE > this.words.length) {
      const larger = new Uint32Array(this.words.length * 2)
      larger.set(this.words)
      this.words = larger
    }
    const at = slot * STRIDE
    const older = this.heads.get(pageKey) ?? -1
    const pushes = older < 0 ? 1 : (this.words[older * STRIDE + 1]! >>> 8) + 1
    this.words[at] = older + 1
    this.words[at + 1] = index | (pushes << 8)
    copyEntry(entry, entryAt, this.words, at + 2)
    this.heads.set(pageKey, slot)
    this.count++
    return pushes % THIN_EVERY === 0
  }

  /** Walk the entries of a page, newest first, and take out those for which `mayGo` is true. The newest stays. */
  thin(pageKey: number, mayGo: (index: number, words: Uint32Array, at: number) => boolean): void {
    let newer = -1
    for (let i = this.heads.get(pageKey) ?? -1; i >= 0;) {
      const older = this.words[i * STRIDE]! - 1
      if (mayGo(this.words[i * STRIDE + 1]! & 0xff, this.words, i * STRIDE + 2) && newer >= 0) {
        this.words[newer * STRIDE] = older + 1
        this.thinned.push(i)
        this.count--
      } else newer = i
      i = older
    }
  }

  /** The entries of a page, oldest first. */
  list(pageKey: number): { indexes: Uint8Array; words: Uint32Array } {
    let length = 0
    for (let i = this.heads.get(pageKey) ?? -1; i >= 0; i = this.words[i * STRIDE]! - 1) length++
    const indexes = new Uint8Array(length)
    const words = new Uint32Array(length * ENTRY_WORDS)
    let to = length - 1
    for (let i = this.heads.get(pageKey) ?? -1; i >= 0; i = this.words[i * STRIDE]! - 1, to--) {
      indexes[to] = this.words[i * STRIDE + 1]! & 0xff
      copyEntry(this.words, i * STRIDE + 2, words, to * ENTRY_WORDS)
    }
    return { indexes, words }
  }

  /** The page is in memory now. Its chain stays in the array until `clear`. */
  forget(pageKey: number): void {
    this.heads.delete(pageKey)
  }

  clear(): void {
    this.heads.clear()
    this.thinned.length = 0
    this.slots = 0
    this.count = 0
    if (this.words.length > 65536 * STRIDE) this.words = new Uint32Array(FIRST_SLOTS * STRIDE)
  }
}
