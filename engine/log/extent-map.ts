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
 * - M2 a page with changes the index does not show (dirty, committing) is never dropped.
 * - M3 a write never reads the index; only reads, the cleaner and sweeps load pages.
 * - M4 seq of a block's entry never decreases (L10), except by a rollback.
 * - M5 a hole (no entry) of a volume that is no clone means: no segment holds a version older than the hole. So a zero
 *   or trim leaves an entry wherever there was one, until its record may go (FORMAT.md section 6).
 * Memory: `pagesMax` pages of 6 KiB, the pending entries since the last checkpoint, tombstones not yet folded.
 */
import { assert } from '../assert.ts'
import type { IndexPort } from '../ports.ts'
import { PAGE_BLOCKS } from '../units.ts'
import type { VolumeDescriptor } from '../volume/descriptor.ts'
import {
  clearEntry,
  compareVersions,
  copyEntry,
  ENTRY_KIND,
  ENTRY_WORDS,
  epochOf,
  hasEntry,
  kindOf,
  lastWord,
  segmentOf,
  seqOf,
  storedUnitsOf,
  type EntryKind,
} from './entry.ts'
import {
  decodeEntryValue,
  decodePageValue,
  historyRange,
  pageRange,
  parseHistoryKey,
  parsePageKey,
} from './index-keys.ts'
import { PendingEntries } from './pending-entries.ts'
import type { SegmentTable } from './segment-table.ts'
import { MapPage, pageKeyOf, VolumeMap, type Tombstone } from './volume-map.ts'

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

export class ExtentMap {
  readonly volumes = new Map<number, VolumeMap>()
  readonly segments: SegmentTable
  pending = new PendingEntries()
  /** Entries being written by the checkpoint under way. */
  committing: PendingEntries | undefined
  /** Pages in memory in the order of the clock hand. */
  private clock: MapPage[] = []
  private hand = 0
  private free: Uint32Array[] = []
  readonly pagesMax: number
  dirtyPages = new Set<MapPage>()
  /** While the index is rebuilt, versions arrive in any order and are counted when the page is folded. */
  rebuilding = false
  private readonly index: IndexPort
  private afterCommit: Array<() => void> = []
  /** Loads that wait for a checkpoint, because too many pages in memory have changes. */
  private delayed: Array<() => void> = []
  /** Changed pages fill the memory: a checkpoint is wanted. Unset: nobody can make one yet (recovery). */
  onPressure: (() => void) | undefined
  /**
   * Pages in which older versions became the head again: whoever looked at heads first and at the history then missed
   * some.
   */
  rewound = 0
  /** A checkpoint waits for loads under way. */
  private beforeCollect: (() => void) | undefined
  private abandoned = false
  /** Checkpoints that have ended. */
  private commits = 0
  private readonly scratch = new Uint32Array(ENTRY_WORDS)

  constructor(options: { index: IndexPort; segments: SegmentTable; pagesMax: number }) {
    this.index = options.index
    this.segments = options.segments
    this.pagesMax = options.pagesMax
  }

  /** An empty map over the same index. */
  renewed(segments: SegmentTable): ExtentMap {
    return new ExtentMap({ index: this.index, segments, pagesMax: this.pagesMax })
  }

  get pagesInMemory(): number {
    return this.clock.length
  }

  addVolume(number: number, descriptor: VolumeDescriptor): VolumeMap {
    assert(!this.volumes.has(number), 'a volume has one map in a stream')
    const map = new VolumeMap(number, descriptor)
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
    this.segments.add(run.segment, total)
    map.usedUnits += total
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
    const end = zero.lba + zero.count
    const firstWhole = Math.ceil(zero.lba / PAGE_BLOCKS)
    const endWhole = Math.floor(end / PAGE_BLOCKS)
    const entry = this.zeroEntry(zero)
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
    move: { epoch: number; seq: number; fromSegment: number; fromUnits: number; segment: number; units: number },
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
    page.markDirty(index)
    this.noteDirty(page)
    return true
  }

  /** Load a page (or find it): `done(undefined)` when the index cannot be read. */
  load(map: VolumeMap, pageNumber: number, done: (page: MapPage | undefined) => void): void {
    const waiting = map.loading.get(pageNumber)
    if (waiting !== undefined) {
      waiting.push(done)
      return
    }
    if (this.abandoned) return done(undefined)
    const key = pageKeyOf(map.number, pageNumber)
    // What a checkpoint is about to take, or has taken, is not in the index before it ends.
    if (this.committing?.has(key) === true || (this.beforeCollect !== undefined && this.pending.has(key))) {
      this.afterCommit.push(() => {
        const page = this.page(map, pageNumber)
        if (page === undefined) this.load(map, pageNumber, done)
        else done(page)
      })
      return
    }
    // Folding makes pages dirty, also when only read: without a checkpoint in between they would fill the memory.
    if (this.onPressure !== undefined && this.dirtyPages.size >= this.pagesMax) {
      this.delayed.push(() => {
        const page = this.page(map, pageNumber)
        if (page === undefined) this.load(map, pageNumber, done)
        else done(page)
      })
      this.onPressure()
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
      if (this.dirtyPages.size * 2 >= this.pagesMax) this.onPressure?.()
    }
    const present = map.pages.get(pageNumber)
    if (present !== undefined) {
      assert(present.needsRewind, 'a current page is not loaded again')
      this.rewind(present, finish)
      return
    }
    this.index.range({ ...pageRange(map.number, pageNumber, pageNumber + 1), limit: 1 << 20 }, (ok, entries) => {
      if (!ok) return finish(undefined)
      const page = this.build(map, pageNumber, entries)
      if (page === undefined) return finish(undefined)
      // Nobody may see it before it is.
      page.needsRewind = true
      map.pages.set(pageNumber, page)
      this.insert(page)
      this.rewind(page, finish)
    })
  }

  /** Forget all pages of a volume; they hold nothing the index does not. */
  dropPages(map: VolumeMap): void {
    for (const page of map.pages.values()) {
      assert(page.dirtyCount === 0 && !page.mustFold && !page.committing, 'only clean pages are dropped')
      this.remove(page)
    }
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
    for (const map of this.volumes.values())
      for (const page of map.loading.keys()) if (this.pending.has(pageKeyOf(map.number, page))) return
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
    if (this.committing === undefined) run()
    else this.afterCommit.push(run)
  }

  /** The checkpoint that was under way ended. */
  commitEnded(): void {
    this.commits++
    this.committing = undefined
    const waiting = [...this.afterCommit, ...this.delayed]
    this.afterCommit = []
    this.delayed = []
    for (const run of waiting) run()
  }

  noteDirty(page: MapPage): void {
    this.dirtyPages.add(page)
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
      this.putHistory(map, lba, words.slice(at, at + ENTRY_WORDS))
    else this.releaseEntry(map, words, at)
  }

  releaseEntry(map: VolumeMap, words: Uint32Array, at: number): void {
    const stored = storedUnitsOf(words, at)
    if (stored === 0) return
    this.segments.drop(segmentOf(words, at), stored)
    map.usedUnits -= stored
    map.changed = true
  }

  putHistory(map: VolumeMap, lba: number, entry: Uint32Array): void {
    this.historyAt(map, lba).set(versionKey(entry), entry)
  }

  dropHistory(map: VolumeMap, lba: number, entry: Uint32Array): void {
    this.historyAt(map, lba).set(versionKey(entry), null)
  }

  /** All older versions of blocks `first .. end - 1`, by LBA, each list oldest first. */
  readHistory(
    map: VolumeMap,
    first: number,
    end: number,
    done: (found: Map<number, Uint32Array[]> | undefined) => void,
  ): void {
    const { commits } = this
    this.index.range({ ...historyRange(map.number, first, end), limit: 1 << 24 }, (ok, entries) => {
      if (!ok) return done(undefined)
      // A checkpoint ended meanwhile: what it wrote is no longer in memory, and the index may have answered before it.
      if (this.commits !== commits) return this.readHistory(map, first, end, done)
      const merged = new Map<number, Map<string, Uint32Array | null>>()
      const at = (lba: number): Map<string, Uint32Array | null> => {
        let versions = merged.get(lba)
        if (versions === undefined) merged.set(lba, (versions = new Map()))
        return versions
      }
      for (const [key, value] of entries) {
        const words = decodeEntryValue(value)
        if (words === undefined) return done(undefined)
        at(parseHistoryKey(key).lba).set(versionKey(words), words)
      }
      for (const source of [map.committingHistory, map.history])
        for (const [lba, versions] of source)
          if (lba >= first && lba < end) for (const [id, words] of versions) at(lba).set(id, words)
      const found = new Map<number, Uint32Array[]>()
      for (const [lba, versions] of merged) {
        const list = [...versions.values()].filter((words) => words !== null)
        if (list.length > 0)
          found.set(
            lba,
            list.sort((a, b) => compareVersions(a, 0, b, 0)),
          )
      }
      done(found)
    })
  }

  private historyAt(map: VolumeMap, lba: number): Map<string, Uint32Array | null> {
    let versions = map.history.get(lba)
    if (versions === undefined) map.history.set(lba, (versions = new Map()))
    map.changed = true
    return versions
  }

  private zeroEntry(zero: { kind: EntryKind; epoch: number; seq: number; segment: number }): Uint32Array {
    const seqHigh = Math.floor(zero.seq / 2 ** 32)
    return Uint32Array.of(
      zero.segment + 1,
      0,
      zero.seq - seqHigh * 2 ** 32,
      zero.epoch,
      0,
      lastWord(seqHigh, 0, zero.kind, 0),
    )
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
  private zeroBlock(page: MapPage, index: number, entry: Uint32Array<ArrayBufferLike>): void {
    if (page.words[index * ENTRY_WORDS] === 0 && !page.map.keepsZeroes && !page.map.views.hasRollbacks) return
    this.replace(page, index, entry, 0)
  }

  /** Bring index values, pending entries and tombstones together, by (epoch, seq). */
  private build(map: VolumeMap, pageNumber: number, entries: Array<[Uint8Array, Uint8Array]>): MapPage | undefined {
    const page = new MapPage(map, pageNumber, this.takeWords())
    const key = pageKeyOf(map.number, pageNumber)
    const steps: Array<{ index: number; words: Uint32Array; at: number }> = []
    for (const [rawKey, rawValue] of entries) {
      const value = decodePageValue(rawValue)
      if (value === undefined) return undefined
      const { checkpoint } = parsePageKey(rawKey)
      page.keys.push(checkpoint)
      if (!value.base) page.deltaEntries += value.indexes.length
      const direct = value.base || value.resolved
      for (let i = 0; i < value.indexes.length; i++) {
        const index = value.indexes[i]!
        if (direct) copyEntry(value.words, i * ENTRY_WORDS, page.words, index * ENTRY_WORDS)
        else steps.push({ index, words: value.words, at: i * ENTRY_WORDS })
      }
      if (!direct) page.mustFold = true
    }
    if (this.pending.has(key)) {
      const { indexes, words } = this.pending.list(key)
      for (let i = 0; i < indexes.length; i++) steps.push({ index: indexes[i]!, words, at: i * ENTRY_WORDS })
      this.pending.forget(key)
    }
    for (const tombstone of map.tombstones) {
      if (pageNumber < tombstone.firstPage || pageNumber >= tombstone.endPage) continue
      const words = this.zeroEntry(tombstone)
      // It stays for long, and its effect on the head was undone: applied at each load, it would be undone each time.
      if (map.keepsZeroes && !this.rebuilding && map.views.hidden(Infinity, tombstone.seq)) {
        const shown = map.views.shownBySnapshots([tombstone.seq]).size > 0
        for (let index = 0; index < PAGE_BLOCKS && shown; index++) this.putHistory(map, page.firstLba + index, words)
        continue
      }
      for (let index = 0; index < PAGE_BLOCKS; index++) steps.push({ index, words, at: 0 })
    }
    // A stable sort: of two copies of one version, the later batch came later and wins.
    if (this.rebuilding || map.tombstones.length > 0)
      steps.sort((a, b) => compareVersions(a.words, a.at, b.words, b.at))
    if (this.rebuilding) this.resolveAll(page, steps)
    else for (const step of steps) this.resolve(page, step)
    if (map.descriptor.deleted) this.dropHeads(page)
    if (page.mustFold || page.dirtyCount > 0) this.noteDirty(page)
    return page
  }

  private resolve(page: MapPage, step: { index: number; words: Uint32Array; at: number }): void {
    const at = step.index * ENTRY_WORDS
    if (page.words[at] !== 0 && compareVersions(page.words, at, step.words, step.at) >= 0) {
      // A tombstone that is already in the page, or older than what is there.
      assert(storedUnitsOf(step.words, step.at) === 0, 'a version arrives after all older ones')
      return
    }
    if (kindOf(step.words, step.at) === ENTRY_KIND.data) this.replace(page, step.index, step.words, step.at)
    else {
      for (let i = 0; i < ENTRY_WORDS; i++) this.scratch[i] = step.words[step.at + i]!
      this.zeroBlock(page, step.index, this.scratch)
    }
  }

  /** Rebuild: choose head and history among all versions of each block, and count what survives. */
  private resolveAll(page: MapPage, steps: Array<{ index: number; words: Uint32Array; at: number }>): void {
    const { map } = page
    const versions: Array<Array<{ words: Uint32Array; at: number }>> = []
    for (const step of steps) {
      const seq = seqOf(step.words, step.at)
      if (map.views.isVoid(epochOf(step.words, step.at), seq)) continue
      const list = (versions[step.index] ??= [])
      const last = list.at(-1)
      if (last !== undefined && compareVersions(last.words, last.at, step.words, step.at) === 0)
        list[list.length - 1] = step
      else list.push(step)
    }
    versions.forEach((list, index) => {
      if (list === undefined) return
      const lba = page.firstLba + index
      const seqs = list.map(({ words, at }) => seqOf(words, at))
      const head = map.views.headExists ? seqs.findLast((seq) => !map.views.hidden(Infinity, seq)) : undefined
      const shown = map.views.shownBySnapshots(seqs)
      list.forEach(({ words, at }, i) => {
        if (seqs[i] === head) {
          const onlyZero = kindOf(words, at) !== ENTRY_KIND.data && list.length === 1 && !map.keepsZeroes
          if (onlyZero) return
          copyEntry(words, at, page.words, index * ENTRY_WORDS)
          page.markDirty(index)
        } else if (shown.has(seqs[i]!)) this.putHistory(map, lba, words.slice(at, at + ENTRY_WORDS))
        else return
        this.count(map, words, at)
      })
    })
    page.mustFold = true
  }

  private count(map: VolumeMap, words: Uint32Array, at: number): void {
    const stored = storedUnitsOf(words, at)
    if (stored > 0) this.segments.add(segmentOf(words, at), stored)
    map.usedUnits += stored
  }

  /** The volume is deleted: what no snapshot sees goes. */
  dropHeads(page: MapPage): void {
    for (let index = 0; index < PAGE_BLOCKS; index++) {
      const at = index * ENTRY_WORDS
      if (page.words[at] === 0) continue
      this.supersede(page.map, page.firstLba + index, page.words, at, Infinity)
      clearEntry(page.words, at)
      page.markDirty(index)
    }
    if (page.dirtyCount > 0) {
      page.mustFold = true
      this.noteDirty(page)
    }
  }

  /**
   * After a rollback: every head entry becomes the newest version the head may show. That may be an older one, none, or
   * one that an earlier rollback had put into the history; so the history is looked at even where nothing is hidden.
   */
  private rewind(page: MapPage, done: (page: MapPage | undefined) => void): void {
    const { map } = page
    if (!map.views.hasRollbacks || !map.views.headExists) {
      page.needsRewind = false
      return done(page)
    }
    const { views } = map
    page.pins++
    this.readHistory(map, page.firstLba, page.firstLba + PAGE_BLOCKS, (history) => {
      page.pins--
      if (history === undefined) return done(undefined)
      // Another rollback came meanwhile.
      if (map.views !== views) return this.rewind(page, done)
      let changed = false
      for (let index = 0; index < PAGE_BLOCKS; index++) {
        const at = index * ENTRY_WORDS
        const lba = page.firstLba + index
        const headSeq = page.words[at] === 0 ? 0 : seqOf(page.words, at)
        const isHidden = headSeq > 0 && views.hidden(Infinity, headSeq)
        const shown = history.get(lba)?.findLast((words) => !views.hidden(Infinity, seqOf(words, 0)))
        if (!isHidden && (shown === undefined || seqOf(shown, 0) < headSeq)) continue
        // Only a newer one covers it for the views that show both.
        const newerSeq = isHidden || shown === undefined ? Infinity : seqOf(shown, 0)
        if (headSeq > 0) this.supersede(map, lba, page.words, at, newerSeq)
        clearEntry(page.words, at)
        if (shown !== undefined) {
          copyEntry(shown, 0, page.words, at)
          this.dropHistory(map, lba, shown)
        }
        page.markDirty(index)
        changed = true
      }
      this.pruneHistory(page, history)
      page.needsRewind = false
      if (changed) {
        this.rewound++
        // A delta cannot say "no entry": the page is written as a base.
        page.mustFold = true
        this.noteDirty(page)
      }
      done(page)
    })
  }

  /** What was kept because the head might show it again, and is shown by nobody now. */
  private pruneHistory(page: MapPage, history: Map<number, Uint32Array[]>): void {
    const { map } = page
    for (const [lba, versions] of history) {
      const at = (lba - page.firstLba) * ENTRY_WORDS
      const headSeq = page.words[at] === 0 ? 0 : seqOf(page.words, at)
      const seqs = versions.map((words) => seqOf(words, 0)).filter((seq) => seq !== headSeq)
      const shown = map.views.shownBySnapshots([...seqs, headSeq].sort((a, b) => a - b))
      for (const words of versions) {
        if (seqOf(words, 0) === headSeq || shown.has(seqOf(words, 0))) continue
        this.releaseEntry(map, words, 0)
        this.dropHistory(map, lba, words)
      }
    }
  }

  private takeWords(): Uint32Array {
    const words = this.free.pop()
    if (words === undefined) return new Uint32Array(PAGE_BLOCKS * ENTRY_WORDS)
    words.fill(0)
    return words
  }

  /** Keep the cache in bounds: the clock hand passes recently used and changed pages. */
  private insert(page: MapPage): void {
    let steps = Math.min(this.clock.length * 2, 256)
    while (this.clock.length >= this.pagesMax && steps-- > 0) {
      if (this.hand >= this.clock.length) this.hand = 0
      const victim = this.clock[this.hand]!
      if (victim.used) {
        victim.used = false
        this.hand++
      } else if (
        victim.dirtyCount > 0 ||
        victim.mustFold ||
        victim.committing ||
        victim.pins > 0 ||
        victim.needsRewind
      )
        this.hand++
      else this.removeAt(this.hand)
    }
    this.clock.push(page)
  }

  private remove(page: MapPage): void {
    const at = this.clock.indexOf(page)
    if (at >= 0) this.removeAt(at)
  }

  private removeAt(at: number): void {
    const page = this.clock[at]!
    const last = this.clock.pop()!
    if (last !== page) this.clock[at] = last
    page.map.pages.delete(page.page)
    if (page.pins === 0 && this.free.length < 64) this.free.push(page.words)
  }
}

/** (epoch, seq) of an entry as a map key. */
export const versionKey = (words: Uint32Array): string => `${epochOf(words, 0)}:${seqOf(words, 0)}`

/** Whether a tombstone covers a page. */
export const covers = (tombstone: Tombstone, page: number): boolean =>
  page >= tombstone.firstPage && page < tombstone.endPage

export { hasEntry }
