/**
 * Versions by their exact id (SPEC.md section 10): read for another copy that lost its own, and written anew here where
 * the medium lost them. What is written anew is a cleaner's copy from the damaged place (FORMAT.md section 6): the same
 * id, the same checksum, in force only while the map still shows the damaged place. What a clone shares is repaired in
 * the map that owns it, so for all that share it.
 */
import { hexToUuid } from '../log/bytes.ts'
import {
  crcOf, ENTRY_KIND, ENTRY_WORDS, epochOf, kindOf, segmentOf, seqOf, storedUnitsOf, transformOf, unitsOf,
} from '../log/entry.ts'
import type { Append } from '../log/log-batch.ts'
import { BORN_FIRST, RECORD_FLAG, RECORD_KIND } from '../log/record.ts'
import { moveEntry } from '../log/relocation.ts'
import type { VolumeMap } from '../log/volume-map.ts'
import type { BlockVersion, VersionId } from '../replication/record.ts'
import { until, type Task } from '../task.ts'
import { TRANSFORM } from '../transform/transform.ts'
import { PAGE_BLOCKS, SLICE_BLOCKS, UNIT_BYTES } from '../units.ts'
import type { Target } from './block-reader.ts'
import { baseBlocks, isSharedAt } from './copy-base.ts'
import { blobsOf, headerOf, setTable } from './copy-headers.ts'
import { fetchRun, pageWithHistory, readingOf, type CopyReading } from './copy-reader.ts'
import type { LocalCopyStore } from './copy-store.ts'
import { generationOfSlice } from './descriptor.ts'

interface Found {
  words: Uint32Array
  isHead: boolean
  /** Of the map it is in. */
  map: VolumeMap
}

/** Of versions that were asked for by their ids. What is in none of these is not there. */
export interface ExactVersions {
  versions: BlockVersion[]
  /** They are there, and cannot be read. */
  damaged: VersionId[]
  /** Whether they are there cannot be told: the map cannot be read. */
  unknown: VersionId[]
}

/** Those of the versions that the map shows to some view. */
export function* readExact(o: CopyReading, wanted: readonly VersionId[]): Task<ExactVersions> {
  const exact: ExactVersions = { versions: [], damaged: [], unknown: [] }
  const { versions, damaged, unknown } = exact
  for (const id of wanted) {
    const target = o.target(id.lba)
    // On a disk that is not there, or not any more: what it had is filled anew.
    if (target === undefined || target.map.isDeleted) continue
    const found = yield* findExact(target, id)
    if (found === 'unknown' || target.stream.failed) unknown.push(id)
    else if (found !== 'none') {
      const reading = found.map === target.map ? o : readingOf(o, found.map)
      const payloads = yield* fetchRun(reading, target.stream, id.lba, found.words, 1, damaged)
      if (payloads !== undefined) versions.push({ ...id, kind: 'write', payload: payloads[0] })
    }
  }
  return exact
}

/**
 * The data entry of exactly this version, in the head, in the history, or in an origin's map, as it is in the turn in
 * which this ends. `none`: it is in none of them then, and other members may be told so; `unknown`: that cannot be
 * told, for the disk, the index, or what is shared, cannot be read.
 */
export function* findExact(target: Target, id: VersionId): Task<Found | 'none' | 'unknown'> {
  const { stream, map } = target
  for (;;) {
    if (stream.failed || map.isGone) return 'unknown'
    const own = yield* findIn({ stream, map }, id)
    if (own !== 'none' || !isSharedAt(map, id.lba)) return own
    const base = yield* baseBlocks(target, id.lba, 1)
    if (base === undefined) return 'unknown'
    // Not shared any more: what was seen there has become its own meanwhile.
    if (base === 'own') continue
    base.release()
    const owner = base.owners[0]
    const isIt = seqOf(base.words, 0) === id.seq && epochOf(base.words, 0) === id.epoch
    if (owner === undefined || !isIt || kindOf(base.words, 0) !== ENTRY_KIND.data) return 'none'
    // Whether it is that map's head matters: it may have been overwritten since.
    const shared = yield* findIn({ stream, map: owner }, id)
    // A map that is pinned keeps it; without the pin the slice is not shared any more.
    if (shared !== 'none') return shared
  }
}

/** Of one map; both are looked at in one turn, for a rollback takes versions from the history into the head. */
function* findIn(target: Target, { lba, epoch, seq }: VersionId): Task<Found | 'none' | 'unknown'> {
  const { map } = target
  const isIt = (words: Uint32Array): boolean =>
    kindOf(words, 0) === ENTRY_KIND.data && seqOf(words, 0) === seq && epochOf(words, 0) === epoch
  const both = yield* pageWithHistory(target, Math.floor(lba / PAGE_BLOCKS), lba, 1)
  if (both === undefined) return 'unknown'
  const at = (lba - both.page.firstLba) * ENTRY_WORDS
  const head = both.page.words.slice(at, at + ENTRY_WORDS)
  if (isIt(head)) return { words: head, isHead: true, map }
  const words = both.history.get(lba)?.find(isIt)
  return words === undefined ? 'none' : { words, isHead: false, map }
}

/** It is whole again, for all that show it of this map. */
export interface Mended {
  id: VersionId
  map: VolumeMap
}

/** Write these versions anew; when the task ends those that count are durable. @returns which they are */
export function* repairVersions(copy: LocalCopyStore, versions: readonly BlockVersion[]): Task<Mended[]> {
  const mended: Mended[] = []
  for (const version of versions) {
    const target = copy.layout.target(version.lba)
    const found = target === undefined ? 'none' : yield* findExact(target, version)
    if (target === undefined || found === 'none' || found === 'unknown') continue
    const isWritten = yield* rewrite(copy, target, version, found)
    if (isWritten) mended.push({ id: { lba: version.lba, epoch: version.epoch, seq: version.seq }, map: found.map })
  }
  return mended
}

function* rewrite(
  copy: LocalCopyStore, target: Target, version: BlockVersion, { words, isHead, map }: Found,
): Task<boolean> {
  const { stream } = target
  const { descriptor } = map
  const slice = Math.floor(version.lba / SLICE_BLOCKS)
  // What is there still is of its former generation, and would come back under the new one when the index is lost.
  if (map.copy?.wiping.includes(slice)) return false
  const { epoch, seq, lba, payload } = version
  const { bytes, stored } = blobsOf(payload!)
  const id = { kind: RECORD_KIND.write, epoch, seq, lba, blockCount: 1 }
  const record = headerOf(hexToUuid(descriptor.spec.id), id, undefined)
  const { crc32c, tag } = map === target.map ? copy.reading : readingOf(copy.reading, map)
  setTable(record, tag, { crcs: [crc32c(bytes) >>> 0], stored })
  // Whoever sent it: only what was written here once under this id fits.
  if (record.crcs[0] !== crcOf(words, 0) || bytes.length !== storedUnitsOf(words, 0) * UNIT_BYTES) return false
  // Where there was but a mark it is no mark any more.
  record.transform = transformOf(words, 0) & ~TRANSFORM.lost
  Object.assign(record, {
    flags: RECORD_FLAG.moved,
    sliceGeneration: generationOfSlice(descriptor, slice),
    fromSegment: segmentOf(words, 0),
    fromGeneration: stream.segments.generation[segmentOf(words, 0)]!,
    fromUnits: unitsOf(words, 0),
    bornBatch: isHead && !map.views.mayGoForth ? stream.oldestUnapplied() : BORN_FIRST,
  })
  const what = { record, payload: [bytes], payloadUnits: bytes.length / UNIT_BYTES, durable: true }
  const append = yield* until<Append | undefined>((resume) => {
    const run = (): void => copy.appends.append(target, what, resume, () => resume(undefined))
    copy.appends.holdRepair({ accepted: undefined, request: undefined, targets: [target], blocks: 1, run })
  })
  if (append === undefined) return false
  const changed = copy.changes()
  try {
    const isMoved = yield* moveEntry(stream, map, record, append)
    if (!isMoved) {
      copy.fail('the index cannot be read')
      return false
    }
  } finally {
    changed()
  }
  stream.applied(append.batch!)
  return true
}
