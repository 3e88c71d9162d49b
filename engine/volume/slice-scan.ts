/**
 * All versions of a slice between two seqs, page by page: of the head, of the history, and of what a clone shares with
 * its origin. For whoever fills another copy, and for a clone that gets blocks of its own.
 */
import {
  ENTRY_KIND, ENTRY_WORDS, epochOf, kindOf, segmentOf, seqOf, storedUnitsOf, unitsOf, unitsOfRun,
} from '../log/entry.ts'
import type { ScanRange } from '../replication/copy-store.ts'
import type { BlockVersion, VersionId } from '../replication/record.ts'
import type { Task } from '../task.ts'
import { BLOCK_BYTES, PAGE_BLOCKS, SLICE_BLOCKS, UNIT_BYTES } from '../units.ts'
import type { Target } from './block-reader.ts'
import { baseBlocks, levelsBelow, type BaseBlocks } from './copy-base.ts'
import { kindName } from './copy-headers.ts'
import { fetchRun, pagesFrom, pageVersions, readingOf, type CopyReading, type FoundVersion } from './copy-reader.ts'
import { isAmong, lostMark } from './lost-mark.ts'
import { hasPins, withoutPinned } from './own-views.ts'

export const PAGES_PER_SLICE = SLICE_BLOCKS / PAGE_BLOCKS

/**
 * Versions with `above < seq <= upTo` from block `cursor` of the slice on, whole blocks at a time; not what clones
 * beside the copy show alone.
 * @param range  `lost`: versions that nobody has; where they cannot be read here either, their marks are given instead
 */
export function* scanSlice(
  o: CopyReading,
  range: ScanRange,
  damaged: VersionId[],
): Task<{ versions: BlockVersion[]; cursor: number | undefined } | undefined> {
  const { slice, above, upTo, cursor, bytesMax, lost = [] } = range
  const firstLba = slice * SLICE_BLOCKS
  const target = o.target(firstLba)
  if (target === undefined || target.stream.failed) return undefined
  const scanMemory: (size: number) => Uint8Array = o.scanMemory ?? ((size) => new Uint8Array(size))
  const versions: BlockVersion[] = []
  let bytes = 0
  let pageNumber: number | undefined = Math.floor((firstLba + cursor) / PAGE_BLOCKS)
  const endPage = (slice + 1) * PAGES_PER_SLICE
  for (;;) {
    pageNumber = yield* nextPage(target, pageNumber, endPage)
    if (pageNumber === undefined) return { versions, cursor: undefined }
    if (pageNumber < 0) return undefined
    const isAsked = (seq: number): boolean => seq > above && seq <= upTo
    const isRead = hasPins(target.map)
    const page = yield* versionsOfPage(target, pageNumber, isRead ? () => true : isAsked)
    if (page === undefined) return undefined
    const found = isRead
      ? withoutPinned(target.map, page.found).filter(({ words }) => isAsked(seqOf(words, 0)))
      : page.found
    let next: number | undefined
    let failed = false
    // One piece of memory for all of a page: one for each block is more work for the collector than all the rest.
    let memory: Uint8Array = new Uint8Array(0)
    for (let at = 0; at < found.length;) {
      const { lba, words, owner } = found[at]!
      if (lba < firstLba + cursor) {
        at++
        continue
      }
      if (bytes >= bytesMax && versions.at(-1)?.lba !== lba) {
        next = lba - firstLba
        break
      }
      const kind = kindOf(words, 0)
      if (kind !== ENTRY_KIND.data) {
        versions.push({ epoch: epochOf(words, 0), seq: seqOf(words, 0), lba, kind: kindName(kind), payload: undefined })
        bytes += VERSION_BYTES
        at++
        continue
      }
      const isLost = lost.length > 0 && isAmong(lost, lba, words)
      const most = isLost ? 1 : Math.max(1, Math.ceil((bytesMax - bytes) / BLOCK_BYTES))
      const run = runOf(found, at, beforeLost(lost, found, at, most))
      const runBytes = unitsOfRun(run.words, run.count) * UNIT_BYTES
      if (memory.length < runBytes)
        memory = scanMemory(Math.max(runBytes, Math.min(most, found.length - at) * BLOCK_BYTES))
      const into = memory.subarray(0, runBytes)
      memory = memory.subarray(into.length)
      const reading = owner === undefined ? o : readingOf(o, owner)
      const met: VersionId[] = isLost ? [] : damaged
      const read = yield* fetchRun(reading, target.stream, lba, run.words, run.count, met, into)
      // What is shared a copy of the origin may have, which nobody here asks: theirs is told, and no mark made of it.
      if (read === undefined) for (const id of met) owner?.copy?.onDamaged(id)
      const isMarked = read === undefined && met.length > 0 && isLost && owner === undefined
      const payloads = isMarked ? [lostMark(reading, lba, run.words)] : read
      if (payloads === undefined) {
        failed = true
        break
      }
      for (const [i, payload] of payloads.entries()) {
        const w = i * ENTRY_WORDS
        const id = { epoch: epochOf(run.words, w), seq: seqOf(run.words, w) }
        versions.push({ ...id, lba: lba + i, kind: 'write', payload, ...(isMarked ? { isMark: true } : {}) })
      }
      bytes += into.length
      at += run.count
    }
    page.release()
    if (failed) return undefined
    if (next !== undefined) return { versions, cursor: next }
    pageNumber++
  }
}

/** How many of the next ones are read at once: up to one that is lost, which is looked at by itself. */
function beforeLost(lost: readonly VersionId[], found: readonly FoundVersion[], at: number, most: number): number {
  if (lost.length === 0) return most
  let count = 1
  while (count < most && at + count < found.length) {
    const next = found[at + count]!
    if (isAmong(lost, next.lba, next.words)) break
    count++
  }
  return count
}

/** Those of one block, its own and shared; undefined when the index cannot be read. */
export function* versionsOfBlock(target: Target, lba: number): Task<FoundVersion[] | undefined> {
  const page = yield* versionsOfPage(target, Math.floor(lba / PAGE_BLOCKS), () => true)
  page?.release()
  return page?.found.filter((one) => one.lba === lba)
}

/** They stay readable until `release`, although the cleaner may move them meanwhile. */
export interface PageVersions {
  found: FoundVersion[]
  release(): void
}

/** Versions of blocks that follow each other, and lie one behind the other; one of each block, all of one map. */
export function runOf(found: readonly FoundVersion[], at: number, most: number): { count: number; words: Uint32Array } {
  const first = found[at]!
  const segment = segmentOf(first.words, 0)
  let units = unitsOf(first.words, 0)
  let count = 1
  for (; count < most; count++) {
    const next = found[at + count]
    if (next?.lba !== first.lba + count || kindOf(next.words, 0) !== ENTRY_KIND.data) break
    if (next.owner !== first.owner) break
    units += storedUnitsOf(found[at + count - 1]!.words, 0)
    if (segmentOf(next.words, 0) !== segment || unitsOf(next.words, 0) !== units) break
  }
  const words = new Uint32Array(count * ENTRY_WORDS)
  for (let i = 0; i < count; i++) words.set(found[at + i]!.words, i * ENTRY_WORDS)
  return { count, words }
}

/** What a version without data counts. */
const VERSION_BYTES = 64

/**
 * All versions of a page in the order of `pageVersions`, what it shares with an origin as far as some view shows it;
 * undefined when the index cannot be read.
 */
export function* versionsOfPage(
  target: Target,
  pageNumber: number,
  isWanted: (seq: number) => boolean,
): Task<PageVersions | undefined> {
  const { map, stream } = target
  const base = map.isClone ? yield* baseBlocks(target, pageNumber * PAGE_BLOCKS, PAGE_BLOCKS) : 'own'
  if (base === undefined) return undefined
  const own = yield* pageVersions(target, pageNumber, base === 'own' ? isWanted : () => true)
  const found = own === undefined || base === 'own' ? own ?? [] : withBase(target, base, own, isWanted)
  const { readers } = stream.segments
  // Each once, however many versions lie in it: readers are counted in 16 bits.
  const kept = new Set(found.map((one) => segmentOf(one.words, 0)))
  for (const segment of kept) readers[segment] = readers[segment]! + 1
  if (base !== 'own') base.release()
  const release = (): void => {
    for (const segment of kept) readers[segment] = readers[segment]! - 1
  }
  return own === undefined ? undefined : { found, release }
}

function withBase(
  { map }: Target,
  { firstLba, words, owners }: BaseBlocks,
  own: readonly FoundVersion[],
  isWanted: (seq: number) => boolean,
): FoundVersion[] {
  const found: FoundVersion[] = []
  let at = 0
  for (let i = 0; i < owners.length; i++) {
    const lba = firstLba + i
    const first = at
    while (at < own.length && own[at]!.lba === lba) at++
    const versions = own.slice(first, at)
    const owner = owners[i]
    const ofBase = words.subarray(i * ENTRY_WORDS, (i + 1) * ENTRY_WORDS)
    if (owner !== undefined && isWanted(seqOf(ofBase, 0)) && map.views.showsBelow(versions.map(seqIn)))
      found.push({ lba, words: ofBase, owner })
    for (const one of versions) if (isWanted(seqIn(one))) found.push(one)
  }
  return found
}

const seqIn = ({ words }: FoundVersion): number => seqOf(words, 0)

/** The first page from `from` on with a version, its own or shared; undefined: none, -1: the index cannot be read. */
export function* nextPage(target: Target, from: number, end: number): Task<number | undefined> {
  if (from >= end) return undefined
  const { stream, map } = target
  const levels = map.isClone ? levelsBelow(stream, map, Math.floor(from / PAGES_PER_SLICE)) : []
  if (levels === undefined) return -1
  let least: number | undefined
  for (const one of [map, ...levels.map((level) => level.map)]) {
    const pages: number[] | undefined = yield* pagesFrom({ stream, map: one }, from, end, 1)
    if (pages === undefined) return -1
    const [page] = pages
    if (page !== undefined && (least === undefined || page < least)) least = page
  }
  return least
}
