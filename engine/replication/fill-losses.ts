/**
 * A block that a fill's source cannot read (SPEC.md D8). What the fill read up to there stays; it goes on when the
 * block was repaired, or nobody has it any more: then its mark is sent instead, and the copy reads errors there too.
 *
 *   scanned: damaged -> asked of all members (D2) -> repaired: read again
 *                                                 -> not known any more: read again
 *                                                 -> lost: read again, with its mark in place of what nobody has
 */
import type { CopyState } from './copy-state.ts'
import type { FillSource } from './primary-state.ts'
import type { VersionId } from './record.ts'
import type { Turn } from './turn.ts'

const isSame = (a: VersionId, b: VersionId): boolean => a.lba === b.lba && a.seq === b.seq && a.epoch === b.epoch

/** False while some member may still have what it met. */
export function mayReadOn({ damaged }: CopyState, fill: FillSource): boolean {
  fill.awaited = fill.awaited.filter((id) => damaged.some((one) => isSame(one, id)))
  return fill.awaited.length === 0
}

/**
 * Nobody has these. What a read asks for anew counts as lost for a moment only, so it is kept here.
 * @returns whether a fill reads on
 */
export function noteLost({ state: { primary }, nowMs }: Turn, versions: readonly VersionId[]): boolean {
  let isAny = false
  for (const { fill } of primary?.peers.values() ?? []) {
    if (fill === undefined) continue
    for (const id of fill.awaited) {
      if (!versions.some((one) => isSame(one, id))) continue
      fill.lost.push(id)
      fill.progressAtMs = nowMs
      isAny = true
    }
    fill.awaited = fill.awaited.filter((id) => !versions.some((one) => isSame(one, id)))
  }
  return isAny
}

/** What was read, or its mark, is not met again. */
export function forgetSent(fill: FillSource, versions: readonly VersionId[]): void {
  if (fill.lost.length > 0) fill.lost = fill.lost.filter((id) => !versions.some((version) => isSame(id, version)))
}

/** Of all fills. */
export function awaitedByFills({ primary }: CopyState): VersionId[] {
  if (primary === undefined) return []
  return [...primary.peers.values()].flatMap(({ fill }) => fill?.awaited ?? [])
}
