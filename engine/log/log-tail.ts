/**
 * The end of a log (FORMAT.md section 3.3): which batches of the unsealed segments count, and where it is torn. Reads
 * only. A batch that was durable and is damaged is rot: nothing is cut then, and the stream is not served.
 */
import type { Task } from '../task.ts'
import { decodeDescriptor, type VolumeDescriptor } from '../volume/descriptor.ts'
import { uuidToHex } from './bytes.ts'
import type { LogReader, ReadBatch, SegmentFrame } from './log-reader.ts'
import { decodeLeaf, type SnapshotLeaf } from '../volume/snapshot-leaves.ts'
import { hasDescriptor, RECORD_KIND, type RecordHeader } from './record.ts'
import type { StreamContext } from './store-stream.ts'

/** A record behind the checkpoint. */
export interface RolledRecord {
  record: RecordHeader
  volumeId: string
  batch: ReadBatch
  /** As it is stored: its list of snapshots may begin in leaves. */
  descriptor: VolumeDescriptor | undefined
  leaf: SnapshotLeaf | undefined
}

/** What the log holds behind a position, and what has to be done with its unsealed segments. */
export interface Roll {
  batches: ReadBatch[]
  records: RolledRecord[]
  watermarkBatch: number
  nextBatch: number
  seals: Array<{
    frame: { segment: number; generation: number; incarnation: number; firstBatch: number }
    batches: ReadBatch[]
  }>
  free: Array<[segment: number, generation: number]>
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
    free: Roll['free']
    firstBatch: number
    watermarkBatch: number
    salt: Uint8Array | undefined
    /** Segments that begin with a batch: it was meant for another place, and says how far the log was durable. */
    strays?: { segments: number[]; incarnation: number }
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
  const media = { failed: false, durableBatch: 0 }
  const salt = from.salt === undefined ? {} : { salt: from.salt }
  const { segments: strays, incarnation } = from.strays ?? { segments: [], incarnation: 0 }
  for (const segment of strays) yield* reader.noteStray({ segment, incarnation, ...salt, block: 0 }, media)
  for (const scan of scans) {
    const batches = yield* reader.scan({ ...scan, ...salt }, media)
    bySegment.set(scan.segment, batches)
    for (const batch of batches) {
      const { batch: number, durableBatch } = batch.header
      watermark = Math.max(watermark, durableBatch)
      highest = Math.max(highest, number)
      if (number >= firstBatch) found.set(number, batch)
    }
  }
  watermark = Math.max(watermark, media.durableBatch)
  highest = Math.max(highest, watermark)
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
    if (next > watermark && !(yield* reader.isWhole(batch, media))) {
      // Torn, unless what lies on it says that it was durable.
      const { segment, startBlock, header } = batch
      for (let block = startBlock + 1; block < startBlock + header.totalBlocks; block++)
        yield* reader.noteStray({ segment, incarnation: header.incarnation, ...salt, block }, media)
      watermark = Math.max(watermark, media.durableBatch)
      if (next > watermark) break
    }
    batches.push(batch)
    for (const record of batch.records) {
      const isControl = record.kind === RECORD_KIND.control
      const body = isControl ? yield* reader.body(batch, record) : undefined
      const descriptor = body !== undefined && hasDescriptor(record) ? decodeDescriptor(body) : undefined
      const leaf = body !== undefined && !hasDescriptor(record) ? leafOf(record, body) : undefined
      if (isControl && descriptor === undefined && leaf === undefined)
        return { reason: `a control record in batch ${next} is damaged` }
      records.push({ record, volumeId: uuidToHex(record.volumeId), batch, descriptor, leaf })
    }
  }
  // What cannot be read now may be whole and acknowledged: only what was read can be found torn.
  if (media.failed) return { reason: 'the end of its log cannot be read' }
  const seals: Roll['seals'] = []
  for (const scan of scans) {
    const kept = (bySegment.get(scan.segment) ?? []).filter((batch) => batch.header.batch < next)
    if (kept.length === 0 && !scan.known) free.push([scan.segment, scan.generation])
    else seals.push({ frame: scan, batches: kept })
  }
  return { batches, records, watermarkBatch: Math.max(watermark, next - 1), nextBatch: highest + 1, seals, free }
}

/** Undefined when the body is not one of a leaf. */
export function leafOf({ lba, bodyCrc }: RecordHeader, body: Uint8Array): SnapshotLeaf | undefined {
  const snapshots = decodeLeaf(body)
  return snapshots === undefined ? undefined : { revision: lba, crc: bodyCrc, snapshots }
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
export function halfFreed(frame: SegmentFrame, streamId: number): Roll['free'] {
  const { segment, header, trailer, first } = frame
  if (header?.free !== true || header.streamId !== streamId) return []
  if (trailer === undefined && first === undefined) return []
  return [[segment, Math.max(header.generation, first?.generation ?? 0)]]
}
