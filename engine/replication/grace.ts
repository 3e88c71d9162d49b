/**
 * For how long a copy is bound to the primary it promised to, and when that primary counts as gone (SPEC section 8):
 * the replica's side of leases. Two times, because they may end apart:
 *
 *   boundUntilMs   no promise to another primary before it; moved by every sign of life of the promised primary
 *   goneAtMs       no standing for its place before it; moved by every sign of life of the primary we watch
 *
 * A planned hand-over releases the first and not the second: the chosen successor is to win, not who is fastest.
 *
 * I8: a lease of ours, as the primary counts it, ends before we are free: it counts from when it sent, we from when it
 *     arrived. A process that starts has forgotten how long it is bound, and is bound for a full grace (L7). Only an
 *     unbroken chain of beacons, or a `confirm` of our own, extends a lease: see `reads.ts`.
 *
 * A daemon is one instance for all its copies. One that is fenced binds nobody any more, and begins no epoch; the next
 * copy of this volume in the same daemon leads in a later epoch than any that the fenced one knew, and binds as usual.
 */
import type { NodeId, VolumeConfig } from './configuration.ts'
import type { CopyEvent } from './copy-port.ts'
import { leads } from './copy-state.ts'
import type { CopyState } from './copy-state.ts'
import { noteTold } from './lead-claims.ts'
import { followTold, keepPromise } from './replica.ts'
import type { PeerMessage } from './messages.ts'
import { reportOf } from './peer-reports.ts'
import { wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

/** Instances that ended, or have a fenced copy, as many as late messages may still be about. */
const ENDED_MAX = 16

export function beginGrace({ state, nowMs }: Turn): void {
  const { grace, promise, options } = state
  grace.startedAtMs = nowMs
  // Who never promised anything is bound to nobody; whose promise was to himself was bound to a process that ended.
  const isFree = promise.epoch === 0 || promise.primary === options.node
  grace.boundUntilMs = isFree ? nowMs : nowMs + options.graceMs
  grace.goneAtMs = nowMs + options.graceMs
}

/** A full grace has passed since this process began (L7), or whoever it was owed to ended it. */
export const isSettled = ({ state, nowMs }: Turn): boolean =>
  nowMs >= state.grace.startedAtMs + state.options.graceMs || nowMs >= state.grace.boundUntilMs

export function mayPromiseTo({ state, nowMs }: Turn, primary: NodeId): boolean {
  const { promise, grace, options } = state
  if (promise.epoch === 0 || promise.primary === primary || promise.primary === options.node) return true
  return nowMs >= grace.boundUntilMs
}

/** This instance said something of this volume. */
export function noteAlive(turn: Turn, from: NodeId, instance: string): void {
  const { grace } = turn.state
  if (grace.ended.get(instance) === Infinity) return
  if (grace.instances.get(from) !== instance) grace.instances.set(from, instance)
  extend(turn, from, instance)
}

/** A node that is up does not lead for that: beacons count of the instance that spoke of this volume. */
function extend({ state, nowMs }: Turn, from: NodeId, instance: string, heardAtMs = nowMs): void {
  const { grace, promise, options } = state
  const { watched } = grace
  if (grace.instances.get(from) !== instance) return
  const endedAt = grace.ended.get(instance) ?? -1
  const untilMs = heardAtMs + options.graceMs
  const isBinding = from === promise.primary && promise.epoch > endedAt
  if (isBinding && !grace.hasLeft && untilMs > grace.boundUntilMs) grace.boundUntilMs = untilMs
  if (from === watched.primary && watched.epoch > endedAt && untilMs > grace.goneAtMs) grace.goneAtMs = untilMs
}

/** L2: from now on we are bound for as long as we are, and no longer. The other side must know (I8). */
export function leave({ state, port }: Turn): void {
  const { grace, promise, options } = state
  const isFree = promise.epoch === 0 || promise.primary === options.node
  if (grace.hasLeft || isFree || port.left === undefined) return
  grace.hasLeft = true
  port.left(promise.primary)
}

/** Who stood for nothing is bound again by a round that its primary began; by less it does not know (L3). */
export function comeBack({ state }: Turn): void {
  const { grace, change } = state
  if (!grace.hasStood || change !== undefined || grace.waiting !== undefined) return
  grace.hasLeft = false
  grace.hasStood = false
}

/** The configuration names somebody else: he gets a full grace to show up. */
export function watch({ state, nowMs }: Turn, { epoch, primary }: VolumeConfig): void {
  const { grace, options } = state
  if (grace.watched.epoch === epoch && grace.watched.primary === primary) return
  grace.watched = { epoch, primary }
  grace.goneAtMs = nowMs + options.graceMs
}

export function onBeacon(
  turn: Turn,
  { from, instance, commitSeq, epoch }: Extract<CopyEvent, { type: 'beacon' }>,
): void {
  extend(turn, from, instance)
  const { promise, isFollowing, primary } = turn.state
  if (primary !== undefined || !isFollowing || from !== promise.primary) return
  // A commit point belongs to the log of one term.
  if (commitSeq !== undefined && epoch === promise.epoch) followTold(turn, commitSeq)
}

/** Whether a beacon of that instance that tells no commit point changes anything, if it is the next event. */
export function heedsBeacon({ grace, promise }: CopyState, from: NodeId, instance: string): boolean {
  const isOurs = from === promise.primary || from === grace.watched.primary
  return isOurs && grace.instances.get(from) === instance
}

export function onInstanceEnded(turn: Turn, node: NodeId, instance: string): void {
  const { grace, promise } = turn.state
  noteEnded(turn, instance, Infinity)
  // Another instance may lead by now, so only the one we are bound to frees us.
  if (grace.instances.get(node) !== instance) return
  free(turn, { isBound: node === promise.primary, isWatched: node === grace.watched.primary })
}

/** Nothing that comes from it any more binds us under an epoch up to that one. */
function noteEnded({ state }: Turn, instance: string, epoch: number): number {
  const { ended } = state.grace
  const endedAt = Math.max(epoch, ended.get(instance) ?? -1)
  // The one that was noted longest ago is forgotten first.
  ended.delete(instance)
  ended.set(instance, endedAt)
  if (ended.size > ENDED_MAX) ended.delete(ended.keys().next().value!)
  return endedAt
}

/** The primary stopped serving, and says so itself (SPEC L5). */
export function onRelease(turn: Turn, from: NodeId, message: Extract<PeerMessage, { type: 'release' }>): void {
  const { promise, grace } = turn.state
  if (from !== promise.primary || message.epoch !== promise.epoch) return
  if (message.token !== undefined && message.token < grace.confirmToken) return
  // For good: it leads again, if at all, under another epoch.
  grace.hasLeft = true
  grace.hasStood = false
  free(turn, { isBound: true, isWatched: false })
}

/** The primary's copy says that it is fenced: nobody needs to wait for it. @param epoch  the last that it could lead */
export function onLeaderless(turn: Turn, from: NodeId, instance: string, epoch: number): void {
  const { state, port } = turn
  const { grace, promise, primary } = state
  const { watched } = grace
  if (primary !== undefined || grace.instances.get(from) !== instance) return
  const endedAt = noteEnded(turn, instance, epoch)
  // A later configuration names it, which a fenced copy gets to know in no other way: it answers with that epoch (L5).
  const isNamedSince = from === watched.primary && watched.epoch > endedAt
  if (isNamedSince) port.send(from, { type: 'hello', epoch: watched.epoch, ...reportOf(state) })
  free(turn, {
    isBound: from === promise.primary && promise.epoch <= endedAt,
    isWatched: from === watched.primary && watched.epoch <= endedAt,
  })
}

function free(turn: Turn, { isBound, isWatched }: { isBound: boolean; isWatched: boolean }): void {
  const { state, nowMs } = turn
  const { grace } = state
  if (isBound && grace.boundUntilMs > nowMs) grace.boundUntilMs = nowMs
  if (isWatched && grace.goneAtMs > nowMs) grace.goneAtMs = nowMs
  wakeBy(turn, nowMs)
}

/** Our clock may have jumped: what we owe begins anew. */
export function restartGrace({ state, nowMs }: Turn): void {
  const { grace, options, promise } = state
  if (promise.epoch > 0) grace.boundUntilMs = nowMs + options.graceMs
  grace.goneAtMs = nowMs + options.graceMs
}

/** A primary that asked while we were bound, or before we knew of it, is promised to when we are free and do (C12). */
export function progressGrace(turn: Turn): void {
  const { state, nowMs } = turn
  const { waiting } = state.grace
  if (waiting === undefined || leads(state.role)) return
  if (waiting.promise.epoch <= state.promise.epoch) state.grace.waiting = undefined
  else {
    const { from, instance, promise, probe, config, isNamed, heardAtMs } = waiting
    const freeAtMs = mayPromiseTo(turn, from) ? nowMs : state.grace.boundUntilMs
    const atMs = isNamed ? freeAtMs : Math.max(freeAtMs, heardAtMs + state.options.graceMs)
    if (nowMs < atMs) return wakeBy(turn, atMs)
    state.grace.waiting = undefined
    keepPromise(turn, promise, from, probe)
    noteTold(state, promise.epoch, config)
    extend(turn, from, instance, heardAtMs)
  }
}
