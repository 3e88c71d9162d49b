/** What changed in a slice between marks (change-log.ts): what the index has of it, and what is noted since. */
import type { IndexPort } from '../ports.ts'
import { until, type Task } from '../task.ts'
import { addChanges, type ChangePaint } from './change-set.ts'
import type { ExtentMap } from './extent-map.ts'
import { changeRange, keyBehind } from './index-keys.ts'
import type { VolumeMap } from './volume-map.ts'

/** Values are read in pieces of about so many bytes. */
const READ_BYTES = 256 * 1024
const FIRST_VALUES = 16
const VALUES_MAX = 4096

/**
 * Paint in `paint`, which is emptied, what came between the marks of each interval; when it ends, it is so in that
 * very turn. A block that is told as written may have been rewritten, and one that was to be looked at may be the same.
 * False: the index cannot be read.
 * Cost O(values), and bounded memory.
 */
export function* readChanges(
  extents: ExtentMap,
  map: VolumeMap,
  { slice, intervals }: { slice: number; intervals: ReadonlyArray<readonly [above: number, upTo: number]> },
  paint: ChangePaint,
): Task<boolean> {
  for (;;) {
    yield* until<void>((resume) => extents.loads.whenCommitted(() => resume()))
    const { commits } = extents.loads
    paint.clear()
    let isWhole = true
    for (const [above, upTo] of intervals) {
      const range = changeRange({ volume: map.number, slice }, above, upTo)
      const ended = yield* eachValue(extents.index, range, (_, value) => (isWhole &&= addChanges(value, paint)))
      if (!ended || !isWhole) return false
    }
    // A checkpoint took notes out of memory, and the index may have answered before it had them.
    if (extents.loads.commits !== commits || extents.committing !== undefined) continue
    for (const [above, upTo] of intervals) map.changes.addTo(paint, slice, above, upTo)
    return true
  }
}

/** In order of their keys. False: the index cannot be read. */
export function* eachValue(
  index: IndexPort,
  { from, below }: { from: Uint8Array; below: Uint8Array },
  visit: (key: Uint8Array, value: Uint8Array) => void,
): Task<boolean> {
  let limit = FIRST_VALUES
  let at = from
  for (;;) {
    const entries = yield* until<Array<[Uint8Array, Uint8Array]> | undefined>((resume) =>
      index.range({ from: at, below, limit }, (ok, found) => resume(ok ? found : undefined)),
    )
    if (entries === undefined) return false
    let bytes = 0
    for (const [key, value] of entries) {
      visit(key, value)
      bytes += value.length
    }
    if (entries.length < limit) return true
    at = keyBehind(entries.at(-1)![0])
    limit = Math.max(FIRST_VALUES, Math.min(VALUES_MAX, Math.floor((READ_BYTES * entries.length) / (bytes + 1))))
  }
}
