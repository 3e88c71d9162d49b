/**
 * The append side of one stream (D5): records are gathered into batches, batches fill segments, one sync makes all that
 * was written durable, and appends are answered in log order.
 *
 *   append() --> queue --> batch (written) --> covered by a sync --> answered, in order
 *
 * - A batch with a durable record is formed when a sync slot is free, so that what arrives meanwhile shares the next
 *   sync (group commit); at low depth a slot is always free and nothing waits.
 * - An append of a `durable` record is answered when it and everything before it in the log is durable; one that is
 *   not, when it is written. Which syncs prove what: `sync-slots.ts`.
 * - A failed write or sync fails the stream for good (I14): nothing after it is acknowledged.
 * Source: group commit and log-structured segments as in LSVD (EuroSys'22); FORMAT.md sections 2 and 3.
 */
import { assert } from '../assert.ts'
import type { ClockPort, Crc32c, DiskPort } from '../ports.ts'
import { BLOCK_BYTES, MIB, PAGE_BLOCKS, UNITS_PER_BLOCK } from '../units.ts'
import { BatchWriter, movedBlocks, takeable } from './batch-writer.ts'
import type { Append, LogBatch, LogPosition } from './log-batch.ts'
import { OpenSegment } from './open-segment.ts'
import type { SegmentTable } from './segment-table.ts'
import { SyncSlots } from './sync-slots.ts'

export interface LogStreamOptions {
  disk: DiskPort
  crc32c: Crc32c
  clock: ClockPort
  segments: SegmentTable
  /** A segment that is granted and initialised, or undefined: then `resume` is called when there is one. */
  takeSegment(): number | undefined
  onFailed(reason: string): void
  diskUuid: string
  diskTag: Uint8Array
  streamId: number
  segmentBytes: number
  incarnation: number
  salt: Uint8Array
  nextBatch: number
  syncsMax?: number
}

/** Unsynced bytes from which a sync starts by itself, and from which nothing more is written before one ends. */
const DIRTY_SOFT_BYTES = 32 * MIB
const DIRTY_HARD_BYTES = 128 * MIB

export class LogStream {
  failed = false
  private closed = false
  /** Every batch up to this one is written. */
  writtenBatch: number
  nextBatch: number
  /** Bytes appended since the last checkpoint, for its trigger; and ever. */
  bytesSinceCheckpoint = 0
  bytesWritten = 0
  /** Blocks appended ever, but for what the cleaner's copies alone take. */
  freshBlocks = 0
  /** When the last batch was formed. */
  lastAppendMs = 0
  readonly segmentBlocks: number
  private readonly o: LogStreamOptions
  private readonly syncs: SyncSlots
  private readonly open: OpenSegment
  private readonly writer: BatchWriter
  private queue: Append[] = []
  queuedBlocks = 0
  private queueNeedsSync = false
  private deferred = false
  /** `batches` is being walked, and must keep its order and length. */
  private answering = false
  /** Batches that are not answered and applied, oldest first. */
  private batches: LogBatch[] = []

  constructor(options: LogStreamOptions) {
    this.o = options
    this.segmentBlocks = options.segmentBytes / BLOCK_BYTES
    this.nextBatch = options.nextBatch
    this.writtenBatch = options.nextBatch - 1
    this.syncs = new SyncSlots({
      disk: options.disk,
      syncsMax: options.syncsMax ?? 2,
      durableBatch: options.nextBatch - 1,
      onEnded: () => {
        this.answer()
        this.pump()
      },
      onFailed: () => this.fail('a sync failed'),
    })
    this.open = new OpenSegment({
      ...options,
      writeFrame: (offset, bytes) => this.writeFrame(offset, bytes),
    })
    this.writer = new BatchWriter(options)
  }

  /** Every batch up to this one is durable. */
  get durableBatch(): number {
    return this.syncs.durableBatch
  }

  /**
   * Most payload blocks of one record: it fits an empty segment with header, summary and trailer, and is small
   * against a segment, because a record that does not fit the rest of one leaves that rest empty.
   */
  get recordBlocksMax(): number {
    return Math.min(PAGE_BLOCKS, Math.max(8, Math.floor(this.segmentBlocks / 32)), this.segmentBlocks - 4)
  }

  /** Blocks of data a segment holds when the cleaner has packed it: frame, batch headers and the rest not counted. */
  get usableBlocks(): number {
    return Math.max(1, Math.floor((this.segmentBlocks - 4) * 0.97 - this.recordBlocksMax / 2))
  }

  /** Blocks left in the open segment. */
  get openBlocksLeft(): number {
    return this.open.blocksLeft
  }

  get openSegment(): number {
    return this.open.number
  }

  get inFlight(): number {
    return this.batches.length + this.queue.length
  }

  append(append: Append): void {
    if (this.failed || this.closed) {
      this.o.clock.defer(() => append.done(false, append))
      return
    }
    this.queue.push(append)
    this.queuedBlocks += Math.ceil(append.payloadUnits / UNITS_PER_BLOCK)
    if (append.durable) this.queueNeedsSync = true
    this.schedule()
  }

  /**
   * Make everything written so far durable, so everything that was answered. What is queued does not count: it may
   * wait for a segment that only a checkpoint can give back, and the checkpoint waits here.
   */
  sync(done: (ok: boolean) => void): void {
    if (this.failed) {
      this.o.clock.defer(() => done(false))
      return
    }
    const target = this.nextBatch - 1
    if (this.syncs.isClean(target)) {
      this.o.clock.defer(() => done(!this.failed))
      return
    }
    this.syncs.wait(target, done)
    this.schedule()
  }

  /** Where roll-forward has to begin for everything that is not applied yet. */
  position(): LogPosition {
    for (const batch of this.batches)
      if (batch.unapplied > 0)
        return { segment: batch.segment, generation: batch.generation, block: batch.startBlock, batch: batch.number }
    const { number: segment, generation, block } = this.open
    return { segment, generation, block, batch: this.nextBatch }
  }

  /** All of a sealed segment that ends with this batch is written, its seal too, which lies behind all of it. */
  isSegmentWritten(lastBatch: number): boolean {
    const { writtenBatch } = this
    return writtenBatch > lastBatch || (writtenBatch === lastBatch && this.syncs.framesUnderWay === 0)
  }

  /** A record's effect is in the map. */
  applied(batch: LogBatch): void {
    batch.unapplied--
    if (batch.unapplied === 0 && !this.answering) this.forget()
  }

  /** Something the stream waited for (a segment) is there. */
  resume(): void {
    if (this.queue.length > 0) this.schedule()
  }

  /** Take nothing any more: whoever appends is answered `false`. What was taken goes on. */
  close(): void {
    this.closed = true
  }

  /** Close the open segment, so that a stopped stream needs no scan. */
  sealOpen(): void {
    if (this.open.number >= 0 && !this.failed) this.open.seal(this.nextBatch - 1)
  }

  fail(reason: string): void {
    if (this.failed) return
    this.failed = true
    this.o.onFailed(reason)
    const queue = this.queue
    const batches = this.batches
    const waiters = this.syncs.close()
    this.queue = []
    this.o.clock.defer(() => {
      for (const batch of batches) for (const append of batch.appends.splice(0)) append.done(false, append)
      for (const append of queue) append.done(false, append)
      for (const done of waiters) done(false)
    })
  }

  private schedule(): void {
    if (this.deferred) return
    this.deferred = true
    this.o.clock.defer(() => {
      this.deferred = false
      this.pump()
    })
  }

  /** Form batches while that is allowed, then start syncs. */
  private pump(): void {
    while (this.queue.length > 0 && !this.failed) {
      if (this.queueNeedsSync && this.syncs.isFull) break
      if (this.syncs.dirtyBytes > DIRTY_HARD_BYTES && !this.syncs.isIdle) break
      if (!this.formBatch()) break
    }
    this.startSync()
    this.answer()
  }

  /** False when no segment is ready. */
  private formBatch(): boolean {
    const { open } = this
    if (open.number < 0 && !open.openNext(this.nextBatch)) return false
    let count = takeable(this.queue, open.blocksLeft)
    if (count === 0) {
      open.seal(this.nextBatch - 1)
      if (!open.openNext(this.nextBatch)) return false
      count = takeable(this.queue, open.blocksLeft)
      assert(count > 0, 'a record fits an empty segment')
    }
    const appends = count === this.queue.length ? this.queue : this.queue.slice(0, count)
    this.queue = count === this.queue.length ? [] : this.queue.slice(count)
    this.writeBatch(appends)
    return true
  }

  private writeBatch(appends: Append[]): void {
    const { open } = this
    const batch: LogBatch = {
      number: this.nextBatch++,
      segment: open.number,
      generation: open.generation,
      startBlock: open.block,
      appends,
      unapplied: appends.length,
      written: false,
      needsSync: false,
      totalBlocks: 0,
      headerBlocks: 0,
      headerCrc: 0,
      header: undefined,
    }
    const buffers = this.writer.layOut(batch, this.durableBatch)
    for (const append of appends) this.queuedBlocks -= Math.ceil(append.payloadUnits / UNITS_PER_BLOCK)
    this.batches.push(batch)
    this.freshBlocks += batch.totalBlocks - movedBlocks(appends)
    this.queueNeedsSync = this.queue.some((a) => a.durable)
    const { offsetBytes } = open
    open.fill(batch)
    this.lastAppendMs = this.o.clock.nowMs()
    this.write(offsetBytes, buffers, batch.totalBlocks * BLOCK_BYTES, () => {
      batch.written = true
      this.writer.written(batch)
    })
  }

  private isWritten(number: number): boolean {
    const first = this.batches[0]
    if (first === undefined || number < first.number) return true
    return this.batches[number - first.number]?.written ?? false
  }

  private write(offset: number, buffers: readonly Uint8Array[], bytes: number, written: () => void): void {
    this.syncs.dirtyBytes += bytes
    this.bytesWritten += bytes
    this.bytesSinceCheckpoint += bytes
    const ended = (): void => {
      written()
      while (
        this.syncs.framesUnderWay === 0 &&
        this.writtenBatch < this.nextBatch - 1 &&
        this.isWritten(this.writtenBatch + 1)
      )
        this.writtenBatch++
    }
    const done = (ok: boolean): void => {
      if (!ok) return this.fail('a write failed')
      if (this.failed) return
      ended()
      this.schedule()
    }
    if (this.o.disk.write(offset, buffers, done)) ended()
  }

  /** A header or a seal: no batch counts as written while one is under way, so that every sync covers both. */
  private writeFrame(offset: number, bytes: Uint8Array): void {
    this.syncs.frames++
    this.syncs.framesUnderWay++
    this.write(offset, [bytes], bytes.length, () => {
      this.syncs.framesUnderWay--
    })
  }

  /** One sync covers all that is written; another starts only for batches no running one covers. */
  private startSync(): void {
    const { syncs } = this
    if (this.failed || syncs.isFull || !syncs.coversMore(this.writtenBatch)) return
    if (syncs.dirtyBytes < DIRTY_SOFT_BYTES && !this.wantsSync()) return
    syncs.start(this.writtenBatch)
  }

  private wantsSync(): boolean {
    const { coveredBatch } = this.syncs
    for (let i = this.batches.length - 1; i >= 0; i--) {
      const batch = this.batches[i]!
      if (batch.number <= coveredBatch) break
      if (batch.needsSync && batch.number <= this.writtenBatch) return true
    }
    return this.syncs.isWaitedFor(this.writtenBatch)
  }

  /** In log order: durable records of durable batches, the others of written ones. */
  private answer(): void {
    this.answering = true
    for (const batch of this.batches) {
      if (batch.number > this.writtenBatch) break
      if (batch.appends.length === 0) continue
      const isDurable = batch.number <= this.durableBatch
      if (isDurable || !batch.needsSync) {
        const appends = batch.appends
        batch.appends = []
        for (const append of appends) append.done(true, append)
      } else if (batch.appends.some((append) => !append.durable)) {
        const ready = batch.appends.filter((append) => !append.durable)
        batch.appends = batch.appends.filter((append) => append.durable)
        for (const append of ready) append.done(true, append)
      }
    }
    this.answering = false
    this.forget()
    this.syncs.answerWaiters()
  }

  /** Batches are kept until answered, applied and written, because the position needs the oldest that is not. */
  private forget(): void {
    let count = 0
    while (count < this.batches.length) {
      const batch = this.batches[count]!
      if (batch.unapplied > 0 || batch.appends.length > 0 || batch.number > this.writtenBatch) break
      count++
    }
    if (count > 0) this.batches.splice(0, count)
  }
}
