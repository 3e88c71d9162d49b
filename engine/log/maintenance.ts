/**
 * The background work of a stream, one thing at a time: cleaning when free segments run short, checkpoints when enough
 * changed, sweeps that bring trims, deletions and deleted snapshots into cold pages, folding of pages that were
 * overwritten unseen. It runs only while there is something to do: an idle stream costs nothing.
 *
 * Each kind of it has its turn in each round, and each volume among those that have the same to do, for some of it may
 * never end: a sweep while snapshots go, cleaning while little is free.
 */
import { runTask, until, type Task } from '../task.ts'
import { BLOCK_BYTES, UNITS_PER_BLOCK } from '../units.ts'
import { forgetChanges, mergeNewest } from './change-merging.ts'
import { cleanSegment, newCleanerBuffer } from './cleaner.ts'
import { HistorySweep } from './history-sweep.ts'
import { dropHeads } from './page-fold.ts'
import { loadPage, visitPages } from './page-visitor.ts'
import { SEGMENT_STATE } from './segment-table.ts'
import type { StoreStream } from './store-stream.ts'
import { PAGES_MAX, SLICES_MAX, type VolumeMap } from './volume-map.ts'
import { chooseVictim } from './victim.ts'

/**
 * Cleaning starts when fewer segments are free than those at which writes are held, and this share of all, or what the
 * log fills in this time: below it writers would wait for each checkpoint that gives segments back. Slow writers leave
 * more to die before it is copied.
 */
const LOW_WATER_SHARE = 0.01
const LOW_WATER_MS = 150
const LOW_WATER_SEGMENTS_MAX = 8
const RATE_SAMPLE_MS = 50
/** Segments that are read and copied for one checkpoint, which gives them back. */
const CLEANED_LEAST = 2
const CLEANED_MOST = 8
/** With those that have nothing to copy: they cost the checkpoint a frame each. */
const GIVEN_BACK_MOST = 64
/** A damaged one. */
const EMPTY_TRIES = 10
const EMPTY_AGAIN_MS = 6000

export class Maintenance {
  private readonly stream: StoreStream
  private running = false
  private stopping: (() => void) | undefined
  private readAgainTimer: { cancel(): void } | undefined
  private stopped = false
  /** Writers wait for space. */
  shortOfSpace = false
  segmentsCleaned = 0
  /** Everything was folded at this batch and nothing could be won: it is not tried again before another one. */
  private futileAt = -1
  private cleanedSinceGain = 0
  /** Units that were live in the segments cleaned since the last checkpoint that was made for them. */
  private copiedUnits = 0
  private liveUnitsThen = -1
  private recordsThen = -1
  private freshBlocksThen = 0
  private mostFreeBlocks = 0
  /** Segments whose copies had no room when it was tried. */
  private readonly skipped = new Set<number>()
  /** Segments to be emptied whatever that wins, and how often that is tried. */
  private readonly damaged = new Map<number, number>()
  private readonly emptyTimers = new Set<{ cancel(): void }>()
  /** As far as they came. */
  private readonly historySweeps = new WeakMap<VolumeMap, HistorySweep>()
  /** Numbers of the volumes that had the last turn. */
  private lastSwept = -1
  private lastHistorySwept = -1
  private cleanerBuffer: Uint8Array | undefined
  private sampledBytes = 0
  private sampledMs = 0
  private bytesPerMs = 0

  constructor(stream: StoreStream) {
    this.stream = stream
  }

  /** Look whether there is something to do. Cheap; called after every batch. */
  kick(): void {
    const { stream } = this
    if (this.stopped || stream.failed) return
    if (stream.wantsCheckpoint && !stream.isCheckpointing) stream.makeCheckpoint(() => this.kick())
    if (this.running || !this.hasWork()) return
    this.running = true
    stream.isMaintained = true
    runTask(this.work(), () => {
      this.running = false
      stream.isMaintained = false
      if (this.stopping !== undefined) this.stopping()
      else this.wakeToReadAgain()
    })
  }

  /** Segments that could not be read are tried again: whoever waits for their space does nothing that would kick. */
  private wakeToReadAgain(): void {
    const { segments, context } = this.stream
    if (this.readAgainTimer !== undefined || segments.readAgainAtMs.size === 0 || !this.wantsCleaning) return
    const now = context.clock.nowMs()
    const atMs = Math.min(...[...segments.readAgainAtMs.values()].filter((one) => one > now))
    if (atMs === Infinity) return
    this.readAgainTimer = context.clock.after(atMs - now, () => {
      this.readAgainTimer = undefined
      this.kick()
    })
  }

  /**
   * For disks that several streams share: another stream may have freed or used segments without a word. Gives back
   * what is kept ready while the disk is short, and looks again.
   */
  lookAgain(): void {
    const { stream } = this
    if (this.stopped || stream.failed || !stream.isShared) return
    if (this.wantsCleaning && stream.log.queuedBlocks === 0) stream.supply.giveBack()
    stream.log.resume()
    this.kick()
  }

  /** What describes a sealed segment is damaged: what is live in it is moved elsewhere, and it is given back. */
  empty(segment: number, tries = EMPTY_TRIES): void {
    this.damaged.set(segment, tries)
    this.kick()
  }

  /** Let the present step end and begin no other. */
  stop(done: () => void): void {
    this.stopped = true
    this.readAgainTimer?.cancel()
    for (const timer of this.emptyTimers) timer.cancel()
    if (this.running) this.stopping = done
    else done()
  }

  private get wantsCleaning(): boolean {
    const { stream } = this
    const { segmentCount, holdSegments } = stream.context
    const filled = (this.logBytesPerMs() * LOW_WATER_MS) / (stream.log.segmentBlocks * BLOCK_BYTES)
    const wanted = Math.floor(Math.max(1, segmentCount * LOW_WATER_SHARE, Math.min(filled, segmentCount / 16)))
    const lowWater = Math.min(LOW_WATER_SEGMENTS_MAX, wanted)
    // What this stream keeps ready is of no use to the disk's other streams.
    const free = stream.isShared ? stream.context.grants.freeCount() : stream.freeSegments
    return this.shortOfSpace || free - holdSegments < lowWater
  }

  private logBytesPerMs(): number {
    const { log, context } = this.stream
    const elapsedMs = context.clock.nowMs() - this.sampledMs
    if (elapsedMs < RATE_SAMPLE_MS) return this.bytesPerMs
    this.bytesPerMs = (log.bytesWritten - this.sampledBytes) / elapsedMs
    this.sampledBytes = log.bytesWritten
    this.sampledMs += elapsedMs
    return this.bytesPerMs
  }

  private countState(state: number): number {
    const { segments } = this.stream
    let count = 0
    for (let i = 0; i < segments.count; i++) if (segments.state[i] === state) count++
    return count
  }

  private hasWork(): boolean {
    const { foldQueue, mergeQueue, map } = this.stream
    if (this.damaged.size > 0 || foldQueue.length > 0 || mergeQueue.length > 0 || this.wantsCleaning) return true
    for (const volume of map.volumes.values()) if (volume.sweepHistory || wantsSweep(volume)) return true
    return false
  }

  private get goesOn(): boolean {
    return !this.stopped && !this.stream.failed
  }

  private *work(): Task<void> {
    const { clock } = this.stream.context
    // Sweeps that could not read the index wait for the next run.
    const failed = new Set<VolumeMap>()
    const turns = [
      () => this.sweepTurn(failed),
      () => this.damagedTurn(),
      () => this.cleaningTurn(),
      () => this.mergeTurn(),
      () => this.foldTurn(),
    ]
    let othersMs = 0
    for (let hasDone = true; hasDone && this.goesOn;) {
      // Sweeps of older versions may win more than all others, so they have half of the time.
      hasDone = yield* this.historyTurn(failed, clock.nowMs() + othersMs)
      const beganMs = clock.nowMs()
      for (const turn of turns) if (this.goesOn && (yield* turn())) hasDone = true
      othersMs = clock.nowMs() - beganMs
    }
  }

  /** Of those that have this to do, the one behind the last that had a turn. */
  private volumeBehind(last: number, hasThis: (volume: VolumeMap) => boolean): VolumeMap | undefined {
    let least: VolumeMap | undefined
    let next: VolumeMap | undefined
    for (const volume of this.stream.map.volumes.values()) {
      if (!hasThis(volume)) continue
      const { number } = volume
      if (least === undefined || number < least.number) least = volume
      if (number > last && (next === undefined || number < next.number)) next = volume
    }
    return next ?? least
  }

  /** Steps of a sweep behind deleted snapshots, one at least. False: there is none. */
  private *historyTurn(failed: Set<VolumeMap>, untilMs: number): Task<boolean> {
    const { stream, historySweeps } = this
    const isReady = (one: VolumeMap): boolean => one.sweepHistory && !wantsEmptying(one) && !failed.has(one)
    const volume = this.volumeBehind(this.lastHistorySwept, isReady)
    if (volume === undefined) return false
    this.lastHistorySwept = volume.number
    let sweep = historySweeps.get(volume)
    if (sweep === undefined) historySweeps.set(volume, (sweep = new HistorySweep(stream, volume)))
    do {
      const outcome = yield* sweep.step()
      if (outcome === 'unreadable') failed.add(volume)
      if (outcome === 'over') {
        historySweeps.delete(volume)
        if (volume.emptied) this.dropUnseen(volume)
      }
      if (outcome !== 'more') return true
      yield* this.relieve()
    } while (this.goesOn && stream.context.clock.nowMs() < untilMs)
    return true
  }

  private *sweepTurn(failed: Set<VolumeMap>): Task<boolean> {
    const volume = this.volumeBehind(this.lastSwept, (one) => wantsSweep(one) && !failed.has(one))
    if (volume === undefined) return false
    this.lastSwept = volume.number
    if (!(yield* this.sweep(volume))) failed.add(volume)
    return true
  }

  private *damagedTurn(): Task<boolean> {
    const { stream } = this
    const [damaged] = this.damaged
    if (damaged === undefined) return false
    const [segment, tries] = damaged
    this.damaged.delete(segment)
    const generation = stream.segments.generation[segment]!
    yield* this.emptyTask(segment)
    const isThere = stream.segments.state[segment] === SEGMENT_STATE.sealed
    if (isThere && stream.segments.generation[segment] === generation && tries > 1) this.emptyAgain(segment, tries - 1)
    return true
  }

  private *cleaningTurn(): Task<boolean> {
    if (!this.wantsCleaning) return false
    // A sweep that has not been everywhere may win what folding all pages would.
    const { volumes } = this.stream.map
    const isRound = (one: VolumeMap): boolean => this.historySweeps.get(one)?.hasBeenRound === true
    return yield* this.clean([...volumes.values()].every((one) => !one.sweepHistory || isRound(one)))
  }

  private *mergeTurn(): Task<boolean> {
    const { stream } = this
    const merge = stream.mergeQueue.shift()
    if (merge === undefined) return false
    if (stream.map.volumes.get(merge[0].number) === merge[0]) yield* mergeNewest(stream, merge[0], merge[1])
    return true
  }

  private *foldTurn(): Task<boolean> {
    const { stream } = this
    const fold = stream.foldQueue.shift()
    if (fold === undefined) return false
    if (stream.map.volumes.has(fold[0].number)) yield* loadPage(stream.map, fold[0], fold[1])
    yield* this.relieve()
    return true
  }

  /** A block that another copy has is there soon, and so may room be. After some tries it is found again. */
  private emptyAgain(segment: number, tries: number): void {
    if (this.stopped || this.stream.failed) return
    const timer = this.stream.context.clock.after(EMPTY_AGAIN_MS, () => {
      this.emptyTimers.delete(timer)
      this.empty(segment, tries)
    })
    this.emptyTimers.add(timer)
  }

  private *emptyTask(segment: number): Task<void> {
    const { stream } = this
    const { segments, log } = stream
    const checkpoint = (): Task<boolean> => until<boolean>((resume) => stream.makeCheckpoint(resume))
    const isSealed = (): boolean => segments.state[segment] === SEGMENT_STATE.sealed && segments.held[segment] === 0
    if (!isSealed()) return
    // What is newer than the last checkpoint is read again by an opening.
    if (segments.lastBatch[segment]! >= log.position().batch && !(yield* checkpoint())) return
    if (!isSealed() || segments.lastBatch[segment]! >= log.position().batch) return
    yield* cleanSegment(stream, segment, (this.cleanerBuffer ??= newCleanerBuffer()), true)
    if (segments.state[segment] === SEGMENT_STATE.cleaned) yield* checkpoint()
  }

  /**
   * Clean a segment, and give cleaned ones back. False when nothing can be won.
   * @param mayFold  all pages, to find dead versions, while writers wait and no segment is worth its cleaning
   */
  private *clean(mayFold: boolean): Task<boolean> {
    const { stream } = this
    const cleaned = this.countState(SEGMENT_STATE.cleaned)
    if (cleaned === 0) this.copiedUnits = 0
    const found = this.isWinning() ? chooseVictim(stream, this.skipped) : undefined
    const victim = found !== undefined && this.mayClean(found, cleaned) ? found : undefined
    if (victim !== undefined) {
      const liveUnits = stream.segments.live[victim]!
      if (!(yield* cleanSegment(stream, victim, (this.cleanerBuffer ??= newCleanerBuffer())))) {
        this.skipped.add(victim)
        return true
      }
      this.segmentsCleaned++
      this.cleanedSinceGain++
      this.copiedUnits += liveUnits
      return true
    }
    if (victim === undefined && cleaned === 0) {
      // Sealed segments behind the position become candidates with a checkpoint; versions nobody folded may be dead.
      this.skipped.clear()
      if (!mayFold || !this.shortOfSpace || this.futileAt === stream.log.nextBatch) return false
      for (const volume of stream.map.volumes.values())
        yield* visitPages(
          { map: stream.map, index: stream.context.index, volume, firstPage: 0, endPage: PAGES_MAX },
          () => {},
          () => this.relieve(),
        )
      yield* until<boolean>((resume) => stream.makeCheckpoint(resume))
      this.futileAt = stream.log.nextBatch
      return chooseVictim(stream) !== undefined
    }
    this.skipped.clear()
    return yield* until<boolean>((resume) => stream.makeCheckpoint(resume))
  }

  /**
   * Whether `victim` is cleaned before the `cleaned` ones are given back. One without anything live needs no room and
   * is not read: after a large deletion what became free is given back in few checkpoints, and whoever waits for room
   * waits for few. While there is no room but what is kept for the cleaner, the copies of all others fit in one
   * segment.
   */
  private mayClean(victim: number, cleaned: number): boolean {
    const { stream } = this
    const { segmentCount, holdSegments } = stream.context
    const liveUnits = stream.segments.live[victim]!
    if (cleaned === 0) return true
    if (liveUnits === 0 && stream.segments.mixed[victim] === 0) return cleaned < GIVEN_BACK_MOST
    if (cleaned >= Math.min(CLEANED_MOST, Math.max(CLEANED_LEAST, Math.floor(segmentCount / 16)))) return false
    const usableUnits = (stream.log.segmentBlocks - 3) * UNITS_PER_BLOCK
    return stream.freeSegments > holdSegments || this.copiedUnits + liveUnits <= usableUnits
  }

  /**
   * Whether cleaning has won something lately. Copies are not cut to fit, so a round over all segments may leave just
   * as many as before; then it ends until data dies or comes. An overwrite keeps the sum of what is live, so records
   * are counted apart. Control records show in neither: each makes the former one of its volume dead, and takes the
   * space that was won meanwhile. When they fill a segment, what they fill may be worth as much.
   */
  private isWinning(): boolean {
    const { stream } = this
    const { segments, log } = stream
    const usable = log.segmentBlocks - 3
    const freeBlocks =
      (stream.freeSegments + this.countState(SEGMENT_STATE.cleaned)) * usable + log.openBlocksLeft
    const liveUnits = segments.liveUnits()
    const isOther = liveUnits !== this.liveUnitsThen || stream.recordsApplied !== this.recordsThen
    if (isOther || log.freshBlocks - this.freshBlocksThen >= usable) {
      this.liveUnitsThen = liveUnits
      this.recordsThen = stream.recordsApplied
      this.freshBlocksThen = log.freshBlocks
      this.mostFreeBlocks = freeBlocks
      this.cleanedSinceGain = 0
    } else if (freeBlocks > this.mostFreeBlocks) {
      this.mostFreeBlocks = freeBlocks
      this.cleanedSinceGain = 0
    }
    return this.cleanedSinceGain <= segments.ownedCount
  }

  /** Pages of a volume that is deleted, or below a trim. False when the index cannot be read. */
  private *sweep(volume: VolumeMap): Task<boolean> {
    const { stream } = this
    const { map, context } = stream
    if (wantsEmptying(volume)) {
      const ok = yield* visitPages(
        { map, index: context.index, volume, firstPage: 0, endPage: PAGES_MAX },
        (page) => {
          dropHeads(map, page)
        },
        () => this.relieve(),
      )
      if (!ok || !(yield* forgetChanges(stream, volume, 0, SLICES_MAX))) return false
      this.dropUnseen(volume)
      volume.emptied = true
      volume.changed = true
      return true
    }
    const tombstone = volume.tombstones[0]!
    const ok = yield* visitPages(
      { map, index: context.index, volume, firstPage: tombstone.firstPage, endPage: tombstone.endPage },
      () => {},
      () => this.relieve(),
    )
    if (!ok) return false
    // Pages loaded before it came took it when it was applied; all others when they were loaded.
    volume.tombstones = volume.tombstones.filter((other) => other !== tombstone)
    this.tombstoneGone(volume, tombstone)
    return true
  }

  /** Pages a walk has changed stay in memory until a checkpoint wrote them. */
  private *relieve(): Task<void> {
    if (this.stream.wantsCheckpoint) yield* until<boolean>((resume) => this.stream.makeCheckpoint(resume))
  }

  /**
   * Of a volume that is deleted and swept: what is left of a clone keeps a zero that a snapshot shows, for a hole there
   * shows what lies below, also where it never was in a page.
   */
  private dropUnseen(volume: VolumeMap): void {
    const isSeen = ({ seq }: { seq: number }): boolean => volume.views.shownBySnapshots([seq]).size > 0
    const kept = volume.keepsZeroes ? volume.tombstones.filter(isSeen) : []
    for (const t of volume.tombstones) if (!kept.includes(t)) this.tombstoneGone(volume, t)
    volume.tombstones = kept
  }

  private tombstoneGone(volume: VolumeMap, t: { epoch: number; seq: number; firstPage: number }): void {
    this.stream.tombstonesGone.push({ volume: volume.number, epoch: t.epoch, seq: t.seq, firstPage: t.firstPage })
  }
}

/** Deleted, and not all of its pages were dropped yet. */
const wantsEmptying = ({ descriptor, emptied }: VolumeMap): boolean => descriptor.deleted && !emptied

/** Whether all pages, or those below a trim, are to be visited. */
const wantsSweep = (volume: VolumeMap): boolean =>
  wantsEmptying(volume) || (volume.tombstones.length > 0 && !volume.keepsZeroes)
