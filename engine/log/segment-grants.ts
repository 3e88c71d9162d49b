/**
 * Which segments of a disk are taken and by which stream, in shared memory, so that streams of several worker threads
 * use one disk. A zero-filled buffer means: all free, never used, none initialised.
 *
 *   words of the buffer   used count | taken bitmap | initialised bitmap | owner (stream id + 1) | generation
 *
 * The taken bit is the truth: whoever turns it from 0 to 1 owns the segment, and only the owner writes its other words.
 * `grant` looks at 32 segments a word and takes the lowest initialised one, else the lowest; a scan over a full disk
 * of 4 TiB (131,072 segments) reads 4,096 words, once per 32 MiB written.
 */
import { assert } from '../assert.ts'
import type { SegmentGrants } from '../ports.ts'

const WORD_BITS = 32

export class SharedSegmentGrants implements SegmentGrants {
  readonly segmentCount: number
  readonly buffer: SharedArrayBuffer
  /** One element: segments taken. */
  private readonly used: Int32Array
  private readonly taken: Int32Array
  private readonly initialisedBits: Int32Array
  private readonly owners: Int32Array
  private readonly generations: Int32Array

  /** Bytes of shared memory for a disk of this many segments. */
  static byteLength(segmentCount: number): number {
    return (1 + 2 * Math.ceil(segmentCount / WORD_BITS) + 2 * segmentCount) * 4
  }

  constructor(segmentCount: number, buffer = new SharedArrayBuffer(SharedSegmentGrants.byteLength(segmentCount))) {
    assert(buffer.byteLength === SharedSegmentGrants.byteLength(segmentCount), 'the buffer fits the segment count')
    const words = Math.ceil(segmentCount / WORD_BITS)
    this.segmentCount = segmentCount
    this.buffer = buffer
    this.used = new Int32Array(buffer, 0, 1)
    this.taken = new Int32Array(buffer, 4, words)
    this.initialisedBits = new Int32Array(buffer, 4 + words * 4, words)
    this.owners = new Int32Array(buffer, 4 + words * 8, segmentCount)
    this.generations = new Int32Array(buffer, 4 + words * 8 + segmentCount * 4, segmentCount)
  }

  grant(streamId: number): number | undefined {
    return this.take(streamId, true) ?? this.take(streamId, false)
  }

  claim(segment: number, streamId: number): void {
    this.check(segment)
    assert(this.own(segment, streamId), 'a segment is claimed by one stream')
  }

  release(segment: number): void {
    this.check(segment)
    // The owner goes first: after the bit is clear the segment may be another's.
    assert(Atomics.exchange(this.owners, segment, 0) !== 0, 'a segment is released by its owner, once')
    Atomics.and(this.taken, segment >>> 5, ~bitOf(segment))
    Atomics.sub(this.used, 0, 1)
  }

  freeCount(): number {
    return this.segmentCount - Atomics.load(this.used, 0)
  }

  /** The stream that holds it, undefined when it is free. */
  owner(segment: number): number | undefined {
    this.check(segment)
    const owner = Atomics.load(this.owners, segment)
    return owner === 0 ? undefined : owner - 1
  }

  generation(segment: number): number {
    this.check(segment)
    return Atomics.load(this.generations, segment) >>> 0
  }

  setGeneration(segment: number, generation: number): void {
    this.check(segment)
    assert(generation >= this.generation(segment), 'a generation never goes back')
    Atomics.store(this.generations, segment, generation | 0)
  }

  initialised(segment: number): boolean {
    this.check(segment)
    return (Atomics.load(this.initialisedBits, segment >>> 5) & bitOf(segment)) !== 0
  }

  setInitialised(segment: number): void {
    this.check(segment)
    Atomics.or(this.initialisedBits, segment >>> 5, bitOf(segment))
  }

  private take(streamId: number, initialisedOnly: boolean): number | undefined {
    for (let word = 0; word < this.taken.length; word++) {
      for (;;) {
        let free = ~Atomics.load(this.taken, word)
        if (initialisedOnly) free &= Atomics.load(this.initialisedBits, word)
        if (free === 0) break
        const segment = word * WORD_BITS + (31 - Math.clz32(free & -free))
        // The last word may have bits of segments that do not exist.
        if (segment >= this.segmentCount) break
        if (this.own(segment, streamId)) return segment
      }
    }
    return undefined
  }

  private own(segment: number, streamId: number): boolean {
    const bit = bitOf(segment)
    if ((Atomics.or(this.taken, segment >>> 5, bit) & bit) !== 0) return false
    Atomics.store(this.owners, segment, streamId + 1)
    Atomics.add(this.used, 0, 1)
    return true
  }

  private check(segment: number): void {
    assert(segment >= 0 && segment < this.segmentCount, 'a segment of this disk')
  }
}

function bitOf(segment: number): number {
  return 1 << (segment & 31)
}
