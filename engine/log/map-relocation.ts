/**
 * What lies in a segment whose headers cannot all be read, moved by what the maps show of it (FORMAT.md section 6): the
 * cleaner moved what the readable headers describe, and what still refers to the segment then is of the others.
 *
 *   bodies and snapshot leaves   written anew from memory
 *   write blocks                 each entry of head or history that points there: verified, re-appended under its id
 *   zeroes and trims             one record an id, over all that refers to it
 *
 * - Of a record that cannot be read nobody knows when it was born, so what is conservative counts: older versions are
 *   as old as can be, zeroes and trims are born anew (section 6, when a zero or trim may be forgotten).
 * - What was applied of a copy is durable in a body before the records go that say it: their seqs are not known.
 * Cost: all pages of all maps of the stream are looked at.
 */
import { BLOCK_BYTES, PAGE_BLOCKS, SLICE_BLOCKS, UNIT_BYTES, UNITS_PER_BLOCK } from '../units.ts'
import { until, type Task } from '../task.ts'
import { isSharedAt } from '../volume/copy-base.ts'
import { pagesFrom, pageWithHistory } from '../volume/copy-reader.ts'
import { encodeDescriptor, generationOfSlice } from '../volume/descriptor.ts'
import { encodeLeaf } from '../volume/snapshot-leaves.ts'
import { hexToUuid } from './bytes.ts'
import type { CleanerCopies } from './cleaner-copies.ts'
import {
  crcOf, ENTRY_KIND, ENTRY_WORDS, epochOf, kindOf, segmentOf, seqOf, storedUnitsOf, transformOf, unitsOf,
} from './entry.ts'
import { blockIdentity, recordSeed, volumeTag } from './identity.ts'
import { blankRecord, BORN_FIRST, OPERATION, RECORD_FLAG, RECORD_KIND, type RecordHeader } from './record.ts'
import { moveEntry, moveZero } from './relocation.ts'
import { PAGES_MAX, type VolumeMap } from './volume-map.ts'

const PAGES_A_LOOK = 32

/** A record of zeroes or trims, as far as anything refers to it. */
interface ZeroRange {
  kind: number
  epoch: number
  seq: number
  firstLba: number
  endLba: number
}

/** False: something could not be read, or had no room. */
export function* moveByMaps(copies: CleanerCopies): Task<boolean> {
  for (const volume of [...copies.stream.map.volumes.values()])
    if (!(yield* new VolumeMove(copies, volume).run())) return false
  return true
}

/**
 * Descriptors that came from another disk of their volumes, of which the record in the victim is an older one, and the
 * only one here. False: there was no room.
 */
export function* moveDescriptors(copies: CleanerCopies): Task<boolean> {
  for (const volume of copies.stream.map.volumes.values())
    if (volume.copy === undefined && volume.controlSegment === copies.segment)
      if (!(yield* new VolumeMove(copies, volume).control())) return false
  return true
}

class VolumeMove {
  private readonly copies: CleanerCopies
  private readonly volume: VolumeMap
  private readonly id: Uint8Array
  /** By id; of what is shared also by where a piece ends. */
  private readonly zeroes = new Map<string, ZeroRange>()

  constructor(copies: CleanerCopies, volume: VolumeMap) {
    this.copies = copies
    this.volume = volume
    this.id = hexToUuid(volume.descriptor.spec.id)
  }

  *run(): Task<boolean> {
    const { volume, copies } = this
    const { copy } = volume
    // Old entries of a slice that is wiped may still be there, and would come back under its new generation.
    if (copy !== undefined && copy.wiping.length > 0) return false
    if (copy !== undefined && copy.hintSeq < volume.appliedSeq && !(yield* copies.writeBody(volume))) return false
    if (volume.controlSegment === copies.segment && !(yield* this.control())) return false
    if (!(yield* this.leaves()) || !(yield* this.blocks())) return false
    return yield* this.moveZeroes()
  }

  *control(): Task<boolean> {
    const { volume, copies } = this
    const { descriptor } = volume
    if (volume.copy !== undefined && !descriptor.deleted) return yield* copies.writeBody(volume)
    const stored = volume.copy === undefined ? descriptor : volume.copy.stored(descriptor, volume.appliedSeq)
    const { epoch, seq, revision } = descriptor
    this.appendBody({ operation: OPERATION.change, epoch, seq, revision, bornBatch: volume.controlBornBatch },
      encodeDescriptor(stored), (segment) => {
        if (volume.descriptor.revision !== revision) return
        volume.controlSegment = segment
        volume.changed = true
      })
    return yield* copies.flush()
  }

  /** Nothing but a body that names another one ends a leaf, so it says nothing of what is older, and is born anew. */
  private *leaves(): Task<boolean> {
    const { volume, copies } = this
    const { copy, descriptor: { epoch, seq } } = volume
    for (const { leaf, segment } of copy?.leaves.places.values() ?? []) {
      if (segment !== copies.segment) continue
      const { revision, crc } = leaf
      const bytes = encodeLeaf(leaf.snapshots)
      // Bodies name it by its checksum.
      if (copies.stream.context.crc32c(bytes) >>> 0 !== crc) return false
      this.appendBody({ operation: OPERATION.snapshotLeaf, epoch, seq, revision, bornBatch: 0 }, bytes, (to) => {
        volume.changed = true
        copy!.leaves.move([revision, crc], copies.segment, to)
      })
    }
    return yield* copies.flush()
  }

  private appendBody(
    of: { operation: number; epoch: number; seq: number; revision: number; bornBatch: number },
    bytes: Uint8Array,
    written: (segment: number) => void,
  ): void {
    const { operation, epoch, seq, revision, bornBatch } = of
    const blocks = Math.ceil(bytes.length / BLOCK_BYTES)
    const body = new Uint8Array(blocks * BLOCK_BYTES)
    body.set(bytes)
    const record = {
      ...blankRecord({ kind: RECORD_KIND.control, volumeId: this.id, lba: revision, blockCount: 0, epoch, seq }),
      flags: RECORD_FLAG.moved, operation, bornBatch, bodyBytes: bytes.length,
      bodyCrc: this.copies.stream.context.crc32c(bytes) >>> 0,
    }
    this.copies.append(record, [body], blocks * UNITS_PER_BLOCK, ({ segment }) => {
      written(segment)
      return undefined
    })
  }

  /** Copies of a page are written before the next one is looked at. */
  private *blocks(): Task<boolean> {
    const { volume, copies: { stream } } = this
    const target = { stream, map: volume }
    for (const { kind, epoch, seq, segment, firstPage, endPage } of volume.tombstones)
      if (segment === this.copies.segment)
        this.noteZero(kind, epoch, seq, firstPage * PAGE_BLOCKS, endPage * PAGE_BLOCKS)
    for (let at = 0; at < PAGES_MAX;) {
      const pages: number[] | undefined = yield* pagesFrom(target, at, PAGES_MAX, PAGES_A_LOOK)
      if (pages === undefined || stream.failed) return false
      if (pages.length === 0) return true
      for (const page of pages) if (!(yield* this.page(page))) return false
      at = pages.at(-1)! + 1
      // Looking at them folds them, which somebody has to write before it fills the memory.
      if (stream.wantsCheckpoint) yield* until<boolean>((resume) => stream.makeCheckpoint(resume))
    }
    return true
  }

  private *page(number: number): Task<boolean> {
    const { volume, copies } = this
    const { stream } = copies
    const both = yield* pageWithHistory({ stream, map: volume }, number)
    if (both === undefined) return false
    // As of what a rollback hides: a zero of before may cover it again (cleaner-blocks.ts).
    const headBorn = volume.views.mayGoForth ? BORN_FIRST : stream.oldestUnapplied()
    const found: Array<{ lba: number; words: Uint32Array; bornBatch: number }> = []
    const look = (lba: number, words: Uint32Array, at: number, bornBatch: number): void => {
      if (words[at] === 0 || segmentOf(words, at) !== copies.segment) return
      const kind = kindOf(words, at)
      if (kind === ENTRY_KIND.data) found.push({ lba, words: words.slice(at, at + ENTRY_WORDS), bornBatch })
      else this.noteZero(kind, epochOf(words, at), seqOf(words, at), lba, lba + 1)
    }
    for (let i = 0; i < PAGE_BLOCKS; i++) look(both.page.firstLba + i, both.page.words, i * ENTRY_WORDS, headBorn)
    for (const [lba, versions] of both.history) for (const words of versions) look(lba, words, 0, BORN_FIRST)
    for (const { lba, words, bornBatch } of found) if (!(yield* this.block(lba, words, bornBatch))) return false
    return found.length === 0 || (yield* copies.flush())
  }

  /** Verify and re-append a block. */
  private *block(lba: number, words: Uint32Array, bornBatch: number): Task<boolean> {
    const { volume, copies, id } = this
    const { stream: { reader, context: { crc32c } }, stream } = copies
    const [epoch, seq, units] = [epochOf(words, 0), seqOf(words, 0), storedUnitsOf(words, 0)]
    const bytes = yield* reader.readUnits(copies.segment, unitsOf(words, 0), units)
    const crc = crcOf(words, 0)
    const identity = blockIdentity(recordSeed(volumeTag(crc32c, id), epoch, seq), lba)
    if (bytes === undefined || (crc32c(bytes) ^ identity) >>> 0 !== crc) {
      copies.isDamaged(volume, { lba, epoch, seq })
      return true
    }
    const record: RecordHeader = {
      ...blankRecord({ kind: RECORD_KIND.write, volumeId: id, lba, blockCount: 1, epoch, seq }),
      flags: RECORD_FLAG.moved, transform: transformOf(words, 0), crcs: [crc], storedUnits: [units], bornBatch,
      sliceGeneration: generationOfSlice(volume.descriptor, Math.floor(lba / SLICE_BLOCKS)),
      fromSegment: copies.segment, fromGeneration: copies.generation, fromUnits: unitsOf(words, 0),
    }
    copies.append(record, [bytes], bytes.length / UNIT_BYTES, (append) => moveEntry(stream, volume, record, append))
    return true
  }

  private noteZero(kind: number, epoch: number, seq: number, firstLba: number, endLba: number): void {
    const { origin } = this.volume.descriptor
    // Of what a clone shares it has some as its own: a newer version between may still be its origin's alone.
    const isOfBase = origin !== null && seq <= origin[1] && isSharedAt(this.volume, firstLba)
    const key = isOfBase ? `${epoch} ${seq} ${firstLba}` : `${epoch} ${seq}`
    const range = this.zeroes.get(key) ?? { kind, epoch, seq, firstLba, endLba }
    range.firstLba = Math.min(range.firstLba, firstLba)
    range.endLba = Math.max(range.endLba, endLba)
    this.zeroes.delete(key)
    this.zeroes.set(isOfBase ? `${epoch} ${seq} ${range.endLba}` : key, range)
  }

  /**
   * Between what refers to a record of zeroes lie newer versions, or nothing: it covered all of that. Of what a clone
   * shares each piece is a record by itself.
   */
  private *moveZeroes(): Task<boolean> {
    const { volume, copies, id } = this
    const { stream } = copies
    let count = 0
    for (const { kind, epoch, seq, firstLba, endLba } of this.zeroes.values()) {
      for (let lba = firstLba; lba < endLba;) {
        const slice = Math.floor(lba / SLICE_BLOCKS)
        const end = Math.min(endLba, (slice + 1) * SLICE_BLOCKS)
        const of = kind === ENTRY_KIND.trim ? RECORD_KIND.trim : RECORD_KIND.zero
        const record = {
          ...blankRecord({ kind: of, volumeId: id, lba, blockCount: end - lba, epoch, seq }),
          flags: RECORD_FLAG.moved, sliceGeneration: generationOfSlice(volume.descriptor, slice), bornBatch: 0,
        }
        copies.append(record, [], 0, ({ segment }) => moveZero(stream, volume, record, segment))
        lba = end
      }
      if (++count % PAGE_BLOCKS === 0 && !(yield* copies.flush())) return false
    }
    return yield* copies.flush()
  }
}
