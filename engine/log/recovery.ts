/**
 * Opening a stream (FORMAT.md section 3): the index if it is this stream's and current, else a rebuild; then
 * roll-forward of what the log holds behind the index; then a new incarnation.
 *
 *   openStream   reads only: root, index, frames, batches behind the checkpoint -> records to roll forward
 *   (the store decides which of them count: a volume's tail is the last seq without a gap over all its disks)
 *   finishOpen   applies them, syncs, seals what was open, gives up what was torn, checkpoint, root
 *
 * Nothing is appended before the root of the new incarnation is durable, so a crash anywhere in here repeats the same.
 */
import { until, type Task } from '../task.ts'
import { BLOCK_BYTES, UNIT_BYTES } from '../units.ts'
import { decodeDescriptor, type VolumeDescriptor } from '../volume/descriptor.ts'
import { uuidToHex } from './bytes.ts'
import { decodeSegmentValue, parseJson, type CheckpointMeta, type VolumeIndexValue } from './checkpoint.ts'
import { ExtentMap } from './extent-map.ts'
import { rootOffsetBytes, segmentOffsetBytes } from './geometry.ts'
import { metaKey, numberOfKey, rangeOf } from './index-keys.ts'
import { decodeWaiting } from './waiting-records.ts'
import { LogReader, type ReadBatch, type SegmentFrame } from './log-reader.ts'
import { RECORD_FLAG, RECORD_KIND, type RecordHeader } from './record.ts'
import { moveEntry, moveZero } from './relocation.ts'
import { chooseRoot, ROOT_FLAG, type Root } from './root.ts'
import { encodeSeal, encodeSegmentHeader, TRAILER_FLAG } from './segment.ts'
import { SEGMENT_STATE, SegmentTable } from './segment-table.ts'
import { markFree, saltFromHex, StoreStream, write, writeRoot, type StreamContext } from './store-stream.ts'
import type { VolumeMap } from './volume-map.ts'
import { rebuildIndex } from './rebuild.ts'

/** A record behind the checkpoint. */
export interface RolledRecord {
  record: RecordHeader
  volumeId: string
  batch: ReadBatch
  descriptor: VolumeDescriptor | undefined
}

export interface OpenedStream {
  stream: StoreStream
  /** In log order. */
  rolled: RolledRecord[]
  rebuilt: boolean
  /** What `finishOpen` has to do. */
  plan: FinishPlan
}

export interface FinishPlan {
  clean: boolean
  /** The root as it was found, when there was one. */
  former: Root | undefined
  watermarkBatch: number
  seals: Array<{
    frame: { segment: number; generation: number; incarnation: number; firstBatch: number }
    batches: ReadBatch[]
  }>
  free: Array<[segment: number, generation: number]>
}

export type OpenOutcome = { ok: true; opened: OpenedStream } | { ok: false; reason: string }

export function* openStream(context: StreamContext): Task<OpenOutcome> {
  const slots = yield* readRoots(context)
  if (slots === undefined) return { ok: false, reason: 'its root cannot be read' }
  const root = chooseRoot(slots, context, context.crc32c)
  const segments = new SegmentTable({
    count: context.segmentCount,
    streamId: context.streamId,
    grants: context.grants,
  })
  const map = new ExtentMap({ index: context.index, segments, pagesMax: context.pagesMax })
  const reader = new LogReader(context)
  const meta = root === undefined ? undefined : yield* loadIndex(context, map, root)
  if (meta === undefined || root === undefined) return yield* rebuildIndex(context, { map, segments, reader, root })
  for (let segment = 0; segment < segments.count; segment++)
    if (segments.state[segment] !== SEGMENT_STATE.none) {
      context.grants.claim(segment, context.streamId)
      context.grants.setGeneration(segment, segments.generation[segment]!)
      context.grants.setInitialised(segment)
    }
  const clean = (root.flags & ROOT_FLAG.clean) !== 0 && root.checkpoint === meta.checkpoint
  const rolled = clean ? emptyRoll(root) : yield* rollForward(context, { segments, reader, root, meta })
  if ('reason' in rolled) return { ok: false, reason: rolled.reason }
  return {
    ok: true,
    opened: makeOpened(context, {
      map,
      segments,
      reader,
      root: { ...root, checkpoint: meta.checkpoint },
      rolled,
      clean,
      nextVolume: meta.nextVolume,
      nextBatch: Math.max(rolled.nextBatch, meta.batch),
      rebuilt: false,
    }),
  }
}

export interface Roll {
  batches: ReadBatch[]
  records: RolledRecord[]
  watermarkBatch: number
  nextBatch: number
  seals: FinishPlan['seals']
  free: FinishPlan['free']
}

const emptyRoll = (root: Root): Roll => ({
  batches: [],
  records: [],
  watermarkBatch: root.watermarkBatch,
  nextBatch: root.watermarkBatch + 1,
  seals: [],
  free: [],
})

export function makeOpened(
  context: StreamContext,
  from: {
    map: ExtentMap
    segments: SegmentTable
    reader: LogReader
    root: Root
    rolled: Roll
    clean: boolean
    nextVolume: number
    nextBatch: number
    rebuilt: boolean
  },
): OpenedStream {
  const salt = context.random(8)
  const incarnation = from.root.incarnation + 1
  const stream = new StoreStream(context, {
    map: from.map,
    segments: from.segments,
    reader: from.reader,
    root: { ...from.root, incarnation, salt },
    checkpoint: from.root.checkpoint,
    nextVolume: from.nextVolume,
    nextBatch: from.nextBatch,
    salt,
  })
  const { watermarkBatch, seals, free, records } = from.rolled
  const former = from.root.generation > 0 ? from.root : undefined
  return {
    stream,
    rolled: records,
    rebuilt: from.rebuilt,
    plan: { clean: from.clean, former, watermarkBatch, seals, free },
  }
}

export function* readRoots(context: StreamContext): Task<Uint8Array[] | undefined> {
  const slots: Uint8Array[] = []
  for (const slot of [0, 1]) {
    const bytes = new Uint8Array(BLOCK_BYTES)
    // One unreadable slot is like a damaged one.
    if (yield* until<boolean>((resume) => context.disk.read(rootOffsetBytes(context.streamId, slot), bytes, resume)))
      slots.push(bytes)
  }
  return slots.length === 0 ? undefined : slots
}

/** Fill map and segments from the index; undefined when it is missing, foreign, stale or damaged. */
function* loadIndex(context: StreamContext, map: ExtentMap, root: Root): Task<CheckpointMeta | undefined> {
  const { index, diskUuid, streamId } = context
  const bytes = yield* until<Uint8Array | undefined>((resume) =>
    index.get(metaKey(), (ok, value) => resume(ok ? value : undefined)),
  )
  if (bytes === undefined) return undefined
  const meta = parseJson(bytes) as CheckpointMeta | undefined
  if (meta === undefined || meta.format !== 1 || meta.diskUuid !== diskUuid || meta.streamId !== streamId)
    return undefined
  if (meta.indexUuid !== root.indexUuid) return undefined
  if (meta.checkpoint !== root.checkpoint && meta.checkpoint !== root.checkpoint + 1) return undefined
  const entries = (kind: 'segment' | 'generation' | 'volume' | 'tombstone' | 'waiting') =>
    until<Array<[Uint8Array, Uint8Array]> | undefined>((resume) =>
      index.range({ ...rangeOf(kind), limit: 1 << 24 }, (ok, found) => resume(ok ? found : undefined)),
    )
  const segments = yield* entries('segment')
  const generations = yield* entries('generation')
  const volumes = yield* entries('volume')
  const tombstones = yield* entries('tombstone')
  const waiting = yield* entries('waiting')
  if (segments === undefined || generations === undefined || volumes === undefined || tombstones === undefined)
    return undefined
  if (waiting === undefined) return undefined
  for (const [key, value] of segments) {
    const segment = decodeSegmentValue(value)
    if (segment === undefined || numberOfKey(key) >= context.segmentCount) return undefined
    map.segments.adopt(numberOfKey(key), segment)
  }
  for (const [key, value] of generations) {
    const segment = numberOfKey(key)
    const generation = new DataView(value.buffer, value.byteOffset).getUint32(0, true)
    if (segment >= context.segmentCount) return undefined
    context.grants.setGeneration(segment, Math.max(generation, context.grants.generation(segment)))
    context.grants.setInitialised(segment)
  }
  for (const [key, value] of volumes) {
    const stored = parseJson(value) as (VolumeIndexValue & { descriptor: VolumeDescriptor }) | undefined
    if (stored === undefined) return undefined
    const volume = map.addVolume(numberOfKey(key), stored.descriptor)
    const { appliedSeq, previousSeq, usedUnits, controlSegment, controlBornBatch, emptied, sweepHistory } = stored
    Object.assign(volume, {
      appliedSeq,
      previousSeq,
      usedUnits,
      controlSegment,
      controlBornBatch,
      emptied,
      sweepHistory,
      changed: false,
    })
    if (volume.copy !== undefined) {
      volume.copy.wiping = stored.wiping ?? []
      volume.copy.hintSeq = stored.hintSeq ?? 0
    }
  }
  for (const [key, value] of tombstones) {
    const view = new DataView(key.buffer, key.byteOffset)
    const volume = map.volumes.get(view.getUint32(1))
    const stored = parseJson(value) as
      { endPage: number; kind: 2 | 3; segment: number; bornBatch: number } | undefined
    if (volume === undefined || stored === undefined) return undefined
    volume.tombstones.push({
      epoch: view.getUint32(5),
      seq: view.getUint16(9) * 2 ** 32 + view.getUint32(11),
      firstPage: view.getUint32(15),
      ...stored,
    })
  }
  for (const [key, value] of waiting) {
    const copy = map.volumes.get(numberOfKey(key))?.copy
    const record = decodeWaiting(value)
    if (record === undefined) return undefined
    copy?.waiting.adopt(record, map.segments)
  }
  map.segments.takeChanged()
  return meta
}

/** Find what the log holds behind the checkpoint. Reads only. */
function* rollForward(
  context: StreamContext,
  from: { segments: SegmentTable; reader: LogReader; root: Root; meta: CheckpointMeta },
): Task<Roll | { reason: string }> {
  const { segments, reader, root, meta } = from
  const others: number[] = []
  const scans: Scan[] = []
  const free: FinishPlan['free'] = []
  for (let segment = 0; segment < segments.count; segment++) {
    const state = segments.state[segment]!
    // The open one, and one that was sealed while a batch of it was not applied yet.
    if (state === SEGMENT_STATE.open || (state !== SEGMENT_STATE.none && segments.lastBatch[segment]! >= meta.batch))
      scans.push({
        segment,
        generation: segments.generation[segment]!,
        incarnation: meta.incarnation,
        firstBatch: segments.firstBatch[segment]!,
        known: true,
      })
    else if (state === SEGMENT_STATE.none) others.push(segment)
  }
  const frames = yield* reader.frames(others)
  if (frames === undefined) return { reason: 'a segment header cannot be read' }
  for (const frame of frames) {
    const found = frameUse(frame, context.streamId)
    if (found === undefined) {
      free.push(...halfFreed(frame, context.streamId))
      continue
    }
    const known = context.grants.generation(frame.segment)
    if (found.generation <= known) {
      // Given back in the checkpoint, but the crash came before its frame said so.
      if (frame.header !== undefined || frame.trailer !== undefined) free.push([frame.segment, known])
    } else if (found.incarnation === meta.incarnation)
      scans.push({
        segment: frame.segment,
        generation: found.generation,
        incarnation: meta.incarnation,
        firstBatch: found.firstBatch,
        known: false,
      })
    else free.push([frame.segment, found.generation])
  }
  return yield* acceptTail(context, {
    reader,
    scans,
    free,
    firstBatch: meta.batch,
    watermarkBatch: root.watermarkBatch,
    salt: saltFromHex(meta.salt),
  })
}

/** What a frame proves about a segment of this stream; undefined: free, never used, or another stream's. */
export function frameUse(
  frame: SegmentFrame,
  streamId: number,
): { generation: number; incarnation: number; firstBatch: number } | undefined {
  const { header, trailer, first } = frame
  if (header !== undefined) return header.free || header.streamId !== streamId ? undefined : header
  if (trailer !== undefined) return trailer.streamId === streamId ? trailer : undefined
  return first !== undefined && first.streamId === streamId
    ? { generation: first.generation, incarnation: first.incarnation, firstBatch: first.batch }
    : undefined
}

/**
 * A segment whose header says free, while its end or its first batch still says what it was: the crash came between.
 */
export function halfFreed(frame: SegmentFrame, streamId: number): FinishPlan['free'] {
  const { segment, header, trailer, first } = frame
  if (header?.free !== true || header.streamId !== streamId) return []
  if (trailer === undefined && first === undefined) return []
  return [[segment, Math.max(header.generation, first?.generation ?? 0)]]
}

export interface Scan {
  segment: number
  generation: number
  incarnation: number
  firstBatch: number
  /** The index knows it, as the open one. */
  known: boolean
}

/** The tail rule of FORMAT.md section 3.3 over the unsealed segments of one incarnation. */
export function* acceptTail(
  context: StreamContext,
  from: {
    reader: LogReader
    scans: Scan[]
    free: FinishPlan['free']
    firstBatch: number
    watermarkBatch: number
    salt: Uint8Array | undefined
    /** No position is known: `firstBatch` is the first that was found. */
    mayBegin?: boolean
  },
): Task<Roll | { reason: string }> {
  const { reader, scans, free, firstBatch } = from
  scans.sort((a, b) => a.firstBatch - b.firstBatch)
  const found = new Map<number, ReadBatch>()
  const bySegment = new Map<number, ReadBatch[]>()
  let watermark = from.watermarkBatch
  let highest = watermark
  const media = { failed: false }
  for (const scan of scans) {
    const batches = yield* reader.scan({ ...scan, ...(from.salt === undefined ? {} : { salt: from.salt }) }, media)
    bySegment.set(scan.segment, batches)
    for (const batch of batches) {
      const { batch: number, durableBatch } = batch.header
      watermark = Math.max(watermark, durableBatch)
      highest = Math.max(highest, number)
      if (number >= firstBatch) found.set(number, batch)
    }
  }
  const batches: ReadBatch[] = []
  const records: RolledRecord[] = []
  // What is missing in front was given back when it was durable, and lost when it was not.
  let next = from.mayBegin === true ? Math.min(firstBatch, watermark + 1) : firstBatch
  for (; ; next++) {
    const batch = found.get(next)
    if (batch === undefined) {
      if (next <= watermark)
        return {
          reason: `batch ${next} of stream ${context.streamId} is damaged, though it was durable (up to ${watermark})`,
        }
      break
    }
    if (next > watermark && !(yield* reader.isWhole(batch, media))) break
    batches.push(batch)
    for (const record of batch.records) {
      let descriptor: VolumeDescriptor | undefined
      if (record.kind === RECORD_KIND.control) {
        const body = yield* reader.body(batch, record)
        descriptor = body === undefined ? undefined : decodeDescriptor(body)
        if (descriptor === undefined) return { reason: `a control record in batch ${next} is damaged` }
      }
      records.push({ record, volumeId: uuidToHex(record.volumeId), batch, descriptor })
    }
  }
  // What cannot be read now may be whole and acknowledged: only what was read can be found torn.
  if (media.failed) return { reason: 'the end of its log cannot be read' }
  const seals: FinishPlan['seals'] = []
  for (const scan of scans) {
    const kept = (bySegment.get(scan.segment) ?? []).filter((batch) => batch.header.batch < next)
    if (kept.length === 0 && !scan.known) free.push([scan.segment, scan.generation])
    else seals.push({ frame: scan, batches: kept })
  }
  return { batches, records, watermarkBatch: Math.max(watermark, next - 1), nextBatch: highest + 1, seals, free }
}

/** Register the segments the roll-forward found, so that records can be applied to them. */
export function adoptRolled(opened: OpenedStream): void {
  const { stream, plan } = opened
  const { segments, context } = stream
  for (const { frame, batches } of plan.seals) {
    const { segment, generation, firstBatch } = frame
    const lastBatch = batches.at(-1)?.header.batch ?? firstBatch - 1
    if (segments.state[segment] === SEGMENT_STATE.none) {
      segments.claim(segment)
      context.grants.setGeneration(segment, generation)
      context.grants.setInitialised(segment)
      segments.adopt(segment, {
        state: SEGMENT_STATE.sealed,
        generation,
        firstBatch,
        lastBatch,
        live: 0,
        oldestBorn: firstBatch,
      })
    } else segments.seal(segment, Math.max(lastBatch, segments.lastBatch[segment]!))
    for (const batch of batches)
      for (const record of batch.records) segments.holdsBorn(segment, record.bornBatch || batch.header.batch)
  }
  for (const [segment, generation] of plan.free) {
    context.grants.setGeneration(segment, Math.max(generation, context.grants.generation(segment)))
    context.grants.setInitialised(segment)
  }
}

/** Apply one rolled record that counts. False when the index cannot be read. */
export function* applyRolled(stream: StoreStream, volume: VolumeMap, rolled: RolledRecord): Task<boolean> {
  const { record, batch } = rolled
  const units = batch.startBlock * (BLOCK_BYTES / UNIT_BYTES) + record.payloadUnits
  const moved = (record.flags & RECORD_FLAG.moved) !== 0
  if (record.kind === RECORD_KIND.control) {
    if (rolled.descriptor!.revision > volume.descriptor.revision) volume.setDescriptor(rolled.descriptor!)
    if (rolled.descriptor!.revision >= volume.descriptor.revision) {
      volume.controlSegment = batch.segment
      volume.controlBornBatch = record.bornBatch
      volume.changed = true
    }
    if (!moved) volume.appliedSeq = Math.max(volume.appliedSeq, record.seq)
    return true
  }
  if (!moved) {
    if (record.seq <= volume.appliedSeq) return true
    stream.apply(volume, record, batch.segment, units)
    volume.appliedSeq = record.seq
    volume.previousSeq = record.seq
    volume.changed = true
    return true
  }
  if (record.kind === RECORD_KIND.write)
    return yield* moveEntry(stream, volume, record, { segment: batch.segment, units })
  return yield* moveZero(stream, volume, record, batch.segment)
}

/** Make the recovered state the starting point of a new incarnation. Changes the disk; repeatable. */
export function* finishOpen(opened: OpenedStream): Task<boolean> {
  const { stream, plan } = opened
  const { context } = stream
  const { disk, crc32c, segmentBytes, diskUuid, streamId } = context
  if (!(yield* until<boolean>((resume) => disk.sync(resume)))) return false
  if (!plan.clean) {
    // The evidence for the watermark is about to be given up with torn segments: keep it in the root first.
    if (plan.former !== undefined) {
      const root = {
        ...plan.former,
        generation: plan.former.generation + 1,
        watermarkBatch: plan.watermarkBatch,
        flags: 0,
      }
      if (!(yield* writeRoot(context, root))) return false
      stream.rootWritten(root.generation)
    }
  }
  for (const { frame, batches } of plan.seals) {
    const last = batches.at(-1)
    // The header too: it may be lost, while a batch behind it is kept. Then the seal alone would prove the segment, and
    // without it a rebuild would take the segment for free.
    const header = encodeSegmentHeader({ streamId, diskUuid, ...frame, free: false }, crc32c)
    if (!(yield* write(disk, segmentOffsetBytes(segmentBytes, frame.segment), header))) return false
    const bytes = encodeSeal(
      {
        streamId,
        diskUuid,
        segment: frame.segment,
        generation: frame.generation,
        firstBatch: frame.firstBatch,
        incarnation: frame.incarnation,
        flags: TRAILER_FLAG.sealedByRecovery,
        endBlock: last === undefined ? 1 : last.startBlock + last.header.totalBlocks,
        entries: batches.map((batch) => ({
          startBlock: batch.startBlock,
          headerCrc: batch.header.headerCrc,
          batch: batch.header.batch,
          headerBlocks: Math.ceil(batch.header.headerBytes / BLOCK_BYTES),
        })),
      },
      crc32c,
    )
    const offset = segmentOffsetBytes(segmentBytes, frame.segment) + segmentBytes - bytes.length
    if (!(yield* write(disk, offset, bytes))) return false
  }
  if (!(yield* markFree(context, plan.free))) return false
  if (plan.seals.length > 0 && !(yield* until<boolean>((resume) => disk.sync(resume)))) return false
  return yield* stream.checkpointTask({})
}

/**
 * A stream that is not served keeps its segments; when even their frames cannot be read, nothing of the disk is free.
 */
export function* claimRefused(context: StreamContext): Task<void> {
  const { grants, streamId, segmentCount } = context
  const all = Array.from({ length: segmentCount }, (_, segment) => segment)
  const frames = yield* new LogReader(context).frames(all)
  for (const segment of all) {
    if (grants.owner(segment) !== undefined) continue
    const frame = frames?.[segment]
    if (frame === undefined || frameUse(frame, streamId) !== undefined) grants.claim(segment, streamId)
  }
}
