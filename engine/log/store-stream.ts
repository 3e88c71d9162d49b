/**
 * One stream of one disk: log, map, segments, checkpoints. It is opened by `recovery.ts`; the volumes append to it and
 * tell it when a record is committed; `cleaner.ts` and `sweeper.ts` work on it in the background.
 *
 * Checkpoint (one at a time): changes collected in one turn -> log synced -> index batch, synced -> root written,
 * synced -> frames of freed segments marked free, synced -> segments given back. Every arrow is a wait: what is on
 * the right may rely on the left being durable.
 */
import { assert } from '../assert.ts'
import type { ClockPort, Crc32c, DiskPort, IndexPort, LogPort, SegmentGrants } from '../ports.ts'
import { runTask, until, type Task } from '../task.ts'
import { BLOCK_BYTES } from '../units.ts'
import { uuidToHex } from './bytes.ts'
import { collectCheckpoint, type CheckpointMeta } from './checkpoint.ts'
import type { ExtentMap } from './extent-map.ts'
import { rootOffsetBytes, segmentOffsetBytes } from './geometry.ts'
import { LogReader } from './log-reader.ts'
import type { Append, LogBatch } from './log-batch.ts'
import { LogStream } from './log-stream.ts'
import type { RecordHeader } from './record.ts'
import { encodeRoot, ROOT_FLAG, type Root } from './root.ts'
import { encodeSegmentHeader } from './segment.ts'
import { SegmentSupply } from './segment-supply.ts'
import type { SegmentTable } from './segment-table.ts'
import type { VolumeDescriptor } from '../volume/descriptor.ts'
import type { MapPage, VolumeMap } from './volume-map.ts'

export interface StreamContext {
  disk: DiskPort
  index: IndexPort
  crc32c: Crc32c
  clock: ClockPort
  grants: SegmentGrants
  log: LogPort
  diskUuid: string
  diskTag: Uint8Array
  streamId: number
  segmentBytes: number
  segmentCount: number
  /** Random bytes for ids and salts. */
  random(bytes: number): Uint8Array
  /** Hex, of the machine's boot, and another one from a failure of the disk on: what is not durable may be gone. */
  bootId: string
  /**
   * Free segments at which client writes are held: the cleaners of the disk's streams, trims, deletes and checkpoints
   * work with the last ones.
   */
  holdSegments: number
  /** Pages of the map kept in memory (6 KiB each). */
  pagesMax: number
  /** Log bytes after which a checkpoint is made. */
  checkpointBytes: number
  /** Pending entries after which a checkpoint is made; changes of older versions are counted apart. */
  pendingMax: number
  syncsMax: number
  segmentsAhead: number
  /** Snapshots in one leaf at most (FORMAT.md section 7); absent: as many as always. */
  leafSnapshots?: number
}

export interface StreamState {
  map: ExtentMap
  segments: SegmentTable
  reader: LogReader
  root: Root
  checkpoint: number
  nextVolume: number
  nextBatch: number
  /** Up to here its opening found every batch, or knows that it was durable; Infinity: there was no root to tell. */
  foundBatch: number
  salt: Uint8Array
}

const FOLD_UNRESOLVED = 48
/**
 * Times `pendingMax`: so many changes of older versions are a reason for a checkpoint. A cleaner's pass makes one for
 * each block. Far more in one checkpoint hold up clients for the turn that takes them (1.2 us each), and whoever waits
 * for its end; with fewer the index merges small tables more often than it takes new ones.
 */
const CHANGES_FACTOR = 2
/** One stream: its cleaner may fill two segments before it gives any back. */
const HOLD_SEGMENTS_ALONE = 3
const IDLE_MS = 1000

export class StoreStream {
  readonly context: StreamContext
  readonly map: ExtentMap
  readonly segments: SegmentTable
  readonly reader: LogReader
  readonly log: LogStream
  readonly supply: SegmentSupply
  readonly reserveSegments: number
  failedReason = ''
  /** Of clients, since it was opened. */
  recordsApplied = 0
  /** Index bytes written (keys and values), zeroes, log and roots: for write amplification. */
  indexBytes = 0
  nextVolume: number
  /** Volumes of the map by their id (hex). */
  readonly volumesById = new Map<string, VolumeMap>()
  /** Pages with many unresolved entries, to be folded in the background. */
  foldQueue: Array<[volume: VolumeMap, page: number]> = []
  /** Slices whose changes lie in many values. */
  mergeQueue: Array<[volume: VolumeMap, slice: number]> = []
  tombstonesGone: Array<{ volume: number; epoch: number; seq: number; firstPage: number }> = []
  volumesGone: VolumeMap[] = []
  onFailed: (reason: string) => void = () => {}
  /**
   * Make durable what other disks hold of the volumes of this one. A written-back record is applied when it is
   * written; in an index it must not be without those before it, which may lie elsewhere. Not `ok`: they are gone.
   */
  syncPeers: (done: (ok: boolean) => void) => void = (done) => done(true)
  /** A checkpoint ended, or segments came back: whoever waits for space looks again. */
  onSpace: () => void = () => {}
  /** The log stands still for want of a segment. Nothing else may happen then that would let the cleaner look. */
  onShort: () => void = () => {}
  private lastId: { bytes: Uint8Array; hex: string } = { bytes: new Uint8Array(0), hex: '' }
  private root: Root
  private checkpoint: number
  private readonly salt: Uint8Array
  /** As its opening found it. */
  readonly foundBatch: number
  private unresolved = new Map<number, Uint8Array>()
  /** The cleaner, or other work in the background, runs. */
  isMaintained = false
  private checkpointing = false
  private checkpointWaiters: Array<(ok: boolean) => void> = []
  private nextWaiters: Array<(ok: boolean) => void> = []
  private rootQueue: Array<() => void> = []
  private rootBusy = false
  private idleTimer: { cancel(): void } | undefined
  private stopped = false

  constructor(context: StreamContext, state: StreamState) {
    this.context = context
    this.map = state.map
    this.segments = state.segments
    this.reader = state.reader
    this.root = state.root
    this.checkpoint = state.checkpoint
    this.nextVolume = state.nextVolume
    this.foundBatch = state.foundBatch
    this.salt = state.salt
    const { disk, crc32c, clock, grants, diskUuid, diskTag, streamId, segmentBytes, segmentCount } = context
    this.reserveSegments = reserveSegmentsOf(segmentCount)
    for (const volume of state.map.volumes.values()) this.volumesById.set(volume.descriptor.spec.id, volume)
    this.supply = new SegmentSupply({
      disk,
      clock,
      grants,
      streamId,
      segmentBytes,
      ahead: context.segmentsAhead,
      keepFree: context.holdSegments,
      logBytes: () => this.log.bytesWritten,
      onReady: () => {
        this.log.resume()
        this.onSpace()
      },
      onShort: () => clock.defer(() => this.onShort()),
      onFailed: (reason) => this.log.fail(reason),
    })
    this.log = new LogStream({
      disk,
      crc32c,
      clock,
      segments: this.segments,
      diskUuid,
      diskTag,
      streamId,
      segmentBytes,
      takeSegment: () => this.supply.take(),
      onFailed: (reason) => this.fail(reason),
      incarnation: state.root.incarnation,
      salt: state.salt,
      nextBatch: state.nextBatch,
      syncsMax: context.syncsMax,
    })
    this.map.onDisorder = () => this.log.fail('its log contradicts its index')
  }

  get failed(): boolean {
    return this.log.failed
  }

  /** Other streams, perhaps of other workers, use segments of the same disk. */
  get isShared(): boolean {
    return this.context.holdSegments > HOLD_SEGMENTS_ALONE
  }

  /** Segments that could still be filled, the open one not counted. */
  get freeSegments(): number {
    return this.supply.available
  }

  append(append: Append): void {
    this.log.append(append)
    this.armIdle()
  }

  /** Write a record that is committed into the map. */
  applyAppend(volume: VolumeMap, append: Append): void {
    this.apply(volume, append.record, append.segment, append.units)
    this.recordsApplied++
    this.log.applied(append.batch!)
  }

  apply(volume: VolumeMap, record: RecordHeader, segment: number, units: number): void {
    applyRecord(this.map, volume, record, segment, units)
  }

  /** Whether a checkpoint is due. */
  get wantsCheckpoint(): boolean {
    const { checkpointBytes, pendingMax, pagesMax } = this.context
    return (
      this.log.bytesSinceCheckpoint >= checkpointBytes ||
      this.map.pending.count >= pendingMax ||
      this.map.historyTally.changes >= CHANGES_FACTOR * pendingMax ||
      this.map.dirtyPages.size * 2 >= pagesMax
    )
  }

  get isCheckpointing(): boolean {
    return this.checkpointing
  }

  /** Make a checkpoint that holds everything applied so far. */
  makeCheckpoint(done: (ok: boolean) => void): void {
    if (this.checkpointing) {
      this.nextWaiters.push(done)
      return
    }
    this.checkpointing = true
    this.checkpointWaiters.push(done)
    runTask(this.checkpointTask({}), (ok) => {
      this.checkpointing = false
      const waiters = this.checkpointWaiters
      this.checkpointWaiters = []
      const next = this.nextWaiters
      this.nextWaiters = []
      for (const waiter of waiters) waiter(ok)
      this.onSpace()
      if (next.length > 0) this.makeCheckpoint((again) => next.forEach((waiter) => waiter(again)))
    })
  }

  *checkpointTask(options: { clean?: boolean; incarnation?: number }): Task<boolean> {
    const { context, map, segments } = this
    if (this.failed) return false
    yield* until<void>((resume) => map.loads.whenCollectable(resume))
    if (this.failed) return false
    for (const volume of map.volumes.values()) volume.copy?.waiting.park(this.log, segments)
    const number = this.checkpoint + 1
    const incarnation = options.incarnation ?? this.root.incarnation
    const meta: CheckpointMeta = {
      format: 1,
      diskUuid: context.diskUuid,
      streamId: context.streamId,
      indexUuid: this.root.indexUuid,
      checkpoint: number,
      incarnation,
      salt: saltToHex(this.salt),
      nextVolume: this.nextVolume,
      changes: 1,
      ...this.log.position(),
    }
    for (const page of map.dirtyPages) if (page.mustFold) this.noteFolded(page)
    const tombstonesGone = this.tombstonesGone
    const volumesGone = this.volumesGone
    this.tombstonesGone = []
    this.volumesGone = []
    const collected = collectCheckpoint(map, {
      meta,
      checkpoint: number,
      tombstonesGone,
      volumesGone,
      onUnresolved: (volume, page, entries) => this.noteUnresolved(volume, page, entries),
      onPile: (volume, slice) => void this.mergeQueue.push([volume, slice]),
    })
    this.log.bytesSinceCheckpoint = 0
    if (!(yield* until<boolean>((resume) => this.log.sync(resume)))) return false
    if (!(yield* until<boolean>((resume) => this.syncPeers(resume)))) {
      this.log.fail('another disk failed, which lost what comes before some of what is here')
      return false
    }
    this.indexBytes += collected.bytes
    if (!(yield* until<boolean>((resume) => context.index.batch(collected.operations, resume)))) {
      this.log.fail('the index cannot be written')
      return false
    }
    // A sync may have failed meanwhile: nothing is written to the disk after that.
    if (this.failed) return false
    this.checkpoint = number
    const rooted = yield* this.writeRootTask({ incarnation, flags: options.clean === true ? ROOT_FLAG.clean : 0 })
    if (!rooted) return false
    collected.committed()
    if (
      !(yield* markFree(
        context,
        collected.freed.map((segment) => [segment, segments.generation[segment]!]),
      ))
    ) {
      this.log.fail('a segment cannot be given back')
      return false
    }
    for (const segment of collected.freed) {
      segments.forget(segment)
      context.grants.release(segment)
    }
    if (collected.freed.length > 0 && !this.stopped) this.supply.fill()
    return true
  }

  /** Write the root with the present watermark. */
  *writeRootTask(change: { incarnation?: number; flags?: number; watermarkBatch?: number }): Task<boolean> {
    yield* until<void>((resume) => {
      if (!this.rootBusy) {
        this.rootBusy = true
        resume()
      } else this.rootQueue.push(resume)
    })
    const root: Root = {
      ...this.root,
      generation: this.root.generation + 1,
      checkpoint: this.checkpoint,
      watermarkBatch: Math.max(this.root.watermarkBatch, change.watermarkBatch ?? this.log.durableBatch),
      incarnation: change.incarnation ?? this.root.incarnation,
      flags: change.flags ?? 0,
      salt: this.salt,
      bootId: this.context.bootId,
    }
    const ok = yield* writeRoot(this.context, root)
    if (ok) this.root = root
    else this.log.fail('the root cannot be written')
    this.rootBusy = false
    const next = this.rootQueue.shift()
    if (next !== undefined) {
      this.rootBusy = true
      next()
    }
    return ok
  }

  /** Recovery wrote a root of the former incarnation. */
  rootWritten(generation: number): void {
    this.root = { ...this.root, generation }
  }

  /** Everything applied and durable, the open segment sealed, the root clean. Nothing is appended any more. */
  *stopTask(): Task<boolean> {
    this.log.close()
    this.stopped = true
    this.idleTimer?.cancel()
    while (this.checkpointing) yield* until<boolean>((resume) => this.makeCheckpoint(resume))
    this.supply.stop()
    if (this.failed) return false
    this.log.sealOpen()
    this.checkpointing = true
    const ok = yield* this.checkpointTask({ clean: true })
    this.checkpointing = false
    return ok
  }

  fail(reason: string): void {
    this.failedReason = reason
    this.idleTimer?.cancel()
    this.stopped = true
    this.context.clock.defer(() => this.map.loads.abandon())
    this.onFailed(reason)
  }

  addVolume(descriptor: VolumeDescriptor): VolumeMap {
    const volume = this.map.addVolume(this.nextVolume++, descriptor)
    this.volumesById.set(descriptor.spec.id, volume)
    return volume
  }

  /** The volume of a record, by its 16 bytes. Records of one volume mostly come one behind the other. */
  volumeOf(volumeId: Uint8Array): VolumeMap | undefined {
    for (let i = 0; i < volumeId.length; i++)
      if (volumeId[i] !== this.lastId.bytes[i]) {
        this.lastId = { bytes: volumeId, hex: uuidToHex(volumeId) }
        break
      }
    return this.volumesById.get(this.lastId.hex)
  }

  /** Nothing of the volume is left in this stream; what its map has still to take out of the index goes with it. */
  removeVolume(volume: VolumeMap): void {
    this.map.volumes.delete(volume.number)
    this.volumesById.delete(volume.descriptor.spec.id)
    this.volumesGone.push(volume)
  }

  applied(batch: LogBatch): void {
    this.log.applied(batch)
  }

  /** Every record in batches below this one is in the map or void, also those that wait beside it. */
  oldestUnapplied(): number {
    let oldest = this.log.position().batch
    for (const volume of this.map.volumes.values())
      if (volume.copy !== undefined) oldest = volume.copy.waiting.oldestBatch(oldest)
    return oldest
  }

  /** A page is about to be folded: its counter starts anew. */
  private noteFolded(page: MapPage): void {
    const chunk = this.unresolved.get(chunkKey(page.map.number, page.page))
    if (chunk !== undefined) chunk[page.page % CHUNK_PAGES] = 0
  }

  private noteUnresolved(volume: VolumeMap, page: number, entries: number): void {
    const key = chunkKey(volume.number, page)
    let chunk = this.unresolved.get(key)
    if (chunk === undefined) this.unresolved.set(key, (chunk = new Uint8Array(CHUNK_PAGES)))
    const at = page % CHUNK_PAGES
    const before = chunk[at]!
    chunk[at] = Math.min(255, before + entries)
    if (before < FOLD_UNRESOLVED && chunk[at]! >= FOLD_UNRESOLVED) this.foldQueue.push([volume, page])
  }

  /** After a pause of 1 s the watermark is written, so that the last commit cannot be taken for a torn tail. */
  private armIdle(): void {
    if (this.idleTimer !== undefined || this.stopped) return
    const { clock } = this.context
    const check = (): void => {
      this.idleTimer = undefined
      if (this.stopped || this.failed) return
      const quietMs = clock.nowMs() - this.log.lastAppendMs
      if (quietMs < IDLE_MS || this.checkpointing)
        this.idleTimer = clock.after(Math.max(IDLE_MS - quietMs, 10), check)
      else if (this.root.watermarkBatch < this.log.nextBatch - 1)
        this.log.sync((ok) => {
          if (ok && !this.stopped && !this.checkpointing) runTask(this.writeRootTask({}), () => {})
        })
    }
    this.idleTimer = clock.after(IDLE_MS, check)
  }
}

const CHUNK_PAGES = 1024
const chunkKey = (volume: number, page: number): number => volume * 65536 + Math.floor(page / CHUNK_PAGES)
const saltToHex = (salt: Uint8Array): string => [...salt].map((byte) => byte.toString(16).padStart(2, '0')).join('')
export const saltFromHex = (hex: string): Uint8Array =>
  Uint8Array.from({ length: 8 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16))

/**
 * What volumes should not count on: near the brim every write moves much. Not enforced as such; writes are held at
 * `holdSegments`.
 */
export const reserveSegmentsOf = (segmentCount: number): number => Math.max(3, Math.ceil(segmentCount * 0.05))

/** Put a committed record that is no copy into the map. @param units  of its first blob, from the segment's start */
export function applyRecord(
  map: ExtentMap,
  volume: VolumeMap,
  record: RecordHeader,
  segment: number,
  units: number,
): void {
  if (record.kind === 1) {
    map.applyRun(volume, {
      lba: record.lba,
      count: record.blockCount,
      epoch: record.epoch,
      seq: record.seq,
      transform: record.transform,
      segment,
      units,
      crcs: record.crcs,
      storedUnits: record.storedUnits,
    })
  } else {
    assert(record.kind === 2 || record.kind === 3, 'control records change the descriptor, not the map')
    map.applyZero(volume, {
      lba: record.lba,
      count: record.blockCount,
      kind: record.kind === 2 ? 2 : 3,
      epoch: record.epoch,
      seq: record.seq,
      segment,
      bornBatch: record.bornBatch,
    })
  }
}

export function* writeRoot(context: StreamContext, root: Root): Task<boolean> {
  const bytes = encodeRoot(root, context.crc32c)
  const offset = rootOffsetBytes(context.streamId, root.generation % 2)
  if (!(yield* write(context.disk, offset, bytes))) return false
  return yield* until<boolean>((resume) => context.disk.sync(resume))
}

/**
 * Mark segments free on disk, so that even a rebuild without the index does not take them for data (FORMAT.md 2.1). The
 * header says it first; only when that is durable the trailer goes, because a header in use without a trailer is rot.
 */
export function* markFree(
  context: StreamContext,
  segments: Array<[segment: number, generation: number]>,
): Task<boolean> {
  if (segments.length === 0) return true
  const { disk, crc32c, segmentBytes, diskUuid, streamId } = context
  for (const [segment, generation] of segments) {
    const header = encodeSegmentHeader(
      { streamId, diskUuid, segment, generation, firstBatch: 0, incarnation: 0, free: true },
      crc32c,
    )
    if (!(yield* write(disk, segmentOffsetBytes(segmentBytes, segment), header))) return false
  }
  if (!(yield* until<boolean>((resume) => disk.sync(resume)))) return false
  for (const [segment] of segments) {
    // The first batch goes too: it proves a segment whose header is torn, and here that would be the next use's header.
    const batchAt = segmentOffsetBytes(segmentBytes, segment) + BLOCK_BYTES
    const trailerAt = segmentOffsetBytes(segmentBytes, segment + 1) - BLOCK_BYTES
    for (const offset of [batchAt, trailerAt])
      if (!(yield* write(disk, offset, new Uint8Array(BLOCK_BYTES)))) return false
  }
  return yield* until<boolean>((resume) => disk.sync(resume))
}

export function* write(disk: DiskPort, offsetBytes: number, bytes: Uint8Array): Task<boolean> {
  return yield* until<boolean>((resume) => {
    if (disk.write(offsetBytes, [bytes], resume)) resume(true)
  })
}
