/**
 * Loading pages of the map, and its truce with checkpoints: what a checkpoint takes is in no page and not yet in the
 * index, so loads wait for it, and it waits for loads.
 *
 * A page that is loaded is complete (M1 of extent-map.ts), or nobody sees it.
 */
import { assert } from '../assert.ts'
import type { ExtentMap } from './extent-map.ts'
import { pageRange } from './index-keys.ts'
import { foldPage } from './page-fold.ts'
import { rewindPage } from './page-rewind.ts'
import { pageKeyOf, type MapPage, type VolumeMap } from './volume-map.ts'

export class PageLoads {
  private readonly extents: ExtentMap
  private afterCommit: Array<() => void> = []
  /** Loads that wait for a checkpoint, because too many pages in memory have changes. */
  private delayed: Array<() => void> = []
  /** A checkpoint waits for loads under way. */
  private beforeCollect: (() => void) | undefined
  private abandoned = false
  /** Checkpoints that have ended. */
  commits = 0

  constructor(extents: ExtentMap) {
    this.extents = extents
  }

  /**
   * Checkpoints that have ended, and the one under way. What is found now holds, but for what changes in memory, until
   * a later one ends: that one takes changes out of memory which the finder did not see.
   */
  get begun(): number {
    return this.commits + (this.extents.committing === undefined ? 0 : 1)
  }

  /** Load a page (or find it): `done(undefined)` when the index cannot be read. */
  load(map: VolumeMap, pageNumber: number, done: (page: MapPage | undefined) => void): void {
    const { extents } = this
    const waiting = map.loading.get(pageNumber)
    if (waiting !== undefined) {
      waiting.push(done)
      return
    }
    if (this.abandoned) return done(undefined)
    const key = pageKeyOf(map.number, pageNumber)
    // What a checkpoint is about to take, or has taken, is not in the index before it ends.
    if (extents.committing?.has(key) === true || (this.beforeCollect !== undefined && extents.pending.has(key))) {
      this.afterCommit.push(() => {
        const page = extents.page(map, pageNumber)
        if (page === undefined) this.load(map, pageNumber, done)
        else done(page)
      })
      return
    }
    // Folding makes pages dirty, also when only read: without a checkpoint in between they would fill the memory.
    if (extents.onPressure !== undefined && extents.dirtyPages.size >= extents.cache.pagesMax) {
      this.delayed.push(() => {
        const page = extents.page(map, pageNumber)
        if (page === undefined) this.load(map, pageNumber, done)
        else done(page)
      })
      extents.onPressure()
      return
    }
    map.loading.set(pageNumber, [done])
    const finish = (page: MapPage | undefined): void => {
      const callbacks = map.loading.get(pageNumber)!
      map.loading.delete(pageNumber)
      if (page !== undefined) page.pins++
      for (const callback of callbacks) callback(page)
      if (page !== undefined) page.pins--
      this.collectIfLoaded()
      if (extents.dirtyPages.size * 2 >= extents.cache.pagesMax) extents.onPressure?.()
    }
    const present = map.pages.get(pageNumber)
    if (present !== undefined) {
      assert(present.needsRewind, 'a current page is not loaded again')
      rewindPage(extents, present, finish)
      return
    }
    extents.index.range({ ...pageRange(map.number, pageNumber, pageNumber + 1), limit: 1 << 20 }, (ok, entries) => {
      if (!ok) return finish(undefined)
      const page = foldPage(extents, map, pageNumber, entries)
      if (page === undefined) return finish(undefined)
      // Nobody may see it before it is.
      page.needsRewind = true
      map.pages.set(pageNumber, page)
      extents.cache.insert(page)
      rewindPage(extents, page, finish)
    })
  }

  /**
   * Run when no page is being loaded that has pending entries: a checkpoint covers all that was applied, and such
   * entries belong neither to the page yet nor to the checkpoint. No other load of this kind begins before it ends.
   */
  whenCollectable(run: () => void): void {
    this.beforeCollect = run
    this.collectIfLoaded()
  }

  private collectIfLoaded(): void {
    const run = this.beforeCollect
    if (run === undefined) return
    for (const map of this.extents.volumes.values())
      for (const page of map.loading.keys()) if (this.extents.pending.has(pageKeyOf(map.number, page))) return
    this.beforeCollect = undefined
    run()
  }

  /** The stream failed: no checkpoint will end any more, nobody may wait for one. */
  abandon(): void {
    this.abandoned = true
    this.commitEnded()
  }

  /** Run when no checkpoint is under way. */
  whenCommitted(run: () => void): void {
    if (this.extents.committing === undefined) run()
    else this.afterCommit.push(run)
  }

  /** The checkpoint that was under way ended. */
  commitEnded(): void {
    this.commits++
    this.extents.committing = undefined
    const waiting = [...this.afterCommit, ...this.delayed]
    this.afterCommit = []
    this.delayed = []
    for (const run of waiting) run()
  }
}
