/**
 * Reading a copy: blocks of the head with their ids, its own or those that it shares. Every block is verified before it
 * is given out; one that fails is read once more, then the whole answer fails.
 */
import {
  crcOf, ENTRY_KIND, ENTRY_WORDS, epochOf, kindOf, runLength, segmentOf, seqOf, storedUnitsOf, transformOf, unitsOf,
  unitsOfRun,
} from '../log/entry.ts'
import { hexToUuid } from '../log/bytes.ts'
import { segmentOffsetBytes } from '../log/geometry.ts'
import { historyRange, pageRange, parseHistoryKey, parsePageKey } from '../log/index-keys.ts'
import { blockIdentity, recordSeed, volumeTag } from '../log/identity.ts'
import { loadPage } from '../log/page-visitor.ts'
import type { StoreStream } from '../log/store-stream.ts'
import { readHistory } from '../log/version-history.ts'
import { PAGES_MAX, type MapPage, type VolumeMap } from '../log/volume-map.ts'
import type { Crc32c } from '../ports.ts'
import type { BlockVersion, DamagedId, Payload } from '../replication/record.ts'
import { until, type Task } from '../task.ts'
import { PAGE_BLOCKS, UNIT_BYTES } from '../units.ts'
import type { Target } from './block-reader.ts'
import { baseBlocks } from './copy-base.ts'
import { kindName, storedForm, type Blobs } from './copy-headers.ts'
import { isLostMark } from './lost-mark.ts'
import type { MetDamage } from './shared-damage.ts'

export interface CopyReading {
  crc32c: Crc32c
  /** volumeTag of the volume's id. */
  tag: number
  target(lba: number): Target | undefined
  /** Memory for what a scan reads, of whoever knows when it is not needed any more; else it is the collector's. */
  scanMemory?: (bytes: number) => Uint8Array
}

/**
 * The newest applied version of each block; a block never written is a trim of seq 0.
 * @param damaged  gets the ids of those that could not be read, when that is why the answer is undefined
 */
export function* readHead(
  o: CopyReading,
  lba: number,
  blockCount: number,
  damaged: MetDamage[],
): Task<BlockVersion[] | undefined> {
  const versions: BlockVersion[] = []
  for (let at = lba; at < lba + blockCount;) {
    const target = o.target(at)
    if (target === undefined || target.stream.failed || target.map.isDeleted) return undefined
    const page = yield* loadPage(target.stream.map, target.map, Math.floor(at / PAGE_BLOCKS))
    if (page === undefined) return undefined
    const w = (at - page.firstLba) * ENTRY_WORDS
    const kind = kindOf(page.words, w)
    const most = Math.min(lba + blockCount, page.firstLba + PAGE_BLOCKS) - at
    if (kind === ENTRY_KIND.none && target.map.isClone) {
      const holes = holesFrom(page.words, w, most)
      const below = yield* readBase(o, target, at, holes, damaged)
      const found = below === 'own' ? yield* readOwnHoles(target, at, holes) : below
      if (found === undefined) return undefined
      versions.push(...found)
      at += found.length
      continue
    }
    if (kind !== ENTRY_KIND.data) {
      versions.push(blankVersion(page.words, w, at))
      at++
      continue
    }
    const run = runLength(page.words, w, most)
    // A copy: the page may change while the medium is waited for.
    const words = page.words.slice(w, w + run * ENTRY_WORDS)
    const payloads = yield* fetchRun(o, target.stream, at, words, run, damaged)
    if (payloads === undefined) return undefined
    payloads.forEach((payload, i) =>
      versions.push({
        epoch: epochOf(words, i * ENTRY_WORDS),
        seq: seqOf(words, i * ENTRY_WORDS),
        lba: at + i,
        kind: 'write',
        payload,
      }),
    )
    at += run
  }
  return versions
}

export function holesFrom(words: Uint32Array, w: number, most: number): number {
  let count = 1
  while (count < most && kindOf(words, w + count * ENTRY_WORDS) === ENTRY_KIND.none) count++
  return count
}

/** A zero or trim, or the hole of a block that was never written. */
export function blankVersion(words: Uint32Array, w: number, lba: number): BlockVersion {
  const kind = kindOf(words, w)
  if (kind === ENTRY_KIND.none) return { epoch: 0, seq: 0, lba, kind: 'trim', payload: undefined }
  return { epoch: epochOf(words, w), seq: seqOf(words, w), lba, kind: kindName(kind), payload: undefined }
}

/** What a clone's holes show, of one page; `own`: it shares nothing there (any more). */
export function* readBase(
  o: CopyReading,
  target: Target,
  lba: number,
  count: number,
  damaged: MetDamage[],
): Task<BlockVersion[] | 'own' | undefined> {
  const base = yield* baseBlocks(target, lba, count)
  if (base === undefined || base === 'own') return base
  try {
    const { words, owners } = base
    const versions: BlockVersion[] = []
    for (let i = 0; i < count;) {
      const w = i * ENTRY_WORDS
      const owner = owners[i]
      if (owner === undefined || kindOf(words, w) !== ENTRY_KIND.data) {
        versions.push(blankVersion(words, w, lba + i))
        i++
        continue
      }
      let most = 1
      while (i + most < count && owners[i + most] === owner) most++
      const run = runLength(words, w, most)
      const ofRun = words.subarray(w, w + run * ENTRY_WORDS)
      const met: DamagedId[] = []
      const payloads = yield* fetchRun(readingOf(o, owner), target.stream, lba + i, ofRun, run, met)
      if (payloads === undefined) {
        damaged.push(...met.map((id) => ({ ...id, owner })))
        return undefined
      }
      payloads.forEach((payload, j) => {
        const id = { epoch: epochOf(ofRun, j * ENTRY_WORDS), seq: seqOf(ofRun, j * ENTRY_WORDS) }
        versions.push({ ...id, lba: lba + i + j, kind: 'write', payload })
      })
      i += run
    }
    return versions
  } finally {
    base.release()
  }
}

/** Holes of a slice that is not shared; none, when the first is no hole by now and has to be looked at again. */
function* readOwnHoles({ stream, map }: Target, lba: number, count: number): Task<BlockVersion[] | undefined> {
  const page = yield* loadPage(stream.map, map, Math.floor(lba / PAGE_BLOCKS))
  if (page === undefined) return undefined
  const w = (lba - page.firstLba) * ENTRY_WORDS
  if (kindOf(page.words, w) !== ENTRY_KIND.none) return []
  const holes = holesFrom(page.words, w, count)
  return Array.from({ length: holes }, (_, i) => blankVersion(page.words, w + i * ENTRY_WORDS, lba + i))
}

/** For blocks of another volume's map: the checksums of the one that owns them. */
export const readingOf = (o: CopyReading, owner: VolumeMap): CopyReading =>
  ({ ...o, tag: volumeTag(o.crc32c, hexToUuid(owner.descriptor.spec.id)) })

/** Seq of the newest applied version of each block, 0 for none. */
export function* readIds(o: CopyReading, lbas: readonly number[]): Task<number[] | undefined> {
  const seqs: number[] = []
  for (const lba of lbas) {
    const target = o.target(lba)
    if (target === undefined || target.stream.failed) return undefined
    const page = yield* loadPage(target.stream.map, target.map, Math.floor(lba / PAGE_BLOCKS))
    if (page === undefined) return undefined
    const w = (lba - page.firstLba) * ENTRY_WORDS
    const below = page.words[w] === 0 && target.map.isClone ? yield* baseSeq(target, lba) : 'own'
    if (below === undefined) return undefined
    if (below !== 'own') {
      seqs.push(below)
      continue
    }
    // It may have become one with blocks of its own meanwhile.
    const own = yield* loadPage(target.stream.map, target.map, page.page)
    if (own === undefined) return undefined
    seqs.push(own.words[w] === 0 ? 0 : seqOf(own.words, w))
  }
  return seqs
}

function* baseSeq(target: Target, lba: number): Task<number | 'own' | undefined> {
  const base = yield* baseBlocks(target, lba, 1)
  if (base === undefined || base === 'own') return base
  base.release()
  return base.owners[0] === undefined ? 0 : seqOf(base.words, 0)
}

/** A version with its entry of the map. */
export interface FoundVersion {
  lba: number
  words: Uint32Array
  /** Of what a clone shares: whose map it is in. Unset: its own. */
  owner?: VolumeMap
}

/** A page of the head and the older versions of its blocks, by LBA. */
export interface PageWithHistory {
  page: MapPage
  history: ReadonlyMap<number, readonly Uint32Array[]>
}

const NO_HISTORY: PageWithHistory['history'] = new Map()

/**
 * What is shared left out, as the map has both when this returns, for this turn: the memory of a page is used again.
 * Undefined when the index cannot be read.
 * @param first  of the blocks of the page whose history is wanted
 */
export function* pageWithHistory(
  { stream, map }: Target,
  pageNumber: number,
  first = pageNumber * PAGE_BLOCKS,
  blockCount = PAGE_BLOCKS,
): Task<PageWithHistory | undefined> {
  for (;;) {
    const page = yield* loadPage(stream.map, map, pageNumber)
    if (page === undefined) return undefined
    if (!map.hasHistory) return { page, history: NO_HISTORY }
    page.pins++
    const history = yield* until<Map<number, Uint32Array[]> | undefined>((resume) =>
      readHistory(stream.map, map, first, first + blockCount, resume),
    )
    page.pins--
    if (history === undefined) return undefined
    if (stream.map.page(map, pageNumber) === page) return { page, history }
  }
}

/**
 * The same as a list, in order of the blocks, of those whose seq is wanted: of each block the older ones by seq, then
 * that of the head, which is not the newest where it was rolled back.
 */
export function* pageVersions(
  target: Target,
  pageNumber: number,
  isWanted: (seq: number) => boolean,
): Task<FoundVersion[] | undefined> {
  const both = yield* pageWithHistory(target, pageNumber)
  if (both === undefined) return undefined
  const { page, history } = both
  const found: FoundVersion[] = []
  for (let i = 0; i < PAGE_BLOCKS; i++) {
    const lba = page.firstLba + i
    for (const words of history.get(lba) ?? []) if (isWanted(seqOf(words, 0))) found.push({ lba, words })
    const w = i * ENTRY_WORDS
    if (page.words[w] !== 0 && isWanted(seqOf(page.words, w)))
      found.push({ lba, words: page.words.slice(w, w + ENTRY_WORDS) })
  }
  return found
}

/**
 * The first pages in `from .. end - 1` that have a version of the map's own, in order, `most` at most; undefined when
 * the index cannot be read. There may be others behind however few they are, but when there is none at all.
 * Cost: a look at each page in memory; a read of the index for `most` keys, and one for each page that has older
 * versions, `most` at most.
 */
export function* pagesFrom(
  { stream, map }: Target,
  from: number,
  end: number,
  most: number,
): Task<number[] | undefined> {
  const extents = stream.map
  yield* until<void>((resume) => extents.loads.whenCommitted(() => resume()))
  const found = new Set<number>()
  /** Of the index everything up to here was seen. */
  let below = end
  const look = (page: number): void => {
    if (page >= from && page < below) found.add(page)
  }
  for (const page of map.pages.keys()) look(page)
  const base = map.number * PAGES_MAX
  for (const key of extents.pending.pages()) look(key - base)
  map.history.each((lba) => look(Math.floor(lba / PAGE_BLOCKS)))
  const keysOf = (range: { from: Uint8Array; below: Uint8Array }, limit: number) =>
    until<Uint8Array[] | undefined>((resume) =>
      stream.context.index.range({ ...range, limit }, (ok, entries) =>
        resume(ok ? entries.map(([key]) => key) : undefined),
      ),
    )
  const heads = yield* keysOf(pageRange(map.number, from, end), most)
  if (heads === undefined) return undefined
  for (const key of heads) look(parsePageKey(key).page)
  if (heads.length === most) below = parsePageKey(heads.at(-1)!).page + 1
  let withHistory = 0
  for (let at = from; at < below;) {
    const older = yield* keysOf(historyRange(map.number, at * PAGE_BLOCKS, below * PAGE_BLOCKS), 1)
    if (older === undefined) return undefined
    if (older.length === 0) break
    at = Math.floor(parseHistoryKey(older[0]!).lba / PAGE_BLOCKS)
    look(at++)
    // So many are found: what lies behind is not among the first.
    if (++withHistory === most) below = at
  }
  return [...found].filter((page) => page < below).sort((a, b) => a - b).slice(0, most)
}

/**
 * Payloads of blocks whose blobs lie one behind the other, in `bytes`; undefined when they cannot be read, or do not
 * fit.
 */
export function* fetchRun(
  o: CopyReading,
  stream: StoreStream,
  lba: number,
  words: Uint32Array,
  run: number,
  damaged: DamagedId[] = [],
  bytes: Uint8Array = new Uint8Array(unitsOfRun(words, run) * UNIT_BYTES),
): Task<Payload[] | undefined> {
  if (run === 1 && isLostMark(transformOf(words, 0))) {
    damaged.push({ lba, epoch: epochOf(words, 0), seq: seqOf(words, 0), isMark: true })
    return undefined
  }
  const { segments, context } = stream
  const segment = segmentOf(words, 0)
  const offset = segmentOffsetBytes(context.segmentBytes, segment) + unitsOf(words, 0) * UNIT_BYTES
  for (let tries = 0; tries < 3; tries++) {
    let ok = tries === 0 && context.disk.tryRead(offset, bytes)
    if (!ok && tries > 0) {
      segments.readers[segment] = segments.readers[segment]! + 1
      ok = yield* until<boolean>((resume) => context.disk.read(offset, bytes, resume))
      segments.readers[segment] = segments.readers[segment]! - 1
    }
    const payloads = ok ? verified(o, lba, words, run, bytes) : undefined
    if (payloads !== undefined) return payloads
  }
  if (run === 1) {
    damaged.push({ lba, epoch: epochOf(words, 0), seq: seqOf(words, 0) })
    return undefined
  }
  // Block by block: which of them are damaged. An error may have passed meanwhile, and then none is.
  const payloads: Payload[] = []
  for (let i = 0; i < run; i++) {
    const one = words.slice(i * ENTRY_WORDS, (i + 1) * ENTRY_WORDS)
    payloads.push(...((yield* fetchRun(o, stream, lba + i, one, 1, damaged)) ?? []))
  }
  return payloads.length === run ? payloads : undefined
}

function verified(
  o: CopyReading,
  lba: number,
  words: Uint32Array,
  run: number,
  bytes: Uint8Array,
): Payload[] | undefined {
  const payloads: Payload[] = []
  for (let i = 0, w = 0, from = 0; i < run; i++, w += ENTRY_WORDS) {
    const units = storedUnitsOf(words, w)
    const blob = bytes.subarray(from, (from += units * UNIT_BYTES))
    if (isLostMark(transformOf(words, w))) return undefined
    const crc = o.crc32c(blob) >>> 0
    const identity = blockIdentity(recordSeed(o.tag, epochOf(words, w), seqOf(words, w)), lba + i)
    if ((crc ^ identity) >>> 0 !== crcOf(words, w)) return undefined
    const stored = storedForm(transformOf(words, w), units)
    const blobs: Blobs = stored === undefined ? { bytes: blob, crcs: [crc] } : { bytes: blob, crcs: [crc], stored }
    payloads.push({ bytes: blob.length, data: blobs })
  }
  return payloads
}
