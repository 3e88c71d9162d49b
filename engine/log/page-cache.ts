/**
 * Which pages of the map are in memory: a clock over `pagesMax` of them. Pages with changes that the index does not
 * show are passed over (M2 of extent-map.ts), so that there may be more for a while.
 */
import { PAGE_BLOCKS } from '../units.ts'
import { ENTRY_WORDS } from './entry.ts'
import type { MapPage } from './volume-map.ts'

const FREE_MAX = 64

export class PageCache {
  readonly pagesMax: number
  /** In the order of the clock hand. */
  private readonly clock: MapPage[] = []
  private hand = 0
  private readonly free: Uint32Array[] = []

  constructor(pagesMax: number) {
    this.pagesMax = pagesMax
  }

  get size(): number {
    return this.clock.length
  }

  /** Zeroed words for the entries of a page. */
  takeWords(): Uint32Array {
    const words = this.free.pop()
    if (words === undefined) return new Uint32Array(PAGE_BLOCKS * ENTRY_WORDS)
    words.fill(0)
    return words
  }

  /** Keep the cache in bounds: the clock hand passes recently used and changed pages. */
  insert(page: MapPage): void {
    let steps = Math.min(this.clock.length * 2, 256)
    while (this.clock.length >= this.pagesMax && steps-- > 0) {
      if (this.hand >= this.clock.length) this.hand = 0
      const victim = this.clock[this.hand]!
      if (victim.used) {
        victim.used = false
        this.hand++
      } else if (
        victim.hasChanges ||
        victim.committing ||
        victim.pins > 0 ||
        victim.needsRewind
      )
        this.hand++
      else this.removeAt(this.hand)
    }
    this.clock.push(page)
  }

  remove(page: MapPage): void {
    const at = this.clock.indexOf(page)
    if (at >= 0) this.removeAt(at)
  }

  private removeAt(at: number): void {
    const page = this.clock[at]!
    const last = this.clock.pop()!
    if (last !== page) this.clock[at] = last
    page.map.pages.delete(page.page)
    if (page.pins === 0 && this.free.length < FREE_MAX) this.free.push(page.words)
  }
}
