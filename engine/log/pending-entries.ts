/**
 * New versions of blocks whose page is not in memory: a write never reads the map from disk, so what it supersedes is
 * resolved later. Entries are chained per page through one flat array (32 B each), so that a hundred thousand scattered
 * writes cost no hundred thousand objects.
 */
import { copyEntry, ENTRY_WORDS } from './entry.ts'

const STRIDE = ENTRY_WORDS + 2

export class PendingEntries {
  private words = new Uint32Array(1024 * STRIDE)
  /** Newest entry of each page, by page key. */
  private readonly heads = new Map<number, number>()
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

  push(pageKey: number, index: number, entry: Uint32Array, entryAt: number): void {
    if ((this.count + 1) * STRIDE > this.words.length) {
      const larger = new Uint32Array(this.words.length * 2)
      larger.set(this.words)
      this.words = larger
    }
    const at = this.count * STRIDE
    this.words[at] = (this.heads.get(pageKey) ?? -1) + 1
    this.words[at + 1] = index
    copyEntry(entry, entryAt, this.words, at + 2)
    this.heads.set(pageKey, this.count++)
  }

  /** The entries of a page, oldest first. */
  list(pageKey: number): { indexes: Uint8Array; words: Uint32Array } {
    let length = 0
    for (let i = this.heads.get(pageKey) ?? -1; i >= 0; i = this.words[i * STRIDE]! - 1) length++
    const indexes = new Uint8Array(length)
    const words = new Uint32Array(length * ENTRY_WORDS)
    let to = length - 1
    for (let i = this.heads.get(pageKey) ?? -1; i >= 0; i = this.words[i * STRIDE]! - 1, to--) {
      indexes[to] = this.words[i * STRIDE + 1]!
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
    this.count = 0
    if (this.words.length > 65536 * STRIDE) this.words = new Uint32Array(1024 * STRIDE)
  }
}
