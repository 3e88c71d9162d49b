/**
 * The sweep behind a deleted snapshot: older versions that no other view sees are dropped, block by block of the
 * volume, and what the log of changes tells is merged.
 *
 *   first block --- lost here --------------- last block     a circle: it ends where it began, or where another
 *        ^ ...then up to there   up to the end... |          snapshot went last
 *        +----------------------------------------+
 *
 * So however often snapshots go, all blocks have their turn. A step looks at blocks with a few hundred versions, and
 * has nothing in its hand when it ends: between two of them checkpoints are made and segments cleaned.
 *
 * A checkpoint on the way has all that was dropped so far and that the sweep is not over, so it begins anew after a
 * crash, and finds less.
 */
import { until, type Task } from '../task.ts'
import { PAGE_BLOCKS } from '../units.ts'
import { pageWithHistory } from '../volume/copy-reader.ts'
import { mergeAll } from './change-merging.ts'
import { ENTRY_WORDS, seqOf } from './entry.ts'
import { historyRange, parseHistoryKey } from './index-keys.ts'
import type { StoreStream } from './store-stream.ts'
import { dropHistory } from './version-history.ts'
import type { VolumeMap } from './volume-map.ts'

const VERSIONS_A_STEP = 256
const BLOCKS_END = 2 ** 48 - 1

/**
 * False when the index cannot be read, or it was ended.
 * @param between  runs between two steps; it may make checkpoints and clean. False ends the sweep
 */
export function* sweepHistory(
  stream: StoreStream,
  volume: VolumeMap,
  between: () => Task<boolean>,
): Task<boolean> {
  let losses: number | undefined
  let startLba = 0
  let lba = 0
  let hasWrapped = false
  for (;;) {
    if (volume.losses !== losses) {
      losses = volume.losses
      startLba = lba
      hasWrapped = false
      // What is only in memory first becomes keys, so that one walk over the index sees everything.
      if (!(yield* until<boolean>((resume) => stream.makeCheckpoint(resume)))) return false
    }
    const endLba: number = hasWrapped ? startLba : BLOCKS_END
    const next: number | undefined = yield* sweepStep(stream, volume, lba, endLba)
    if (next === undefined) return false
    lba = next
    if (lba < endLba) {
      if (!(yield* between())) return false
      continue
    }
    if (!hasWrapped) {
      if (!(yield* mergeAll(stream, volume))) return false
      hasWrapped = true
      lba = 0
    }
    if (volume.losses !== losses || lba < startLba) continue
    volume.sweepHistory = false
    volume.changed = true
    return true
  }
}

/** @returns the block to go on with; `end`: there is none before it. Undefined when the index cannot be read */
function* sweepStep(stream: StoreStream, volume: VolumeMap, from: number, end: number): Task<number | undefined> {
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
