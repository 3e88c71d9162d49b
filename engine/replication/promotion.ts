/**
 * The new primary (SPEC C4), from the configuration that names it until it serves:
 *
 *   grace -> promising -> collecting -> [fetching] (`log-choice.ts`) -> syncing (`reconcile.ts`) -> primary
 *
 * Nothing is served before all members have the epoch record behind the chosen log durable.
 *
 * I3: the own promise is durable before anybody is asked for his; being bound to the old primary counts for us too.
 */
import { mayLack } from './candidate.ts'
import { advance, refreshRequired, requiredPeers } from './commit.ts'
import { evict } from './configuration-change.ts'
import { endCommands } from './control.ts'
import { becomeWhole } from './copy-log.ts'
import { endPassing, samePromise } from './copy-state.ts'
import type { Promised } from './copy-state.ts'
import { tickFills } from './fill-source.ts'
import { leave, mayPromiseTo } from './grace.ts'
import { choose, hasWhole, isChoiceComplete, LOST_GRACES } from './log-choice.ts'
import type { CopyReport } from './messages.ts'
import { passOnIfUnable } from './own-disk.ts'
import { fillInPlace, sendNewEpoch } from './peer-reports.ts'
import { newPeer, newPrimary } from './primary-state.ts'
import type { Peer, PrimaryState, Reconciling } from './primary-state.ts'
import { pump, stopTiming } from './primary.ts'
import { progressReads } from './reads.ts'
import { bringInLine } from './reconcile.ts'
import { forkOf } from './record-id.ts'
import { recordAt } from './record-window.ts'
import { keepPromise } from './replica.ts'
import { covers } from './session-fence.ts'
import { noteOrdered, windowOf } from './session-window.ts'
import { progressOpenings } from './sessions.ts'
import { beginUses } from './snapshot-uses.ts'
import { wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

export function beginReconcile(turn: Turn): void {
  const { state, nowMs } = turn
  const former = state.primary
  const { epoch } = state.config!.config
  const primary = newPrimary(epoch)
  primary.reconciling = {
    phase: 'grace',
    sinceMs: nowMs,
    sentAtMs: nowMs,
    from: undefined,
    fork: 0,
    epochSeq: 0,
  }
  if (former !== undefined) {
    endCommands(turn, former, `it leads epoch ${epoch}, and has to find out what of it is done`)
    primary.openings = former.openings
    primary.uses = former.uses
    for (const { node, instance, formerInstances } of former.peers.values()) {
      primary.peers.set(node, { ...newPeer(node), instance, formerInstances })
    }
  }
  state.primary = primary
  state.role = 'reconciling'
  state.isFollowing = false
  state.isGreeted = true
  state.fillTarget = undefined
  refreshRequired(state)
  progressReconcile(turn)
}

export function progressReconcile(turn: Turn): void {
  const { state } = turn
  const primary = state.primary!
  const reconciling = primary.reconciling!
  switch (reconciling.phase) {
    case 'grace': {
      if (!mayPromiseTo(turn, state.options.node)) {
        leave(turn)
        return wakeBy(turn, state.grace.boundUntilMs)
      }
      reconciling.phase = 'promising'
      reconciling.sinceMs = turn.nowMs
      wakeBy(turn, turn.nowMs + state.options.retryMs)
      state.isFollowing = false
      return keepPromise(turn, { epoch: primary.epoch, primary: state.options.node }, undefined)
    }
    case 'promising':
      return
    case 'collecting':
      if (isChoiceComplete(turn, primary, reconciling)) choose(turn, primary, reconciling)
      return
    case 'fetching':
      return
    case 'syncing': {
      const { epochSeq } = reconciling
      const isThere = requiredPeers(primary).every(
        (peer) => peer.isFollowing && peer.fill === undefined && peer.durableSeq >= epochSeq,
      )
      if (isThere && state.log.durableSeq >= epochSeq && isFenced(turn, primary)) serve(turn, primary)
    }
  }
}

/** I3: our own promise is durable; now everybody else's. */
export function onOwnPromiseKept(turn: Turn, promise: Promised): void {
  const { state, nowMs } = turn
  const { primary } = state
  const reconciling = primary?.reconciling
  if (reconciling?.phase !== 'promising' || !samePromise(promise, state.promise)) return
  reconciling.phase = 'collecting'
  reconciling.sinceMs = nowMs
  askAll(turn, primary!, reconciling)
  progressReconcile(turn)
}

function askAll(turn: Turn, primary: PrimaryState, reconciling: Reconciling): void {
  reconciling.sentAtMs = turn.nowMs
  for (const peer of primary.peers.values()) if (peer.report === undefined) sendNewEpoch(turn, peer)
  wakeBy(turn, turn.nowMs + turn.state.options.retryMs)
}

export function onReconcileReport(turn: Turn, peer: Peer, report: CopyReport): void {
  const { state } = turn
  const primary = state.primary!
  const reconciling = primary.reconciling!
  const { phase } = reconciling
  if (phase !== 'syncing' && phase !== 'collecting' && phase !== 'fetching') return
  peer.report = report
  peer.attach = report.attach
  if (report.consistency.state !== 'consistent' || report.lostSlices.length > 0) peer.failure = 'not-consistent'
  if (phase === 'syncing') {
    // It started again meanwhile, or is heard late, or repeats itself.
    if (peer.failure !== undefined) fillInPlace(turn, peer, report)
    else if (!peer.isFollowing) bringInLine(turn, primary, peer, report)
    return
  }
  progressReconcile(turn)
}

/** C4 (e): everything of the chosen log is committed, and the primary serves. */
function serve(turn: Turn, primary: PrimaryState): void {
  const { state } = turn
  const { log, windows } = state
  primary.changed = { epoch: primary.epoch, seq: primary.reconciling!.epochSeq }
  beginUses(turn, primary, primary.reconciling!.epochSeq)
  primary.reconciling = undefined
  state.role = 'primary'
  state.released = undefined
  state.fruitlessTerms = 0
  endPassing(state)
  for (let seq = log.commitSeq + 1; seq <= log.tail; seq++) {
    const { request } = recordAt(log.window, seq)!
    if (request !== undefined) noteOrdered(windowOf(windows, request), request)
  }
  for (const peer of primary.peers.values()) peer.report = undefined
  advance(turn)
  becomeWhole(turn)
  progressOpenings(turn)
  progressReads(turn)
  wakeBy(turn, turn.nowMs + state.options.retryMs)
}

/** What one member refuses for ever, all refuse before anything is served (S2). */
function isFenced({ state, port, nowMs }: Turn, primary: PrimaryState): boolean {
  const { attach, durableAttach } = state
  const missing = requiredPeers(primary).filter((peer) => !covers(peer.attach, attach))
  for (const peer of missing) {
    if (nowMs - peer.askedAtMs < state.options.retryMs) continue
    peer.askedAtMs = nowMs
    port.send(peer.node, { type: 'fence', epoch: primary.epoch, fence: attach })
  }
  return missing.length === 0 && covers(durableAttach, attach)
}

/** A disk of ours lied: what it lost was committed, and is to be had there. */
function knowsMore({ state }: Turn, { report }: Peer): boolean {
  return !mayLack(state) && report !== undefined && report.commitSeq > forkOf(report, state.log)
}

/** Lost messages are sent again; members that do not answer are let go, if the set may shrink (C1). */
export function tickReconcile(turn: Turn): void {
  const { state, nowMs, port } = turn
  const primary = state.primary!
  const reconciling = primary.reconciling!
  const { retryMs, graceMs, evictAfterMs } = state.options
  progressReconcile(turn)
  if (state.role === 'reconciling') passOnIfUnable(turn)
  if (state.role !== 'reconciling' || reconciling.phase === 'grace' || reconciling.phase === 'promising') return
  wakeBy(turn, nowMs + retryMs)
  const patienceMs = evictAfterMs + (reconciling.phase === 'collecting' ? graceMs : 0)
  const isLate = nowMs - reconciling.sinceMs >= patienceMs
  const { phase, epochSeq } = reconciling
  const missing = requiredPeers(primary).filter(
    ({ node, report, durableSeq, isFollowing }) =>
      (phase === 'collecting' && report === undefined) ||
      (phase === 'fetching' && node === reconciling.from) ||
      (phase === 'syncing' && !(isFollowing && durableSeq >= epochSeq)),
  )
  tickFills(turn)
  for (const peer of primary.peers.values()) {
    if (peer.fill === undefined || !peer.isFollowing || nowMs - peer.sentAtMs < retryMs) continue
    stopTiming(peer)
    peer.sentSeq = peer.storedSeq
    if (phase === 'syncing') pump(turn, peer)
  }
  // Somebody who did not lose power is worth waiting for, also for his log: he has what we may lack.
  const awaited = phase === 'fetching' ? missing[0] : undefined
  const isSafe = !mayLack(state) || hasWhole(primary, awaited)
  const isLost = nowMs - reconciling.sinceMs >= LOST_GRACES * (graceMs + evictAfterMs)
  const mayLetGo = isLate && (phase === 'syncing' || isSafe || isLost)
  const lost = requiredPeers(primary).filter(
    (peer) => peer.failure !== undefined || (mayLetGo && missing.includes(peer) && !knowsMore(turn, peer)),
  )
  evict(
    turn,
    lost.map(({ node }) => node),
  )
  if (state.change !== undefined || nowMs - reconciling.sentAtMs < retryMs) return
  reconciling.sentAtMs = nowMs
  if (phase === 'collecting') askAll(turn, primary, reconciling)
  else if (phase === 'fetching') {
    port.send(reconciling.from!, { type: 'fetch-log', epoch: primary.epoch, aboveSeq: reconciling.fork })
  } else {
    for (const peer of missing) {
      if (peer.report === undefined) sendNewEpoch(turn, peer)
      else if (peer.failure === undefined) bringInLine(turn, primary, peer, peer.report)
      // It is filled by what it says then: what it said may be from before an earlier attempt.
      else if (peer.fill === undefined) sendNewEpoch(turn, peer)
    }
  }
}
