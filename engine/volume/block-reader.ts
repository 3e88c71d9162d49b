/**
 * Reads whole blocks of a volume's head through the map, and verifies every block against its identity before it is
 * given out (L7: right bytes or an error). What is in memory is read in the same turn without waiting; the rest goes
 * on by callbacks. A block that fails is read once more, then it is an error: there is no other copy on one node.
 */
import { assert } from '../assert.ts'
import type { Crc32c } from '../ports.ts'
import { BLOCK_BYTES, PAGE_BLOCKS, SLICE_BLOCKS, UNIT_BYTES } from '../units.ts'
import {
  crcOf,
  ENTRY_KIND,
  ENTRY_WORDS,
  epochOf,
  hasEntry,
  kindOf,
  runLength,
  segmentOf,
  seqOf,
  unitsOf,
} from '../log/entry.ts'
import { segmentOffsetBytes } from '../log/geometry.ts'
import { blockIdentity, recordSeed } from '../log/identity.ts'
import type { StoreStream } from '../log/store-stream.ts'
import type { VolumeMap } from '../log/volume-map.ts'
import { NBD_ERRNO } from '../errors.ts'
import { readView } from './view-reader.ts'

/** A slice's place: the stream of its disk and the volume's map there. */
export interface Target {
  stream: StoreStream
  map: VolumeMap
}

export interface ReaderOptions {
  crc32c: Crc32c
  /** volumeTag of the volume's id. */
  tag: number
  target(slice: number): Target
  /** A block fails its checksum or cannot be read. */
  onDamage(lba: number, target: Target, reason: string): void
}

/** In one call: what was read is still in the processor's cache when its checksums are looked at. */
const READ_BLOCKS_MOST = 32

interface Job {
  lba: number
  count: number
  into: Uint8Array
  at: number
  done: (errno: number) => void
}

export class BlockReader {
  private readonly o: ReaderOptions

  constructor(options: ReaderOptions) {
    this.o = options
  }

  /** Fill `into` (count blocks). `done` may run before this returns. */
  read(lba: number, count: number, into: Uint8Array, done: (errno: number) => void): void {
    const at = this.advance(lba, count, into, 0)
    if (at === count) done(NBD_ERRNO.NONE)
    else this.wait({ lba, count, into, at, done })
  }

  /** Read as far as no waiting is needed; returns how many blocks of the request are done. */
  private advance(lba: number, count: number, into: Uint8Array, from: number): number {
    let at = from
    while (at < count) {
      const block = lba + at
      const target = this.o.target(Math.floor(block / SLICE_BLOCKS))
      if (target.stream.failed || target.map.isDeleted) return at
      const pageNumber = Math.floor(block / PAGE_BLOCKS)
      const page = target.stream.map.page(target.map, pageNumber)
      if (page === undefined) return at
      const { words } = page
      const pageEnd = Math.min(count - at, (pageNumber + 1) * PAGE_BLOCKS - block)
      const first = (block - pageNumber * PAGE_BLOCKS) * ENTRY_WORDS
      for (let i = 0; i < pageEnd;) {
        const w = first + i * ENTRY_WORDS
        if (kindOf(words, w) !== ENTRY_KIND.data) {
          if (!hasEntry(words, w) && target.map.isClone) return at
          into.fill(0, at * BLOCK_BYTES, (at + 1) * BLOCK_BYTES)
          i++
          at++
          continue
        }
        const run = runLength(words, w, Math.min(pageEnd - i, READ_BLOCKS_MOST))
        const bytes = run === count ? into : into.subarray(at * BLOCK_BYTES, (at + run) * BLOCK_BYTES)
        const { segmentBytes, disk } = target.stream.context
        const offset = segmentOffsetBytes(segmentBytes, segmentOf(words, w)) + unitsOf(words, w) * UNIT_BYTES
        if (!disk.tryRead(offset, bytes)) return at
        if (this.firstBad(block + i, words, w, run, bytes) >= 0) return at
        i += run
        at += run
      }
    }
    return at
  }

  /** Index of the first block of the run whose bytes do not fit, -1 when all do. */
  private firstBad(lba: number, words: Uint32Array, w: number, run: number, bytes: Uint8Array): number {
    const { crc32c, tag } = this.o
    for (let i = 0; i < run; i++, w += ENTRY_WORDS) {
      const blob = run === 1 ? bytes : bytes.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES)
      const identity = blockIdentity(recordSeed(tag, epochOf(words, w), seqOf(words, w)), lba + i)
      if ((crc32c(blob) ^ identity) >>> 0 !== crcOf(words, w)) return i
    }
    return -1
  }

  /** The block at `job.at` needs waiting: a page, the medium, the origin of a clone, or a second look. */
  private wait(job: Job): void {
    const block = job.lba + job.at
    const target = this.o.target(Math.floor(block / SLICE_BLOCKS))
    const { stream, map } = target
    if (stream.failed) return job.done(NBD_ERRNO.EIO)
    // Its pages are emptied: what is read from here on would be zeroes nobody wrote.
    if (map.isDeleted) return job.done(NBD_ERRNO.ESHUTDOWN)
    const pageNumber = Math.floor(block / PAGE_BLOCKS)
    const page = stream.map.page(map, pageNumber)
    if (page === undefined) {
      stream.map.load(map, pageNumber, (loaded) => {
        if (loaded !== undefined) return this.go(job)
        this.o.onDamage(block, target, 'the index cannot be read')
        job.done(NBD_ERRNO.EIO)
      })
      return
    }
    const w = (block - pageNumber * PAGE_BLOCKS) * ENTRY_WORDS
    if (kindOf(page.words, w) !== ENTRY_KIND.data) {
      assert(map.isClone && !hasEntry(page.words, w), 'only a hole of a clone waits')
      const origin = map.descriptor.origin!
      const originMap = stream.volumesById.get(origin[0])
      assert(originMap !== undefined, 'a clone has its origin on the same disk')
      readView({ crc32c: this.o.crc32c, stream, map: originMap, viewSeq: origin[1], lba: block }, (bytes) => {
        if (bytes === undefined) return job.done(NBD_ERRNO.EIO)
        job.into.set(bytes, job.at * BLOCK_BYTES)
        job.at++
        this.go(job)
      })
      return
    }
    const pageEnd = Math.min(job.count - job.at, (pageNumber + 1) * PAGE_BLOCKS - block)
    const run = runLength(page.words, w, pageEnd)
    this.fetch(job, target, page.words.slice(w, w + run * ENTRY_WORDS), run, 2)
  }

  /** Read a run through the medium; its entries are a copy, and the segment is kept while that lasts. */
  private fetch(job: Job, target: Target, words: Uint32Array, run: number, tries: number): void {
    const { segments, context } = target.stream
    const segment = segmentOf(words, 0)
    const offset = segmentOffsetBytes(context.segmentBytes, segment) + unitsOf(words, 0) * UNIT_BYTES
    const bytes = job.into.subarray(job.at * BLOCK_BYTES, (job.at + run) * BLOCK_BYTES)
    segments.readers[segment] = segments.readers[segment]! + 1
    context.disk.read(offset, bytes, (ok) => {
      segments.readers[segment] = segments.readers[segment]! - 1
      const bad = ok ? this.firstBad(job.lba + job.at, words, 0, run, bytes) : 0
      if (bad >= 0) {
        if (tries > 1) return this.fetch(job, target, words, run, tries - 1)
        this.o.onDamage(job.lba + job.at + bad, target, ok ? 'its checksum does not fit' : 'it cannot be read')
        return job.done(NBD_ERRNO.EIO)
      }
      job.at += run
      this.go(job)
    })
  }

  private go(job: Job): void {
    job.at = this.advance(job.lba, job.count, job.into, job.at)
    if (job.at === job.count) job.done(NBD_ERRNO.NONE)
    else this.wait(job)
  }
}
