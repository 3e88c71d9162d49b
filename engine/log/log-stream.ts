/**
 * The append side of one stream (D5): records are gathered into batches, batches fill segments, one sync makes all that
 * was written durable, and appends are answered in log order.
 *
 *   append() --> queue --> batch (written) --> covered by a sync --> answered, in order
 *
 * - A batch with a durable record is formed when a sync slot is free, so that what arrives meanwhile shares the next
 *   sync (group commit); at low depth a slot is always free and nothing waits.
 * - An append of a `durable` record is answered when it and everything before it in the log is durable; one that is
 *   not, when it is written. Syncs count in the order they were issued: a later one that ends first proves nothing
 *   alone, because an error is reported to one of them only.
 * - A failed write or sync fails the stream for good (I14): nothing after it is acknowledged.
 * Source: group commit and log-structured segments as in LSVD (EuroSys'22); FORMAT.md sections 2 and 3.
 */
import { assert } from '../assert.ts'
import type { ClockPort, Crc32c, DiskPort } from '../ports.ts'
import { BLOCK_BYTES, MIB, PAGE_BLOCKS, UNITS_PER_BLOCK } from '../units.ts'
import { BATCH_HEADER_BYTES, finishBatchHeader, headerBlocksFor } from './batch.ts'
import { segmentOffsetBytes } from './geometry.ts'
import { encodeRecord, recordBytes, type RecordHeader } from './record.ts'
import { encodeSeal, encodeSegmentHeader, summaryBlocksFor, type SummaryEntry } from './segment.ts'
import type { SegmentTable } from './segment-table.ts'

export interface Append {
  record: RecordHeader
  /** Blobs, each padded to a unit; owned by the stream until `done`. */
  payload: readonly Uint8Array[]
  payloadUnits: number
  durable: boolean
  /** In log order. On success `segment`, `units` and `batch` say where it lies. */
  done(ok: boolean, append: Append): void
  segment: number
  /** Place of the first blob (zero, trim: 0), from the segment's start. */
  units: number
  batch: LogBatch | undefined
}

/** A batch that is not yet forgotten: its records are still to be answered or applied. */
export interface LogBatch {
  number: number
  segment: number
  generation: number
  startBlock: number
  appends: Append[]
  /** Records whose effect is not yet in the map. The checkpoint's position is the oldest batch that has any. */
  unapplied: number
  written: boolean
  needsSync: boolean
}

/** Where a roll-forward begins. */
export interface LogPosition {
  segment: number
  generation: number
  block: number
  batch: number
}

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

const HEADER_BYTES_MAX = 16 * BLOCK_BYTES
const PAYLOAD_UNITS_MAX = (4 * MIB) / 64
/** Unsynced bytes from which a sync starts by itself, and from which nothing more is written before one ends. */
const DIRTY_SOFT_BYTES = 32 * MIB
const DIRTY_HARD_BYTES = 128 * MIB
const ZEROES = new Uint8Array(BLOCK_BYTES)

export class LogStream {
  failed = false
  /** Every batch up to this one is written, respectively durable. */
  writtenBatch: number
  durableBatch: number
  nextBatch: number
  /** Bytes appended since the last checkpoint, for its trigger; and ever. */
  bytesSinceCheckpoint = 0
  bytesWritten = 0
  /** When the last batch was formed. */
  lastAppendMs = 0
  readonly segmentBlocks: number
  private readonly o: LogStreamOptions
  private readonly syncsMax: number
  private queue: Append[] = []
  queuedBlocks = 0
  private queueNeedsSync = false
  private deferred = false
  /** `batches` is being walked, and must keep its order and length. */
  private answering = false
  /** Batches that are not answered and applied, oldest first. */
  private batches: LogBatch[] = []
  private syncs: Array<{ target: number; frames: number; bytes: number; ended: boolean }> = []
  private dirtyBytes = 0
  /** Headers and seals: issued, not yet written, and how many of the issued are durable. */
  private frames = 0
  private framesUnderWay = 0
  private framesDurable = 0
  private waiters: Array<{ batch: number; frames: number; done: (ok: boolean) => void }> = []
  private segment = -1
  private generation = 0
  private block = 0
  private summary: SummaryEntry[] = []
  private headers: Array<{ bytes: Uint8Array; view: DataView }> = []

  constructor(options: LogStreamOptions) {
    this.o = options
    this.syncsMax = options.syncsMax ?? 2
    this.segmentBlocks = options.segmentBytes / BLOCK_BYTES
    this.nextBatch = options.nextBatch
    this.writtenBatch = options.nextBatch - 1
    this.durableBatch = options.nextBatch - 1
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
    return this.segment < 0
      ? 0
      : Math.max(0, this.segmentBlocks - this.block - summaryBlocksFor(this.summary.length + 1) - 1)
  }

  get openSegment(): number {
    return this.segment
  }

  get inFlight(): number {
    return this.batches.length + this.queue.length
  }

  append(append: Append): void {
    if (this.failed) {
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
    if (this.durableBatch >= target && this.framesDurable >= this.frames) {
      this.o.clock.defer(() => done(!this.failed))
      return
    }
    this.waiters.push({ batch: target, frames: this.frames, done })
    this.schedule()
  }

  /** Where roll-forward has to begin for everything that is not applied yet. */
  position(): LogPosition {
    for (const batch of this.batches)
      if (batch.unapplied > 0)
        return { segment: batch.segment, generation: batch.generation, block: batch.startBlock, batch: batch.number }
    return { segment: this.segment, generation: this.generation, block: this.block, batch: this.nextBatch }
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

  /** Close the open segment, so that a stopped stream needs no scan. */
  sealOpen(): void {
    if (this.segment >= 0 && !this.failed) this.seal()
  }

  fail(reason: string): void {
    if (this.failed) return
    this.failed = true
    this.o.onFailed(reason)
    const queue = this.queue
    const batches = this.batches
    const waiters = this.waiters
    this.queue = []
    this.waiters = []
    this.o.clock.defer(() => {
      for (const batch of batches) for (const append of batch.appends.splice(0)) append.done(false, append)
      for (const append of queue) append.done(false, append)
      for (const waiter of waiters) waiter.done(false)
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
      if (this.queueNeedsSync && this.syncs.length >= this.syncsMax) break
      if (this.dirtyBytes > DIRTY_HARD_BYTES && this.syncs.length > 0) break
      if (!this.formBatch()) break
    }
    this.startSync()
    this.answer()
  }

  /** False when no segment is ready. */
  private formBatch(): boolean {
    if (this.segment < 0 && !this.openNext()) return false
    let room = this.openBlocksLeft
    let count = this.takeable(room)
    if (count === 0) {
      this.seal()
      if (!this.openNext()) return false
      room = this.openBlocksLeft
      count = this.takeable(room)
      assert(count > 0, 'a record fits an empty segment')
    }
    const appends = count === this.queue.length ? this.queue : this.queue.slice(0, count)
    this.queue = count === this.queue.length ? [] : this.queue.slice(count)
    this.writeBatch(appends)
    return true
  }

  /** How many queued appends fit into so many blocks. */
  private takeable(roomBlocks: number): number {
    let headerBytes = BATCH_HEADER_BYTES
    let units = 0
    let count = 0
    for (const append of this.queue) {
      headerBytes += recordBytes(append.record)
      units += append.payloadUnits
      if (count > 0 && (headerBytes > HEADER_BYTES_MAX || units > PAYLOAD_UNITS_MAX)) break
      if (headerBlocksFor(headerBytes) + Math.ceil(units / UNITS_PER_BLOCK) > roomBlocks) break
      count++
    }
    return count
  }

  private writeBatch(appends: Append[]): void {
    let headerBytes = BATCH_HEADER_BYTES
    let units = 0
    for (const append of appends) headerBytes += recordBytes(append.record)
    const headerBlocks = headerBlocksFor(headerBytes)
    const header = this.takeHeader(headerBlocks)
    const number = this.nextBatch++
    const buffers: Uint8Array[] = [header.bytes.subarray(0, headerBlocks * BLOCK_BYTES)]
    const batch: LogBatch = {
      number,
      segment: this.segment,
      generation: this.generation,
      startBlock: this.block,
      appends,
      unapplied: appends.length,
      written: false,
      needsSync: false,
    }
    let at = BATCH_HEADER_BYTES
    for (const append of appends) {
      const { record } = append
      const payloadAt = headerBlocks * UNITS_PER_BLOCK + units
      if (append.payloadUnits > 0) record.payloadUnits = payloadAt
      if (record.bornBatch === 0) record.bornBatch = number
      else this.o.segments.holdsBorn(this.segment, record.bornBatch)
      at += encodeRecord(header.view, at, record)
      append.segment = this.segment
      append.units = append.payloadUnits > 0 ? this.block * UNITS_PER_BLOCK + payloadAt : 0
      append.batch = batch
      for (const blob of append.payload) buffers.push(blob)
      units += append.payloadUnits
      if (append.durable) batch.needsSync = true
      this.queuedBlocks -= Math.ceil(append.payloadUnits / UNITS_PER_BLOCK)
    }
    const padUnits = (UNITS_PER_BLOCK - (units % UNITS_PER_BLOCK)) % UNITS_PER_BLOCK
    if (padUnits > 0) buffers.push(ZEROES.subarray(0, padUnits * 64))
    const totalBlocks = headerBlocks + Math.ceil(units / UNITS_PER_BLOCK)
    const headerCrc = finishBatchHeader(
      buffers[0]!,
      header.view,
      {
        headerBytes,
        totalBlocks,
        recordCount: appends.length,
        batch: number,
        durableBatch: this.durableBatch,
        segment: this.segment,
        generation: this.generation,
        incarnation: this.o.incarnation,
        streamId: this.o.streamId,
        startBlock: batch.startBlock,
        salt: this.o.salt,
      },
      this.o.diskTag,
      this.o.crc32c,
    )
    this.summary.push({ startBlock: this.block, headerCrc, batch: number, headerBlocks })
    this.o.segments.lastBatch[this.segment] = number
    this.batches.push(batch)
    this.queueNeedsSync = this.queue.some((a) => a.durable)
    const bytes = totalBlocks * BLOCK_BYTES
    const offset = segmentOffsetBytes(this.o.segmentBytes, this.segment) + this.block * BLOCK_BYTES
    this.block += totalBlocks
    this.lastAppendMs = this.o.clock.nowMs()
    this.write(offset, buffers, bytes, () => {
      batch.written = true
      this.headers.push(header)
    })
  }

  private isWritten(number: number): boolean {
    const first = this.batches[0]
    if (first === undefined || number < first.number) return true
    return this.batches[number - first.number]?.written ?? false
  }

  private write(offset: number, buffers: readonly Uint8Array[], bytes: number, written: () => void): void {
    this.dirtyBytes += bytes
    this.bytesWritten += bytes
    this.bytesSinceCheckpoint += bytes
    const ended = (): void => {
      written()
      while (
        this.framesUnderWay === 0 &&
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
    this.frames++
    this.framesUnderWay++
    this.write(offset, [bytes], bytes.length, () => {
      this.framesUnderWay--
    })
  }

  /** One sync covers all that is written; another starts only for batches no running one covers. */
  private startSync(): void {
    if (this.failed || this.syncs.length >= this.syncsMax) return
    const last = this.syncs.at(-1)
    const covered = last?.target ?? this.durableBatch
    const coveredFrames = last?.frames ?? this.framesDurable
    const frames = this.framesUnderWay === 0 ? this.frames : coveredFrames
    if (this.writtenBatch <= covered && frames <= coveredFrames) return
    if (this.dirtyBytes < DIRTY_SOFT_BYTES && !this.wantsSync(covered, coveredFrames)) return
    const sync = { target: this.writtenBatch, frames, bytes: this.dirtyBytes, ended: false }
    this.syncs.push(sync)
    this.o.disk.sync((ok) => {
      if (!ok) return this.fail('a sync failed')
      if (this.failed) return
      sync.ended = true
      while (this.syncs[0]?.ended === true) {
        const ended = this.syncs.shift()!
        this.durableBatch = ended.target
        this.framesDurable = ended.frames
        this.dirtyBytes = Math.max(0, this.dirtyBytes - ended.bytes)
        for (const later of this.syncs) later.bytes = Math.max(0, later.bytes - ended.bytes)
      }
      this.answer()
      this.pump()
    })
  }

  private wantsSync(covered: number, coveredFrames: number): boolean {
    for (let i = this.batches.length - 1; i >= 0; i--) {
      const batch = this.batches[i]!
      if (batch.number <= covered) break
      if (batch.needsSync && batch.number <= this.writtenBatch) return true
    }
    for (const { batch, frames } of this.waiters)
      if (batch <= this.writtenBatch && (batch > covered || frames > coveredFrames)) return true
    return false
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
    if (this.waiters.length === 0) return
    const isReady = (w: { batch: number; frames: number }): boolean =>
      w.batch <= this.durableBatch && w.frames <= this.framesDurable
    const ready = this.waiters.filter(isReady)
    if (ready.length === 0) return
    this.waiters = this.waiters.filter((w) => !isReady(w))
    for (const waiter of ready) waiter.done(true)
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

  private openNext(): boolean {
    const segment = this.o.takeSegment()
    if (segment === undefined) return false
    this.generation = this.o.segments.open(segment, this.nextBatch)
    this.segment = segment
    this.block = 1
    this.summary = []
    const { crc32c, diskUuid, streamId, incarnation, segmentBytes } = this.o
    const header = encodeSegmentHeader(
      {
        streamId,
        diskUuid,
        segment,
        generation: this.generation,
        firstBatch: this.nextBatch,
        incarnation,
        free: false,
      },
      crc32c,
    )
    this.writeFrame(segmentOffsetBytes(segmentBytes, segment), header)
    return true
  }

  private seal(): void {
    const { crc32c, diskUuid, streamId, incarnation, segmentBytes, segments } = this.o
    const { segment, generation } = this
    const bytes = encodeSeal(
      {
        streamId,
        diskUuid,
        segment,
        generation,
        firstBatch: segments.firstBatch[segment]!,
        incarnation,
        endBlock: this.block,
        flags: 0,
        entries: this.summary,
      },
      crc32c,
    )
    const offset = segmentOffsetBytes(segmentBytes, segment) + segmentBytes - bytes.length
    this.writeFrame(offset, bytes)
    segments.seal(segment, this.nextBatch - 1)
    this.segment = -1
  }

  /** Header regions are reused; most are one or two blocks. */
  private takeHeader(blocks: number): { bytes: Uint8Array; view: DataView } {
    const found = this.headers.pop()
    if (found !== undefined && found.bytes.length >= blocks * BLOCK_BYTES) return found
    const bytes = new Uint8Array(Math.max(blocks, 2) * BLOCK_BYTES)
    return { bytes, view: new DataView(bytes.buffer) }
  }
}
