/**
 * The cleaner: moves what is live out of a sparse segment, so that the segment can be given back (FORMAT.md section 6).
 *
 * - Nothing is moved unverified: a blob whose checksum does not fit is reported, stays where it is, and its segment is
 *   left alone. The old crc goes along, so rot is never laundered into a fresh checksum.
 * - What a damaged summary or trailer said is read from the headers of the batches; what lies behind a damaged header
 *   is moved by what the maps show of it (map-relocation.ts).
 * - A copy is applied only where the map still shows the old place. It carries the oldest batch that was not applied
 *   when it was found live, so that no zero which may have killed it since is forgotten before it.
 */
import type { Task } from '../task.ts'
import { BLOCK_BYTES } from '../units.ts'
import { headerBlocksFor } from './batch.ts'
import { BlockCleaner, type WindowRecord } from './cleaner-blocks.ts'
import { CleanerCopies } from './cleaner-copies.ts'
import { RecordCleaner } from './cleaner-records.ts'
import { renewWindow, type Place } from './cleaner-window.ts'
import type { CopyMap } from './copy-map.ts'
import { moveByMaps, moveDescriptors } from './map-relocation.ts'
import { BORN_FIRST, RECORD_FLAG, RECORD_KIND, type RecordHeader } from './record.ts'
import { decodeTrailer, type SummaryEntry } from './segment.ts'
import { SEGMENT_STATE } from './segment-table.ts'
import type { StoreStream } from './store-stream.ts'
import type { VolumeMap } from './volume-map.ts'
import { WindowQueue } from './window-queue.ts'

/** A batch with one write of a whole page fits. Copies of a window share their batches: small ones win less room. */
const WINDOW_BLOCKS = 320
/** Copies point into one until they are written, which is waited for; the others are read and looked up meanwhile. */
const WINDOWS = 3
/** For the windows of a segment. */
export const newCleanerBuffer = (windowBlocks = WINDOW_BLOCKS): Uint8Array =>
  new Uint8Array(WINDOWS * windowBlocks * BLOCK_BYTES)
const HEADERS_MOST = 256
/** Headers of a segment without live data that are looked at in one turn. */
const HEADERS_A_TURN = 32
/** What could not be read may be there later. */
const READ_AGAIN_MS = 5000

/**
 * Empty one sealed segment. Afterwards it is `cleaned`, or `unreadable` when something in it is damaged. When something
 * could not be read, of it or of the index, it stays sealed and is tried again later. False: there was no room for its
 * copies, it stays as it is; one that needs none may give room.
 * @param mayReadByMaps  what the medium does not give is moved by the maps; else it may be there at the next try
 */
export function* cleanSegment(
  stream: StoreStream,
  segment: number,
  buffer: Uint8Array,
  mayReadByMaps = stream.segments.readAgainAtMs.has(segment),
): Task<boolean> {
  const { segments } = stream
  if (segments.live[segment] === 0 && segments.mixed[segment] === 0) {
    segments.setState(segment, SEGMENT_STATE.cleaned)
    return true
  }
  const job = new CleaningJob(stream, segment, buffer, mayReadByMaps)
  const { rewound } = stream.map
  const whole = yield* job.run()
  if (stream.failed) return true
  if (job.copies.noRoom) return false
  // A rollback moved entries while they were looked for: it stays sealed, and is looked at once more.
  if (stream.map.rewound !== rewound) return true
  if (whole && segments.live[segment] === 0) segments.setState(segment, SEGMENT_STATE.cleaned)
  else if (!whole && !job.copies.damaged) {
    const { log, clock, diskUuid } = stream.context
    if (!segments.readAgainAtMs.has(segment))
      log.event('warn', 'a segment cannot be read by the cleaner, it is tried again', { disk: diskUuid, segment })
    segments.readAgainAtMs.set(segment, clock.nowMs() + READ_AGAIN_MS)
  } else {
    segments.setState(segment, SEGMENT_STATE.unreadable)
    stream.context.log.event('error', 'a segment cannot be cleaned, it is left alone', {
      disk: stream.context.diskUuid,
      segment,
      liveUnits: segments.live[segment]!,
    })
  }
  return true
}

class CleaningJob {
  readonly stream: StoreStream
  readonly segment: number
  readonly generation: number
  readonly copies: CleanerCopies
  private readonly blocks: BlockCleaner
  private readonly records: RecordCleaner
  private readonly buffers: readonly Uint8Array[]
  /** No record in a batch below this one is still to be applied. */
  private unappliedFrom = 0
  private windows: WindowQueue | undefined
  /** Some header is not what was written, or cannot be read. */
  private isHeadless = false
  private readonly mayReadByMaps: boolean

  constructor(stream: StoreStream, segment: number, buffer: Uint8Array, mayReadByMaps: boolean) {
    this.stream = stream
    this.mayReadByMaps = mayReadByMaps
    this.segment = segment
    this.generation = stream.segments.generation[segment]!
    this.copies = new CleanerCopies(this)
    this.blocks = new BlockCleaner(this.copies)
    this.records = new RecordCleaner(this.copies)
    const bytes = buffer.length / WINDOWS
    this.buffers = Array.from({ length: WINDOWS }, (_, i) => buffer.subarray(i * bytes, (i + 1) * bytes))
  }

  /** False when a part could not be read, or is damaged. */
  *run(): Task<boolean> {
    const whole = yield* this.passes()
    // They are read into buffers that the next job uses.
    if (this.windows !== undefined) yield* this.windows.ended()
    return whole
  }

  private *passes(): Task<boolean> {
    const summary = yield* this.summary()
    if (summary === undefined) return false
    const { entries, endBlock } = summary
    const withZeroes: SummaryEntry[] = []
    const endOf = (i: number): number => entries[i + 1]?.startBlock ?? endBlock
    const places = entries.map((entry, i) => ({ entry, endBlock: endOf(i) }))
    if (!(yield* this.pass(places, false, withZeroes))) return false
    // Only now it is known what older data of this segment lives on: a zero has to outlive that, too. Of what the maps
    // will show behind a damaged header nothing is known yet, so all of them stay.
    if (this.isHeadless) this.copies.leastBorn = BORN_FIRST
    const ofZeroes = withZeroes.map((entry) => ({ entry, endBlock: entry.startBlock + entry.headerBlocks }))
    if (!(yield* this.pass(ofZeroes, true, []))) return false
    if (!this.isHeadless) return yield* moveDescriptors(this.copies)
    const { log, diskUuid } = this.stream.context
    log.event('error', 'a header of the log is damaged: what lies there is moved by the maps', {
      disk: diskUuid, segment: this.segment, liveUnits: this.stream.segments.live[this.segment]!,
    })
    return (yield* moveByMaps(this.copies)) && this.isWhole
  }

  /** @param withZeroes  gets the batches that have zeroes or trims, which are left out at first */
  private *pass(places: readonly Place[], isOfZeroes: boolean, withZeroes: SummaryEntry[]): Task<boolean> {
    const { copies } = this
    const { segments } = this.stream
    // Without live data only headers matter: zeroes, trims and control records.
    const headersOnly = (): boolean => isOfZeroes || segments.live[this.segment] === 0
    const windows = new WindowQueue(this, { places, buffers: this.buffers, headersOnly })
    this.windows = windows
    while (!windows.isEmpty && !this.stream.failed) {
      let window = yield* windows.next()
      if (window === 'unreadable' && this.mayReadByMaps) {
        // One by one, to leave out what cannot be read.
        window = yield* windows.nextPlace()
        if (window === 'unreadable') {
          this.isHeadless = true
          continue
        }
      }
      if (typeof window === 'string') return false
      if (window.isHeadless) this.isHeadless = true
      if (!(yield* renewWindow(this.stream, window))) return false
      this.unappliedFrom = this.stream.oldestUnapplied()
      for (const batch of window.batches) {
        let hasZeroes = false
        for (let n = 0; n < batch.records.length; n++) {
          const record = batch.records[n]!
          const isZero = record.kind === RECORD_KIND.zero || record.kind === RECORD_KIND.trim
          if (isZero) hasZeroes = true
          if (isZero !== isOfZeroes) continue
          if (!(yield* this.record({ window, batch, record, firstBlock: batch.firstBlocks[n]! }))) return false
        }
        if (hasZeroes) withZeroes.push(batch.entry)
      }
      // Nothing points into the buffer: what is left of segments full of single zeroes shares its batches.
      if (window.headersOnly && !windows.isEmpty && copies.gatheredCount < HEADERS_MOST) {
        if (windows.at % HEADERS_A_TURN === 0) yield* copies.endTurn()
        continue
      }
      if (!(yield* copies.flush())) return false
    }
    if (copies.gatheredCount > 0 && !(yield* copies.flush())) return false
    return this.isWhole
  }

  private get isWhole(): boolean {
    return !this.copies.damaged && !this.copies.unapplied && !this.stream.failed
  }

  private *summary(): Task<{ entries: SummaryEntry[]; endBlock: number } | undefined> {
    const { reader, context } = this.stream
    const block = yield* reader.read(this.segment, reader.segmentBlocks - 1, 1)
    if (block === undefined && !this.mayReadByMaps) return undefined
    const trailer = block === undefined ? undefined : decodeTrailer(block, context.crc32c, {
      diskUuid: context.diskUuid,
      segment: this.segment,
      generation: this.generation,
      segmentBlocks: reader.segmentBlocks,
    })
    const entries = trailer === undefined ? undefined : yield* reader.summary(trailer)
    if (trailer !== undefined && entries !== undefined) return { entries, endBlock: trailer.endBlock }
    return yield* this.walked()
  }

  /** What a damaged summary said, by the headers: batches follow without gaps, up to the last one there is. */
  private *walked(): Task<{ entries: SummaryEntry[]; endBlock: number } | undefined> {
    const { reader, segments } = this.stream
    const { segment, generation } = this
    const lastBatch = segments.lastBatch[segment]!
    const entries: SummaryEntry[] = []
    const media = { failed: false }
    let block = 1
    for (let batch = segments.firstBatch[segment]! - 1; batch < lastBatch;) {
      const read = yield* reader.batchAt({ segment, generation, block }, media)
      if (read === undefined || read.header.batch <= batch || read.header.batch > lastBatch) {
        if (media.failed && !this.mayReadByMaps) return undefined
        // Where the next one begins cannot be told.
        this.isHeadless = true
        break
      }
      const { headerCrc, headerBytes, totalBlocks } = read.header
      batch = read.header.batch
      entries.push({ startBlock: block, headerCrc, batch, headerBlocks: headerBlocksFor(headerBytes) })
      block += totalBlocks
    }
    return { entries, endBlock: block }
  }

  private *record(of: WindowRecord): Task<boolean> {
    const { record, batch } = of
    const volume = this.stream.volumeOf(record.volumeId)
    if (volume === undefined) return true
    if (volume.copy !== undefined && !(yield* this.hint(volume, volume.copy, record))) return false
    if (record.kind === RECORD_KIND.write) return yield* this.blocks.copy(volume, of, this.unappliedFrom)
    if (record.kind === RECORD_KIND.control) return yield* this.records.control(volume, record, batch.entry)
    return yield* this.records.zero(volume, record)
  }

  /** A rebuild has to know from a body that this record was applied, before its segment goes (FORMAT.md section 7). */
  private *hint(volume: VolumeMap, copy: CopyMap, record: RecordHeader): Task<boolean> {
    const isFresh = (record.flags & (RECORD_FLAG.moved | RECORD_FLAG.fill)) === 0
    if (!isFresh || record.seq <= copy.hintSeq || record.seq > volume.appliedSeq) return true
    return yield* this.copies.writeBody(volume)
  }
}
