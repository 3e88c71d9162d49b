/**
 * Which snapshots are in use (SPEC section 11), at the primary: a reader says so when it opens its snapshot, and again
 * and again for as long as it reads.
 *
 * N4: a snapshot in use is not deleted. A use ends when its reader says so, or has not said anything for
 *     `SNAPSHOT_USE_MS`: whoever is dead, or cut off for so long, keeps nothing. A primary that has just begun does not
 *     know the uses of the term before, so for as long it deletes nothing that may have one; and after its clock was in
 *     doubt, since it may have slept through what readers said.
 * N6: of one node there are `USES_MAX` uses of a volume at most. One more begins when another has ended; who says it
 *     hears nothing, and says it again.
 */
import type { NodeId } from './configuration.ts'
import type { CommandResult } from './copy-port.ts'
import type { FrontendMessage } from './messages.ts'
import type { PrimaryState, SnapshotUse } from './primary-state.ts'
import { knowsChanges } from './snapshot-reads.ts'
import { redirect } from './turn.ts'
import type { Turn } from './turn.ts'

/** Readers say it four times as often. Less than the time in which a change is settled (SNAPSHOTS.md T4). */
export const SNAPSHOT_USE_MS = 8_000

/** A node has fewer clients than this, each with one snapshot. */
export const USES_MAX = 2048

export function onSnapshotOpen(
  turn: Turn,
  from: NodeId,
  { reader, wanted }: Extract<FrontendMessage, { type: 'snapshot-open' }>,
): void {
  const { state, nowMs, port } = turn
  const { primary } = state
  if (state.role !== 'primary' || primary === undefined) {
    if (primary === undefined && state.isRecovered) redirect(turn, from, undefined)
    return
  }
  const own = primary.uses.get(from) ?? new Map<number, SnapshotUse>()
  // Its deletion may be on its way: who is not in the list yet is put there when it is known what became of that.
  if (!knowsChanges(turn, primary) && !own.has(reader)) return
  const { epoch } = primary
  const snapshot = port.store.snapshot(wanted)
  endUse(primary, from, reader)
  dropEnded(primary, nowMs)
  if (snapshot !== undefined) {
    if (own.size >= USES_MAX) return
    // Behind all that were said before: those that end first come first.
    primary.uses.set(from, own.set(reader, { snapshotId: snapshot.id, untilMs: nowMs + SNAPSHOT_USE_MS }))
    port.reply(from, { type: 'snapshot-opened', reader, epoch, snapshot })
  } else if (knowsChanges(turn, primary)) port.reply(from, { type: 'snapshot-opened', reader, epoch })
}

export function onSnapshotClose(
  { state: { primary } }: Turn,
  from: NodeId,
  { reader }: Extract<FrontendMessage, { type: 'snapshot-close' }>,
): void {
  if (primary !== undefined) endUse(primary, from, reader)
}

function endUse({ uses }: PrimaryState, node: NodeId, reader: number): void {
  const own = uses.get(node)
  own?.delete(reader)
  if (own?.size === 0) uses.delete(node)
}

/** Those of which nothing was heard for so long: of each node the first ones. */
function dropEnded(primary: PrimaryState, nowMs: number): void {
  for (const [node, own] of primary.uses) {
    for (const [reader, { untilMs }] of own) {
      if (untilMs > nowMs) break
      endUse(primary, node, reader)
    }
  }
}

/** It begins to serve: of uses of former terms it will hear, and what is made from now on had none. */
export function beginUses({ nowMs }: Turn, primary: PrimaryState, epochSeq: number): void {
  primary.usesKnownAtMs = nowMs + SNAPSHOT_USE_MS
  primary.usesSinceSeq = epochSeq
}

/** The clock stood still, or jumped: what was said meanwhile may not have been heard. */
export function doubtUses({ nowMs, state: { primary } }: Turn): void {
  if (primary === undefined) return
  primary.usesKnownAtMs = nowMs + SNAPSHOT_USE_MS
  primary.usesSinceSeq = Infinity
}

/** As a part of a sentence; empty: nobody, as far as is known. */
export function whoReads({ uses }: PrimaryState, snapshotId: string, nowMs: number): string {
  const nodes: NodeId[] = []
  let clients = 0
  for (const [node, own] of uses) {
    const before = clients
    for (const use of own.values()) if (use.snapshotId === snapshotId && use.untilMs > nowMs) clients++
    if (clients > before) nodes.push(node)
  }
  return clients === 0 ? '' : `node ${nodes.sort().join(' and ')} reads it for ${clients} client(s)`
}

/** Why a snapshot is not deleted now; undefined: nobody uses it. */
export function snapshotRefusal(
  { nowMs, port }: Turn,
  primary: PrimaryState,
  snapshotId: string,
): Extract<CommandResult, { ok: false }> | undefined {
  const why = whoReads(primary, snapshotId, nowMs)
  if (why !== '') return { ok: false, code: 'in-use', why }
  const isOfTerm = (port.store.snapshot(snapshotId)?.seq ?? 0) >= primary.usesSinceSeq
  if (isOfTerm || nowMs >= primary.usesKnownAtMs) return undefined
  return { ok: false, code: 'superseded', why: 'who reads it is not known yet to a primary that has just begun' }
}
