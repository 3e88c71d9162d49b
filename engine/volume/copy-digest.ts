/**
 * What a copy shows of a slice, in numbers that another copy of the volume has to have, too (SCRUB.md section 4): of
 * each page a checksum over block, id and checksum of every version that the head or a snapshot shows. No data is read.
 *
 * Where a version lies, whether a trim has left a trace or not, and what waits to be swept differs from copy to copy;
 * none of it counts.
 */
import { crcOf, ENTRY_KIND, ENTRY_WORDS, epochOf, kindOf, seqOf } from '../log/entry.ts'
import type { Crc32c } from '../ports.ts'
import type { Task } from '../task.ts'
import { PAGE_BLOCKS, SLICE_BLOCKS } from '../units.ts'
import { isShared as isSharedSlice } from './copy-hydration.ts'
import type { LocalCopyStore } from './copy-store.ts'
import { pagesFrom, pageVersions } from './copy-reader.ts'
import type { PageDigest, SliceDigest, ShownVersion } from './digest-comparison.ts'
import type { Target } from './block-reader.ts'

export const PAGES_PER_SLICE = SLICE_BLOCKS / PAGE_BLOCKS
const PAGES_A_READ = 32

/** Undefined: the slice is not here, or not whole, or cannot be looked at. */
export function* digestSlice(copy: LocalCopyStore, slice: number): Task<SliceDigest | undefined> {
  const target = copy.layout.target(slice * SLICE_BLOCKS)
  if (target === undefined || !isWhole(copy)) return undefined
  const { crc32c } = copy.o
  const { appliedSeq } = copy
  const views = viewsOf(target, crc32c)
  const first = slice * PAGES_PER_SLICE
  const pages: PageDigest[] = []
  // Copies of one clone may share, or not, without being different.
  const isShared = isSharedSlice(copy.bodies.now.origin, slice)
  const slicesShown = copy.slicesShown()
  if (isShared) return { appliedSeq, endSeq: appliedSeq, views, pages, isShared, slicesShown }
  for (let from = first; from < first + PAGES_PER_SLICE;) {
    const found: number[] | undefined = yield* pagesFrom(target, from, first + PAGES_PER_SLICE, PAGES_A_READ)
    if (found === undefined) return undefined
    for (const page of found) {
      const shown = yield* shownVersions(target, page)
      if (shown === undefined) return undefined
      const { versions, newestSeq } = shown
      if (versions.length > 0) pages.push({ page: page - first, digest: digestOf(versions, crc32c), newestSeq })
    }
    if (found.length === 0) break
    from = found.at(-1)! + 1
  }
  // A snapshot that came or went meanwhile shows in some of the pages.
  if (!isWhole(copy) || viewsOf(target, crc32c) !== views) return undefined
  return { appliedSeq, endSeq: copy.appliedSeq, views, pages, isShared, slicesShown }
}

/** The versions themselves of one page, `page` counted in the slice; what differs is told by them. */
export function* shownOfPage(copy: LocalCopyStore, slice: number, page: number): Task<ShownVersion[] | undefined> {
  const target = copy.layout.target(slice * SLICE_BLOCKS)
  if (target === undefined || !isWhole(copy)) return undefined
  return (yield* shownVersions(target, slice * PAGES_PER_SLICE + page))?.versions
}

const isWhole = (copy: LocalCopyStore): boolean =>
  copy.failedReason === '' && copy.bodies.now.copy.facts.consistency.state === 'consistent'

function* shownVersions(
  target: Target,
  pageNumber: number,
): Task<{ versions: ShownVersion[]; newestSeq: number } | undefined> {
  const { stream, map } = target
  if (stream.failed || map.isDeleted) return undefined
  const found = yield* pageVersions(target, pageNumber, () => true)
  const head = stream.map.page(map, pageNumber)?.words
  if (found === undefined || head === undefined) return undefined
  const versions: ShownVersion[] = []
  let newestSeq = 0
  for (let i = 0; i < found.length;) {
    const { lba } = found[i]!
    let end = i + 1
    while (found[end]?.lba === lba) end++
    const of = found.slice(i, end)
    i = end
    const seqs = of.map(({ words }) => seqOf(words, 0)).sort((a, b) => a - b)
    newestSeq = Math.max(newestSeq, seqs.at(-1)!)
    const at = (lba - pageNumber * PAGE_BLOCKS) * ENTRY_WORDS
    const headSeq = head[at] === 0 ? -1 : seqOf(head, at)
    // Not what clones beside this copy read: another copy need not have it.
    const bySnapshots = map.views.shownByList(seqs)
    for (const { words } of of) {
      const seq = seqOf(words, 0)
      if (kindOf(words, 0) !== ENTRY_KIND.data || (seq !== headSeq && !bySnapshots.has(seq))) continue
      versions.push({ lba, epoch: epochOf(words, 0), seq, crc: crcOf(words, 0) })
    }
  }
  return { versions, newestSeq }
}

const VERSION_BYTES = 24

function digestOf(versions: readonly ShownVersion[], crc32c: Crc32c): number {
  const bytes = new Uint8Array(versions.length * VERSION_BYTES)
  const view = new DataView(bytes.buffer)
  for (const [i, { lba, epoch, seq, crc }] of versions.entries()) {
    const at = i * VERSION_BYTES
    view.setFloat64(at, lba, true)
    view.setFloat64(at + 8, seq, true)
    view.setUint32(at + 16, epoch, true)
    view.setUint32(at + 20, crc, true)
  }
  return crc32c(bytes) >>> 0
}

function viewsOf({ map }: Target, crc32c: Crc32c): number {
  const { snapshots, rollbacks } = map.descriptor
  // Of those at one seq, which a rollback makes, any may come first.
  const shown = snapshots.map(({ id, seq }) => ({ id, seq })).sort((a, b) => a.seq - b.seq || (a.id < b.id ? -1 : 1))
  const words = JSON.stringify([shown.map(({ id, seq }) => [id, seq]), rollbacks])
  return crc32c(new TextEncoder().encode(words)) >>> 0
}
