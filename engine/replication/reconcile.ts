/**
 * The members get what follows their fork with the chosen log (SPEC C4 d): as records, or, when these are not in
 * memory any more, by being let go or filled.
 *
 * I10: no member's commit point lies beyond its fork with the chosen log. In `writeback` that of one may which kept its
 *     power and was not heard in time (S6): nothing was served without it, so it leads, and nothing is lost.
 */
import { assert } from '../assert.ts'
import { mayLack } from './candidate.ts'
import { requiredPeers } from './commit.ts'
import { withSuccessor } from './configuration.ts'
import { startChange } from './configuration-change.ts'
import { idAt } from './copy-log.ts'
import { progressFills } from './fill-source.ts'
import { isWhole } from './log-choice.ts'
import type { CopyReport, PeerMessage } from './messages.ts'
import type { Peer, PrimaryState } from './primary-state.ts'
import { pump } from './primary.ts'
import { progressReconcile } from './promotion.ts'
import { forkOf } from './record-id.ts'
import { recordAt, recordsFrom } from './record-window.ts'
import { wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

/** C4 (d): what follows its fork; or it cannot be helped by records, and is evicted. */
export function bringInLine(turn: Turn, primary: PrimaryState, peer: Peer, report: CopyReport): void {
  const { state, nowMs, port } = turn
  const { log } = state
  if (peer.fill !== undefined) return
  const fork = forkOf(report, log)
  peer.report = report
  if (peer.failure !== undefined) return wakeBy(turn, nowMs)
  const mayMiss = mayLack(state) && !isWholeInLine(turn, primary, peer)
  assert(mayMiss || report.commitSeq <= fork, 'I10: no member committed beyond its fork')
  if (mayMiss && (report.commitSeq > fork || (report.isWhole && report.tail > fork))) {
    startChange(turn, 'pass-on', withSuccessor(state.config!.config, peer.node, port.nonce()))
    return
  }
  const records = recordsFrom(log.window, fork + 1, Infinity)
  if (fork < log.tail && recordAt(log.window, fork + 1) === undefined) {
    peer.failure = 'it lacks what is not in memory any more'
    return wakeBy(turn, nowMs)
  }
  const message = { type: 'reconcile' as const, epoch: primary.epoch, fork: idAt(state, fork), records }
  port.send(peer.node, { ...message, commitSeq: log.commitSeq })
  peer.sentAtMs = nowMs
  wakeBy(turn, nowMs + state.options.retryMs)
}

/** Another one that is whole has nothing beyond the chosen log: then nothing beyond it was answered. */
function isWholeInLine({ state: { log } }: Turn, primary: PrimaryState, except: Peer): boolean {
  return requiredPeers(primary).some(
    (peer) => peer !== except && isWhole(peer) && peer.report!.tail <= forkOf(peer.report!, log),
  )
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
  if (seq > peer.storedSeq && peer.fill !== undefined) peer.fill.progressAtMs = turn.nowMs
  peer.storedSeq = Math.max(peer.storedSeq, seq)
  peer.durableSeq = Math.max(peer.durableSeq, durableSeq)
  if (peer.fill !== undefined) {
    pump(turn, peer)
    return progressFills(turn)
  }
  progressReconcile(turn)
}
