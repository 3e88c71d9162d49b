/**
 * Whether two copies of a volume show the same (SCRUB.md section 4), from digests that were taken at about the same
 * time while records came. Pure.
 *
 * - A page is comparable when nothing in it is newer than what both had applied: then both show it as of that seq, but
 *   for a trim of which one has forgotten the trace, and the other has not applied it.
 * - So a difference is one only at the second look, when both had applied everything that either had at the first, and
 *   both pages are what they were.
 */

export interface PageDigest {
  page: number
  digest: number
  /** The highest seq of anything in it. */
  newestSeq: number
}

export interface SliceDigest {
  /** What was applied when it began, and when it ended. */
  appliedSeq: number
  endSeq: number
  /** Of the snapshots and rollbacks that decide what is shown. */
  views: number
  /** Those that show something. */
  pages: PageDigest[]
  /** Of a clone: some of it is read from the copy of its origin, and not told here. */
  isShared: boolean
  /** So many slices some view of the copy shows, its head or a snapshot; 0 of a node of before. */
  slicesShown: number
}

/** A version that the head or a snapshot shows. */
export interface ShownVersion {
  lba: number
  epoch: number
  seq: number
  crc: number
}

/** Pages that differ, as far as can be told, with both digests; 0: nothing is shown. */
export type Differing = Map<number, readonly [one: number, other: number]>

export interface Look {
  differing: Differing
  /** Both have applied so much when the next look counts. */
  reachedSeq: number
}

/** Undefined: they had not the same snapshots, so nothing can be said. */
export function compareDigests(one: SliceDigest, other: SliceDigest): Look | undefined {
  if (one.isShared || other.isShared) return { differing: new Map(), reachedSeq: 0 }
  if (one.views !== other.views) return undefined
  const bothSeq = Math.min(one.appliedSeq, other.appliedSeq)
  const differing: Differing = new Map()
  const others = new Map(other.pages.map((page) => [page.page, page]))
  const look = (page: number, a: PageDigest | undefined, b: PageDigest | undefined): void => {
    const newestSeq = Math.max(a?.newestSeq ?? 0, b?.newestSeq ?? 0)
    const digests = [a?.digest ?? 0, b?.digest ?? 0] as const
    if (newestSeq <= bothSeq && digests[0] !== digests[1]) differing.set(page, digests)
  }
  for (const page of one.pages) {
    look(page.page, page, others.get(page.page))
    others.delete(page.page)
  }
  for (const page of others.values()) look(page.page, undefined, page)
  return { differing, reachedSeq: Math.max(one.endSeq, other.endSeq) }
}

/** Of the first look what the second one, of digests taken later, confirms; undefined: it comes too early. */
export function confirmed(first: Look, one: SliceDigest, other: SliceDigest): number[] | undefined {
  if (Math.min(one.appliedSeq, other.appliedSeq) < first.reachedSeq) return undefined
  const second = compareDigests(one, other)
  if (second === undefined) return undefined
  return [...first.differing].flatMap(([page, [a, b]]) => {
    const again = second.differing.get(page)
    return again !== undefined && again[0] === a && again[1] === b ? [page] : []
  })
}

/** What differs in a page, each as a sentence of which the subjects are the two nodes. */
export function differencesOf(
  one: { node: string; versions: readonly ShownVersion[] },
  other: { node: string; versions: readonly ShownVersion[] },
): string[] {
  const key = ({ lba, epoch, seq }: ShownVersion): string => `${lba} ${epoch} ${seq}`
  const words: string[] = []
  const others = new Map(other.versions.map((version) => [key(version), version]))
  const said = ({ lba, epoch, seq }: ShownVersion): string => `block ${lba} of epoch ${epoch}, seq ${seq}`
  for (const version of one.versions) {
    const same = others.get(key(version))
    others.delete(key(version))
    if (same === undefined) words.push(`${one.node} shows ${said(version)}, and ${other.node} does not`)
    else if (same.crc !== version.crc)
      words.push(`${one.node} and ${other.node} show ${said(version)} with different checksums`)
  }
  for (const version of others.values()) words.push(`${other.node} shows ${said(version)}, and ${one.node} does not`)
  return words
}
