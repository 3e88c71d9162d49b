/**
 * Roll-forward: what the log holds behind the index's checkpoint is found (reads only), and, once the store has decided
 * which of it counts, brought into the map.
 */
import { assert } from '../assert.ts'
import type { Task } from '../task.ts'
import { BLOCK_BYTES, UNIT_BYTES } from '../units.ts'
import type { CheckpointMeta } from './checkpoint.ts'
import type { LogReader } from './log-reader.ts'
import { acceptTail, frameUse, halfFreed, type Roll, type RolledRecord, type Scan } from './log-tail.ts'
import { RECORD_FLAG, RECORD_KIND } from './record.ts'
import type { OpenedStream } from './recovery.ts'
import { moveEntry, moveZero } from './relocation.ts'
import type { Root } from './root.ts'
import { SEGMENT_STATE, type SegmentTable } from './segment-table.ts'
import { saltFromHex, type StoreStream, type StreamContext } from './store-stream.ts'
import type { VolumeMap } from './volume-map.ts'

/** Find what the log holds behind the checkpoint. Reads only. */
export function* rollForward(
  context: StreamContext,
  from: { segments: SegmentTable; reader: LogReader; root: Root; meta: CheckpointMeta },
): Task<Roll | { reason: string }> {
  const { segments, reader, root, meta } = from
  const others: number[] = []
  const scans: Scan[] = []
  const free: Roll['free'] = []
  const strays: number[] = []
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
    if (frame.hasStray) strays.push(frame.segment)
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
    strays: { segments: strays, incarnation: meta.incarnation },
  })
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
    assert(rolled.descriptor !== undefined, 'only copies have leaves')
    if (rolled.descriptor.revision > volume.descriptor.revision) volume.setDescriptor(rolled.descriptor)
    if (rolled.descriptor.revision >= volume.descriptor.revision) {
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
