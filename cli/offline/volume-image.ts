/**
 * What one view of a volume sees at each block, put together from the log alone: the head map in typed arrays of 32
 * bytes a mapped block, by pages of 256 blocks.
 *
 * Order is by (epoch, seq), never by position; of equal ids the one in the later batch counts (a cleaner's copy).
 * Records that were cut by a later epoch, that belong to an older placing of their slice, or that the view's lineage
 * hides are left out (FORMAT.md sections 3.5 and 4). A clone is a stack of layers: where no layer above says anything,
 * the origin is seen as its snapshot saw it.
 *
 *   word 0  segment of the volume's list + 1 (0 = nothing)   word 4  crc
 *   word 1  place in units from the segment's start          word 5  seq high 16, units << 16, kind << 23, MOVED << 25
 *   word 2  seq low 32                                       word 6  batch low 32
 *   word 3  epoch                                            word 7  batch high 16
 */
import { assert } from '../../engine/assert.ts'
import { hexToUuid } from '../../engine/log/bytes.ts'
import { eachBlob } from '../../engine/log/disk-reader.ts'
import { RECORD_FLAG, RECORD_KIND } from '../../engine/log/record.ts'
import type { RecordHeader } from '../../engine/log/record.ts'
import { BLOCK_BYTES, PAGE_BLOCKS, SLICE_BLOCKS, UNIT_BYTES, UNITS_PER_BLOCK } from '../../engine/units.ts'
import { TRANSFORM } from '../../engine/transform/transform.ts'
import { restoredBlob } from '../../engine/volume/restored-blocks.ts'
import { isLostMark } from '../../engine/volume/lost-mark.ts'
import { generationOfSlice } from '../../engine/volume/descriptor.ts'
import { Views } from '../../engine/volume/views.ts'
import type { BlockReason } from './damage-map.ts'
import { batchesOf, sizeOf } from './volume-catalog.ts'
import type { Catalog, FoundVolume, SourceSegment } from './volume-catalog.ts'
import type { Progress } from './progress.ts'

const WORDS = 8
const HIGH_UNIT = 2 ** 32
const KIND = { none: 0, data: 1, zero: 2, trim: 3 } as const
const MOVED = 2 ** 25
/** It is but a mark of what was lost. */
const MARK = 2 ** 26
/** Numbers of one zero or trim: first block, end block, epoch, seq, kind. */
const ZERO_NUMBERS = 5

export type BlockKind = 'data' | 'zero' | 'trim'

/** What stands at one block of a layer. */
export interface BlockEntry {
  kind: BlockKind
  source: SourceSegment
  units: number
  storedUnits: number
  epoch: number
  seq: number
  crc: number
  batch: number
  moved: boolean
}

export interface LiveBlock {
  lba: number
  source: SourceSegment
  units: number
  /** Undefined: `reason` says why. */
  bytes: Uint8Array | undefined
  /** As they lie there, packed and encrypted; undefined as well when they fail their checksum. */
  stored: Uint8Array | undefined
  reason: BlockReason | undefined
}

/** One volume as a view sees it, without what its origin shows. */
export class Layer {
  readonly volume: FoundVolume
  readonly pages = new Map<number, Uint32Array>()
  mappedBlocks = 0
  private readonly limitBlocks: number
  /** Pairs of first and end block, merged and in order: what zeroes and trims cover. Only clones need it. */
  private covered: number[] = []

  constructor(volume: FoundVolume, options: { viewSeq: number; limitBlocks: number; progress: Progress }) {
    this.volume = volume
    this.limitBlocks = options.limitBlocks
    const views = volume.descriptor === undefined ? undefined : new Views(volume.descriptor)
    const zeroes: number[] = []
    for (const [i, source] of volume.segments.entries()) {
      options.progress.say(`reading headers: segment ${i + 1} of ${volume.segments.length}`)
      for (const batch of batchesOf(source)) {
        for (const record of batch.records) {
          const { kind, epoch, seq } = record
          if (kind === RECORD_KIND.control || !isOf(volume, record) || isOfOlderSlice(volume, record)) continue
          if (views !== undefined && (views.isVoid(epoch, seq) || views.hidden(options.viewSeq, seq))) continue
          const startUnits = batch.startBlock * UNITS_PER_BLOCK
          const from = { index: i, startUnits, batch: batch.header.batch }
          if (kind === RECORD_KIND.write) this.applyWrite(record, from)
          else zeroes.push(record.lba, record.lba + record.blockCount, epoch, seq, kind)
        }
      }
    }
    // Order does not matter to the outcome, so ranges come last: then they cost only what is mapped under them.
    for (let at = 0; at < zeroes.length; at += ZERO_NUMBERS) this.applyZero(zeroes, at)
    if (volume.descriptor?.origin != null) this.covered = mergedRanges(zeroes)
    options.progress.end()
  }

  entry(lba: number): BlockEntry | undefined {
    const page = this.pages.get(Math.floor(lba / PAGE_BLOCKS))
    const at = (lba % PAGE_BLOCKS) * WORDS
    if (page === undefined || page[at] === 0) return undefined
    const last = page[at + 5]!
    const kind = (last >>> 23) & 3
    return {
      kind: kind === KIND.data ? 'data' : kind === KIND.zero ? 'zero' : 'trim',
      source: this.volume.segments[page[at]! - 1]!,
      units: page[at + 1]!,
      storedUnits: (last >>> 16) & 127,
      epoch: page[at + 3]!,
      seq: seqAt(page, at),
      crc: page[at + 4]!,
      batch: batchAt(page, at),
      moved: (last & MOVED) !== 0,
    }
  }

  /** Whether this layer decides what is at the block, so that no origin shows through. */
  covers(lba: number): boolean {
    const page = this.pages.get(Math.floor(lba / PAGE_BLOCKS))
    if (page !== undefined && page[(lba % PAGE_BLOCKS) * WORDS] !== 0) return true
    let low = 0
    let high = this.covered.length / 2
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      if (this.covered[2 * middle + 1]! <= lba) low = middle + 1
      else high = middle
    }
    return low * 2 < this.covered.length && this.covered[2 * low]! <= lba
  }

  /** Blocks that hold data, in order. */
  *dataBlocks(): Generator<number> {
    for (const number of [...this.pages.keys()].sort((a, b) => a - b)) {
      const page = this.pages.get(number)!
      for (let i = 0; i < PAGE_BLOCKS; i++) {
        const at = i * WORDS
        if (page[at] !== 0 && ((page[at + 5]! >>> 23) & 3) === KIND.data) yield number * PAGE_BLOCKS + i
      }
    }
  }

  /** Read and check the data blocks that are wanted, in the order of the log, so that a disk is read forwards. */
  eachLive(isWanted: (lba: number) => boolean, visit: (block: LiveBlock) => void, progress: Progress): void {
    for (const [i, source] of this.volume.segments.entries()) {
      progress.say(`reading data: segment ${i + 1} of ${this.volume.segments.length}`)
      const { image } = source.disk
      for (const batch of batchesOf(source)) {
        for (const record of batch.records) {
          if (record.kind !== RECORD_KIND.write || !isOf(this.volume, record)) continue
          const isHere = (lba: number, units: number): boolean => this.isAt(lba, i, units) && isWanted(lba)
          eachBlob(image, source.segment.segment, batch, record, isHere, ({ lba, units, bytes, reason }) => {
            const block = bytes && restoredBlob(bytes, record.transform, bytes.length / UNIT_BYTES)
            const isKnown = bytes === undefined || block !== undefined
            const form = isKnown ? reason : formOf(record.transform)
            visit({ lba, source, units, bytes: block, stored: bytes, reason: form })
          })
        }
      }
    }
    progress.end()
  }

  private isAt(lba: number, segmentIndex: number, units: number): boolean {
    const page = this.pages.get(Math.floor(lba / PAGE_BLOCKS))
    const at = (lba % PAGE_BLOCKS) * WORDS
    if (page === undefined || page[at] !== segmentIndex + 1 || page[at + 1] !== units) return false
    return ((page[at + 5]! >>> 23) & 3) === KIND.data
  }

  private applyWrite(record: RecordHeader, from: { index: number; startUnits: number; batch: number }): void {
    const number = Math.floor(record.lba / PAGE_BLOCKS)
    if (record.lba >= this.limitBlocks) return
    let page = this.pages.get(number)
    if (page === undefined) this.pages.set(number, (page = new Uint32Array(PAGE_BLOCKS * WORDS)))
    const seqHigh = Math.floor(record.seq / HIGH_UNIT)
    const batchHigh = Math.floor(from.batch / HIGH_UNIT)
    const moved = (record.flags & RECORD_FLAG.moved) === 0 ? 0 : MOVED
    const mark = isLostMark(record.transform) ? MARK : 0
    let units = from.startUnits + record.payloadUnits
    for (let i = 0; i < record.blockCount; i++) {
      const storedUnits = record.storedUnits[i]!
      const at = ((record.lba % PAGE_BLOCKS) + i) * WORDS
      if (page[at] === 0) this.mappedBlocks++
      if (page[at] === 0 || isNewer(record, from.batch, page, at)) {
        page[at] = from.index + 1
        page[at + 1] = units
        page[at + 2] = record.seq - seqHigh * HIGH_UNIT
        page[at + 3] = record.epoch
        page[at + 4] = record.crcs[i]!
        page[at + 5] = seqHigh + storedUnits * 2 ** 16 + KIND.data * 2 ** 23 + moved + mark
        page[at + 6] = from.batch - batchHigh * HIGH_UNIT
        page[at + 7] = batchHigh
      }
      units += storedUnits
    }
  }

  private applyZero(zeroes: readonly number[], from: number): void {
    const [first, end, epoch] = [zeroes[from]!, zeroes[from + 1]!, zeroes[from + 2]!]
    const [seq, kind] = [zeroes[from + 3]!, zeroes[from + 4]!]
    const seqHigh = Math.floor(seq / HIGH_UNIT)
    for (let number = Math.floor(first / PAGE_BLOCKS); number * PAGE_BLOCKS < end; number++) {
      const page = this.pages.get(number)
      if (page === undefined) continue
      const below = Math.min(PAGE_BLOCKS, end - number * PAGE_BLOCKS)
      for (let i = Math.max(0, first - number * PAGE_BLOCKS); i < below; i++) {
        const at = i * WORDS
        if (page[at] === 0) continue
        const older = page[at + 3]! < epoch || (page[at + 3] === epoch && seqAt(page, at) < seq)
        if (!older) continue
        page[at + 2] = seq - seqHigh * HIGH_UNIT
        page[at + 3] = epoch
        page[at + 5] = seqHigh + kind * 2 ** 23
      }
    }
  }
}

function formOf(transform: number): BlockReason {
  if (isLostMark(transform)) return 'lost'
  return (transform & TRANSFORM.cipher) === 0 ? 'transform' : 'encrypted'
}

/** What is seen from the top; the first layer that covers a block decides. */
export function layersOf(
  catalog: Catalog,
  volume: FoundVolume,
  progress: Progress,
  viewSeq = Number.POSITIVE_INFINITY,
): { layers: Layer[]; missingOrigin: string | undefined } {
  const limitBlocks = sizeOf(volume) / BLOCK_BYTES
  const layers = [new Layer(volume, { viewSeq, limitBlocks, progress })]
  const seen = new Set([volume.id])
  for (let origin = volume.descriptor?.origin ?? null; origin !== null; ) {
    const [id, seq] = origin
    const below = catalog.volumes.get(id)
    if (below === undefined || seen.has(id)) return { layers, missingOrigin: id }
    seen.add(id)
    layers.push(new Layer(below, { viewSeq: seq, limitBlocks, progress }))
    origin = below.descriptor?.origin ?? null
  }
  return { layers, missingOrigin: undefined }
}

/** Whether the block of layer `index` is seen, that is: no layer above decides. */
export function isSeen(layers: readonly Layer[], index: number, lba: number): boolean {
  for (let above = 0; above < index; above++) if (layers[above]!.covers(lba)) return false
  return true
}

const ids = new WeakMap<FoundVolume, Uint8Array>()

function isOf(volume: FoundVolume, record: RecordHeader): boolean {
  let id = ids.get(volume)
  if (id === undefined) ids.set(volume, (id = hexToUuid(volume.id)))
  for (let i = 0; i < id.length; i++) if (record.volumeId[i] !== id[i]) return false
  return true
}

/** A newer generation than the descriptor's is what a lost descriptor would name: it counts. */
function isOfOlderSlice(volume: FoundVolume, record: RecordHeader): boolean {
  if (volume.descriptor === undefined) return false
  return record.sliceGeneration < generationOfSlice(volume.descriptor, Math.floor(record.lba / SLICE_BLOCKS))
}

function isNewer(record: RecordHeader, batch: number, page: Uint32Array, at: number): boolean {
  if (record.epoch !== page[at + 3]) return record.epoch > page[at + 3]!
  const seq = seqAt(page, at)
  if (record.seq !== seq) return record.seq > seq
  // The block itself counts, whichever was written later.
  const wasMark = (page[at + 5]! & MARK) !== 0
  return wasMark === isLostMark(record.transform) ? batch > batchAt(page, at) : wasMark
}

const seqAt = (page: Uint32Array, at: number): number => page[at + 2]! + (page[at + 5]! & 0xffff) * HIGH_UNIT
const batchAt = (page: Uint32Array, at: number): number => page[at + 6]! + page[at + 7]! * HIGH_UNIT

function mergedRanges(zeroes: readonly number[]): number[] {
  const ranges: Array<[first: number, end: number]> = []
  for (let at = 0; at < zeroes.length; at += ZERO_NUMBERS) ranges.push([zeroes[at]!, zeroes[at + 1]!])
  ranges.sort((a, b) => a[0] - b[0])
  const merged: number[] = []
  for (const [first, end] of ranges) {
    assert(first < end, 'a zero covers blocks')
    if (merged.length > 0 && first <= merged.at(-1)!) merged[merged.length - 1] = Math.max(merged.at(-1)!, end)
    else merged.push(first, end)
  }
  return merged
}
