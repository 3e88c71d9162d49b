/**
 * Reading a snapshot of a copy: of each block the version that it shows, verified before it is given out.
 *
 * The head decides alone where its version is no newer than the snapshot and nothing was rolled back; else the older
 * versions are looked at beside it (FORMAT.md section 4).
 *
 * N1: what is shown was chosen at one moment at which the snapshot was there. From its deletion on the versions that
 *     only it showed are swept, and what is left below them is older: that would be other data, so it is looked at
 *     whether it is still there after everything that is waited for, in the turn in which the choice is made.
 */
import { ENTRY_KIND, ENTRY_WORDS, epochOf, hasEntry, kindOf, runLength, segmentOf, seqOf } from '../log/entry.ts'
import { loadPage } from '../log/page-visitor.ts'
import { readHistory } from '../log/version-history.ts'
import type { VolumeMap } from '../log/volume-map.ts'
import type { OpenedSnapshot } from '../replication/messages.ts'
import { epochAt, type EpochHistory } from '../replication/record-id.ts'
import type { BlockVersion } from '../replication/record.ts'
import { until, type Task } from '../task.ts'
import { PAGE_BLOCKS } from '../units.ts'
import type { Target } from './block-reader.ts'
import { kindName } from './copy-headers.ts'
import { isSharedAt } from './copy-base.ts'
import { fetchRun, holesFrom, readBase, type CopyReading } from './copy-reader.ts'
import type { CopyDescriptor } from './copy-part.ts'
import type { MetDamage } from './shared-damage.ts'

/** `gone`: the snapshot is not there any more. Undefined: it cannot be read; what is damaged is told apart. */
export type Shown<T> = T | 'gone' | undefined

/** By its name, else by its id. @param epochs  of everything accepted */
export function findSnapshot(
  { snapshots, spec }: Pick<CopyDescriptor, 'snapshots' | 'spec'>,
  epochs: EpochHistory,
  wanted: string,
): OpenedSnapshot | undefined {
  const shown = snapshots.filter(({ pinnedBy }) => pinnedBy === null)
  const found = shown.find(({ id, title }) => (title?.name ?? id) === wanted) ?? shown.find(({ id }) => id === wanted)
  if (found === undefined) return undefined
  const { id, seq, title, sizeBytes = spec.sizeBytes } = found
  return { id, epoch: epochAt(epochs, seq), seq, name: title?.name ?? id, sizeBytes }
}

/**
 * @param seq  of the snapshot
 * @param damaged  gets the ids of versions that could not be read, when that is why the answer is undefined
 * @returns one version for each block, in order; a block that shows nothing is a trim of seq 0
 */
export function* readSnapshotBlocks(
  o: CopyReading,
  seq: number,
  { lba, blockCount }: { lba: number; blockCount: number },
  damaged: MetDamage[],
): Task<Shown<BlockVersion[]>> {
  const versions: BlockVersion[] = []
  for (let at = lba; at < lba + blockCount;) {
    const target = o.target(at)
    if (target === undefined || target.stream.failed || target.map.isDeleted) return undefined
    const end = Math.min(lba + blockCount, (Math.floor(at / PAGE_BLOCKS) + 1) * PAGE_BLOCKS)
    const words = yield* shownEntries(target, seq, at, end)
    if (words === undefined || words === 'gone') return words
    const isShared = isSharedAt(target.map, at)
    const read = yield* fetchShown(o, target, { lba: at, words, isShared }, versions, damaged)
    if (read === undefined) return undefined
    // It got blocks of its own meanwhile: they are looked for anew.
    at += read
  }
  return versions
}

/** Whether some snapshot of this seq is there: all that stand at one seq show the same. */
export const isShown = ({ views }: VolumeMap, seq: number): boolean => views.hasSnapshotIn(seq, seq + 1)

/** The entries that a snapshot shows of blocks `first .. end - 1` of one page, one behind the other. */
function* shownEntries(
  { stream, map }: Target,
  seq: number,
  first: number,
  end: number,
): Task<Shown<Uint32Array>> {
  const pageNumber = Math.floor(first / PAGE_BLOCKS)
  const from = (first - pageNumber * PAGE_BLOCKS) * ENTRY_WORDS
  const to = from + (end - first) * ENTRY_WORDS
  for (;;) {
    const page = yield* loadPage(stream.map, map, pageNumber)
    if (page === undefined) return undefined
    if (!isShown(map, seq)) return 'gone'
    if (!needsOlder(map, page.words, from, to, seq)) return page.words.slice(from, to)
    page.pins++
    const older = yield* until<Map<number, Uint32Array[]> | undefined>((resume) =>
      readHistory(stream.map, map, first, end, resume),
    )
    page.pins--
    if (older === undefined) return undefined
    if (!isShown(map, seq)) return 'gone'
    // Rolled back meanwhile, or dropped: what was the head may be in neither of both.
    if (stream.map.page(map, pageNumber) !== page) continue
    return chosen(map, page.words.slice(from, to), older, seq, first)
  }
}

function needsOlder(map: VolumeMap, words: Uint32Array, from: number, to: number, seq: number): boolean {
  if (map.views.hasRollbacks) return true
  for (let at = from; at < to; at += ENTRY_WORDS) if (hasEntry(words, at) && seqOf(words, at) > seq) return true
  return false
}

/** Of head and older versions the newest that the snapshot sees. @param words  of the head, replaced in place */
function chosen(
  map: VolumeMap,
  words: Uint32Array,
  older: ReadonlyMap<number, Uint32Array[]>,
  seq: number,
  first: number,
): Uint32Array {
  const { views } = map
  for (let at = 0, lba = first; at < words.length; at += ENTRY_WORDS, lba++) {
    const isSeen = hasEntry(words, at) && !views.hidden(seq, seqOf(words, at))
    const found = older.get(lba)?.findLast((one) => !views.hidden(seq, seqOf(one, 0)))
    if (isSeen && (found === undefined || seqOf(found, 0) < seqOf(words, at))) continue
    if (found === undefined) words.fill(0, at, at + ENTRY_WORDS)
    else words.set(found, at)
  }
  return words
}

/**
 * The segments stay where they are until everything is read: the cleaner would give them away.
 * @param isShared  what shows nothing of its own shows what a clone began as
 * @returns of how many blocks the versions were read
 */
function* fetchShown(
  o: CopyReading,
  target: Target,
  { lba, words, isShared }: { lba: number; words: Uint32Array; isShared: boolean },
  versions: BlockVersion[],
  damaged: MetDamage[],
): Task<number | undefined> {
  const { stream } = target
  const { readers } = stream.segments
  const count = words.length / ENTRY_WORDS
  // Each once: they are counted in 16 bits, and many read at a time.
  const pinned = new Set<number>()
  for (let i = 0; i < count; i++) {
    if (kindOf(words, i * ENTRY_WORDS) === ENTRY_KIND.data) pinned.add(segmentOf(words, i * ENTRY_WORDS))
  }
  for (const segment of pinned) readers[segment] = readers[segment]! + 1
  let isWhole = true
  let i = 0
  while (i < count) {
    const w = i * ENTRY_WORDS
    const kind = kindOf(words, w)
    if (kind === ENTRY_KIND.none && isShared) {
      const below: BlockVersion[] | 'own' | undefined =
        yield* readBase(o, target, lba + i, holesFrom(words, w, count - i), damaged)
      if (below === 'own') break
      isWhole = below !== undefined
      if (below === undefined) break
      versions.push(...below)
      i += below.length
      continue
    }
    if (kind !== ENTRY_KIND.data) {
      const id = kind === ENTRY_KIND.none ? { epoch: 0, seq: 0 } : { epoch: epochOf(words, w), seq: seqOf(words, w) }
      const name = kind === ENTRY_KIND.none ? ('trim' as const) : kindName(kind)
      versions.push({ ...id, lba: lba + i, kind: name, payload: undefined })
      i++
      continue
    }
    const run = runLength(words, w, count - i)
    const payloads = yield* fetchRun(o, stream, lba + i, words.slice(w, w + run * ENTRY_WORDS), run, damaged)
    if (payloads === undefined) {
      isWhole = false
      break
    }
    for (const [k, payload] of payloads.entries()) {
      const at = (i + k) * ENTRY_WORDS
      const id = { epoch: epochOf(words, at), seq: seqOf(words, at) }
      versions.push({ ...id, lba: lba + i + k, kind: 'write', payload })
    }
    i += run
  }
  for (const segment of pinned) readers[segment] = readers[segment]! - 1
  return isWhole ? i : undefined
}
