/**
 * Keeps the log of changes (change-log.ts) as short as what it tells: values between the same two marks become one, and
 * those that no mark lies below go. All in the background, and in the index with the next checkpoint.
 *
 * The newest values of an interval are merged with older ones that are not much larger than all newer ones together; so
 * there are O(log n) for n blocks, and each block is written anew O(log n) times, as in a tree of sorted runs.
 */
import { until, type Task } from '../task.ts'
import { addChanges, ChangePaint, encodeChanges } from './change-set.ts'
import { eachValue } from './change-reading.ts'
import { changeRange, changesOfSlices, parseChangeKey } from './index-keys.ts'
import type { StoreStream } from './store-stream.ts'
import type { VolumeMap } from './volume-map.ts'

/** An older value is merged while it is at most so many times as large as the newer ones. */
const LARGER_MOST = 2
/** Merged values wait for a checkpoint up to this. */
const EDIT_BYTES_MAX = 2 ** 20

type Values = Array<[key: Uint8Array, value: Uint8Array]>

/** Merge what lies behind the last mark of a slice, where values pile up. False: the index cannot be read. */
export const mergeNewest = (stream: StoreStream, volume: VolumeMap, slice: number): Task<boolean> =>
  mergeSlice(stream, volume, slice, volume.views.markBelow(Infinity) ?? 0)

/**
 * A mark went: merge what lay on both sides of it, in the first of these slices that has something.
 * @returns the slice to go on with; `end`: there is none before it. Undefined: the index cannot be read
 */
export function* mergeNext(
  stream: StoreStream, volume: VolumeMap, from: number, end: number,
): Task<number | undefined> {
  const range = { ...changesOfSlices(volume.number, from, end), limit: 1 }
  const first = yield* until<Values | undefined>((resume) =>
    stream.context.index.range(range, (ok, entries) => resume(ok ? entries : undefined)),
  )
  if (first === undefined) return undefined
  if (first.length === 0) return end
  const { slice } = parseChangeKey(first[0]![0])
  return (yield* mergeSlice(stream, volume, slice, 0)) ? slice + 1 : undefined
}

function* mergeSlice(stream: StoreStream, volume: VolumeMap, slice: number, above: number): Task<boolean> {
  const { map, context } = stream
  const { changes } = volume
  for (;;) {
    // What is read has to be what it is when it is changed.
    yield* until<void>((resume) => map.loads.whenCommitted(() => resume()))
    if (!changes.hasEdits(slice) && changes.editBytes <= EDIT_BYTES_MAX) break
    if (!(yield* until<boolean>((resume) => stream.makeCheckpoint(resume)))) return false
  }
  const { losses } = changes
  const values: Values = []
  const range = changeRange({ volume: volume.number, slice }, above, Infinity)
  const ended = yield* eachValue(context.index, range, (key, value) => values.push([key, value]))
  if (!ended) return false
  return changes.losses !== losses || mergeValues(volume, slice, values)
}

function mergeValues(volume: VolumeMap, slice: number, values: Values): boolean {
  const { views, changes } = volume
  let group: Values = []
  let groupMark: number | undefined
  for (const one of values) {
    const mark = views.markBelow(parseChangeKey(one[0]).seq)
    if (mark === undefined) {
      changes.edit(slice, one[0], undefined)
      continue
    }
    if (mark !== groupMark && !mergeGroup(volume, slice, group)) return false
    if (mark !== groupMark) group = []
    groupMark = mark
    group.push(one)
  }
  return mergeGroup(volume, slice, group)
}

const mergedPaint = new ChangePaint()

/** @param group  in order of their keys; the merged one takes the last of them */
function mergeGroup({ changes }: VolumeMap, slice: number, group: Values): boolean {
  let first = group.length - 1
  let bytes = group.at(-1)?.[1].length ?? 0
  for (; first > 0 && group[first - 1]![1].length <= LARGER_MOST * bytes; first--) bytes += group[first - 1]![1].length
  const merged = group.slice(Math.max(0, first))
  if (merged.length < 2) return true
  mergedPaint.clear()
  for (const [, value] of merged) if (!addChanges(value, mergedPaint)) return false
  for (const [key] of merged.slice(0, -1)) changes.edit(slice, key, undefined)
  changes.edit(slice, merged.at(-1)![0], encodeChanges(mergedPaint))
  return true
}

/** Nothing of slices `first .. end - 1` is of this volume any more. False: the index cannot be read. */
export function* forgetChanges(stream: StoreStream, volume: VolumeMap, first: number, end: number): Task<boolean> {
  const { map, context } = stream
  volume.changes.forget(first, end)
  // What it took before is in the index then.
  yield* until<void>((resume) => map.loads.whenCommitted(() => resume()))
  const keys: Uint8Array[] = []
  const range = changesOfSlices(volume.number, first, end)
  if (!(yield* eachValue(context.index, range, (key) => keys.push(key)))) return false
  // All in one turn: a merge that began meanwhile has read them, and would bring one back.
  volume.changes.losses++
  for (const key of keys) volume.changes.edit(parseChangeKey(key).slice, key, undefined)
  return true
}
