/**
 * Copies of what is no block: zeroes and trims to which something still refers, the newest control record of a volume,
 * and the snapshot leaves of its list (FORMAT.md section 6). A zero or trim that no older data may need any more is
 * forgotten instead.
 */
import type { Task } from '../task.ts'
import { BLOCK_BYTES, SLICE_BLOCKS, UNITS_PER_BLOCK } from '../units.ts'
import { generationOfSlice } from '../volume/descriptor.ts'
import type { LeafName } from '../volume/snapshot-leaves.ts'
import type { CleanerCopies } from './cleaner-copies.ts'
import { clearEntry, segmentOf } from './entry.ts'
import type { Append } from './log-batch.ts'
import { hasDescriptor, RECORD_FLAG, type RecordHeader } from './record.ts'
import { eachZero, moveZero } from './relocation.ts'
import type { SummaryEntry } from './segment.ts'
import type { VolumeMap } from './volume-map.ts'

export class RecordCleaner {
  private readonly copies: CleanerCopies

  constructor(copies: CleanerCopies) {
    this.copies = copies
  }

  /** Gather a zero or trim, or forget it. False when the index cannot be read. */
  *zero(volume: VolumeMap, record: RecordHeader): Task<boolean> {
    const { stream, segment } = this.copies
    if (isWiped(volume, record)) return true
    const ofBefore = isOfBefore(volume, record, stream.context.diskUuid)
    const isUnfinished = volume.tombstones.some((t) => t.epoch === record.epoch && t.seq === record.seq)
    let referred = isUnfinished
    const mayGo =
      !volume.keepsZeroes &&
      !isUnfinished &&
      !ofBefore &&
      record.seq <= (volume.copy?.keepTrimsAbove ?? record.seq) &&
      record.bornBatch < Math.min(this.copies.leastBorn, stream.segments.oldestBornBatch(segment))
    const ok = yield* eachZero(stream, volume, record, {
      tombstone: () => {},
      page: (page, at, index) => {
        if (segmentOf(page.words, at) !== segment) return
        if (mayGo) {
          clearEntry(page.words, at)
          page.markDirty(index)
          // A delta cannot say "no entry".
          page.mustFold = true
          stream.map.noteDirty(page)
          volume.copy?.forgot(record.seq)
          volume.changed = true
        } else referred = true
      },
      history: () => {
        referred = true
      },
    })
    if (!ok) return false
    if (!referred) return true
    const moved: RecordHeader = { ...record, flags: record.flags | RECORD_FLAG.moved }
    // What refers to it may mean the one that came again, so it is born anew, above that one.
    if (ofBefore) moved.bornBatch = 0
    this.copies.append(moved, [], 0, (append) => moveZero(stream, volume, moved, append.segment))
    return true
  }

  /** Gather a control record when it is the newest one. False when it cannot be read, or is damaged. */
  *control(volume: VolumeMap, record: RecordHeader, entry: SummaryEntry): Task<boolean> {
    const { stream, segment } = this.copies
    if (!hasDescriptor(record)) return yield* this.leaf(volume, record, entry)
    if (record.lba !== volume.descriptor.revision || volume.controlSegment !== segment) return true
    const { deleted } = volume.descriptor
    if (
      deleted &&
      volume.emptied &&
      !volume.isTaken &&
      !volume.sweepHistory &&
      volume.views.snapshotSeqs.length === 0 &&
      record.bornBatch < Math.min(this.copies.leastBorn, stream.segments.oldestBornBatch(segment))
    ) {
      stream.removeVolume(volume)
      return true
    }
    return yield* this.copyBody(record, record.bornBatch, entry, (append) => {
      if (volume.descriptor.revision !== record.lba) return
      volume.controlSegment = append.segment
      volume.changed = true
    })
  }

  /** Nothing but a body that names another one ends a leaf, so it says nothing of what is older, and is born anew. */
  private *leaf(volume: VolumeMap, record: RecordHeader, entry: SummaryEntry): Task<boolean> {
    const { segment } = this.copies
    const name: LeafName = [record.lba, record.bodyCrc]
    const leaves = volume.copy?.leaves
    if (leaves === undefined || !leaves.isAt(name, segment)) return true
    return yield* this.copyBody(record, 0, entry, (append) => {
      volume.changed = true
      leaves.move(name, segment, append.segment)
    })
  }

  /** Verify and re-append a control record. False when it cannot be read, or is damaged. */
  private *copyBody(
    record: RecordHeader,
    bornBatch: number,
    entry: SummaryEntry,
    written: (append: Append) => void,
  ): Task<boolean> {
    const { stream, segment } = this.copies
    const blocks = Math.ceil(record.bodyBytes / BLOCK_BYTES)
    const units = entry.startBlock * UNITS_PER_BLOCK + record.payloadUnits
    const body = yield* stream.reader.readUnits(segment, units, blocks * UNITS_PER_BLOCK)
    if (body === undefined) return false
    if (stream.context.crc32c(body.subarray(0, record.bodyBytes)) >>> 0 !== record.bodyCrc) {
      this.copies.damaged = true
      return false
    }
    const moved: RecordHeader = { ...record, flags: record.flags | RECORD_FLAG.moved, bornBatch }
    this.copies.append(moved, [body], blocks * UNITS_PER_BLOCK, (append) => {
      written(append)
      return undefined
    })
    return true
  }
}

/** Of a slice that was wiped since: the same one may have been filled, and may have to stay for longer. */
const isWiped = ({ descriptor }: VolumeMap, { lba, sliceGeneration }: RecordHeader): boolean =>
  sliceGeneration !== generationOfSlice(descriptor, Math.floor(lba / SLICE_BLOCKS))

/** Accepted before the last filling, so that one of them may have dropped it before the same one came again. */
const isOfBefore = ({ descriptor: { copy } }: VolumeMap, { flags, bornBatch }: RecordHeader, disk: string): boolean =>
  copy !== undefined &&
  (flags & (RECORD_FLAG.moved | RECORD_FLAG.fill)) === 0 &&
  bornBatch < (copy.fillBorn[disk] ?? 0)
