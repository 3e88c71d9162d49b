/**
 * The versioned extent map of one stream: for every block of every volume the newest committed version (head), and the
 * older versions that some snapshot sees (history).
 *
 *   write ---> page in memory?  yes: entry replaced, the old one resolved at once (dead, or history)
 *                               no:  pending entry; resolved when the page is loaded for any reason (fold)
 *   read  ---> page in memory, else loaded: base + deltas of the index, then pending entries and tombstones, by seq
 *
 * Invariants
 * - M1 a page in memory is complete: it holds every version applied so far, and all of them are resolved.
 * - M2 a page with changes the index does not show (dirty, committing) is never dropped, and a checkpoint takes no
 *   other: the memory of one that was dropped is another page's.
 * - M3 a write never reads the index; only reads, the cleaner and sweeps load pages.
 * - M4 seq of a block's entry never decreases (L10), except by a rollback.
 * - M5 a hole (no entry) of a volume that is no clone means: no segment holds a version older than the hole. So a zero
 *   or trim leaves an entry wherever there was one, until its record may go (FORMAT.md section 6).
 * Memory: `pagesMax` pages of 6 KiB, the pending entries and changes of older versions since the last checkpoint,
 * tombstones not yet folded.
 */
import { assert } from '../assert.ts'
import type { IndexPort } from '../ports.ts'
import { BLOCK_BYTES, PAGE_BLOCKS, UNIT_BYTES } from '../units.ts'
import type { VolumeDescriptor } from '../volume/descriptor.ts'
import {
  copyEntry,
  ENTRY_KIND,
  ENTRY_WORDS,
  epochOf,
  kindOf,
  lastWord,
  segmentOf,
  seqOf,
  storedUnitsOf,
  withTransform,
  zeroEntry,
  type EntryKind,
} from './entry.ts'
import type { HistoryTally } from './history-changes.ts'
import { PageCache } from './page-cache.ts'
import { PageLoads } from './page-loads.ts'
import { PendingEntries } from './pending-entries.ts'
import type { SegmentTable } from './segment-table.ts'
import { putHistory } from './version-history.ts'
import { pageKeyOf, PAGES_MAX, VolumeMap, type MapPage } from './volume-map.ts'

/** A committed run of blocks of one record, inside one page. */
export interface Run {
  lba: number
  count: number
  epoch: number
  seq: number
  transform: number
  segment: number
  /** Place of the first blob in units from the segment's start; the others follow without gaps. */
  units: number
  crcs: ArrayLike<number>
  storedUnits: ArrayLike<number>
}

/** Of all versions that are kept: what they take, and what they are, a whole block each. */
export interface Usage {
  storedBytes: number
  logicalBytes: number
}

export class ExtentMap {
  readonly volumes = new Map<number, VolumeMap>()
  readonly segments: SegmentTable
  pending = new PendingEntries()
  /** Entries being written by the checkpoint under way. */
  committing: PendingEntries | undefined
  readonly cache: PageCache
  readonly loads: PageLoads
  dirtyPages = new Set<MapPage>()
  /** Of older versions, by the cleaner for the most part. */
  readonly historyTally: HistoryTally = { changes: 0 }
  /** While the index is rebuilt, versions arrive in any order and are counted when the page is folded. */
  rebuilding = false
  readonly index: IndexPort
  /** Changed pages fill the memory: a checkpoint is wanted. Unset: nobody can make one yet (recovery). */
  onPressure: (() => void) | undefined
  /** What the log says contradicts the index, though every checksum fits. Unset: nobody serves it yet (recovery). */
  onDisorder: (() => void) | undefined
  /**
   * Pages in which older versions became the head again: whoever looked at heads first and at the history then missed
   * some.
   */
  rewound = 0
  readonly scratch = new Uint32Array(ENTRY_WORDS)

  constructor(options: { index: IndexPort; segments: SegmentTable; pagesMax: number }) {
    this.index = options.index
    this.segments = options.segments
    this.cache = new PageCache(options.pagesMax)
    this.loads = new PageLoads(this)
  }

  /** An empty map over the same index. */
  renewed(segments: SegmentTable): ExtentMap {
    return new ExtentMap({ index: this.index, segments, pagesMax: this.cache.pagesMax })
  }

  get pagesInMemory(): number {
    return this.cache.size
  }

  addVolume(number: number, descriptor: VolumeDescriptor): VolumeMap {
    assert(!this.volumes.has(number), 'a volume has one map in a stream')
    const map = new VolumeMap(number, descriptor, this.historyTally)
    this.volumes.set(number, map)
    return map
  }

  /** The page if it is in memory and current. */
  page(map: VolumeMap, page: number): MapPage | undefined {
    const found = map.pages.get(page)
    if (found === undefined || found.needsRewind) return undefined
    found.used = true
    return found
  }

  /** Record a committed write. Cost O(blocks); never reads the index. */
  applyRun(map: VolumeMap, run: Run): void {
    const pageNumber = Math.floor(run.lba / PAGE_BLOCKS)
    const first = run.lba - pageNumber * PAGE_BLOCKS
    const seqHigh = Math.floor(run.seq / 2 ** 32)
    const entry = this.scratch
    entry[0] = run.segment + 1
    entry[2] = run.seq - seqHigh * 2 ** 32
    entry[3] = run.epoch
    const page = this.rebuilding ? undefined : map.pages.get(pageNumber)
    const key = page === undefined ? pageKeyOf(map.number, pageNumber) : 0
    let units = run.units
    let total = 0
    let isLong = false
    for (let i = 0; i < run.count; i++) {
      const stored = run.storedUnits[i]!
      entry[1] = units
      entry[4] = run.crcs[i]!
      entry[5] = lastWord(seqHigh, stored, ENTRY_KIND.data, run.transform)
      units += stored
      total += stored
      if (page === undefined) isLong = this.pending.push(key, first + i, entry, 0) || isLong
      else this.replace(page, first + i, entry, 0)
    }
    if (this.rebuilding) return
    map.changes.noteOrdered(map.views, { lba: run.lba, count: run.count, seq: run.seq, kind: ENTRY_KIND.data })
    this.segments.add(run.segment, total)
    map.usedUnits += total
    map.usedBlocks += run.count
    if (page !== undefined) this.noteDirty(page)
    else if (isLong) this.thinPending(map, key)
  }

  /** Record a committed zero or trim of any length. Cost O(pages in memory of the range). */
  applyZero(
    map: VolumeMap,
    zero: {
      lba: number
      count: number
      kind: EntryKind
      epoch: number
      seq: number
      segment: number
      bornBatch: number
    },
  ): void {
    if (!this.rebuilding) map.changes.noteOrdered(map.views, zero)
    const end = zero.lba + zero.count
    const firstWhole = Math.ceil(zero.lba / PAGE_BLOCKS)
    const endWhole = Math.floor(end / PAGE_BLOCKS)
    const entry = zeroEntry(zero)
    if (firstWhole >= endWhole) {
      for (let at = zero.lba; at < end;) {
        const stop = Math.min(end, (Math.floor(at / PAGE_BLOCKS) + 1) * PAGE_BLOCKS)
        this.zeroInPage(map, at, stop, entry)
        at = stop
      }
      return
    }
    if (zero.lba < firstWhole * PAGE_BLOCKS) this.zeroInPage(map, zero.lba, firstWhole * PAGE_BLOCKS, entry)
    if (endWhole * PAGE_BLOCKS < end) this.zeroInPage(map, endWhole * PAGE_BLOCKS, end, entry)
    let covered = 0
    const apply = (page: MapPage): void => {
      if (page.page < firstWhole || page.page >= endWhole) return
      covered++
      for (let i = 0; i < PAGE_BLOCKS; i++) this.zeroBlock(page, i, entry)
      this.noteDirty(page)
    }
    if (!this.rebuilding) {
      if (endWhole - firstWhole < map.pages.size)
        for (let p = firstWhole; p < endWhole; p++) {
          const page = map.pages.get(p)
          if (page !== undefined) apply(page)
        }
      else for (const page of map.pages.values()) apply(page)
    }
    if (covered < endWhole - firstWhole)
      map.tombstones.push({
        firstPage: firstWhole,
        endPage: endWhole,
        epoch: zero.epoch,
        seq: zero.seq,
        kind: zero.kind,
        segment: zero.segment,
        bornBatch: zero.bornBatch,
      })
  }

  /**
   * A cleaner's copy is written: point the entry to it if it still shows the old place. The page is in memory. True
   * when the entry moved.
   */
  applyMove(
    page: MapPage,
    index: number,
    move: {
      epoch: number; seq: number; fromSegment: number; fromUnits: number
      segment: number; units: number; transform: number
    },
  ): boolean {
    const at = index * ENTRY_WORDS
    const words = page.words
    if (segmentOf(words, at) !== move.fromSegment || words[at + 1] !== move.fromUnits) return false
    if (epochOf(words, at) !== move.epoch || seqOf(words, at) !== move.seq) return false
    const stored = storedUnitsOf(words, at)
    this.segments.drop(move.fromSegment, stored)
    this.segments.add(move.segment, stored)
    words[at] = move.segment + 1
    words[at + 1] = move.units
    words[at + 5] = withTransform(words[at + 5]!, move.transform)
    page.markDirty(index)
    this.noteDirty(page)
    return true
  }

  /** Load a page (or find it): `done(undefined)` when the index cannot be read. */
  load(map: VolumeMap, pageNumber: number, done: (page: MapPage | undefined) => void): void {
    this.loads.load(map, pageNumber, done)
  }

  /** Forget all pages of a volume; they hold nothing the index does not. */
  dropPages(map: VolumeMap): void {
    for (const page of map.pages.values()) {
      assert(!page.hasChanges && !page.committing, 'only clean pages are dropped')
      this.cache.remove(page)
    }
  }

  /** Something may have changed in it; one without changes may be dropped at any time, and is not noted (M2). */
  noteDirty(page: MapPage): void {
    if (page.hasChanges) this.dirtyPages.add(page)
  }

  /** Put `entry` in place of what the page has, resolving the old one. */
  replace(page: MapPage, index: number, entry: Uint32Array, entryAt: number): void {
    const at = index * ENTRY_WORDS
    if (page.words[at] !== 0) this.supersede(page.map, page.firstLba + index, page.words, at, seqOf(entry, entryAt))
    copyEntry(entry, entryAt, page.words, at)
    page.markDirty(index)
  }

  /** An entry is no longer the head: it goes to the history if a snapshot sees it, else it is dead. */
  supersede(map: VolumeMap, lba: number, words: Uint32Array, at: number, newerSeq: number): void {
    if (map.views.keepsOlder && map.views.seenBelow(seqOf(words, at), newerSeq))
      putHistory(map, lba, words, at)
    else this.releaseEntry(map, words, at)
  }

  releaseEntry(map: VolumeMap, words: Uint32Array, at: number): void {
    const stored = storedUnitsOf(words, at)
    if (stored === 0) return
    this.segments.drop(segmentOf(words, at), stored)
    map.usedUnits -= stored
    map.usedBlocks--
    map.changed = true
  }

  private zeroInPage(map: VolumeMap, first: number, end: number, entry: Uint32Array): void {
    const pageNumber = Math.floor(first / PAGE_BLOCKS)
    const page = this.rebuilding ? undefined : map.pages.get(pageNumber)
    const key = pageKeyOf(map.number, pageNumber)
    let isLong = false
    for (let lba = first; lba < end; lba++) {
      const index = lba - pageNumber * PAGE_BLOCKS
      if (page === undefined) isLong = this.pending.push(key, index, entry, 0) || isLong
      else this.zeroBlock(page, index, entry)
    }
    if (page !== undefined) this.noteDirty(page)
    else if (isLong && !this.rebuilding) this.thinPending(map, key)
  }

  /**
   * What is kept of a volume. Not what its counts have although newer entries beside it took its place: pages are
   * folded when they are read or cleaned, and nobody has to. To be shown. Cost O(pending entries).
   */
  usage(map: VolumeMap): Usage {
    const { units, blocks } = this.superseded(map)
    return { storedBytes: (map.usedUnits - units) * UNIT_BYTES, logicalBytes: (map.usedBlocks - blocks) * BLOCK_BYTES }
  }

  private superseded(map: VolumeMap): { units: number; blocks: number } {
    let units = 0
    let blocks = 0
    if (this.rebuilding) return { units, blocks }
    const { pending, committing } = this
    const ofPage = (key: number): void => {
      const newerSeq = new Float64Array(PAGE_BLOCKS)
      for (const entries of [pending, committing]) {
        if (entries?.has(key) !== true) continue
        const { indexes, words } = entries.list(key)
        for (let i = indexes.length - 1; i >= 0; i--) {
          const index = indexes[i]!
          const seq = seqOf(words, i * ENTRY_WORDS)
          const newer = newerSeq[index]!
          if (seq < newer && !map.views.seenBelow(seq, newer)) {
            const stored = storedUnitsOf(words, i * ENTRY_WORDS)
            units += stored
            if (stored > 0) blocks++
          } else newerSeq[index] = seq
        }
      }
    }
    const first = pageKeyOf(map.number, 0)
    const isOurs = (key: number): boolean => key >= first && key < first + PAGES_MAX
    for (const key of pending.pages()) if (isOurs(key)) ofPage(key)
    for (const key of committing?.pages() ?? []) if (isOurs(key) && !pending.has(key)) ofPage(key)
    return { units, blocks }
  }

  /**
   * Release pending entries that no view will show, as the fold would: what it does with older ones does not depend on
   * them. Data under a zero stays, because it tells the fold that the zero is needed where the page has a hole (M5).
   */
  private thinPending(map: VolumeMap, key: number): void {
    const newerSeq = new Float64Array(PAGE_BLOCKS)
    const newerKind = new Uint8Array(PAGE_BLOCKS)
    this.pending.thin(key, (index, words, at) => {
      const seq = seqOf(words, at)
      const kind = kindOf(words, at)
      const isNeeded = newerKind[index] !== ENTRY_KIND.data && kind === ENTRY_KIND.data
      const isOlder = newerKind[index] !== 0 && seq < newerSeq[index]!
      if (isOlder && !isNeeded && !map.views.seenBelow(seq, newerSeq[index]!)) {
        this.releaseEntry(map, words, at)
        return true
      }
      newerSeq[index] = seq
      newerKind[index] = kind
      return false
    })
  }

  /**
   * A hole stays a hole (M5), except in a clone, where a hole shows the origin, in a copy that is being filled, and
   * where a rollback may be about to bring an older version back.
   */
  zeroBlock(page: MapPage, index: number, entry: Uint32Array<ArrayBufferLike>): void {
    if (page.words[index * ENTRY_WORDS] === 0 && !page.map.keepsZeroes && !page.map.views.hasRollbacks) return
    this.replace(page, index, entry, 0)
  }

}
