/**
 * What the log of one disk holds, found without the index and without writing: for the offline tools. The rules are
 * those of FORMAT.md section 3, applied so that as much as possible counts.
 *
 *   roots and frames -> which segments are in use -> which batches count, which are torn, which are damaged
 *
 * Recovery may refuse a damaged stream; this goes on and says what may be missing. A damage with `loss` means that
 * batches which were durable cannot be read: what they changed is unknown. Including a segment whose give-back was
 * half done is harmless, because zeroes and trims outlive it until the give-back is durable (FORMAT.md 2.1, 6).
 */
import { BLOCK_BYTES, MIB } from '../units.ts'
import { BATCH_MAGIC } from './batch.ts'
import type { BatchHeader } from './batch.ts'
import { viewOf } from './bytes.ts'
import { eachBlob, readBatch, readBlocks, readBody, readFrame, readRoot } from './disk-reader.ts'
import type { Frame, LogDisk } from './disk-reader.ts'
import { RECORD_KIND } from './record.ts'
import type { Root } from './root.ts'
import { decodeSummary, TRAILER_FLAG } from './segment.ts'
import type { SummaryEntry, Trailer } from './segment.ts'

export interface ScannedSegment {
  segment: number
  streamId: number
  generation: number
  incarnation: number
  firstBatch: number
  sealed: boolean
  /** Of the batches that count, in order. */
  startBlocks: number[]
  batches: number[]
}

export interface Damage {
  /** Undefined: it may be any stream of the disk. */
  streamId: number | undefined
  segment: number | undefined
  /** The first batch that cannot be read, if it is one. */
  batch: number | undefined
  /** Where, from the segment's start. */
  block: number | undefined
  reason: string
  /** Durable batches cannot be read, so newer data may be missing. */
  loss: boolean
}

export interface LogScan {
  roots: Array<Root | undefined>
  /** In use, by stream and first batch. */
  segments: ScannedSegment[]
  freeSegments: number
  damages: Damage[]
  /** Whole batches behind a torn tail: they never counted. */
  cutBatches: number
}

/** A batch as the scan found it; `header` is undefined where the summary names one that cannot be read. */
interface Candidate {
  batch: number
  startBlock: number
  header: BatchHeader | undefined
}

interface Walked {
  frame: { segment: number; streamId: number; generation: number; incarnation: number; firstBatch: number }
  hasHeader: boolean
  trailer: Trailer | undefined
  summaryDamaged: boolean
  candidates: Candidate[]
}

export function scanLog(disk: LogDisk): LogScan {
  const damages: Damage[] = []
  const roots: LogScan['roots'] = []
  for (let streamId = 0; streamId < disk.streamCount; streamId++) roots.push(readRoot(disk, streamId))
  const frames: Frame[] = []
  for (let segment = 0; segment < disk.segmentCount; segment++) frames.push(readFrame(disk, segment))
  const currents = roots.map((root, streamId) => root?.incarnation ?? newestIncarnation(frames, streamId))

  const walks: Walked[] = []
  for (const frame of frames) {
    const use = useOf(frame, currents, damages)
    if (use === undefined) continue
    const salt = roots[use.streamId]?.incarnation === use.incarnation ? roots[use.streamId]!.salt : frame.first?.salt
    const { header, trailer } = frame
    const summary = trailer === undefined ? [] : readSummary(disk, trailer)
    const candidates = trailer === undefined ? walk(disk, use, salt)
      : summary === undefined ? walkSealed(disk, trailer, salt) : summarized(disk, trailer, summary)
    walks.push({
      frame: use, hasHeader: header !== undefined || frame.headerTorn, trailer, candidates,
      summaryDamaged: summary === undefined,
    })
  }
  walks.sort((a, b) => a.frame.streamId - b.frame.streamId || a.frame.firstBatch - b.frame.firstBatch)
  const scan: LogScan = { roots, segments: [], freeSegments: frames.length - walks.length, damages, cutBatches: 0 }
  for (let streamId = 0; streamId < currents.length; streamId++) {
    const own = walks.filter((walked) => walked.frame.streamId === streamId)
    const hasRoot = roots[streamId] !== undefined
    if (!hasRoot && own.length > 0) {
      damages.push({
        streamId, segment: undefined, batch: undefined, block: undefined, loss: false,
        reason: `both root slots of stream ${streamId} are damaged`,
      })
    }
    acceptStream(disk, scan, { streamId, walks: own, incarnation: currents[streamId]!, root: roots[streamId] })
  }
  return scan
}

function newestIncarnation(frames: readonly Frame[], streamId: number): number {
  let newest = 0
  for (const { header, trailer, first } of frames) {
    const frame = header?.free === true ? undefined : header ?? trailer ?? first
    if (frame !== undefined && frame.streamId === streamId) newest = Math.max(newest, frame.incarnation)
  }
  return newest
}

/** Which stream uses the segment and since which batch, undefined when none does (FORMAT.md 2.1). */
function useOf(frame: Frame, currents: readonly number[], damages: Damage[]): Walked['frame'] | undefined {
  const { segment, header, trailer, first } = frame
  const note = (reason: string, streamId: number | undefined, loss: boolean): void =>
    void damages.push({ streamId, segment, batch: undefined, block: undefined, reason, loss })
  if (header?.free === true) return undefined
  const known = header ?? trailer
  if (known !== undefined && currents[known.streamId] === undefined) {
    note(`segment ${segment} names stream ${known.streamId}, which the superblock does not have`, undefined, true)
    return undefined
  }
  if (known !== undefined) {
    const { streamId, generation, incarnation, firstBatch } = known
    return { segment, streamId, generation, incarnation, firstBatch }
  }
  if (first !== undefined && first.incarnation === currents[first.streamId]) {
    const { streamId, generation, incarnation, batch } = first
    return { segment, streamId, generation, incarnation, firstBatch: batch }
  }
  // A header alone may be torn while the segment was opened or given back. A sealed one would still have its trailer,
  // and batches missing from the open one are found by their numbers.
  if (frame.trailerDamaged) {
    note(`segment ${segment} has neither a readable header nor a readable trailer`, first?.streamId, true)
  }
  return undefined
}

function readSummary(disk: LogDisk, trailer: Trailer): SummaryEntry[] | undefined {
  const { segment, summaryBlocks } = trailer
  if (summaryBlocks === 0) return []
  const bytes = readBlocks(disk, segment, disk.segmentBytes / BLOCK_BYTES - 1 - summaryBlocks, summaryBlocks)
  return bytes === undefined ? undefined : decodeSummary(bytes, trailer, disk.crc32c)
}

/** The batches that the summary of a sealed segment names. */
function summarized(disk: LogDisk, trailer: Trailer, entries: readonly SummaryEntry[]): Candidate[] {
  const { segment, generation } = trailer
  return entries.map(({ batch, startBlock, headerCrc }) => {
    const header = readBatch(disk, { segment, generation, startBlock })?.header
    const isNamed = header !== undefined && header.headerCrc === headerCrc && header.batch === batch
    return { batch, startBlock, header: isNamed ? header : undefined }
  })
}

/** Without its summary a sealed segment is walked; the trailer still knows which batches there have to be. */
function walkSealed(disk: LogDisk, trailer: Trailer, salt: Uint8Array | undefined): Candidate[] {
  const { firstBatch, lastBatch, endBlock } = trailer
  const found = walk(disk, trailer, salt, endBlock).filter(({ batch }) => batch <= lastBatch)
  const walked = new Set(found.map(({ batch }) => batch))
  for (let batch = firstBatch; batch <= lastBatch; batch++) {
    if (!walked.has(batch)) found.push({ batch, startBlock: 0, header: undefined })
  }
  return found.sort((a, b) => a.batch - b.batch)
}

/** All whole batches of a segment by their chain; behind a damaged one every block is looked at. */
function walk(
  disk: LogDisk,
  frame: Walked['frame'],
  salt: Uint8Array | undefined,
  endBlock = disk.segmentBytes / BLOCK_BYTES - 1,
): Candidate[] {
  const { segment, generation, incarnation } = frame
  const found: Candidate[] = []
  for (let startBlock = 1; startBlock < endBlock; ) {
    const batch = readBatch(disk, { segment, generation, incarnation, startBlock, ...(salt !== undefined && { salt }) })
    if (batch !== undefined) {
      found.push({ batch: batch.header.batch, startBlock, header: batch.header })
      startBlock += batch.header.totalBlocks
    } else startBlock = nextMagic(disk, { segment, from: startBlock + 1, endBlock })
  }
  return found
}

function nextMagic(disk: LogDisk, range: { segment: number; from: number; endBlock: number }): number {
  const stepBlocks = MIB / BLOCK_BYTES
  for (let at = range.from; at < range.endBlock; at += stepBlocks) {
    const blocks = Math.min(stepBlocks, range.endBlock - at)
    const bytes = readBlocks(disk, range.segment, at, blocks)
    if (bytes === undefined) continue
    const view = viewOf(bytes)
    for (let i = 0; i < blocks; i++) if (view.getUint32(i * BLOCK_BYTES, true) === BATCH_MAGIC) return at + i
  }
  return range.endBlock
}

/** Decide which batches of a stream count: everything up to the watermark, behind it what is whole without a gap. */
function acceptStream(
  disk: LogDisk,
  scan: LogScan,
  stream: { streamId: number; walks: Walked[]; incarnation: number; root: Root | undefined },
): void {
  const { streamId, walks, incarnation, root } = stream
  const isTail = ({ frame, trailer }: Walked): boolean =>
    frame.incarnation === incarnation && (trailer === undefined || !isByRecovery(trailer))
  let watermark = root?.watermarkBatch ?? 0
  for (const { trailer, candidates } of walks) {
    if (trailer !== undefined && (trailer.incarnation !== incarnation || isByRecovery(trailer))) {
      watermark = Math.max(watermark, trailer.lastBatch)
    }
    for (const { header } of candidates) {
      if (header?.incarnation === incarnation) watermark = Math.max(watermark, header.durableBatch)
    }
  }
  const tail = new Map<number, { walked: Walked; candidate: Candidate }>()
  for (const walked of walks.filter(isTail)) {
    for (const candidate of walked.candidates) tail.set(candidate.batch, { walked, candidate })
  }
  let cutAt = watermark + 1
  for (let found = tail.get(cutAt); found !== undefined; found = tail.get(++cutAt)) {
    if (found.candidate.header === undefined) break
    const { segment, generation } = found.walked.frame
    if (!isWhole(disk, { segment, generation, startBlock: found.candidate.startBlock })) break
  }
  for (const [i, walked] of walks.entries()) {
    const { frame, trailer, candidates } = walked
    noteFrames(scan, walked, { incarnation, watermark, nextFirst: walks[i + 1]?.frame.firstBatch })
    const accepted: ScannedSegment = { ...frame, sealed: trailer !== undefined, startBlocks: [], batches: [] }
    let expected = frame.firstBatch
    const missing = (from: number, below: number, block: number): void => {
      const many = below - from === 1 ? `batch ${from}` : `batches ${from} to ${below - 1}`
      const reason = `${many} of stream ${streamId} cannot be read (segment ${frame.segment}, block ${block})`
      scan.damages.push({ streamId, segment: frame.segment, batch: from, block, reason, loss: true })
    }
    let block = 1
    for (const { batch, startBlock, header } of candidates) {
      if (isTail(walked) && batch >= cutAt) {
        if (header !== undefined) scan.cutBatches++
        continue
      }
      if (batch > expected) missing(expected, batch, block)
      expected = batch + 1
      if (header === undefined) {
        missing(batch, batch + 1, startBlock || block)
        continue
      }
      accepted.startBlocks.push(startBlock)
      accepted.batches.push(batch)
      block = startBlock + header.totalBlocks
    }
    // Batches are contiguous in a stream: the next segment, or the watermark, tells where an unsealed one ended. A
    // segment is opened as soon as one is sealed, so behind the last one nothing durable may be missing either.
    const nextFirst = walks[i + 1]?.frame.firstBatch
    const isLast = nextFirst === undefined && frame.incarnation === incarnation
    const below = Math.min(nextFirst ?? Number.POSITIVE_INFINITY, watermark + 1)
    if ((trailer === undefined || isLast) && expected < below) missing(expected, below, block)
    scan.segments.push(accepted)
  }
}

/** A frame is durable before the batches behind it count, so a missing one is damage only in front of those. */
function noteFrames(
  scan: LogScan,
  walked: Walked,
  stream: { incarnation: number; watermark: number; nextFirst: number | undefined },
): void {
  const { segment, streamId, incarnation, firstBatch } = walked.frame
  const note = (what: string): void => void scan.damages.push({
    streamId, segment, batch: undefined, block: undefined, loss: false,
    reason: `the ${what} of segment ${segment} is damaged`,
  })
  const { trailer } = walked
  // Recovery keeps a batch whose segment header was torn, and proves it by a trailer alone.
  const isHeaderOptional = trailer !== undefined && isByRecovery(trailer)
  if (!walked.hasHeader && !isHeaderOptional && firstBatch <= stream.watermark) note('header')
  if (trailer !== undefined) {
    const isDurable = isHeaderOptional || incarnation !== stream.incarnation || trailer.lastBatch < stream.watermark
    if (walked.summaryDamaged && isDurable) note('summary')
    return
  }
  const wasSealed = stream.nextFirst !== undefined && stream.nextFirst <= stream.watermark
  if (wasSealed || incarnation !== stream.incarnation) note('trailer')
}

const isByRecovery = (trailer: Trailer): boolean => (trailer.flags & TRAILER_FLAG.sealedByRecovery) !== 0

function isWhole(disk: LogDisk, place: { segment: number; generation: number; startBlock: number }): boolean {
  const batch = readBatch(disk, place)
  return batch !== undefined && batch.records.every((record) => {
    if (record.kind === RECORD_KIND.control) return readBody(disk, place.segment, batch, record) !== undefined
    if (record.kind !== RECORD_KIND.write) return true
    let whole = true
    eachBlob(disk, place.segment, batch, record, () => true, ({ bytes }) => void (whole &&= bytes !== undefined))
    return whole
  })
}
