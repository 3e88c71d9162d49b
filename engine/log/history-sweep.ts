/**
 * The sweep behind a deleted snapshot: older versions that no other view sees are dropped, block by block of the
 * volume, and what the log of changes tells is merged, slice by slice.
 *
 *   first block --- lost here --------- last block, first slice --- last slice     a circle: it ends where it began,
 *        ^ ...then up to there   up to the end...                            |     or where another snapshot went last
 *        +-------------------------------------------------------------------+
 *
 * So however often snapshots go, all blocks and slices have their turn. While they go faster than it comes round it
 * does not end: others have their turns between its steps (maintenance.ts). A step looks at blocks with a few hundred
 * versions, or at a slice, and has nothing in its hand when it ends: checkpoints are made then, and segments cleaned.
 *
 * A checkpoint on the way has all that was dropped so far and that the sweep is not over, so it begins anew after a
 * crash, and finds less.
 */
import { until, type Task } from '../task.ts'
import { PAGE_BLOCKS } from '../units.ts'
import { pageWithHistory } from '../volume/copy-reader.ts'
import { mergeNext } from './change-merging.ts'
import { ENTRY_WORDS, seqOf } from './entry.ts'
import { historyRange, parseHistoryKey } from './index-keys.ts'
import type { StoreStream } from './store-stream.ts'
import { dropHistory } from './version-history.ts'
import { SLICES_MAX, type VolumeMap } from './volume-map.ts'

const VERSIONS_A_STEP = 256
const BLOCKS_END = 2 ** 48 - 1
/** Places of the circle: blocks, then slices. */
const CIRCLE_END = BLOCKS_END + SLICES_MAX

export class HistorySweep {
  private readonly stream: StoreStream
  private readonly volume: VolumeMap
  /** Of the volume, when it was at `startAt`. */
  private losses: number | undefined
  private startAt = 0
  private at = 0
  private hasWrapped = false
  /** It has been everywhere once, and ends as soon as snapshots go more slowly. */
  hasBeenRound = false

  constructor(stream: StoreStream, volume: VolumeMap) {
    this.stream = stream
    this.volume = volume
  }

  /** Go on by one step. `unreadable`: the index could not be read; it may be tried again. */
  *step(): Task<'more' | 'over' | 'unreadable'> {
    const { stream, volume } = this
    if (volume.losses !== this.losses) {
      const { losses } = volume
      // What is only in memory first becomes keys, so that one walk over the index sees everything.
      if (!(yield* until<boolean>((resume) => stream.makeCheckpoint(resume)))) return 'unreadable'
      this.losses = losses
      this.startAt = this.at
      this.hasWrapped = false
    }
    const end = this.hasWrapped ? this.startAt : CIRCLE_END
    const isBlock = this.at < BLOCKS_END
    const next = yield* isBlock
      ? sweepBlocks(stream, volume, this.at, Math.min(end, BLOCKS_END))
      : mergeNext(stream, volume, this.at - BLOCKS_END, end - BLOCKS_END)
    if (next === undefined) return 'unreadable'
    this.at = isBlock ? next : BLOCKS_END + next
    if (this.at === CIRCLE_END) {
      this.at = 0
      this.hasWrapped = true
      this.hasBeenRound = true
    }
    if (volume.losses !== this.losses || !this.hasWrapped || this.at < this.startAt) return 'more'
    volume.sweepHistory = false
    volume.changed = true
    return 'over'
  }
}

/** @returns the block to go on with; `end`: there is none before it. Undefined when the index cannot be read */
function* sweepBlocks(stream: StoreStream, volume: VolumeMap, from: number, end: number): Task<number | undefined> {
  const range = { ...historyRange(volume.number, from, end), limit: VERSIONS_A_STEP }
  const lbas = yield* until<number[] | undefined>((resume) =>
    stream.context.index.range(range, (ok, entries) =>
      resume(ok ? entries.map(([key]) => parseHistoryKey(key).lba) : undefined),
    ),
  )
  if (lbas === undefined) return undefined
  for (let i = 0; i < lbas.length;) {
    const first = lbas[i]!
    const page = Math.floor(first / PAGE_BLOCKS)
    let last = first
    while (i < lbas.length && Math.floor(lbas[i]! / PAGE_BLOCKS) === page) last = lbas[i++]!
    if (!(yield* sweepPage(stream, volume, page, first, last + 1))) return undefined
  }
  return lbas.length < VERSIONS_A_STEP ? end : lbas.at(-1)! + 1
}

/** Blocks `first .. end - 1` of a page. False when the index cannot be read. */
function* sweepPage(
  stream: StoreStream,
  volume: VolumeMap,
  pageNumber: number,
  first: number,
  end: number,
): Task<boolean> {
  const both = yield* pageWithHistory({ stream, map: volume }, pageNumber, first, end - first)
  if (both === undefined) return false
  const { page, history } = both
  for (const [lba, versions] of history) {
    const at = (lba - page.firstLba) * ENTRY_WORDS
    const seqs = versions.map((words) => seqOf(words, 0))
    if (page.words[at] !== 0) seqs.push(seqOf(page.words, at))
    const shown = volume.views.shownBySnapshots(seqs.sort((a, b) => a - b))
    for (const words of versions)
      if (!shown.has(seqOf(words, 0))) {
        stream.map.releaseEntry(volume, words, 0)
        dropHistory(volume, lba, words)
      }
  }
  return true
}
