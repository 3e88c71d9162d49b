/**
 * What a copy says of itself (`promised`, `hello`, `join`), and what the one that leads makes of it (SPEC C4, C5, C7).
 *
 * I18: a copy that came back without something it had acknowledged counts for nothing: it is evicted before anything
 *     else of it counts, and filled.
 */
import { depose, readConfig } from './configuration-change.ts'
import { withoutMembers } from './configuration.ts'
import type { NodeId } from './configuration.ts'
import { advance, refreshRequired, requiredPeers } from './commit.ts'
import { knownCommitSeq, nextToken } from './copy-state.ts'
import type { CopyState } from './copy-state.ts'
import { considerFill } from './fill-source.ts'
import type { CopyReport, PeerMessage } from './messages.ts'
import type { Peer, PrimaryState } from './primary-state.ts'
import { pump } from './primary.ts'
import { reportProblem } from './peer-claims.ts'
import { onReconcileReport } from './promotion.ts'
import { forkOf } from './record-id.ts'
import { refuse } from './replica.ts'
import { wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

const FORMER_MAX = 8

export function reportOf(state: CopyState): CopyReport {
  const { log } = state
  return {
    copyId: state.copyId,
    promised: state.promise,
    epochs: [...log.epochs],
    tail: log.tail,
    durableSeq: log.durableSeq,
    commitSeq: knownCommitSeq(state),
    consistency: state.consistency.state === 'filling' ? state.consistency : { state: 'consistent' },
    attach: state.durableAttach,
    isWhole: state.isWhole,
    forgottenSeq: state.forgottenSeq,
    lostSlices: [...state.lostSlices],
    joinNumber: state.joinNumber,
  }
}

/** Tell a member who leads, and have it say what it has. */
export function sendNewEpoch({ state, nowMs, port }: Turn, peer: Peer, about?: string): void {
  const { epoch, sinceEpoch } = state.primary!
  if (peer.probe === undefined || (about !== undefined && about !== peer.instance && about !== peer.probe.about)) {
    peer.probe = { token: nextToken(state), about }
  }
  const { token } = peer.probe
  port.send(peer.node, { type: 'new-epoch', epoch, config: state.config!.config, since: sinceEpoch, token })
  peer.askedAtMs = nowMs
}

export function onReport(
  turn: Turn,
  from: NodeId,
  instance: string,
  message: Extract<PeerMessage, { type: 'promised' | 'hello' | 'join' }>,
): void {
  const { state } = turn
  const { primary, config } = state
  if (primary === undefined || config === undefined) {
    if (message.type !== 'promised') refuse(turn, from, message.promised.epoch, 'not-primary')
    return
  }
  const { promised } = message
  const isMember = config.config.members[from]?.copyId === message.copyId
  const isLater = promised.epoch > primary.epoch && promised.primary !== state.options.node
  // For a copy that is not known here the record is read, below.
  if (isMember && isLater) return depose(turn, promised)
  const peer = primary.peers.get(from)
  if (peer?.formerInstances.includes(instance) === true) return
  if (peer === undefined || !isMember) {
    if (peer !== undefined && config.config.inSync.includes(from)) fail(turn, peer, 'not-member')
    readConfig(turn)
    return refuse(turn, from, primary.epoch, 'not-member')
  }
  const problem = reportProblem(message, state.log.epochs)
  if (problem !== undefined) {
    turn.port.disbelieved?.(from, problem)
    return refuse(turn, from, primary.epoch, 'not-consistent')
  }
  const wasFollowing = peer.isFollowing
  const isNew = peer.instance !== instance
  if (isNew) {
    // A late message of an instance that ended looks as new as one of an instance that just began. Numbers of questions
    // begin anew with each instance of ours, which has epochs of its own.
    const isToUs = promised.primary === state.options.node && promised.epoch >= primary.sinceEpoch
    const isAlive = isToUs && message.type === 'promised' && message.answerTo === peer.probe?.token
    if (!isAlive || peer.probe === undefined) return sendNewEpoch(turn, peer, instance)
    meet(turn, primary, peer, instance)
  }
  const isOurs = message.promised.epoch === primary.epoch && message.promised.primary === state.options.node
  if (state.role === 'reconciling' && config.config.inSync.includes(from)) {
    if (isOurs && message.type === 'promised') onReconcileReport(turn, peer, message)
    else sendNewEpoch(turn, peer)
    return
  }
  if (!primary.required.includes(from)) {
    if (isNew) peer.isFollowing = false
    if (!isOurs) sendNewEpoch(turn, peer)
    else if (message.type === 'join') considerFill(turn, peer, message)
    else if (message.type === 'hello') sendNewEpoch(turn, peer)
    return
  }
  if (wasFollowing && isNew) greet(turn, primary, peer, message)
  else if (peer.failure !== undefined && isOurs) fillInPlace(turn, peer, message)
  else if (!isOurs) sendNewEpoch(turn, peer)
  else if (wasFollowing && message.type === 'hello') pump(turn, peer, true)
}

function meet({ state }: Turn, primary: PrimaryState, peer: Peer, instance: string): void {
  if (peer.instance !== undefined) peer.formerInstances.push(peer.instance)
  if (peer.formerInstances.length > FORMER_MAX) peer.formerInstances.shift()
  peer.instance = instance
  // Answered: a late answer of its former self to the same question does not make that one the present one.
  peer.probe = undefined
  peer.lease = { untilMs: -Infinity, instance: undefined }
  peer.fill = undefined
  refreshRequired(state)
  const { reconciling } = primary
  if (reconciling === undefined) return
  // What the former instance said or stored does not hold for this one.
  peer.report = undefined
  peer.isFollowing = false
  peer.fillId = peer.storedSeq = peer.durableSeq = 0
  if (reconciling.phase === 'fetching') reconciling.phase = 'collecting'
}

/** SPEC C7: a member of the set came back. */
function greet(turn: Turn, primary: PrimaryState, peer: Peer, report: CopyReport): void {
  const { state, nowMs } = turn
  const fork = forkOf(report, state.log)
  // What it accepted since it is back is not what it acknowledged, nor stored yet.
  const storedSeq = Math.min(fork, report.durableSeq)
  peer.fillId = 0
  peer.attach = report.attach
  if (
    storedSeq < peer.storedSeq ||
    report.consistency.state !== 'consistent' ||
    !report.isWhole ||
    report.lostSlices.length > 0
  ) {
    peer.isFollowing = false
    // I18: what it said before is not true any more.
    peer.storedSeq = Math.min(peer.storedSeq, state.log.commitSeq)
    peer.durableSeq = 0
    fail(turn, peer, 'it came back without what it had acknowledged')
    return fillInPlace(turn, peer, report)
  }
  peer.failure = undefined
  peer.timedSeq = 0
  peer.sentSeq = fork
  peer.storedSeq = peer.durableSeq = storedSeq
  peer.owedSinceMs = nowMs
  pump(turn, peer, true)
  if (primary.required.includes(peer.node)) advance(turn)
}

/** C4 (d): a member that lacks something and may not be let go is filled where it is. */
export function fillInPlace(turn: Turn, peer: Peer, report: CopyReport): void {
  const { config, promise } = turn.state
  const isOurs = report.promised.epoch === promise.epoch && report.promised.primary === promise.primary
  const failed = requiredPeers(turn.state.primary!).filter(({ failure }) => failure !== undefined)
  const shrunk = withoutMembers(
    config!.config,
    failed.map(({ node }) => node),
    '',
  )
  if (shrunk !== undefined || turn.state.change !== undefined) return
  if (isOurs) considerFill(turn, peer, report)
  else sendNewEpoch(turn, peer)
}

export function fail(turn: Turn, peer: Peer, why: string): void {
  peer.failure = why
  wakeBy(turn, turn.nowMs)
}
