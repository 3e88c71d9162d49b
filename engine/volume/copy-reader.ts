/**
 * Reading a copy: blocks of the head with their ids, and all versions of a slice between two seqs. Every block is
 * verified before it is given out; one that fails is read once more, then the whole answer fails.
 */
import { crcOf, ENTRY_KIND, ENTRY_WORDS, epochOf, kindOf, runLength, segmentOf, seqOf, unitsOf } from '../log/entry.ts'
import { segmentOffsetBytes } from '../log/geometry.ts'
import { blockIdentity, recordSeed } from '../log/identity.ts'
import { historyRange, pageRange, parseHistoryKey, parsePageKey } from '../log/index-keys.ts'
import { loadPage } from '../log/page-visitor.ts'
import type { StoreStream } from '../log/store-stream.ts'
import { readHistory } from '../log/version-history.ts'
import { PAGES_MAX } from '../log/volume-map.ts'
import type { Crc32c } from '../ports.ts'
import type { BlockVersion, Payload, VersionId } from '../replication/record.ts'
import { until, type Task } from '../task.ts'
import { BLOCK_BYTES, PAGE_BLOCKS, SLICE_BLOCKS, UNIT_BYTES, UNITS_PER_BLOCK } from '../units.ts'
import type { Target } from './block-reader.ts'
import { kindName, type Blobs } from './copy-headers.ts'

export interface CopyReading {
  crc32c: Crc32c
  /** volumeTag of the volume's id. */
  tag: number
  target(lba: number): Target | undefined
  /** Memory for what a scan reads, of whoever knows when it is not needed any more; else it is the collector's. */
  scanMemory?: (bytes: number) => Uint8Array
}

const PAGES_PER_SLICE = SLICE_BLOCKS / PAGE_BLOCKS

/**
 * The newest applied version of each block; a block never written is a trim of seq 0.
 * @param damaged  gets the ids of those that could not be read, when that is why the answer is undefined
 */
export function* readHead(
  o: CopyReading,
  lba: number,
  blockCount: number,
  damaged: VersionId[],
): Task<BlockVersion[] | undefined> {
  const versions: BlockVersion[] = []
  for (let at = lba; at < lba + blockCount;) {
    const target = o.target(at)
    if (target === undefined || target.stream.failed || target.map.isDeleted) return undefined
    const page = yield* loadPage(target.stream.map, target.map, Math.floor(at / PAGE_BLOCKS))
    if (page === undefined) return undefined
    const w = (at - page.firstLba) * ENTRY_WORDS
    const kind = kindOf(page.words, w)
    if (kind !== ENTRY_KIND.data) {
      const isHole = kind === ENTRY_KIND.none
      const id = isHole ? { epoch: 0, seq: 0 } : { epoch: epochOf(page.words, w), seq: seqOf(page.words, w) }
      versions.push({ ...id, lba: at, kind: isHole ? 'trim' : kindName(kind), payload: undefined })
      at++
      continue
    }
    const run = runLength(page.words, w, Math.min(lba + blockCount, page.firstLba + PAGE_BLOCKS) - at)
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

/** Seq of the newest applied version of each block, 0 for none. */
export function* readIds(o: CopyReading, lbas: readonly number[]): Task<number[] | undefined> {
  const seqs: number[] = []
  for (const lba of lbas) {
    const target = o.target(lba)
    if (target === undefined || target.stream.failed) return undefined
    const page = yield* loadPage(target.stream.map, target.map, Math.floor(lba / PAGE_BLOCKS))
    if (page === undefined) return undefined
    const w = (lba - page.firstLba) * ENTRY_WORDS
    seqs.push(page.words[w] === 0 ? 0 : seqOf(page.words, w))
  }
  return seqs
}

/** Versions with `above < seq <= upTo` from block `cursor` of the slice on, whole blocks at a time. */
export function* scanSlice(
  o: CopyReading,
  range: { slice: number; above: number; upTo: number; cursor: number; bytesMax: number },
  damaged: VersionId[],
): Task<{ versions: BlockVersion[]; cursor: number | undefined } | undefined> {
  const { slice, above, upTo, cursor, bytesMax } = range
  const firstLba = slice * SLICE_BLOCKS
  const target = o.target(firstLba)
  if (target === undefined || target.stream.failed) return undefined
  const scanMemory: (size: number) => Uint8Array = o.scanMemory ?? ((size) => new Uint8Array(size))
  const versions: BlockVersion[] = []
  let bytes = 0
  let pageNumber: number | undefined = Math.floor((firstLba + cursor) / PAGE_BLOCKS)
  const endPage = (slice + 1) * PAGES_PER_SLICE
  for (;;) {
    const pages: number[] | undefined = yield* pagesFrom(target, pageNumber, endPage, 1)
    if (pages === undefined) return undefined
    pageNumber = pages[0]
    if (pageNumber === undefined) return { versions, cursor: undefined }
    const found = yield* pageVersions(target, pageNumber, (seq) => seq > above && seq <= upTo)
    if (found === undefined) return undefined
    const { segments } = target.stream
    // What was found stays readable although the cleaner may move it meanwhile.
    const pinned = found.map((one) => segmentOf(one.words, 0))
    for (const segment of pinned) segments.readers[segment] = segments.readers[segment]! + 1
    let next: number | undefined
    let failed = false
    // One piece of memory for all of a page: one for each block is more work for the collector than all the rest.
    let memory: Uint8Array = new Uint8Array(0)
    for (let at = 0; at < found.length;) {
      const { lba, words } = found[at]!
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
      const most = Math.max(1, Math.ceil((bytesMax - bytes) / BLOCK_BYTES))
      const run = runOf(found, at, most)
      if (memory.length < run.count * BLOCK_BYTES)
        memory = scanMemory(Math.max(run.count, Math.min(most, found.length - at)) * BLOCK_BYTES)
      const into = memory.subarray(0, run.count * BLOCK_BYTES)
      memory = memory.subarray(into.length)
      const payloads = yield* fetchRun(o, target.stream, lba, run.words, run.count, damaged, into)
      if (payloads === undefined) {
        failed = true
        break
      }
      for (const [i, payload] of payloads.entries()) {
        const w = i * ENTRY_WORDS
        const id = { epoch: epochOf(run.words, w), seq: seqOf(run.words, w) }
        versions.push({ ...id, lba: lba + i, kind: 'write', payload })
      }
      bytes += run.count * BLOCK_BYTES
      at += run.count
    }
    for (const segment of pinned) segments.readers[segment] = segments.readers[segment]! - 1
    if (failed) return undefined
    if (next !== undefined) return { versions, cursor: next }
    pageNumber++
  }
}

/** A version with its entry of the map. */
export interface FoundVersion {
  lba: number
  words: Uint32Array
}

/** Versions of blocks that follow each other, and lie one behind the other; one of each block. */
function runOf(found: readonly FoundVersion[], at: number, most: number): { count: number; words: Uint32Array } {
  const first = found[at]!
  const [segment, units] = [segmentOf(first.words, 0), unitsOf(first.words, 0)]
  let count = 1
  for (; count < most; count++) {
    const next = found[at + count]
    if (next?.lba !== first.lba + count || kindOf(next.words, 0) !== ENTRY_KIND.data) break
    if (segmentOf(next.words, 0) !== segment || unitsOf(next.words, 0) !== units + count * UNITS_PER_BLOCK) break
  }
  const words = new Uint32Array(count * ENTRY_WORDS)
  for (let i = 0; i < count; i++) words.set(found[at + i]!.words, i * ENTRY_WORDS)
  return { count, words }
}

/** What a version without data counts. */
const VERSION_BYTES = 64

/**
 * Head and history of a page in order of block and seq, as the map has them when this returns; undefined when the index
 * cannot be read.
 */
export function* pageVersions(
  { stream, map }: Target,
  pageNumber: number,
  isWanted: (seq: number) => boolean,
): Task<FoundVersion[] | undefined> {
  const first = pageNumber * PAGE_BLOCKS
  for (;;) {
    const page = yield* loadPage(stream.map, map, pageNumber)
    if (page === undefined) return undefined
    let history = new Map<number, Uint32Array[]>()
    if (map.hasHistory) {
      page.pins++
      const read = yield* until<Map<number, Uint32Array[]> | undefined>((resume) =>
        readHistory(stream.map, map, first, first + PAGE_BLOCKS, resume),
      )
      page.pins--
      if (read === undefined) return undefined
      if (stream.map.page(map, pageNumber) !== page) continue
      history = read
    }
    const found: FoundVersion[] = []
    for (let i = 0; i < PAGE_BLOCKS; i++) {
      const lba = first + i
      const older = history.get(lba) ?? []
      for (const words of older) if (isWanted(seqOf(words, 0))) found.push({ lba, words })
      const w = i * ENTRY_WORDS
      if (page.words[w] !== 0 && isWanted(seqOf(page.words, w)))
        found.push({ lba, words: page.words.slice(w, w + ENTRY_WORDS) })
    }
    return found
  }
}

/**
 * The first `most` pages in `from .. end - 1` that have a version, in order; undefined when the index cannot be read.
 * Cost: a look at each page in memory, and a read of the index for `most` pages.
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
  for (const lba of map.history.keys()) look(Math.floor(lba / PAGE_BLOCKS))
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
  for (let at = from; at < below;) {
    const older = yield* keysOf(historyRange(map.number, at * PAGE_BLOCKS, below * PAGE_BLOCKS), 1)
    if (older === undefined) return undefined
    if (older.length === 0) break
    at = Math.floor(parseHistoryKey(older[0]!).lba / PAGE_BLOCKS)
    look(at++)
    if (most === 1) break
  }
  return [...found].filter((page) => page < below).sort((a, b) => a - b).slice(0, most)
}

/**
 * Payloads of blocks that lie one behind the other, in `bytes`; undefined when they cannot be read or do not fit.
 */
export function* fetchRun(
  o: CopyReading,
  stream: StoreStream,
  lba: number,
  words: Uint32Array,
  run: number,
  damaged: VersionId[] = [],
  bytes: Uint8Array = new Uint8Array(run * BLOCK_BYTES),
): Task<Payload[] | undefined> {
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
  for (let i = 0, w = 0; i < run; i++, w += ENTRY_WORDS) {
    const block = bytes.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES)
    const crc = o.crc32c(block) >>> 0
    const identity = blockIdentity(recordSeed(o.tag, epochOf(words, w), seqOf(words, w)), lba + i)
    if ((crc ^ identity) >>> 0 !== crcOf(words, w)) return undefined
    payloads.push({ bytes: BLOCK_BYTES, data: { bytes: block, crcs: [crc] } satisfies Blobs })
  }
  return payloads
}
