/**
 * Which blocks of a snapshot hold something, or something else than another snapshot shows: from the map alone, no
 * block is read.
 *
 *   index pages + deltas, pages in memory, what waits for a page, range tombstones, older versions
 *        \-> of each block the newest version that the one snapshot sees, and the newest that the other one sees
 *
 * So it is where nobody knows better. What differs between two snapshots mostly stands in the log of changes
 * (snapshot-changes.ts), which is asked first.
 *
 * The versions of a block lie in several places, and how they lie there changes with every checkpoint, fold and
 * rollback. It does not matter here: every version that some view shows is in one of them, and one that nobody shows
 * and is still somewhere is never the newest that a snapshot sees, because the one that took its place is there too.
 * So nothing is folded, and no page is brought into memory for it.
 *
 * The index is read in pieces of a bounded number of entries, one of the pages and one of the older versions; what is
 * in memory is taken in the turn in which the later of both has come, and both count only when no checkpoint ended
 * between: it takes entries out of memory, and the index may have answered before it had them.
 *
 * What a clone shares with its origin is not looked up: where it has nothing of its own in a slice that it shares, both
 * snapshots show the same, and one by itself is told as data.
 *
 * N1 (snapshot-blocks.ts): whether both snapshots are there is looked at in that same turn.
 * Cost O(entries of the map in the range), of a difference O(changes), no reads of data; at most `PIECES_MAX` pieces an
 * answer.
 */
import { ENTRY_KIND, ENTRY_WORDS, epochOf, hasEntry, kindOf, seqOf, zeroEntry, type EntryKind } from '../log/entry.ts'
import {
  decodeEntryValue, decodePageValue, historyRange, pageRange, parseHistoryKey, parsePageKey,
} from '../log/index-keys.ts'
import { ChangePaint } from '../log/change-set.ts'
import { pageKeyOf, type Tombstone, type VolumeMap } from '../log/volume-map.ts'
import type { IndexPort } from '../ports.ts'
import { SNAPSHOT_RUN_KIND } from '../replication/messages.ts'
import { until, type Task } from '../task.ts'
import { PAGE_BLOCKS, SLICE_BLOCKS } from '../units.ts'
import type { Target } from './block-reader.ts'
import type { CopyReading } from './copy-reader.ts'
import { isSharedAt } from './copy-base.ts'
import { isShown, type Shown } from './snapshot-blocks.ts'
import { isLogged, paintSlice, tellPainted } from './snapshot-changes.ts'

type Entries = Array<[key: Uint8Array, value: Uint8Array]>

/** Entries of the index that are read at a time, of pages and of older versions. */
const PAGE_ENTRIES = 512
const OLDER_ENTRIES = 8192
/** Of one answer: what asks is told how far it came, and asks on. */
const PIECES_MAX = 8
/** What a slice costs of a piece when the log of changes is asked, and what sixteen pages of the map do then. */
const SLICE_PIECES = 1 / 8
const PAGES_PIECES = 1 / 32

export interface MapRange {
  lba: number
  blockCount: number
  /** Of a snapshot: blocks of which both show the same version are left out. Undefined: blocks that show nothing. */
  sinceSeq: number | undefined
  runsMax: number
}

export interface SnapshotMap {
  /** Flat, three numbers a run, in order: first block, how many, SNAPSHOT_RUN_KIND. */
  runs: number[]
  /** Everything before this block is told. */
  endLba: number
}

/** @param seq  of the snapshot */
export function* mapSnapshot(o: CopyReading, seq: number, range: MapRange): Task<Shown<SnapshotMap>> {
  const { lba, blockCount, sinceSeq, runsMax } = range
  const end = lba + blockCount
  const found: SnapshotMap = { runs: [], endLba: lba }
  const paint = sinceSeq === undefined ? undefined : new ChangePaint()
  for (let pieces = 0; found.endLba < end && pieces < PIECES_MAX;) {
    const at = found.endLba
    const target = o.target(at)
    if (target === undefined || target.stream.failed || target.map.isDeleted) return undefined
    const slice = Math.floor(at / SLICE_BLOCKS)
    const pieceEnd = Math.min(end, (slice + 1) * SLICE_BLOCKS)
    const difference = sinceSeq === undefined ? undefined : target.map.views.difference(seq, sinceSeq)
    if (paint === undefined || difference === undefined || !isLogged(target, difference)) {
      pieces++
      const told = yield* mapPiece(target, [seq, sinceSeq], { first: at, end: pieceEnd }, found, runsMax)
      if (told !== true) return told
      if (found.runs.length >= runsMax * 3) break
      continue
    }
    pieces += SLICE_PIECES
    const changes = { slice, difference, paint }
    const painted = yield* paintSlice(target, [seq, sinceSeq!], changes)
    if (painted !== true) return painted
    while (found.endLba < pieceEnd && pieces < PIECES_MAX && found.runs.length < runsMax * 3) {
      const askedEnd = tellPainted(changes, pieceEnd, found, runsMax)
      while (found.endLba < askedEnd && pieces < PIECES_MAX && found.runs.length < runsMax * 3) {
        const first = found.endLba
        const told = yield* mapPiece(target, [seq, sinceSeq], { first, end: askedEnd }, found, runsMax)
        if (told !== true) return told
        pieces += PAGES_PIECES * Math.ceil((found.endLba - first) / PAGE_BLOCKS / 16)
      }
    }
    if (found.runs.length >= runsMax * 3) break
  }
  return found
}

type ViewSeqs = [seq: number, sinceSeq: number | undefined]

/** One piece of a slice, as far as so many entries of the index reach. True: `found` knows it. */
function* mapPiece(
  { stream, map }: Target,
  views: ViewSeqs,
  { first, end }: { first: number; end: number },
  found: SnapshotMap,
  runsMax: number,
): Task<Shown<true>> {
  const extents = stream.map
  const { index } = stream.context
  const firstPage = Math.floor(first / PAGE_BLOCKS)
  let most = Math.ceil(end / PAGE_BLOCKS)
  let limit = 1
  for (;;) {
    yield* until<void>((resume) => extents.loads.whenCommitted(() => resume()))
    const { commits } = extents.loads
    const pages = yield* entriesOf(index, pageRange(map.number, firstPage, most), PAGE_ENTRIES * limit)
    if (pages === undefined) return undefined
    let endPage = endOf(pages, PAGE_ENTRIES * limit, (key) => parsePageKey(key).page, most)
    const range = historyRange(map.number, firstPage * PAGE_BLOCKS, endPage * PAGE_BLOCKS)
    const older = yield* entriesOf(index, range, OLDER_ENTRIES * limit)
    if (older === undefined) return undefined
    endPage = endOf(older, OLDER_ENTRIES * limit, pageOfHistoryKey, endPage)
    if (endPage <= firstPage) {
      // One page has more than that: it is taken whole, alone.
      most = firstPage + 1
      limit *= 8
      continue
    }
    if (extents.loads.commits !== commits || extents.committing !== undefined) continue
    if (!views.every((seq) => seq === undefined || isShown(map, seq))) return 'gone'
    const piece = { firstPage, endPage, first, end: Math.min(end, endPage * PAGE_BLOCKS) }
    const versions = olderVersions(map, older, piece)
    if (versions === undefined) return undefined
    return tellPiece({ map, extents }, views, piece, pages, versions, found, runsMax)
  }
}

const pageOfHistoryKey = (key: Uint8Array): number => Math.floor(parseHistoryKey(key).lba / PAGE_BLOCKS)

function* entriesOf(
  index: IndexPort,
  range: { from: Uint8Array; below: Uint8Array },
  limit: number,
): Task<Entries | undefined> {
  return yield* until<Entries | undefined>((resume) =>
    index.range({ ...range, limit }, (ok, entries) => resume(ok ? entries : undefined)),
  )
}

/** Up to which page the entries are known to be all; those of the last page may go on. */
const endOf = (entries: Entries, limit: number, pageOf: (key: Uint8Array) => number, end: number): number =>
  entries.length < limit ? end : pageOf(entries.at(-1)![0])

type Versions = ReadonlyMap<number, ReadonlyArray<{ index: number; words: Uint32Array }>>

/** Older versions by page: of the index, and those that wait for a checkpoint. */
function olderVersions(map: VolumeMap, entries: Entries, { firstPage, endPage }: Piece): Versions | undefined {
  const byPage = new Map<number, Array<{ index: number; words: Uint32Array }>>()
  const put = (lba: number, words: Uint32Array): void => {
    const page = Math.floor(lba / PAGE_BLOCKS)
    if (page < firstPage || page >= endPage) return
    const one = { index: lba - page * PAGE_BLOCKS, words }
    const list = byPage.get(page)
    if (list === undefined) byPage.set(page, [one])
    else list.push(one)
  }
  for (const [key, value] of entries) {
    const words = decodeEntryValue(value)
    if (words === undefined) return undefined
    put(parseHistoryKey(key).lba, words)
  }
  // One that is to be deleted in the index is dead, or the head again: what counts is here, too.
  const { history } = map
  history.eachWithin(firstPage * PAGE_BLOCKS, endPage * PAGE_BLOCKS, (lba, at) => {
    if (!history.isGone(at)) put(lba, history.words.slice(at, at + ENTRY_WORDS))
  })
  return byPage
}

/** Of each block of a page the newest version that a view sees: epoch and seq (0: none) and kind. */
class Newest {
  readonly seqs = new Float64Array(PAGE_BLOCKS)
  readonly epochs = new Uint32Array(PAGE_BLOCKS)
  readonly kinds = new Uint8Array(PAGE_BLOCKS)
  readonly seq: number
  private readonly map: VolumeMap
  /** Nothing of its own is no hole: something else may show through. */
  private readonly isShared: boolean

  constructor(map: VolumeMap, seq: number, isShared: boolean) {
    this.map = map
    this.seq = seq
    this.isShared = isShared
  }

  clear(): void {
    this.seqs.fill(0)
    this.epochs.fill(0)
    this.kinds.fill(0)
  }

  offer(index: number, words: Uint32Array, at: number): void {
    const seq = seqOf(words, at)
    if (seq <= this.seqs[index]! || this.map.views.hidden(this.seq, seq)) return
    this.seqs[index] = seq
    this.epochs[index] = epochOf(words, at)
    this.kinds[index] = kindOf(words, at)
  }

  isHole(index: number): boolean {
    const kind = this.kinds[index] as EntryKind
    return (kind === ENTRY_KIND.none && !this.isShared) || kind === ENTRY_KIND.trim
  }

  isZero(index: number): boolean {
    const kind = this.kinds[index] as EntryKind
    return kind !== ENTRY_KIND.data && !(kind === ENTRY_KIND.none && this.isShared)
  }
}

interface Piece {
  firstPage: number
  endPage: number
  first: number
  end: number
}

function tellPiece(
  { map, extents }: { map: VolumeMap; extents: Target['stream']['map'] },
  [seq, sinceSeq]: ViewSeqs,
  piece: Piece,
  entries: Entries,
  older: Versions,
  found: SnapshotMap,
  runsMax: number,
): Shown<true> {
  const isShared = isSharedAt(map, piece.first)
  const shown = new Newest(map, seq, isShared)
  const since = sinceSeq === undefined ? undefined : new Newest(map, sinceSeq, isShared)
  const offer = (index: number, words: Uint32Array, at: number): void => {
    shown.offer(index, words, at)
    since?.offer(index, words, at)
  }
  let at = 0
  for (let page = piece.firstPage; page < piece.endPage; page++) {
    const from = at
    while (at < entries.length && parsePageKey(entries[at]![0]).page === page) at++
    const memory = map.pages.get(page)
    const key = pageKeyOf(map.number, page)
    const versions = older.get(page)
    const hasNone = from === at && memory === undefined && versions === undefined && !extents.pending.has(key)
    const isCut = map.tombstones.some((one) => page >= one.firstPage && page < one.endPage)
    if (hasNone && !(isShared && (since === undefined || isCut))) continue
    shown.clear()
    since?.clear()
    if (memory !== undefined) offerWords(offer, memory.words)
    else {
      for (let i = from; i < at; i++) {
        const value = decodePageValue(entries[i]![1])
        if (value === undefined) return undefined
        for (let k = 0; k < value.indexes.length; k++) {
          if (hasEntry(value.words, k * ENTRY_WORDS)) offer(value.indexes[k]!, value.words, k * ENTRY_WORDS)
        }
      }
      if (extents.pending.has(key)) {
        const { indexes, words } = extents.pending.list(key)
        for (let k = 0; k < indexes.length; k++) offer(indexes[k]!, words, k * ENTRY_WORDS)
      }
      for (const one of map.tombstones) if (page >= one.firstPage && page < one.endPage) offerRange(offer, one)
    }
    for (const { index, words } of versions ?? []) offer(index, words, 0)
    tellPage(found, page, piece, shown, since)
    if (found.runs.length >= runsMax * 3) {
      found.endLba = Math.min(piece.end, (page + 1) * PAGE_BLOCKS)
      return true
    }
  }
  found.endLba = piece.end
  return true
}

type Offer = (index: number, words: Uint32Array, at: number) => void

function offerWords(offer: Offer, words: Uint32Array): void {
  for (let index = 0; index < PAGE_BLOCKS; index++) {
    if (hasEntry(words, index * ENTRY_WORDS)) offer(index, words, index * ENTRY_WORDS)
  }
}

function offerRange(offer: Offer, tombstone: Tombstone): void {
  const words = zeroEntry(tombstone)
  for (let index = 0; index < PAGE_BLOCKS; index++) offer(index, words, 0)
}

function tellPage(
  { runs }: SnapshotMap,
  page: number,
  { first, end }: Piece,
  shown: Newest,
  since: Newest | undefined,
): void {
  const pageLba = page * PAGE_BLOCKS
  const from = Math.max(0, first - pageLba)
  const to = Math.min(PAGE_BLOCKS, end - pageLba)
  for (let index = from; index < to; index++) {
    const isZero = shown.isZero(index)
    if (since === undefined) {
      if (shown.isHole(index)) continue
    } else {
      const isSame = shown.seqs[index] === since.seqs[index] && shown.epochs[index] === since.epochs[index]
      if (isSame || (isZero && since.isZero(index))) continue
    }
    const { data, zero, hole } = SNAPSHOT_RUN_KIND
    const kind = shown.isHole(index) ? hole : isZero ? zero : data
    const lba = pageLba + index
    const last = runs.length - 3
    if (last >= 0 && runs[last]! + runs[last + 1]! === lba && runs[last + 2] === kind) runs[last + 1]!++
    else runs.push(lba, 1, kind)
  }
}
