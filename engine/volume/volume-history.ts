/**
 * The history of a volume on this node: each record gets its seq (D4) and goes to the stream of its slice (D5); control
 * records, each with the whole descriptor, go to every disk under one seq. They commit in order (`commit-queue.ts`).
 */
import { hexToUuid } from '../log/bytes.ts'
import { blockIdentity, recordSeed, volumeTag } from '../log/identity.ts'
import { blankRecord, OPERATION, RECORD_KIND, type RecordHeader } from '../log/record.ts'
import type { StoreStream } from '../log/store-stream.ts'
import { NBD_ERRNO } from '../errors.ts'
import type { Crc32c } from '../ports.ts'
import { BLOCK_BYTES, PAGE_BLOCKS, SLICE_BLOCKS, SLICE_BYTES, UNITS_PER_BLOCK } from '../units.ts'
import type { Target } from './block-reader.ts'
import { CommitQueue, partEnded, type InFlight, type Request } from './commit-queue.ts'
import { encodeDescriptor, generationOfSlice, newEpoch, type VolumeDescriptor } from './descriptor.ts'
import { placementOf } from './placement.ts'

export interface VolumeHistoryOptions {
  descriptor: VolumeDescriptor
  targets: Target[]
  crc32c: Crc32c
  nextSeq: number
  /** Something was appended, or waits for space in a stream. */
  onWork(shortOf: StoreStream | undefined): void
}

const FULL_UNITS = Array.from({ length: PAGE_BLOCKS }, () => UNITS_PER_BLOCK)

export class VolumeHistory {
  /** As of the last control record that was ordered. */
  descriptor: VolumeDescriptor
  readonly targets: Target[]
  readonly commits: CommitQueue
  /** Volume id as checksums cover it. */
  readonly tag: number
  private readonly o: VolumeHistoryOptions
  private readonly id: Uint8Array
  /** Index into `targets` by slice. */
  private placement: Uint16Array

  constructor(options: VolumeHistoryOptions) {
    this.o = options
    this.descriptor = options.descriptor
    this.targets = options.targets
    this.placement = this.placementNow()
    this.id = hexToUuid(options.descriptor.spec.id)
    this.tag = volumeTag(options.crc32c, this.id)
    this.commits = new CommitQueue({
      nextSeq: options.nextSeq,
      onGap: () => this.fence(),
      onCommitted: () => options.onWork(undefined),
    })
  }

  get isDurable(): boolean {
    return this.descriptor.spec.durability === 'durable'
  }

  /** Where a slice lies. */
  target(slice: number): Target {
    return this.targets.length === 1 ? this.targets[0]! : this.targets[this.placement[slice]!]!
  }

  private placementNow(): Uint16Array {
    const { spec, slices } = this.descriptor
    return placementOf(slices, Math.ceil(spec.sizeBytes / SLICE_BYTES), this.targets)
  }

  /** A record of this volume that has no seq yet. */
  recordOf(kind: number, lba: number, blockCount: number): RecordHeader {
    return blankRecord({ kind, volumeId: this.id, lba, blockCount, epoch: this.descriptor.epoch, seq: 0 })
  }

  /** Give the record its seq and append it (D4, D5). */
  submit(
    record: RecordHeader,
    payload: readonly Uint8Array[],
    payloadUnits: number,
    request: Request,
    data: Uint8Array | undefined,
  ): void {
    const slice = Math.floor(record.lba / SLICE_BLOCKS)
    const target = this.target(slice)
    request.left++
    // A failed disk takes no seq: it would leave a gap that recovery cannot tell from a torn tail.
    if (target.stream.failed) return partEnded(request, NBD_ERRNO.EIO)
    record.seq = this.commits.nextSeq++
    record.sliceGeneration = generationOfSlice(this.descriptor, slice)
    record.previousSeq = target.map.previousSeq
    target.map.previousSeq = record.seq
    if (data !== undefined) {
      const { crc32c } = this.o
      const seed = recordSeed(this.tag, record.epoch, record.seq)
      const count = record.blockCount
      const crcs = new Array<number>(count)
      for (let i = 0; i < count; i++) {
        const blob = count === 1 ? data : data.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES)
        crcs[i] = (crc32c(blob) ^ blockIdentity(seed, record.lba + i)) >>> 0
      }
      record.crcs = crcs
      record.storedUnits = FULL_UNITS
    }
    this.enqueue(record, payload, payloadUnits, target, request, undefined)
    this.o.onWork(undefined)
  }

  private enqueue(
    record: RecordHeader,
    payload: readonly Uint8Array[],
    payloadUnits: number,
    target: Target,
    request: Request | undefined,
    commit: (() => void) | undefined,
  ): InFlight {
    const inFlight: InFlight = {
      seq: record.seq,
      target,
      append: undefined,
      ended: false,
      ok: false,
      request,
      commit,
    }
    this.commits.push(inFlight)
    target.stream.append({
      record,
      payload,
      payloadUnits,
      durable: commit !== undefined || this.isDurable,
      segment: 0,
      units: 0,
      batch: undefined,
      mapOnly: record.kind === RECORD_KIND.write,
      done: (ok, append) => this.commits.ended(inFlight, ok, append),
    })
    return inFlight
  }

  /**
   * A disk failed and its records leave a gap in the history, which recovery would take for a torn tail: a new epoch
   * says that what is below it is settled, and nothing behind the gap is acknowledged before that is durable.
   */
  private fence(): void {
    if (this.commits.isFenced || this.targets.every(({ stream }) => stream.failed)) return
    this.commits.fenceNext()
    this.control(OPERATION.epoch, newEpoch, () => {})
  }

  /**
   * Append a new descriptor to every disk of the copy, under one seq. `done(false)` when a disk failed.
   * @param change  makes the new descriptor of the present one and the record's seq, in the turn it gets its place
   */
  control(
    operation: number,
    change: (now: VolumeDescriptor, seq: number) => VolumeDescriptor,
    done: (ok: boolean) => void,
  ): void {
    const seq = this.commits.nextSeq++
    const descriptor = { ...change(this.descriptor, seq), revision: this.descriptor.revision + 1, seq }
    // Requests that come later already belong to it (a new size, a new epoch).
    this.descriptor = descriptor
    this.placement = this.placementNow()
    const body = encodeDescriptor(descriptor)
    const blocks = Math.ceil(body.length / BLOCK_BYTES)
    const padded = new Uint8Array(blocks * BLOCK_BYTES)
    padded.set(body)
    let left = this.targets.length
    let ok = true
    for (const target of this.targets) {
      const record = this.recordOf(RECORD_KIND.control, descriptor.revision, 0)
      Object.assign(record, {
        operation,
        seq,
        previousSeq: target.map.previousSeq,
        bodyBytes: body.length,
        bodyCrc: this.o.crc32c(body) >>> 0,
      })
      target.map.previousSeq = seq
      const request: Request = {
        left: 1,
        errno: 0,
        done: (errno) => {
          if (errno !== 0) ok = false
          if (--left === 0) done(ok)
        },
      }
      const one = this.enqueue(record, [padded], blocks * UNITS_PER_BLOCK, target, request, () => {
        target.map.setDescriptor(descriptor)
        target.map.controlSegment = one.append!.segment
        target.map.controlBornBatch = record.bornBatch
      })
    }
    this.o.onWork(undefined)
  }

  /** A disk that was missing is there. */
  takeTarget(target: Target): void {
    const { diskUuid } = target.stream.context
    const at = this.targets.findIndex(({ stream }) => stream.context.diskUuid === diskUuid)
    if (at >= 0) this.targets[at] = target
    const { commits } = this
    commits.nextSeq = Math.max(commits.nextSeq, target.map.appliedSeq + 1)
    if (commits.isEmpty) commits.commitSeq = commits.lastSeq
    const isRecorded = target.map.descriptor.revision === this.descriptor.revision
    if (target.map.descriptor.revision > this.descriptor.revision) this.descriptor = target.map.descriptor
    for (const { map, stream } of this.targets)
      if (!stream.failed && map.descriptor.revision < this.descriptor.revision) map.setDescriptor(this.descriptor)
    this.placement = this.placementNow()
    // In the log of one of them it is not; while another disk is missing the cleaner sees to that.
    if (!isRecorded && this.targets.every(({ stream }) => !stream.failed))
      this.control(OPERATION.change, (now) => now, () => {})
  }
}
