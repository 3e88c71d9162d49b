/**
 * What a copy of a clone shows in the holes of a slice that it shares: entries of its origin's map on the same stream,
 * as of the seq at which the clone began (FORMAT.md section 8).
 *
 *   clone's map        [own] hole hole hole
 *   origin's, at S            [a]  hole hole        below a hole in turn its own origin, if it shares the slice
 *   its origin's, at S'             [b] none
 *
 * What a map that is pinned shows at a seq never changes, only where it lies. So levels may be read one after the
 * other, as long as the same ones are shared at the end, and the segments are kept until the blocks were read.
 */
import { ENTRY_KIND, ENTRY_WORDS, hasEntry, kindOf, segmentOf, seqOf } from '../log/entry.ts'
import { loadPage } from '../log/page-visitor.ts'
import type { StoreStream } from '../log/store-stream.ts'
import { readHistory } from '../log/version-history.ts'
import type { MapPage, VolumeMap } from '../log/volume-map.ts'
import { until, type Task } from '../task.ts'
import { PAGE_BLOCKS, SLICE_BLOCKS } from '../units.ts'
import type { Target } from './block-reader.ts'
import { generationIn, type VolumeDescriptor } from './descriptor.ts'

/** A map below a clone's, and at which seq it is seen. */
export interface Level {
  map: VolumeMap
  viewSeq: number
}

/** Entries of blocks that follow each other, none for a hole; `owners`: whose each is. Kept until `release`. */
export interface BaseBlocks {
  firstLba: number
  words: Uint32Array
  owners: ReadonlyArray<VolumeMap | undefined>
  release(): void
}

/**
 * What lies below a slice of a map, the nearest first; empty: nothing is shared. Undefined: what is shared is not there
 * as it was, and nothing of it may be shown.
 */
export function levelsBelow(stream: StoreStream, map: VolumeMap, slice: number): Level[] | undefined {
  const levels: Level[] = []
  for (let { descriptor } = map; ;) {
    const generation = generationIn(descriptor.origin?.[2] ?? [], slice)
    if (generation === 0) return levels
    const [originId, viewSeq] = descriptor.origin!
    const below = stream.volumesById.get(originId)
    if (below === undefined || !isPinned(below.descriptor, descriptor.spec.id, viewSeq)) return undefined
    if (!isHere(below.descriptor, stream, slice, generation)) return undefined
    levels.push({ map: below, viewSeq })
    descriptor = below.descriptor
  }
}

/** Whether a map looks below itself at a block. */
export const isSharedAt = ({ descriptor: { origin } }: VolumeMap, lba: number): boolean =>
  generationIn(origin?.[2] ?? [], Math.floor(lba / SLICE_BLOCKS)) !== 0

const isPinned = ({ copy }: VolumeDescriptor, cloneId: string, seq: number): boolean =>
  copy?.pins?.some((pin) => pin[0] === cloneId && pin[1] === seq) === true

/** Whether a slice lies on this stream under a generation. */
function isHere({ slices }: VolumeDescriptor, { context }: StoreStream, slice: number, generation: number): boolean {
  const runs = slices.find(([disk, stream]) => disk === context.diskUuid && stream === context.streamId)?.[2]
  return runs !== undefined && generationIn(runs, slice) === generation
}

/**
 * What blocks of one page show below the map.
 * @returns `own` when nothing is shared there (any more); undefined when it is lost, or the index cannot be read
 */
export function* baseBlocks(
  { stream, map }: Target,
  from: number,
  count: number,
): Task<BaseBlocks | 'own' | undefined> {
  const slice = Math.floor(from / SLICE_BLOCKS)
  for (;;) {
    const levels = levelsBelow(stream, map, slice)
    if (levels === undefined) return undefined
    if (levels.length === 0) return 'own'
    const words = new Uint32Array(count * ENTRY_WORDS)
    const owners = new Array<VolumeMap | undefined>(count).fill(undefined)
    // Once a segment, however many blocks of it: its readers are counted in 16 bits.
    const kept = new Set<number>()
    const release = (): void => {
      for (const segment of kept) stream.segments.readers[segment] = stream.segments.readers[segment]! - 1
    }
    let isRead = true
    for (const level of levels) {
      const shown = yield* shownAt(stream, level, from, count)
      if (shown === undefined) {
        isRead = false
        break
      }
      for (let i = 0, w = 0; i < count; i++, w += ENTRY_WORDS) {
        if (hasEntry(words, w) || !hasEntry(shown, w)) continue
        words.set(shown.subarray(w, w + ENTRY_WORDS), w)
        owners[i] = level.map
        if (kindOf(shown, w) !== ENTRY_KIND.data) continue
        const segment = segmentOf(shown, w)
        if (kept.has(segment)) continue
        stream.segments.readers[segment] = stream.segments.readers[segment]! + 1
        kept.add(segment)
      }
    }
    if (isRead && isSame(levels, levelsBelow(stream, map, slice))) return { firstLba: from, words, owners, release }
    release()
    if (!isRead) return undefined
  }
}

const isSame = (a: readonly Level[], b: readonly Level[] | undefined): boolean =>
  a.length === b?.length && a.every(({ map, viewSeq }, i) => b[i]!.map === map && b[i]!.viewSeq === viewSeq)

/** Entries that a map shows at a seq, as they are in the turn in which this ends. */
function* shownAt(
  stream: StoreStream,
  { map, viewSeq }: Level,
  from: number,
  count: number,
): Task<Uint32Array | undefined> {
  const extents = stream.map
  const number = Math.floor(from / PAGE_BLOCKS)
  for (;;) {
    const page = yield* loadPage(extents, map, number)
    if (page === undefined) return undefined
    if (!needsHistory(page, { map, viewSeq }, from, count)) return shown(page, { map, viewSeq }, from, count)
    page.pins++
    const history = yield* until<Map<number, Uint32Array[]> | undefined>((resume) =>
      readHistory(extents, map, from, from + count, resume),
    )
    page.pins--
    if (history === undefined) return undefined
    // A rollback came meanwhile: the page has to be rewound first.
    if (extents.page(map, number) === page) return shown(page, { map, viewSeq }, from, count, history)
  }
}

/** Whether some block may show an older version than the head. */
function needsHistory(page: MapPage, { map, viewSeq }: Level, from: number, count: number): boolean {
  if (!map.hasHistory) return false
  if (map.views.hasRollbacks || map.isDeleted) return true
  for (let i = 0, at = (from - page.firstLba) * ENTRY_WORDS; i < count; i++, at += ENTRY_WORDS)
    if (hasEntry(page.words, at) && seqOf(page.words, at) > viewSeq) return true
  return false
}

function shown(
  page: MapPage,
  { map, viewSeq }: Level,
  from: number,
  count: number,
  history?: Map<number, Uint32Array[]>,
): Uint32Array {
  const found = new Uint32Array(count * ENTRY_WORDS)
  const { views } = map
  for (let i = 0; i < count; i++) {
    const at = (from + i - page.firstLba) * ENTRY_WORDS
    const head = page.words.subarray(at, at + ENTRY_WORDS)
    let best: Uint32Array | undefined
    if (hasEntry(head, 0) && !views.hidden(viewSeq, seqOf(head, 0))) best = head
    for (const words of history?.get(from + i) ?? [])
      if (!views.hidden(viewSeq, seqOf(words, 0)) && (best === undefined || seqOf(words, 0) > seqOf(best, 0)))
        best = words
    if (best !== undefined) found.set(best, i * ENTRY_WORDS)
  }
  return found
}
