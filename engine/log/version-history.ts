/**
 * Older versions of blocks, which some snapshot sees: changes wait in memory for the checkpoint that writes them, the
 * rest is in the index.
 */
import { compareVersions, copyEntry, ENTRY_BYTES, ENTRY_WORDS } from './entry.ts'
import type { ExtentMap } from './extent-map.ts'
import { decodeEntryValue, HISTORY_KEY_BYTES, historyRange, parseHistoryKey, putHistoryKey } from './index-keys.ts'
import type { VolumeMap } from './volume-map.ts'

/** @returns where it stands in `map.history.words`, until another one is put or dropped */
export function putHistory(map: VolumeMap, lba: number, entry: Uint32Array, at = 0): number {
  map.changed = true
  return map.history.put(lba, entry, at)
}

/** Also when the index still has it. */
export function dropHistory(map: VolumeMap, lba: number, entry: Uint32Array): void {
  map.changed = true
  map.history.drop(lba, entry)
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
    const found = new Map<number, Uint32Array[]>()
    for (const [key, value] of entries) {
      const words = decodeEntryValue(value)
      if (words === undefined) return done(undefined)
      const { lba } = parseHistoryKey(key)
      const list = found.get(lba)
      if (list === undefined) found.set(lba, [words])
      else list.push(words)
    }
    for (const [lba, changes] of changesWithin(map, first, end)) {
      const list = merged(found.get(lba) ?? [], changes)
      if (list.length > 0) found.set(lba, list)
      else found.delete(lba)
    }
    done(found)
  })
}

/** A version as it is since the last durable checkpoint. */
interface VersionChange {
  words: Uint32Array
  isGone: boolean
}

/** By block, those that count behind those they replace. */
function changesWithin(map: VolumeMap, first: number, end: number): Map<number, VersionChange[]> {
  const changes = new Map<number, VersionChange[]>()
  for (const source of [map.committingHistory, map.history])
    source.eachWithin(first, end, (lba, at) => {
      const change = { words: source.words.slice(at, at + ENTRY_WORDS), isGone: source.isGone(at) }
      const list = changes.get(lba)
      if (list === undefined) changes.set(lba, [change])
      else list.push(change)
    })
  return changes
}

/** @param versions  of a block, oldest first, as the index orders them */
function merged(versions: readonly Uint32Array[], changes: VersionChange[]): Uint32Array[] {
  // A stable sort: of two changes of one version the later one stays behind.
  changes.sort((a, b) => compareVersions(a.words, 0, b.words, 0))
  const all: Uint32Array[] = []
  let next = 0
  for (const [i, { words, isGone }] of changes.entries()) {
    while (next < versions.length && compareVersions(versions[next]!, 0, words, 0) < 0) all.push(versions[next++]!)
    if (next < versions.length && compareVersions(versions[next]!, 0, words, 0) === 0) next++
    const following = changes[i + 1]
    const isReplaced = following !== undefined && compareVersions(following.words, 0, words, 0) === 0
    if (!isGone && !isReplaced) all.push(words)
  }
  while (next < versions.length) all.push(versions[next++]!)
  return all
}

/** Of a block. */
export interface VersionOfBlock {
  lba: number
  epoch: number
  seq: number
}

/**
 * Whether exactly these are older versions, and their entries, one behind the other; no entry (`hasEntry`) in place of
 * one that is none. Those that are not in memory are looked for in the index together. Undefined: it cannot be read.
 */
export function findVersions(
  extents: ExtentMap,
  map: VolumeMap,
  wanted: readonly VersionOfBlock[],
  done: (found: Uint32Array | undefined) => void,
): void {
  const { commits } = extents.loads
  const found = new Uint32Array(wanted.length * ENTRY_WORDS)
  const asked: number[] = []
  for (let i = 0; i < wanted.length; i++) if (!changedVersion(map, wanted[i]!, found, i * ENTRY_WORDS)) asked.push(i)
  if (asked.length === 0) return done(found)
  // In the order of their keys neighbours lie in one table of the index, often in one block of it.
  asked.sort((a, b) => wanted[a]!.lba - wanted[b]!.lba)
  extents.index.getMany(keysOf(map.number, wanted, asked), (ok, values) => {
    if (!ok) return done(undefined)
    // As `readHistory`.
    if (extents.loads.commits !== commits) return findVersions(extents, map, wanted, done)
    const bytes = new Uint8Array(found.buffer)
    for (let k = 0; k < asked.length; k++) {
      const value = values[k]
      if (value !== undefined && value.length !== ENTRY_BYTES) return done(undefined)
      if (value !== undefined) bytes.set(value, asked[k]! * ENTRY_BYTES)
    }
    // Also those that were not asked for, which may have changed again.
    for (let i = 0; i < wanted.length; i++) changedVersion(map, wanted[i]!, found, i * ENTRY_WORDS)
    done(found)
  })
}

/** Of these of the wanted versions, in one piece of memory. */
function keysOf(volume: number, wanted: readonly VersionOfBlock[], asked: readonly number[]): Uint8Array[] {
  const view = new DataView(new ArrayBuffer(asked.length * HISTORY_KEY_BYTES))
  return asked.map((i, k) => {
    const { lba, epoch, seq } = wanted[i]!
    putHistoryKey(view, k * HISTORY_KEY_BYTES, { volume, lba, epoch, seq })
    return new Uint8Array(view.buffer, k * HISTORY_KEY_BYTES, HISTORY_KEY_BYTES)
  })
}

/**
 * What became of an older version since the last checkpoint that is durable: its entry, or none, put at `at`. False:
 * nothing, and nothing is put.
 */
export function changedVersion(
  map: VolumeMap,
  { lba, epoch, seq }: VersionOfBlock,
  into: Uint32Array,
  at: number,
): boolean {
  let source = map.history
  let place = source.find(lba, epoch, seq)
  if (place < 0) {
    source = map.committingHistory
    place = source.find(lba, epoch, seq)
  }
  if (place < 0) return false
  if (source.isGone(place)) into[at] = 0
  else copyEntry(source.words, place, into, at)
  return true
}
