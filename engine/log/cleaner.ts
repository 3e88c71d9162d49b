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
import { until, runTask, type Task } from '../task.ts'
import { BLOCK_BYTES, PAGE_BLOCKS, SLICE_BLOCKS, UNIT_BYTES, UNITS_PER_BLOCK } from '../units.ts'
import { generationOfSlice } from '../volume/descriptor.ts'
import type { LeafName } from '../volume/snapshot-leaves.ts'
import { headerBlocksFor } from './batch.ts'
import { uuidToHex } from './bytes.ts'
import { olderOf, readWindow, WindowAhead, type CleanerWindow, type Place } from './cleaner-window.ts'
import { clearEntry, ENTRY_WORDS, epochOf, hasEntry, segmentOf, seqOf, unitsOf } from './entry.ts'
import { blockIdentity, recordSeed, volumeTag } from './identity.ts'
import type { CopyMap } from './copy-map.ts'
import type { Append } from './log-batch.ts'
import { moveByMaps, type Mover } from './map-relocation.ts'
import { loadPage } from './page-visitor.ts'
import { hasDescriptor, RECORD_FLAG, RECORD_KIND, type RecordHeader } from './record.ts'
import { eachZero, moveEntry, moveZero } from './relocation.ts'
import { decodeTrailer, type SummaryEntry } from './segment.ts'
import { SEGMENT_STATE } from './segment-table.ts'
import type { StoreStream } from './store-stream.ts'
import type { VolumeMap } from './volume-map.ts'

/** A batch with one write of a whole page fits. Copies of a window share their batches: small ones win less room. */
const WINDOW_BLOCKS = 320
/** For two windows of a segment: copies point into one until they are written, which is waited for. */
export const newCleanerBuffer = (windowBlocks = WINDOW_BLOCKS): Uint8Array =>
  new Uint8Array(2 * windowBlocks * BLOCK_BYTES)
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
  if (job.noRoom) return false
  // A rollback moved entries while they were looked for: it stays sealed, and is looked at once more.
  if (stream.map.rewound !== rewound) return true
  if (whole && segments.live[segment] === 0) segments.setState(segment, SEGMENT_STATE.cleaned)
  else if (!whole && !job.damaged) {
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

class CleaningJob implements Mover {
  readonly stream: StoreStream
  readonly segment: number
  readonly generation: number
  /** Copies found and not yet appended. */
  private gathered: Append[] = []
  private outstanding = 0
  private waiting: (() => void) | undefined
  /** Some copy could not be applied: the index cannot be read. */
  private unapplied = false
  /** Something was read and is not what was written. */
  damaged = false
  /** Least bornBatch of the copies this job made: they may not be in a batch, and so in the segment table, yet. */
  private leastBorn = Infinity
  /** No record in a batch below this one is still to be applied. */
  private unappliedFrom = 0
  /** What is looked at; copies that are not applied yet are of it. */
  private window: CleanerWindow | undefined
  private ahead: WindowAhead | undefined
  /** A copy would have had to wait for a free segment. */
  noRoom = false
  /** Some header is not what was written, or cannot be read. */
  private isHeadless = false
  private readonly mayReadByMaps: boolean

  private readonly buffers: readonly Uint8Array[]

  constructor(stream: StoreStream, segment: number, buffer: Uint8Array, mayReadByMaps: boolean) {
    this.stream = stream
    this.mayReadByMaps = mayReadByMaps
    this.buffers = [buffer.subarray(0, buffer.length / 2), buffer.subarray(buffer.length / 2)]
    this.segment = segment
    this.generation = stream.segments.generation[segment]!
  }

  /** False when a part could not be read, or is damaged. */
  *run(): Task<boolean> {
    const whole = yield* this.passes()
    // It reads into a buffer that the next job uses.
    if (this.ahead !== undefined) yield* this.ahead.ended()
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
    // Only now it is known what older data of this segment lives on: a zero has to outlive that, too.
    const ofZeroes = withZeroes.map((entry) => ({ entry, endBlock: entry.startBlock + entry.headerBlocks }))
    if (!(yield* this.pass(ofZeroes, true, []))) return false
    if (!this.isHeadless) return true
    const { log, diskUuid } = this.stream.context
    log.event('warn', 'a header of the log is damaged: what lies there is moved by the maps', {
      disk: diskUuid, segment: this.segment, liveUnits: this.stream.segments.live[this.segment]!,
    })
    return (yield* moveByMaps(this)) && !this.damaged && !this.unapplied && !this.stream.failed
  }

  /** @param withZeroes  gets the batches that have zeroes or trims, which are left out at first */
  private *pass(places: readonly Place[], isOfZeroes: boolean, withZeroes: SummaryEntry[]): Task<boolean> {
    const { segments } = this.stream
    let turn = 0
    const read = (from: number): ReturnType<typeof readWindow> => {
      // Without live data only headers matter: zeroes, trims and control records.
      const headersOnly = isOfZeroes || segments.live[this.segment] === 0
      return readWindow(this, places, from, { headersOnly, buffer: this.buffers[turn++ % 2]! })
    }
    for (let i = 0; i < places.length && !this.stream.failed;) {
      let window = yield* this.ahead === undefined ? read(i) : this.ahead.ended()
      this.ahead = undefined
      if (window === 'unreadable' && this.mayReadByMaps) {
        // One by one, to leave out what cannot be read.
        window = yield* readWindow(this, places.slice(0, i + 1), i, {
          headersOnly: isOfZeroes || segments.live[this.segment] === 0, buffer: this.buffers[turn++ % 2]!,
        })
        if (window === 'unreadable') {
          this.isHeadless = true
          i++
          continue
        }
      }
      if (typeof window === 'string') return false
      if (window.isHeadless) this.isHeadless = true
      this.window = window
      i = window.end
      if (!window.headersOnly && i < places.length) this.ahead = new WindowAhead(read(i))
      this.unappliedFrom = this.stream.oldestUnapplied()
      for (const { entry, at, records } of window.batches) {
        let hasZeroes = false
        for (const record of records) {
          const isZero = record.kind === RECORD_KIND.zero || record.kind === RECORD_KIND.trim
          if (isZero) hasZeroes = true
          if (isZero === isOfZeroes && !(yield* this.record(record, entry, window.bytes, at))) return false
        }
        if (hasZeroes) withZeroes.push(entry)
      }
      // Nothing points into the buffer: what is left of segments full of single zeroes shares its batches.
      if (window.headersOnly && i < places.length && this.gathered.length < HEADERS_MOST) {
        if (i % HEADERS_A_TURN === 0) yield* this.endTurn()
        continue
      }
      if (!(yield* this.flush())) return false
    }
    if (this.gathered.length > 0 && !(yield* this.flush())) return false
    return !this.damaged && !this.unapplied && !this.stream.failed
  }

  /** Append what was gathered, and wait until it is applied. False: there was no room. */
  *flush(): Task<boolean> {
    this.appendGathered()
    if (this.outstanding === 0) yield* this.endTurn()
    yield* until<void>((resume) => {
      if (this.outstanding === 0) resume()
      else this.waiting = resume
    })
    return !this.noRoom
  }

  /** What is in memory is read at once: without an end, a turn would be as long as the segment. */
  private *endTurn(): Task<void> {
    yield* until<void>((resume) => this.stream.context.clock.defer(() => resume()))
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

  private *record(record: RecordHeader, entry: SummaryEntry, bytes: Uint8Array, batchAt: number): Task<boolean> {
    const volume = this.stream.volumesById.get(uuidToHex(record.volumeId))
    if (volume === undefined) return true
    if (volume.copy !== undefined && !(yield* this.hint(volume, volume.copy, record))) return false
    if (record.kind === RECORD_KIND.write) return yield* this.write(volume, record, entry, bytes, batchAt)
    if (record.kind === RECORD_KIND.control) return yield* this.control(volume, record, entry)
    return yield* this.zero(volume, record)
  }

  /** A rebuild has to know from a body that this record was applied, before its segment goes (FORMAT.md section 7). */
  private *hint(volume: VolumeMap, copy: CopyMap, record: RecordHeader): Task<boolean> {
    const isFresh = (record.flags & (RECORD_FLAG.moved | RECORD_FLAG.fill)) === 0
    if (!isFresh || record.seq <= copy.hintSeq || record.seq > volume.appliedSeq) return true
    return yield* this.writeBody(volume)
  }

  *writeBody({ copy }: VolumeMap): Task<boolean> {
    let hasRoom = false
    yield* until<void>((resume) => {
      hasRoom = copy!.writeHint(resume)
      if (!hasRoom) resume()
    })
    if (!hasRoom) this.noRoom = true
    return hasRoom
  }

  /** Copy the blocks of a write that the head or the history shows at this place. */
  private *write(
    volume: VolumeMap,
    record: RecordHeader,
    entry: SummaryEntry,
    bytes: Uint8Array,
    batchAt: number,
  ): Task<boolean> {
    const { map, segments } = this.stream
    if (segments.live[this.segment] === 0) return true
    const pageNumber = Math.floor(record.lba / PAGE_BLOCKS)
    const firstUnits = entry.startBlock * UNITS_PER_BLOCK + record.payloadUnits
    const page = yield* loadPage(map, volume, pageNumber)
    if (page === undefined) return false
    const places: number[] = []
    let units = 0
    for (let i = 0; i < record.blockCount; i++) {
      places.push(units)
      units += record.storedUnits[i]!
    }
    const isHere = (words: Uint32Array, at: number, i: number): boolean =>
      hasEntry(words, at) &&
      segmentOf(words, at) === this.segment &&
      unitsOf(words, at) === firstUnits + places[i]! &&
      seqOf(words, at) === record.seq &&
      epochOf(words, at) === record.epoch
    // Small pieces, so that copies fill a segment to its end: else cleaning full segments wins nothing.
    const most = Math.max(1, Math.floor(this.stream.log.segmentBlocks / 128))
    const copy = (wanted: (i: number) => boolean, bornBatch: number): boolean => {
      for (let i = 0; i < record.blockCount;) {
        if (!wanted(i)) {
          i++
          continue
        }
        let end = i + 1
        while (end < record.blockCount && end - i < most && wanted(end)) end++
        const from = batchAt + (record.payloadUnits + places[i]!) * UNIT_BYTES
        if (
          !this.copy(volume, record, { first: i, end, firstUnits: firstUnits + places[i]!, bornBatch }, bytes, from)
        )
          return false
        i = end
      }
      return true
    }
    const at = (i: number): number => (record.lba + i - pageNumber * PAGE_BLOCKS) * ENTRY_WORDS
    const head = Array.from({ length: record.blockCount }, (_, i) => isHere(page.words, at(i), i))
    if (!copy((i) => head[i]!, this.unappliedFrom)) return true
    if (!volume.hasHistory || !head.includes(false)) return true
    const others = [...head.keys()].filter((i) => !head[i]!)
    const older = yield* olderOf(this.stream, this.window!, volume, record, others)
    if (older === undefined) return false
    const isOlder = head.map(() => false)
    for (const [n, i] of others.entries()) isOlder[i] = older[n] !== undefined && isHere(older[n], 0, i)
    copy((i) => isOlder[i]!, record.bornBatch)
    return true
  }

  /** Verify and re-append blocks `first .. end - 1` of a record. False when one is damaged. */
  private copy(
    volume: VolumeMap,
    record: RecordHeader,
    run: { first: number; end: number; firstUnits: number; bornBatch: number },
    bytes: Uint8Array,
    from: number,
  ): boolean {
    const { crc32c } = this.stream.context
    if (run.bornBatch < this.leastBorn) this.leastBorn = run.bornBatch
    const seed = recordSeed(volumeTag(crc32c, record.volumeId), record.epoch, record.seq)
    let at = from
    for (let i = run.first; i < run.end; i++) {
      const length = record.storedUnits[i]! * UNIT_BYTES
      const crc = (crc32c(bytes.subarray(at, at + length)) ^ blockIdentity(seed, record.lba + i)) >>> 0
      if (crc !== record.crcs[i]) {
        this.isDamaged(volume, { lba: record.lba + i, epoch: record.epoch, seq: record.seq })
        return false
      }
      at += length
    }
    const moved: RecordHeader = {
      ...record,
      flags: record.flags | RECORD_FLAG.moved,
      lba: record.lba + run.first,
      blockCount: run.end - run.first,
      crcs: (record.crcs as Uint32Array).slice(run.first, run.end),
      storedUnits: (record.storedUnits as Uint8Array).slice(run.first, run.end),
      fromSegment: this.segment,
      fromGeneration: this.generation,
      fromUnits: run.firstUnits,
      bornBatch: run.bornBatch,
    }
    if (record.meta !== undefined) moved.meta = record.meta.slice(run.first * 32, run.end * 32)
    const window = this.window!
    this.append(moved, [bytes.subarray(from, at)], (at - from) / UNIT_BYTES, (append) =>
      moveEntry(this.stream, volume, moved, { segment: append.segment, units: append.units }, (versions) =>
        olderOf(this.stream, window, volume, record, versions.map(({ lba }) => lba - record.lba)),
      ),
    )
    return true
  }

  isDamaged(volume: VolumeMap, version: { lba: number; epoch: number; seq: number }): void {
    // A copy's version comes from another one; then the segment is looked at again.
    if (volume.copy === undefined) this.damaged = true
    else this.unapplied = true
    volume.copy?.onDamaged(version)
    this.stream.context.log.event('error', 'a live block fails its checksum', {
      volume: volume.descriptor.spec.name,
      lba: version.lba,
      disk: this.stream.context.diskUuid,
      segment: this.segment,
    })
  }

  private *zero(volume: VolumeMap, record: RecordHeader): Task<boolean> {
    const { stream } = this
    if (isWiped(volume, record)) return true
    const ofBefore = isOfBefore(volume, record, stream.context.diskUuid)
    const isUnfinished = volume.tombstones.some((t) => t.epoch === record.epoch && t.seq === record.seq)
    let referred = isUnfinished
    const mayGo =
      !volume.keepsZeroes &&
      !isUnfinished &&
      !ofBefore &&
      record.seq <= (volume.copy?.keepTrimsAbove ?? record.seq) &&
      record.bornBatch < Math.min(this.leastBorn, stream.segments.oldestBornBatch(this.segment))
    const ok = yield* eachZero(stream, volume, record, {
      tombstone: () => {},
      page: (page, at, index) => {
        if (segmentOf(page.words, at) !== this.segment) return
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
    this.append(moved, [], 0, (append) => moveZero(stream, volume, moved, append.segment))
    return true
  }

  private *control(volume: VolumeMap, record: RecordHeader, entry: SummaryEntry): Task<boolean> {
    const { stream } = this
    if (!hasDescriptor(record)) return yield* this.leaf(volume, record, entry)
    if (record.lba !== volume.descriptor.revision || volume.controlSegment !== this.segment) return true
    const { deleted } = volume.descriptor
    if (
      deleted &&
      volume.emptied &&
      volume.views.snapshotSeqs.length === 0 &&
      record.bornBatch < Math.min(this.leastBorn, stream.segments.oldestBornBatch(this.segment))
    ) {
      stream.removeVolume(volume)
      return true
    }
    return yield* this.copyBody(record, record.bornBatch, entry, ({ segment }) => {
      if (volume.descriptor.revision !== record.lba) return
      volume.controlSegment = segment
      volume.changed = true
    })
  }

  /** Nothing but a body that names another one ends a leaf, so it says nothing of what is older, and is born anew. */
  private *leaf(volume: VolumeMap, record: RecordHeader, entry: SummaryEntry): Task<boolean> {
    const name: LeafName = [record.lba, record.bodyCrc]
    const leaves = volume.copy?.leaves
    if (leaves === undefined || !leaves.isAt(name, this.segment)) return true
    return yield* this.copyBody(record, 0, entry, ({ segment }) => {
      volume.changed = true
      leaves.move(name, this.segment, segment)
    })
  }

  /** Verify and re-append a control record. False when it cannot be read, or is damaged. */
  private *copyBody(
    record: RecordHeader,
    bornBatch: number,
    entry: SummaryEntry,
    written: (append: Append) => void,
  ): Task<boolean> {
    const { stream } = this
    const blocks = Math.ceil(record.bodyBytes / BLOCK_BYTES)
    const units = entry.startBlock * UNITS_PER_BLOCK + record.payloadUnits
    const body = yield* stream.reader.readUnits(this.segment, units, blocks * UNITS_PER_BLOCK)
    if (body === undefined) return false
    if (stream.context.crc32c(body.subarray(0, record.bodyBytes)) >>> 0 !== record.bodyCrc) {
      this.damaged = true
      return false
    }
    const moved: RecordHeader = { ...record, flags: record.flags | RECORD_FLAG.moved, bornBatch }
    this.append(moved, [body], blocks * UNITS_PER_BLOCK, (append) => {
      written(append)
      return undefined
    })
    return true
  }

  /** Append a copy; `apply` points the map at it when it is written. A checkpoint syncs it before the victim goes. */
  append(
    record: RecordHeader,
    payload: Uint8Array[],
    payloadUnits: number,
    apply: (append: Append) => Task<boolean> | undefined,
  ): void {
    const ended = (): void => {
      this.outstanding--
      if (this.outstanding > 0 || this.waiting === undefined) return
      const resume = this.waiting
      this.waiting = undefined
      resume()
    }
    this.gathered.push({
      record,
      payload,
      payloadUnits,
      durable: false,
      segment: 0,
      units: 0,
      batch: undefined,
      mapOnly: record.kind === RECORD_KIND.write,
      done: (ok, append) => {
        const task = ok ? apply(append) : undefined
        if (task === undefined) {
          if (ok) this.stream.applied(append.batch!)
          ended()
          return
        }
        runTask(task, (applied) => {
          if (!applied) this.unapplied = true
          this.stream.applied(append.batch!)
          ended()
        })
      },
    })
  }

  /**
   * Append what was found in one turn, so that it shares its batches: finding it waited for pages now and then, and a
   * batch for every record would cost a header block each, more than cleaning wins.
   */
  private appendGathered(): void {
    const { log } = this.stream
    let units = 0
    for (const { payloadUnits } of this.gathered) units += payloadUnits
    const blocks = Math.ceil(units / UNITS_PER_BLOCK) + 2 + Math.ceil(this.gathered.length / 32)
    if (this.stream.freeSegments === 0 && log.openBlocksLeft < log.queuedBlocks + blocks)
      this.noRoom = this.gathered.length > 0
    const gathered = this.gathered
    this.gathered = []
    if (this.noRoom) return
    this.outstanding += gathered.length
    for (const append of gathered) this.stream.append(append)
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
