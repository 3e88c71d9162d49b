/**
 * Which segment the cleaner empties next: by cost and benefit (Rosenblum and Ousterhout, LFS 1991, section 3.6), free
 * space won times age, divided by the cost of reading and rewriting. Of those without live data the oldest is first:
 * some have trims or control records that stay, which are the newest when they were copied, and so are not taken again
 * before others.
 */
import { UNITS_PER_BLOCK } from '../units.ts'
import { SEGMENT_STATE } from './segment-table.ts'
import type { StoreStream } from './store-stream.ts'

/** Segments fuller than this are not worth their own rewriting. */
const LIVE_MOST = 0.98

/** The segment whose cleaning pays most, or undefined. */
export function chooseVictim(stream: StoreStream, skipped: ReadonlySet<number> = new Set()): number | undefined {
  const { segments, log } = stream
  const capacity = (log.segmentBlocks - 2) * UNITS_PER_BLOCK
  const before = log.position().batch
  const nowMs = stream.context.clock.nowMs()
  let best: number | undefined
  let bestScore = -1
  for (let segment = 0; segment < segments.count; segment++) {
    if (segments.state[segment] !== SEGMENT_STATE.sealed || segments.lastBatch[segment]! >= before) continue
    if (skipped.has(segment) || segments.held[segment]! > 0) continue
    if ((segments.readAgainAtMs.get(segment) ?? 0) > nowMs) continue
    const full = segments.live[segment]! / capacity
    if (full > LIVE_MOST || gainOf(segments.live[segment]!, log.segmentBlocks) < 1) continue
    const age = log.nextBatch - segments.lastBatch[segment]!
    const score = full === 0 ? Infinity : ((1 - full) * age) / (1 + full)
    const isOlder = score === bestScore && segments.lastBatch[segment]! < segments.lastBatch[best!]!
    if (score > bestScore || isOlder) {
      best = segment
      bestScore = score
    }
  }
  return best
}

/**
 * Blocks won by rewriting a segment: its copies need headers, and their segment a frame. Without a gain it never
 * ends.
 */
function gainOf(liveUnits: number, segmentBlocks: number): number {
  const liveBlocks = Math.ceil(liveUnits / UNITS_PER_BLOCK)
  return segmentBlocks - 3 - liveBlocks - (liveBlocks === 0 ? 0 : 1 + Math.ceil(liveBlocks / 128))
}
