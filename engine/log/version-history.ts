/**
 * Older versions of blocks, which some snapshot sees: changes wait in memory for the checkpoint that writes them, the
 * rest is in the index.
 */
import { compareVersions, epochOf, seqOf } from './entry.ts'
import type { ExtentMap } from './extent-map.ts'
import { decodeEntryValue, historyKey, historyRange, parseHistoryKey } from './index-keys.ts'
import type { VolumeMap } from './volume-map.ts'

export function putHistory(map: VolumeMap, lba: number, entry: Uint32Array): void {
  historyAt(map, lba).set(versionKey(entry), entry)
}

/** Also when the index still has it. */
export function dropHistory(map: VolumeMap, lba: number, entry: Uint32Array): void {
  historyAt(map, lba).set(versionKey(entry), null)
}

/** All older versions of blocks `first .. end - 1`, by LBA, each list oldest first. */
export function readHistory(
  extents: ExtentMap,
  map: VolumeMap,
  first: number,
  end: number,
  done: (found: Map<number, Uint32Array[]> | undefined) => void,
): void {
  const { commits } = extents.loads
  extents.index.range({ ...historyRange(map.number, first, end), limit: 1 << 24 }, (ok, entries) => {
    if (!ok) return done(undefined)
    // A checkpoint ended meanwhile: what it wrote is no longer in memory, and the index may have answered before it.
    if (extents.loads.commits !== commits) return readHistory(extents, map, first, end, done)
    const merged = new Map<number, Map<string, Uint32Array | null>>()
    const at = (lba: number): Map<string, Uint32Array | null> => {
      let versions = merged.get(lba)
      if (versions === undefined) merged.set(lba, (versions = new Map()))
      return versions
    }
    for (const [key, value] of entries) {
      const words = decodeEntryValue(value)
      if (words === undefined) return done(undefined)
      at(parseHistoryKey(key).lba).set(versionKey(words), words)
    }
    for (const source of [map.committingHistory, map.history])
      for (const [lba, versions] of within(source, first, end))
        for (const [id, words] of versions) at(lba).set(id, words)
    const found = new Map<number, Uint32Array[]>()
    for (const [lba, versions] of merged) {
      const list = [...versions.values()].filter((words) => words !== null)
      if (list.length > 0)
        found.set(
          lba,
          list.sort((a, b) => compareVersions(a, 0, b, 0)),
        )
    }
    done(found)
  })
}

/** Of a block. */
export interface VersionOfBlock {
  lba: number
  epoch: number
  seq: number
}

/**
 * Whether exactly these are older versions, and their entries; `undefined` in place of one that is none. Those that are
 * not in memory are asked for at once, so that the index looks for all of them together.
 */
export function findVersions(
  extents: ExtentMap,
  map: VolumeMap,
  wanted: readonly VersionOfBlock[],
  done: (found: Array<Uint32Array | undefined> | undefined) => void,
): void {
  const { commits } = extents.loads
  const asked = wanted.filter((one) => changedVersion(map, one) === undefined)
  if (asked.length === 0) return done(wanted.map((one) => changedVersion(map, one) ?? undefined))
  const keys = asked.map(({ lba, epoch, seq }) => historyKey(map.number, lba, epoch, seq))
  extents.index.getMany(keys, (ok, values) => {
    if (!ok) return done(undefined)
    // As `readHistory`.
    if (extents.loads.commits !== commits) return findVersions(extents, map, wanted, done)
    const found = new Map<VersionOfBlock, Uint32Array>()
    for (const [i, value] of values.entries()) {
      const words = value === undefined ? undefined : decodeEntryValue(value)
      if (value !== undefined && words === undefined) return done(undefined)
      if (words !== undefined) found.set(asked[i]!, words)
    }
    done(
      wanted.map((one) => {
        const changed = changedVersion(map, one)
        return (changed === undefined ? found.get(one) : changed) ?? undefined
      }),
    )
  })
}

/** What became of an older version since the last checkpoint that is durable; null: it is none. Undefined: nothing. */
export function changedVersion(map: VolumeMap, { lba, epoch, seq }: VersionOfBlock): Uint32Array | null | undefined {
  const versions = map.history.get(lba)
  const committing = map.committingHistory.get(lba)
  if (versions === undefined && committing === undefined) return undefined
  const id = `${epoch}:${seq}`
  const changed = versions?.get(id)
  return changed === undefined ? committing?.get(id) : changed
}

/** Those of blocks `first .. end - 1`; most questions are about a block or a page, and the changes of many wait. */
function* within<T>(source: Map<number, T>, first: number, end: number): Generator<[lba: number, T]> {
  if (end - first > source.size) {
    for (const [lba, one] of source) if (lba >= first && lba < end) yield [lba, one]
    return
  }
  for (let lba = first; lba < end; lba++) {
    const one = source.get(lba)
    if (one !== undefined) yield [lba, one]
  }
}

function historyAt(map: VolumeMap, lba: number): Map<string, Uint32Array | null> {
  let versions = map.history.get(lba)
  if (versions === undefined) map.history.set(lba, (versions = new Map()))
  map.changed = true
  return versions
}

/** (epoch, seq) of an entry as a map key. */
const versionKey = (words: Uint32Array): string => `${epochOf(words, 0)}:${seqOf(words, 0)}`
