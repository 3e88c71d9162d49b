/**
 * How a copy comes to lead (SPEC C3, C4):
 *
 *   replica -> (grace ended, configuration read) candidate -> (CAS won) reconciling:
 *     grace -> promising -> collecting -> [fetching] -> syncing -> primary
 *
 * The log with the highest last id among the set is chosen: it has every answered write (I7), because each of them is
 * stored on all members. The epoch record behind it makes every other tail void. Nothing is served before all members
 * have that record durable.
 *
 * I3: the own promise is durable before anybody is asked for his; being bound to the old primary counts for us too.
 * I10: no member's commit point lies beyond its fork with the chosen log.
 * I12: only a consistent member of the set stands.
 */
import { assert } from '../assert.ts'
import { advance, refreshRequired, requiredPeers } from './commit.ts'
import { withoutMembers, withPrimary, withSuccessor } from './configuration.ts'
import { appendEpoch, evict, fence, readConfig, startChange } from './configuration-change.ts'
import type { NodeId } from './configuration.ts'
import { appendRecord, commitTo, cutBack, idAt, tailOf } from './copy-log.ts'
import { samePromise } from './copy-state.ts'
import type { CopyState, Promised } from './copy-state.ts'
import { progressFills, tickFills } from './fill-source.ts'
import { leave, mayPromiseTo } from './grace.ts'
import type { CopyReport, PeerMessage } from './messages.ts'
import { fillInPlace, sendNewEpoch } from './peer-reports.ts'
import { newPeer, newPrimary } from './primary-state.ts'
import type { Peer, PrimaryState, Reconciling } from './primary-state.ts'
import { pump } from './primary.ts'
import { progressReads } from './reads.ts'
import { compareIds, forkOf, tailId } from './record-id.ts'
import { recordAt, recordsFrom } from './record-window.ts'
import { keepAttach, keepPromise } from './replica.ts'
import { noteOrdered, windowOf } from './session-window.ts'
import { BROKEN_INCARNATION, compareSessions, progressOpenings } from './sessions.ts'
import { wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

/** Written without sync and the machine booted anew: something acknowledged may be gone. */
const mayLack = ({ options, sameBoot }: CopyState): boolean => options.mode === 'writeback' && !sameBoot

/** How much longer than for others a writeback volume waits for a member that may have what all present lack. */
const LOST_GRACES = 4

/** When this replica may stand, if nothing is heard until then. Seldom two at once, the doubtful ones last. */
function standAtMs({ options, grace, config, fruitlessTerms }: CopyState, isDoubtful: boolean): number {
  const others = config!.config.inSync.filter((node) => node !== config!.config.primary).sort()
  const rank = Math.max(0, others.indexOf(options.node))
  const fromMs = Math.max(grace.goneAtMs, grace.boundUntilMs)
  // Two that cannot see each other do not depose each other for ever: each waits longer after a term for nothing.
  const patience = Math.min(64, 2 ** fruitlessTerms - 1) + (isDoubtful ? 1 : 0)
  return fromMs + rank * options.candidateStepMs + patience * options.graceMs
}

export function considerStanding(turn: Turn): void {
  const { state, nowMs } = turn
  if (state.role !== 'replica' || state.change !== undefined || state.config === undefined) return
  const atMs = standAtMs(state, mayLack(state))
  if (nowMs < atMs) return wakeBy(turn, atMs)
  readConfig(turn, true)
  wakeBy(turn, nowMs + state.options.retryMs)
}

/** The configuration was just read for this. */
export function stand(turn: Turn): void {
  const { state, nowMs, port } = turn
  const { config, consistency, lostSlices, options } = state
  if (state.role !== 'replica' || nowMs < standAtMs(state, mayLack(state))) return
  assert(consistency.state === 'consistent', 'I12: nothing inconsistent stands')
  if (lostSlices.length > 0 || config!.config.epoch < state.promise.epoch) return
  const nonce = port.nonce()
  // Who may lack something lets nobody go who may have it.
  const to = mayLack(state)
    ? withSuccessor(config!.config, options.node, nonce)
    : withPrimary(config!.config, options.node, nonce)
  if (!startChange(turn, 'stand', to)) return
  state.role = 'candidate'
  leave(turn)
  state.grace.hasStood = state.grace.hasLeft
}

/** The configuration names us, and we do not lead: after a start, a hand-over, or by the operator. */
export function takeUp(turn: Turn): void {
  const { state, port } = turn
  const { config } = state.config!
  const { node } = state.options
  if (state.change !== undefined) return
  const others = config.inSync.filter((one) => one !== node).sort()
  const isUnfit = state.consistency.state !== 'consistent' || state.lostSlices.length > 0
  if (isUnfit && others.length > 0) {
    // What we lack another member has.
    startChange(turn, 'pass-on', withSuccessor(config, others[config.epoch % others.length]!, port.nonce()))
    return
  }
  if (state.consistency.state !== 'consistent') return fence(turn, 'the only copy is not consistent')
  // A former process of ours may have acted under this epoch, and an id must never be given twice.
  if (startChange(turn, 'renew', withPrimary(config, node, port.nonce()))) state.role = 'candidate'
}

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
    primary.openings = former.openings
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

/**
 * Everybody answered. Or some did not for long, and minInSync keeps them in the set: what was answered to clients all
 * others have too, unless they lost power since. Nothing is served before they are in line, or replaced.
 */
function isChoiceComplete({ state, nowMs }: Turn, primary: PrimaryState, { sinceMs }: Reconciling): boolean {
  const { graceMs, evictAfterMs } = state.options
  const missing = requiredPeers(primary).filter(({ report }) => report === undefined)
  if (missing.length === 0) return true
  if (nowMs - sinceMs < graceMs + evictAfterMs || state.change !== undefined) return false
  const nodes = missing.map(({ node }) => node)
  if (withoutMembers(state.config!.config, nodes, '') !== undefined) return false
  // After a longer while what the missing ones had counts as lost, and the sessions are told (S6).
  if (nowMs - sinceMs >= LOST_GRACES * (graceMs + evictAfterMs)) return true
  return !mayLack(state) || requiredPeers(primary).some(({ report }) => report?.sameBoot === true)
}

const answered = (primary: PrimaryState): Peer[] =>
  requiredPeers(primary).filter(({ report }) => report !== undefined)

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
  if (reconciling.phase === 'syncing') {
    // It started again meanwhile, or repeats itself.
    peer.report = report
    peer.attach = report.attach
    if (peer.failure !== undefined) fillInPlace(turn, peer, report)
    else if (!peer.isFollowing) bringInLine(turn, primary, peer, report)
    return
  }
  if (reconciling.phase !== 'collecting' && reconciling.phase !== 'fetching') return
  peer.report = report
  peer.attach = report.attach
  if (report.consistency.state !== 'consistent' || report.lostSlices.length > 0) peer.failure = 'not-consistent'
  progressReconcile(turn)
}

function choose(turn: Turn, primary: PrimaryState, reconciling: Reconciling): void {
  const { state, nowMs, port } = turn
  // Who is not consistent has no say; it is let go, or filled, before anything is served.
  let best: Peer | undefined
  let bestId = tailOf(state)
  for (const peer of answered(primary)) {
    if (peer.failure !== undefined) continue
    const id = tailId(peer.report!)
    if (compareIds(id, bestId) <= 0) continue
    best = peer
    bestId = id
  }
  if (best === undefined) return beginEpoch(turn, primary, reconciling)
  reconciling.phase = 'fetching'
  reconciling.from = best.node
  reconciling.fork = forkOf(best.report!, state.log)
  reconciling.sinceMs = reconciling.sentAtMs = nowMs
  assert(reconciling.fork >= state.log.commitSeq, 'I10: what we know as committed is in the chosen log')
  port.send(best.node, { type: 'fetch-log', epoch: primary.epoch, aboveSeq: reconciling.fork })
}

/** The end of the chosen log. */
export function onLog(
  turn: Turn,
  from: NodeId,
  instance: string,
  message: Extract<PeerMessage, { type: 'log' }>,
): void {
  const { state, port } = turn
  const { primary } = state
  const reconciling = primary?.reconciling
  if (primary === undefined || reconciling?.phase !== 'fetching') return
  if (message.epoch !== primary.epoch || from !== reconciling.from) return
  if (primary.peers.get(from)!.instance !== instance) return
  const { records } = message
  const { tail } = primary.peers.get(from)!.report!
  const { fork } = reconciling
  if (records.length === 0 || records[0]!.seq !== fork + 1) {
    // It applied what we lack, so it holds it as blocks and not as records: it shall lead.
    startChange(turn, 'pass-on', withSuccessor(state.config!.config, from, port.nonce()))
    return
  }
  if (records.at(-1)!.seq < tail) return
  cutBack(turn, fork)
  for (const record of records) if (record.seq <= tail) appendRecord(turn, record)
  beginEpoch(turn, primary, reconciling)
}

function beginEpoch(turn: Turn, primary: PrimaryState, reconciling: Reconciling): void {
  const { state, nowMs, port } = turn
  for (const { report } of answered(primary)) {
    if (report!.commitSeq <= state.log.commitSeq || forkOf(report!, state.log) < report!.commitSeq) continue
    commitTo(turn, report!.commitSeq)
  }
  noteAttach(turn, primary)
  noteLostPower(turn, primary)
  reconciling.phase = 'syncing'
  reconciling.sinceMs = nowMs
  reconciling.epochSeq = appendEpoch(turn, primary)
  port.store.sync()
  for (const peer of answered(primary)) bringInLine(turn, primary, peer, peer.report!)
  for (const peer of primary.peers.values()) if (peer.fill !== undefined && peer.isFollowing) pump(turn, peer)
}

/** C4 (d): what follows its fork; or it cannot be helped by records, and is evicted. */
function bringInLine(turn: Turn, primary: PrimaryState, peer: Peer, report: CopyReport): void {
  const { state, nowMs, port } = turn
  const { log } = state
  if (peer.fill !== undefined) return
  const fork = forkOf(report, log)
  peer.report = report
  if (peer.failure !== undefined) return wakeBy(turn, nowMs)
  const records = recordsFrom(log.window, fork + 1, Infinity)
  if (fork < log.tail && recordAt(log.window, fork + 1) === undefined) {
    assert(state.options.mode === 'writeback' || report.commitSeq <= fork, 'I10: no member committed beyond its fork')
    peer.failure = 'it lacks what is not in memory any more'
    return wakeBy(turn, nowMs)
  }
  assert(report.commitSeq <= fork, 'I10: no member committed beyond its fork')
  const message = { type: 'reconcile' as const, epoch: primary.epoch, fork: idAt(state, fork), records }
  port.send(peer.node, { ...message, commitSeq: log.commitSeq })
  peer.sentAtMs = nowMs
  wakeBy(turn, nowMs + state.options.retryMs)
}

/** A member stored what we brought it. */
export function onReconcileStored(
  turn: Turn,
  peer: Peer,
  { seq, durableSeq, fill }: Extract<PeerMessage, { type: 'stored' }>,
): void {
  if ((fill ?? 0) !== peer.fillId || seq > turn.state.log.tail) return
  const { epochSeq } = turn.state.primary!.reconciling!
  if (peer.fill === undefined && seq < epochSeq) return
  peer.isFollowing = true
  peer.owedSinceMs = undefined
  peer.sentSeq = Math.max(peer.sentSeq, seq)
  peer.storedSeq = Math.max(peer.storedSeq, seq)
  peer.durableSeq = Math.max(peer.durableSeq, durableSeq)
  if (peer.fill !== undefined) {
    pump(turn, peer)
    return progressFills(turn)
  }
  progressReconcile(turn)
}

/** C4 (e): everything of the chosen log is committed, and the primary serves. */
function serve(turn: Turn, primary: PrimaryState): void {
  const { state } = turn
  const { log, windows } = state
  primary.reconciling = undefined
  state.role = 'primary'
  state.sameBoot = true
  state.released = undefined
  state.fruitlessTerms = 0
  for (let seq = log.commitSeq + 1; seq <= log.tail; seq++) {
    const { request } = recordAt(log.window, seq)!
    if (request !== undefined) noteOrdered(windowOf(windows, request), request)
  }
  for (const peer of primary.peers.values()) peer.report = undefined
  advance(turn)
  progressOpenings(turn)
  progressReads(turn)
  wakeBy(turn, turn.nowMs + state.options.retryMs)
}

/** What one member refuses for ever, all refuse before anything is served (S2). */
function isFenced({ state, port, nowMs }: Turn, primary: PrimaryState): boolean {
  const { attach, durableAttach } = state
  const missing = requiredPeers(primary).filter((peer) => compareSessions(peer.attach, attach) < 0)
  for (const peer of missing) {
    if (nowMs - peer.askedAtMs < state.options.retryMs) continue
    peer.askedAtMs = nowMs
    port.send(peer.node, { type: 'fence', epoch: primary.epoch, session: attach })
  }
  return missing.length === 0 && compareSessions(durableAttach, attach) >= 0
}

/** Sessions that the set refused stay refused. */
function noteAttach(turn: Turn, primary: PrimaryState): void {
  let highest = turn.state.attach
  for (const { attach } of requiredPeers(primary)) if (compareSessions(attach, highest) > 0) highest = attach
  if (highest !== turn.state.attach) keepAttach(turn, highest, undefined)
}

/**
 * S6: nobody who kept his power since had a say in the choice, so what was answered and not flushed may be gone. The
 * sessions of until now are broken for ever, whoever leads.
 */
function noteLostPower(turn: Turn, primary: PrimaryState): void {
  const { state } = turn
  if (!mayLack(state)) return
  if (answered(primary).some(({ report }) => report!.sameBoot)) return
  const known = [state.attach.generation, state.config!.config.attach.generation]
  const generations = [...known, ...state.windows.map(({ generation }) => generation)]
  keepAttach(turn, { generation: Math.max(...generations), incarnation: BROKEN_INCARNATION }, undefined)
}

/** Lost messages are sent again; members that do not answer are let go, if the set may shrink (C1). */
export function tickReconcile(turn: Turn): void {
  const { state, nowMs, port } = turn
  const primary = state.primary!
  const reconciling = primary.reconciling!
  const { retryMs, graceMs, evictAfterMs } = state.options
  progressReconcile(turn)
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
    peer.sentSeq = peer.storedSeq
    if (phase === 'syncing') pump(turn, peer)
  }
  // Somebody who did not lose power is worth waiting for: he has what we may lack.
  const isSafe = !mayLack(state) || requiredPeers(primary).some(({ report }) => report?.sameBoot === true)
  const isLost = nowMs - reconciling.sinceMs >= LOST_GRACES * (graceMs + evictAfterMs)
  const mayLetGo = isLate && (phase === 'syncing' || isSafe || isLost)
  const lost = requiredPeers(primary).filter(
    (peer) => peer.failure !== undefined || (mayLetGo && missing.includes(peer)),
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
