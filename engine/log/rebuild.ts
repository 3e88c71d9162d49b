/**
 * Rebuilding a stream's index from the log alone (FORMAT.md sections 2.1, 3, 6): the index is missing, foreign, stale
 * or damaged. Everything is read through the headers of all segments, twice: first for control records (who exists,
 * what do views see), then for data. Versions go into the index as raw deltas, so that memory does not grow with the
 * volume, and every page is folded once at the end, when all versions of its blocks are known.
 *
 * A damaged header of a sealed segment means that newer data may be missing: the stream is not served then, because an
 * older version would be a wrong byte.
 */
import { until, type Task } from '../task.ts'
import { PAGE_BLOCKS, SLICE_BLOCKS, UNITS_PER_BLOCK } from '../units.ts'
import { generationOfSlice, type VolumeDescriptor, decodeDescriptor } from '../volume/descriptor.ts'
import { mergedCopy, type CopyDescriptor } from '../volume/copy-part.ts'
import { withList } from '../volume/snapshot-leaves.ts'
import { uuidToHex } from './bytes.ts'
import { collectCheckpoint } from './checkpoint.ts'
import { applyRecord, type StreamContext } from './store-stream.ts'
import type { ExtentMap } from './extent-map.ts'
import type { LogReader, ReadBatch } from './log-reader.ts'
import { LeafTable } from './leaf-table.ts'
import { acceptTail, frameUse, halfFreed, leafOf, type Scan } from './log-tail.ts'
import { makeOpened, type OpenOutcome } from './recovery.ts'
import { visitPages } from './page-visitor.ts'
import { hasDescriptor, isReplicated, RECORD_FLAG, RECORD_KIND, type RecordHeader } from './record.ts'
import type { Root } from './root.ts'
import type { SummaryEntry, Trailer } from './segment.ts'
import { SEGMENT_STATE, type SegmentTable } from './segment-table.ts'
import type { VolumeMap } from './volume-map.ts'

interface Sealed {
  trailer: Trailer
  entries: SummaryEntry[]
}

const PENDING_MAX = 100_000

export function* rebuildIndex(
  context: StreamContext,
  from: { map: ExtentMap; segments: SegmentTable; reader: LogReader; root: Root | undefined },
): Task<OpenOutcome> {
  const { reader, root } = from
  const { log, diskUuid, streamId } = context
  const cleared = yield* until<boolean>((resume) => context.index.clear(resume))
  if (!cleared) return { ok: false, reason: 'the index cannot be emptied' }
  // A damaged index may have filled these before it was found out.
  const segments = resetSegments(from.segments, context)
  const map = from.map.renewed(segments)

  const frames = yield* reader.frames(Array.from({ length: context.segmentCount }, (_, i) => i))
  if (frames === undefined) return { ok: false, reason: 'a segment header cannot be read' }
  let sealed: Sealed[] = []
  const unsealed: Scan[] = []
  const free: Array<[number, number]> = []
  for (const frame of frames) {
    const { header, trailer } = frame
    const generation = header?.generation ?? trailer?.generation ?? 0
    // What another stream uses is that stream's to say: it tells by the generation what lies behind its checkpoint.
    const isMine = header?.free === true || (header ?? trailer)?.streamId === streamId
    if (isMine && generation > context.grants.generation(frame.segment))
      context.grants.setGeneration(frame.segment, generation)
    if (generation > 0) context.grants.setInitialised(frame.segment)
    const use = frameUse(frame, streamId)
    if (use === undefined) {
      free.push(...halfFreed(frame, streamId))
      continue
    }
    // A seal may be torn: its trailer there, its summary not. Then it counts for nothing.
    const entries = frame.trailer === undefined ? undefined : yield* reader.summary(frame.trailer)
    if (entries === undefined) unsealed.push({ segment: frame.segment, ...use, known: frame.trailer !== undefined })
    else sealed.push({ trailer: frame.trailer!, entries })
  }
  const incarnation = Math.max(
    root?.incarnation ?? 0,
    0,
    ...unsealed.map((s) => s.incarnation),
    ...sealed.map((s) => s.trailer.incarnation),
  )
  const current = unsealed.filter((scan) => scan.incarnation === incarnation)
  for (const scan of unsealed)
    if (scan.incarnation !== incarnation) {
      // Sealed or given up before the next incarnation: with a frame it has lost its seal, without one it is free.
      const { header, trailer } = frames[scan.segment]!
      if (header !== undefined || trailer !== undefined) return lostSeal(scan.segment)
      free.push([scan.segment, scan.generation])
    }
  if (sealed.length + current.length > 0)
    log.event('info', 'the index is rebuilt from the log', {
      disk: diskUuid,
      stream: streamId,
      segments: sealed.length + current.length,
    })

  sealed.sort((a, b) => a.trailer.firstBatch - b.trailer.firstBatch)
  const split = yield* splitTail(reader, sealed, { incarnation, watermarkBatch: root?.watermarkBatch ?? 0 })
  sealed = split.sealed
  current.push(...split.tail)
  // A seal may be missing below others: recovery writes several before it syncs. What lies behind it is judged with it.
  const lowest = Math.min(...current.map((scan) => scan.firstBatch))
  const isBehind = ({ trailer }: Sealed): boolean =>
    trailer.incarnation === incarnation && trailer.firstBatch > lowest
  for (const { trailer } of sealed.filter(isBehind)) current.push({ ...trailer, known: true })
  sealed = sealed.filter((one) => !isBehind(one))
  for (const { trailer } of sealed)
    claim(context, segments, {
      segment: trailer.segment,
      generation: trailer.generation,
      firstBatch: trailer.firstBatch,
      lastBatch: trailer.lastBatch,
    })
  const sealedLast = Math.max(0, ...sealed.map((s) => s.trailer.lastBatch))
  const sealedCurrent = Math.max(
    0,
    ...sealed.filter((s) => s.trailer.incarnation === incarnation).map((s) => s.trailer.lastBatch),
  )
  const tailFrom =
    current.length === 0 ? sealedLast + 1 : Math.max(sealedCurrent + 1, Math.min(...current.map((s) => s.firstBatch)))
  const tail = yield* acceptTail(context, {
    reader,
    scans: current,
    free,
    firstBatch: tailFrom,
    mayBegin: true,
    watermarkBatch: current.length === 0 ? sealedLast : (root?.watermarkBatch ?? 0),
    salt: root?.incarnation === incarnation ? root.salt : undefined,
  })
  if ('reason' in tail) return { ok: false, reason: tail.reason }

  // Pass 1: who exists. The greatest revision of each volume counts, wherever it lies.
  const control = new Map<string, { descriptor: VolumeDescriptor; segment: number; bornBatch: number }>()
  /** By volume and revision: the record that came last, of several copies of one. */
  const leafRecords = new Map<string, Map<number, { batch: ReadBatch; record: RecordHeader }>>()
  const noteLeaf = (batch: ReadBatch, record: RecordHeader): void => {
    const id = uuidToHex(record.volumeId)
    const own = leafRecords.get(id) ?? new Map<number, { batch: ReadBatch; record: RecordHeader }>()
    leafRecords.set(id, own)
    const { header, segment, startBlock } = batch
    own.set(record.lba, { batch: { header, segment, startBlock, records: [] }, record })
  }
  const note = (descriptor: VolumeDescriptor, segment: number, bornBatch: number): void => {
    const known = control.get(descriptor.spec.id)
    if (known?.descriptor.copy !== undefined && descriptor.copy !== undefined) {
      const isNewer = descriptor.revision >= known.descriptor.revision
      const merged = mergedCopy(known.descriptor as CopyDescriptor, descriptor as CopyDescriptor)
      control.set(
        descriptor.spec.id,
        isNewer ? { descriptor: merged, segment, bornBatch } : { ...known, descriptor: merged },
      )
      return
    }
    if (known === undefined || descriptor.revision >= known.descriptor.revision)
      control.set(descriptor.spec.id, { descriptor, segment, bornBatch })
  }
  const problem = yield* eachSealed(reader, sealed, function* (batch) {
    for (const record of batch.records) {
      segments.holdsBorn(batch.segment, record.bornBatch)
      if (record.kind !== RECORD_KIND.control) continue
      if (!hasDescriptor(record)) {
        noteLeaf(batch, record)
        continue
      }
      const body = yield* reader.body(batch, record)
      const descriptor = body === undefined ? undefined : decodeDescriptor(body)
      if (descriptor === undefined) return `a control record in segment ${batch.segment} is damaged`
      note(descriptor, batch.segment, record.bornBatch)
    }
    return undefined
  })
  if (problem !== undefined) return { ok: false, reason: problem }
  for (const { descriptor, leaf, record, batch } of tail.records)
    if (descriptor !== undefined) note(descriptor, batch.segment, record.bornBatch)
    else if (leaf !== undefined) noteLeaf(batch, record)
  const volumes = new Map<string, VolumeMap>()
  let nextVolume = 1
  for (const [id, { descriptor: stored, segment, bornBatch }] of control) {
    const leaves = yield* readLeaves(reader, stored, leafRecords.get(id))
    const whole = withList(stored, (name) => leaves.find(name))
    if (whole === undefined) return { ok: false, reason: `snapshots of volume ${stored.spec.name} cannot be read` }
    const { descriptor } = whole
    const volume = map.addVolume(nextVolume++, descriptor)
    Object.assign(volume, { controlSegment: segment, controlBornBatch: bornBatch })
    if (volume.copy !== undefined) {
      leaves.setCut(whole.leaves)
      volume.copy.leaves = leaves
      volume.appliedSeq = descriptor.copy!.appliedSeq
      volume.copy.forgot(volume.appliedSeq)
    }
    volumes.set(id, volume)
  }

  for (const { frame, batches } of tail.seals) {
    const lastBatch = batches.at(-1)?.header.batch ?? frame.firstBatch - 1
    claim(context, segments, { ...frame, lastBatch })
  }

  // Pass 2: all versions, as raw deltas.
  map.rebuilding = true
  let flush = 0
  const writeOut = function* (): Task<boolean> {
    flush++
    const collected = collectCheckpoint(map, {
      meta: undefined,
      checkpoint: flush,
      onUnresolved: () => {},
      onPile: () => {},
      tombstonesGone: [],
      volumesGone: [],
    })
    const ok = yield* until<boolean>((resume) => context.index.batch(collected.operations, resume))
    collected.committed()
    return ok
  }
  const take = function* (batch: ReadBatch): Task<string | undefined> {
    for (const record of batch.records) {
      const volume = volumes.get(uuidToHex(record.volumeId))
      if (volume === undefined) continue
      // What is void of it is settled when all disks have been read.
      if (volume.copy !== undefined && isUnapplied(volume, record)) {
        // What was accepted before filling began was forgotten then.
        const isForgotten = batch.header.batch < (volume.descriptor.copy!.fillBorn[diskUuid] ?? 0)
        if (!isForgotten && isReplicated(record))
          volume.copy.waiting.add({
            record,
            segment: batch.segment,
            generation: segments.generation[batch.segment]!,
            units: batch.startBlock * UNITS_PER_BLOCK + record.payloadUnits,
            batch: undefined,
            listed: false,
            at: -1,
          })
        continue
      }
      if (isVoid(volume, record)) continue
      if (record.kind !== RECORD_KIND.control)
        applyRecord(map, volume, record, batch.segment, batch.startBlock * UNITS_PER_BLOCK + record.payloadUnits)
      if ((record.flags & RECORD_FLAG.moved) === 0) volume.previousSeq = Math.max(volume.previousSeq, record.seq)
      if (volume.copy === undefined) volume.appliedSeq = Math.max(volume.appliedSeq, record.seq)
    }
    if (map.pending.count >= PENDING_MAX && !(yield* writeOut())) return 'the index cannot be written'
    return undefined
  }
  const damage = yield* eachSealed(reader, sealed, take)
  if (damage !== undefined) return { ok: false, reason: damage }
  // The tail too: what its copies were made of may have been given back before the index was lost.
  for (const batch of tail.batches) {
    const problem = yield* take(batch)
    if (problem !== undefined) return { ok: false, reason: problem }
  }
  if (!(yield* writeOut())) return { ok: false, reason: 'the index cannot be written' }
  for (const volume of volumes.values()) {
    let failed = false
    const relieve = function* (): Task<void> {
      if (map.dirtyPages.size * 2 >= map.cache.pagesMax && !(yield* writeOut())) failed = true
    }
    const range = { map, index: context.index, volume, firstPage: 0, endPage: 2 ** 26 }
    if (!(yield* visitPages(range, () => {}, relieve))) failed = true
    if (map.dirtyPages.size > 0 && !(yield* writeOut())) failed = true
    if (failed) return { ok: false, reason: 'the index cannot be written' }
    if (!volume.keepsZeroes) volume.tombstones = []
    // They may lie over what has no page.
    for (const { firstPage, endPage, seq, kind } of volume.tombstones) {
      const what = { lba: firstPage * PAGE_BLOCKS, count: (endPage - firstPage) * PAGE_BLOCKS, seq, kind }
      volume.changes.noteUnordered(volume.views, volume.appliedSeq, what)
    }
    volume.changed = true
  }
  map.rebuilding = false
  const indexUuid = uuidToHex(context.random(16))
  const base: Root = root ?? {
    streamId,
    diskUuid,
    generation: 0,
    checkpoint: 0,
    watermarkBatch: 0,
    incarnation,
    flags: 0,
    bootId: context.bootId,
    indexUuid,
    salt: context.random(8),
  }
  return {
    ok: true,
    opened: makeOpened(context, {
      map,
      segments,
      reader,
      root: { ...base, incarnation, indexUuid, checkpoint: Math.max(base.checkpoint, flush) },
      rolled: { ...tail, records: [] },
      clean: false,
      nextVolume,
      // Numbers at or below the watermark are used up, also those of batches that were cut.
      nextBatch: Math.max(tail.nextBatch, sealedLast + 1, base.watermarkBatch + 1),
      foundBatch: root === undefined ? Infinity : Math.max(tail.watermarkBatch, root.watermarkBatch),
      rebuilt: sealed.length + current.length > 0,
    }),
  }
}

/**
 * Segments that were sealed, but hold batches nothing proves durable: a seal may reach the medium before a batch it
 * lists. They are judged by the tail rule, like the open one. `durableBatch` only grows, so the last whole batch of a
 * segment says most.
 */
function* splitTail(
  reader: LogReader,
  sealed: Sealed[],
  known: { incarnation: number; watermarkBatch: number },
): Task<{ sealed: Sealed[]; tail: Scan[] }> {
  let watermark = known.watermarkBatch
  const tail: Scan[] = []
  const media = { failed: false }
  const kept = [...sealed]
  while (kept.length > 0) {
    const { trailer, entries } = kept.at(-1)!
    if (trailer.incarnation !== known.incarnation || trailer.lastBatch <= watermark) break
    const { segment, generation, incarnation, firstBatch } = trailer
    tail.push({ segment, generation, incarnation, firstBatch, known: true })
    for (const entry of entries.toReversed()) {
      const batch = yield* reader.batchAt({ segment, generation, incarnation, block: entry.startBlock }, media)
      if (batch === undefined) continue
      watermark = Math.max(watermark, batch.header.durableBatch)
      break
    }
    kept.pop()
  }
  return { sealed: kept, tail }
}

/** The leaves that a descriptor names, as far as they are there. */
function* readLeaves(
  reader: LogReader,
  { leaves: names = [] }: VolumeDescriptor,
  records: ReadonlyMap<number, { batch: ReadBatch; record: RecordHeader }> = new Map(),
): Task<LeafTable> {
  const found = new LeafTable()
  for (const [revision, crc] of names) {
    const here = records.get(revision)
    if (here === undefined || here.record.bodyCrc !== crc) continue
    const body = yield* reader.body(here.batch, here.record)
    const leaf = body === undefined ? undefined : leafOf(here.record, body)
    if (leaf !== undefined) found.place(leaf, here.batch.segment)
  }
  return found
}

const lostSeal = (segment: number): OpenOutcome => ({
  ok: false,
  reason: `the seal of segment ${segment} is damaged`,
})

/** A record of a slice that has moved since, or one that was cut. */
function isVoid(volume: VolumeMap, record: RecordHeader): boolean {
  if (volume.views.isVoid(record.epoch, record.seq)) return true
  if (record.kind === RECORD_KIND.control) return false
  return record.sliceGeneration !== generationOfSlice(volume.descriptor, Math.floor(record.lba / SLICE_BLOCKS))
}

/** Nothing says yet that this record of a copy was committed. */
const isUnapplied = (volume: VolumeMap, { flags, seq }: RecordHeader): boolean =>
  (flags & (RECORD_FLAG.moved | RECORD_FLAG.fill)) === 0 && seq > volume.appliedSeq

function resetSegments(segments: SegmentTable, context: StreamContext): SegmentTable {
  return segments.ownedCount === 0 ? segments : segments.renewed(context.streamId, context.grants)
}

function claim(
  context: StreamContext,
  segments: SegmentTable,
  found: { segment: number; generation: number; firstBatch: number; lastBatch: number },
): void {
  segments.adopt(found.segment, { ...found, state: SEGMENT_STATE.sealed, live: 0, oldestBorn: found.firstBatch })
  context.grants.claim(found.segment, context.streamId)
  // Header and trailer may both be torn: a batch alone can prove the segment, and its generation is used up too.
  context.grants.setGeneration(found.segment, Math.max(found.generation, context.grants.generation(found.segment)))
  context.grants.setInitialised(found.segment)
}

/** Every batch of the sealed segments in log order; a sentence when one is damaged. */
function* eachSealed(
  reader: LogReader,
  sealed: Sealed[],
  visit: (batch: ReadBatch) => Task<string | undefined>,
): Task<string | undefined> {
  const media = { failed: false }
  for (const { trailer, entries } of sealed)
    for (const entry of entries) {
      const batch = yield* reader.batchAt(
        { segment: trailer.segment, generation: trailer.generation, block: entry.startBlock },
        media,
      )
      if (batch === undefined || batch.header.headerCrc !== entry.headerCrc || batch.header.batch !== entry.batch)
        return `batch ${entry.batch} in segment ${trailer.segment} is damaged`
      const problem = yield* visit(batch)
      if (problem !== undefined) return problem
    }
  return undefined
}
