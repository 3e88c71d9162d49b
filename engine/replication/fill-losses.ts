/**
 * A block that a fill's source cannot read (SPEC.md D8). What the fill read up to there stays; it goes on when the
 * block was repaired, or nobody who is heard has it: then its mark is sent instead, and the copy reads errors there
 * until somebody brings the block back.
 *
 *   scanned: damaged -> asked of all members (D2) -> repaired: read again
 *                                                 -> not known any more: read again
 *                                                 -> lost, or who may have it is silent: read again, with its mark in
 *                                                    place of what cannot be read
 */
import type { NodeId } from './configuration.ts'
import type { CopyReport } from './messages.ts'
import type { CopyState } from './copy-state.ts'
import type { FillSource, Peer } from './primary-state.ts'
import type { VersionId } from './record.ts'
import { hasNoneAt, isAsked, othersOf } from './repair.ts'
import type { Turn } from './turn.ts'

const isSame = (a: VersionId, b: VersionId): boolean => a.lba === b.lba && a.seq === b.seq && a.epoch === b.epoch

/** False while some member that is heard may still have what it met. */
export function mayReadOn(state: CopyState, fill: FillSource): boolean {
  const { damaged } = state
  fill.awaited = fill.awaited.filter((id) => damaged.some((one) => isSame(one, id)))
  if (fill.silent.length > 0 && fill.takesMarks) markAwaited(state, fill)
  return fill.awaited.length === 0
}

/** Of what is asked for, those that only silent ones may have: their marks are sent. */
function markAwaited(state: CopyState, fill: FillSource): void {
  const isSilent = (node: NodeId): boolean => fill.silent.includes(node)
  const marked = fill.awaited.filter((id) => {
    const one = state.damaged.find((known) => isSame(known, id))
    if (one === undefined || !isAsked(one) || one.firstAsked === undefined) return false
    return othersOf(state).every((node) => hasNoneAt(one, node) || isSilent(node))
  })
  fill.lost.push(...marked)
  fill.awaited = fill.awaited.filter((id) => !marked.includes(id))
}

/**
 * It has waited long enough for whoever did not answer. What was written anew or trimmed meanwhile nobody has to be
 * asked for: it is looked at again.
 */
export function waitNoLonger(state: CopyState, fill: FillSource): void {
  const asked = state.damaged.filter((one) => isAsked(one) && fill.awaited.some((id) => isSame(id, one)))
  const silent = othersOf(state).filter((node) =>
    asked.some((one) => one.firstAsked !== undefined && !hasNoneAt(one, node)))
  fill.silent = [...new Set([...fill.silent, ...silent])]
  if (fill.takesMarks) markAwaited(state, fill)
}

/** It answers again. */
export function hearSilent({ primary }: CopyState, from: NodeId): void {
  for (const { fill } of primary?.peers.values() ?? [])
    if (fill !== undefined && fill.silent.length > 0) fill.silent = fill.silent.filter((node) => node !== from)
}

/**
 * Whether a copy has still to say if it has a block that we cannot read, and its fill would wipe it. Not for ever: a
 * store that cannot tell would keep its copy out.
 */
export function isSpared(
  { state, nowMs }: Turn,
  peer: Peer,
  report: CopyReport,
  wipe: readonly number[],
  mostMs: number,
): boolean {
  const wiped = new Set(wipe)
  const isWaiting = state.damaged.some((one) =>
    isAsked(one) &&
    wiped.has(Math.floor(one.lba / state.sliceBlocks)) &&
    one.seq <= report.commitSeq &&
    !hasNoneAt(one, peer.node))
  peer.spareSinceMs = isWaiting ? (peer.spareSinceMs ?? nowMs) : undefined
  return isWaiting && nowMs - peer.spareSinceMs! < mostMs
}

/**
 * Nobody has these. What a read asks for anew counts as lost for a moment only, so it is kept here.
 * @returns whether a fill reads on
 */
export function noteLost({ state: { primary }, nowMs }: Turn, versions: readonly VersionId[]): boolean {
  let isAny = false
  for (const { fill } of primary?.peers.values() ?? []) {
    if (fill === undefined || !fill.takesMarks) continue
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
