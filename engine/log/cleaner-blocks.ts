/**
 * Copies of blocks: of each write of the victim those that the head or the history shows at this place are verified
 * and gathered, and the map is pointed at the copies when they are written.
 *
 * Nothing is moved unverified, and the old crc goes along, so rot is never laundered into a fresh checksum.
 */
import type { Task } from '../task.ts'
import { PAGE_BLOCKS, UNIT_BYTES, UNITS_PER_BLOCK } from '../units.ts'
import type { CleanerCopies } from './cleaner-copies.ts'
import { knownOlder, type CleanerWindow, type WindowBatch } from './cleaner-window.ts'
import { ENTRY_WORDS, epochOf, hasEntry, segmentOf, seqOf, unitsOf } from './entry.ts'
import { blockIdentity, recordSeed, volumeTag } from './identity.ts'
import { loadPage } from './page-visitor.ts'
import { RECORD_FLAG, type RecordHeader } from './record.ts'
import { findOlder, moveEntry } from './relocation.ts'
import type { VolumeMap } from './volume-map.ts'

/** A record of a window. */
export interface WindowRecord {
  window: CleanerWindow
  batch: WindowBatch
  record: RecordHeader
  /** Number of its first block in the window. */
  firstBlock: number
}

/** Blocks of a record that are copied together. */
interface Run {
  first: number
  end: number
  /** Of its first blob, from that of the record. */
  offsetUnits: number
  bornBatch: number
}

const SHOWN = { nowhere: 0, head: 1, history: 2 } as const

export class BlockCleaner {
  private readonly copies: CleanerCopies
  /** Where each block of the record in hand is shown: one of SHOWN. */
  private readonly shown = new Uint8Array(PAGE_BLOCKS)
  private readonly entry = new Uint32Array(ENTRY_WORDS)
  /** Copies are small pieces, so that they fill a segment to its end: else cleaning full segments wins nothing. */
  private readonly runBlocksMost: number
  private tagged: VolumeMap | undefined
  private tag = 0

  constructor(copies: CleanerCopies) {
    this.copies = copies
    this.runBlocksMost = Math.max(1, Math.floor(copies.stream.log.segmentBlocks / 128))
  }

  /**
   * Gather what is live of a write. False when the index cannot be read.
   * @param unappliedFrom  no record in a batch below this one is still to be applied
   */
  *copy(volume: VolumeMap, of: WindowRecord, unappliedFrom: number): Task<boolean> {
    const { map, segments } = this.copies.stream
    if (segments.live[this.copies.segment] === 0) return true
    const { record } = of
    const number = Math.floor(record.lba / PAGE_BLOCKS)
    const page = map.page(volume, number) ?? (yield* loadPage(map, volume, number))
    if (page === undefined) return false
    const { shown } = this
    let hasOthers = false
    let units = this.firstUnits(of)
    for (let i = 0; i < record.blockCount; i++) {
      const isHead = this.isHere(page.words, (record.lba + i - page.firstLba) * ENTRY_WORDS, record, units)
      shown[i] = isHead ? SHOWN.head : SHOWN.nowhere
      if (!isHead) hasOthers = true
      units += record.storedUnits[i]!
    }
    // A zero that a rollback hides may be older than this copy, and be the head again behind another rollback.
    const headBorn = volume.views.mayGoForth ? record.bornBatch : unappliedFrom
    if (!this.gather(volume, of, SHOWN.head, headBorn)) return true
    if (!hasOthers || !volume.hasHistory) return true
    if (!(yield* this.lookUp(volume, of))) return false
    this.gather(volume, of, SHOWN.history, record.bornBatch)
    return true
  }

  /** What the head does not show may be shown by the history. False when the index cannot be read. */
  private *lookUp(volume: VolumeMap, of: WindowRecord): Task<boolean> {
    const { stream } = this.copies
    const { window, record, firstBlock } = of
    const { shown, entry } = this
    let unknown: number[] | undefined
    let units = this.firstUnits(of)
    for (let i = 0; i < record.blockCount; units += record.storedUnits[i++]!) {
      if (shown[i] !== SHOWN.nowhere) continue
      if (!knownOlder(stream, window, { volume, record, i, block: firstBlock + i }, entry)) (unknown ??= []).push(i)
      else if (this.isHere(entry, 0, record, units)) shown[i] = SHOWN.history
    }
    if (unknown === undefined) return true
    const { lba, epoch, seq } = record
    const found = yield* findOlder(stream.map, volume, unknown.map((i) => ({ lba: lba + i, epoch, seq })))
    if (found === undefined) return false
    units = this.firstUnits(of)
    for (let i = 0, n = 0; i < record.blockCount; units += record.storedUnits[i++]!) {
      if (i !== unknown[n]) continue
      if (this.isHere(found, n++ * ENTRY_WORDS, record, units)) shown[i] = SHOWN.history
    }
    return true
  }

  /** From the segment's start. */
  private firstUnits({ batch, record }: WindowRecord): number {
    return batch.entry.startBlock * UNITS_PER_BLOCK + record.payloadUnits
  }

  private isHere(words: Uint32Array, at: number, { seq, epoch }: RecordHeader, units: number): boolean {
    return (
      hasEntry(words, at) &&
      segmentOf(words, at) === this.copies.segment &&
      unitsOf(words, at) === units &&
      seqOf(words, at) === seq &&
      epochOf(words, at) === epoch
    )
  }

  /** Gather the blocks that are shown there. False when one is damaged. */
  private gather(volume: VolumeMap, of: WindowRecord, where: number, bornBatch: number): boolean {
    const { shown } = this
    const { storedUnits, blockCount } = of.record
    let offsetUnits = 0
    for (let first = 0; first < blockCount;) {
      let end = first + 1
      let units = storedUnits[first]!
      if (shown[first] === where) {
        for (; end < blockCount && end - first < this.runBlocksMost && shown[end] === where; end++)
          units += storedUnits[end]!
        if (!this.gatherRun(volume, of, { first, end, offsetUnits, bornBatch })) return false
      }
      offsetUnits += units
      first = end
    }
    return true
  }

  private gatherRun(volume: VolumeMap, of: WindowRecord, run: Run): boolean {
    const { stream, segment, generation } = this.copies
    const { window, batch, record, firstBlock } = of
    const { first, end, bornBatch } = run
    if (bornBatch < this.copies.leastBorn) this.copies.leastBorn = bornBatch
    const from = batch.at + (record.payloadUnits + run.offsetUnits) * UNIT_BYTES
    const payload = this.verified(volume, record, run, window.bytes, from)
    if (payload === undefined) return false
    const isWhole = end - first === record.blockCount
    const moved: RecordHeader = {
      ...record,
      flags: record.flags | RECORD_FLAG.moved,
      lba: record.lba + first,
      blockCount: end - first,
      crcs: isWhole ? record.crcs : (record.crcs as Uint32Array).slice(first, end),
      storedUnits: isWhole ? record.storedUnits : (record.storedUnits as Uint8Array).slice(first, end),
      fromSegment: segment,
      fromGeneration: generation,
      fromUnits: this.firstUnits(of) + run.offsetUnits,
      bornBatch,
    }
    if (record.meta !== undefined) moved.meta = record.meta.slice(first * 32, end * 32)
    this.copies.append(moved, [payload], payload.length / UNIT_BYTES, (append) =>
      moveEntry(stream, volume, moved, append, (i, into) =>
        knownOlder(stream, window, { volume, record, i: first + i, block: firstBlock + first + i }, into),
      ),
    )
    return true
  }

  /** The blobs of a run, which fit their checksums; undefined when one does not. @param from  where the first begins */
  private verified(
    volume: VolumeMap,
    record: RecordHeader,
    { first, end }: Run,
    bytes: Uint8Array,
    from: number,
  ): Uint8Array | undefined {
    const { crc32c } = this.copies.stream.context
    if (volume !== this.tagged) {
      this.tagged = volume
      this.tag = volumeTag(crc32c, record.volumeId)
    }
    const seed = recordSeed(this.tag, record.epoch, record.seq)
    let at = from
    let blob = bytes
    for (let i = first; i < end; i++) {
      const stop = at + record.storedUnits[i]! * UNIT_BYTES
      blob = bytes.subarray(at, stop)
      const crc = (crc32c(blob) ^ blockIdentity(seed, record.lba + i)) >>> 0
      if (crc !== record.crcs[i]) {
        this.copies.isDamaged(volume, { lba: record.lba + i, epoch: record.epoch, seq: record.seq })
        return undefined
      }
      at = stop
    }
    return end - first === 1 ? blob : bytes.subarray(from, at)
  }
}
