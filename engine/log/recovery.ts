/**
 * Opening a stream (FORMAT.md section 3): the index if it is this stream's and current, else a rebuild; then
 * roll-forward of what the log holds behind the index; then a new incarnation.
 *
 *   openStream   syncs, has memory forget the disk, then reads only: root, index, frames, batches behind the checkpoint
 *                -> records to roll forward
 *   (the store decides which of them count: a volume's tail is the last seq without a gap over all its disks)
 *   finishOpen   applies them, seals what was open, gives up what was torn, checkpoint, root
 *
 * Nothing is appended before the root of the new incarnation is durable, so a crash anywhere in here repeats the same.
 */
import { until, type Task } from '../task.ts'
import { BLOCK_BYTES } from '../units.ts'
import { ExtentMap } from './extent-map.ts'
import { rootOffsetBytes, segmentOffsetBytes } from './geometry.ts'
import { loadIndex } from './index-loading.ts'
import { LogReader } from './log-reader.ts'
import { frameUse, type Roll, type RolledRecord } from './log-tail.ts'
import { rebuildIndex } from './rebuild.ts'
import { rollForward } from './roll-forward.ts'
import { chooseRoot, ROOT_FLAG, type Root } from './root.ts'
import { encodeSeal, encodeSegmentHeader, TRAILER_FLAG } from './segment.ts'
import { SEGMENT_STATE, SegmentTable } from './segment-table.ts'
import { markFree, StoreStream, write, writeRoot, type StreamContext } from './store-stream.ts'

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
  seals: Roll['seals']
  free: Roll['free']
}

export type OpenOutcome = { ok: true; opened: OpenedStream } | { ok: false; reason: string }

export function* openStream(context: StreamContext): Task<OpenOutcome> {
  if (!(yield* readFromMedium(context))) return { ok: false, reason: 'what was written to it before does not last' }
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
      foundBatch: Math.max(rolled.watermarkBatch, meta.batch - 1),
      rebuilt: false,
    }),
  }
}

/**
 * Have everything that is read from now on be durable. The sync comes first: of what is still dirty it tells whether it
 * lasts. What a sync of a former process failed to write is clean and readable, and no sync speaks of it again; what is
 * clean goes out of memory, and then the medium is read.
 */
function* readFromMedium({ disk }: StreamContext): Task<boolean> {
  if (!(yield* until<boolean>((resume) => disk.sync(resume)))) return false
  return yield* until<boolean>((resume) => disk.dropCache(resume))
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
    foundBatch: number
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
    foundBatch: from.foundBatch,
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

/** Make the recovered state the starting point of a new incarnation. Changes the disk; repeatable. */
export function* finishOpen(opened: OpenedStream): Task<boolean> {
  const { stream, plan } = opened
  const { context } = stream
  const { disk, crc32c, segmentBytes, diskUuid, streamId } = context
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
