/**
 * Who must have stored a record, and what follows when all of them have (SPEC W4, W5; data path D7).
 *
 * I6: answered -> stored on every member of every configuration that may be current. `required` is their union: while
 *     a compare-and-swap is under way or unknown, the members of both configurations.
 * I11: the commit point never decreases.
 */
import { assert } from '../assert.ts'
import { commitTo } from './copy-log.ts'
import { progressOf } from './copy-state.ts'
import type { CopyState } from './copy-state.ts'
import { progressOpenings } from './sessions.ts'
import { noteFua, releaseFlushes } from './flush.ts'
import { abandonFills, orderedMax, progressFills } from './fill-source.ts'
import { progressHandOver } from './hand-over.ts'
import { releaseHeld } from './primary.ts'
import { newPeer } from './primary-state.ts'
import type { Peer, PrimaryState } from './primary-state.ts'
import type { NodeId } from './configuration.ts'
import type { ReplicatedRecord } from './record.ts'
import { countOf, forgetUpTo } from './record-window.ts'
import { askWhatLivesBeyond } from './shrink.ts'
import { answer, DONE, wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

/** The others whose answer counts, from the configurations that may be current and the copy that is joining. */
export function refreshRequired({ options, config, change, primary, role }: CopyState): void {
  if (primary === undefined || config === undefined) return
  const required = new Set<NodeId>(config.config.inSync)
  if (change !== undefined) for (const node of change.to.inSync) required.add(node)
  // Who reconciles has no records to require of a copy that joins; the set with it is reconciled anew.
  if (role !== 'reconciling') {
    for (const [node, { fill }] of primary.peers) if (fill?.phase === 'joining') required.add(node)
  }
  required.delete(options.node)
  primary.required = [...required]
  for (const node of [...primary.required, ...Object.keys(config.config.members)]) {
    if (node !== options.node && !primary.peers.has(node)) primary.peers.set(node, newPeer(node))
  }
}

export function requiredPeers(primary: PrimaryState): Peer[] {
  return primary.required.map((node) => primary.peers.get(node)!)
}

/** After anything that may have moved the commit point. */
export function advance(turn: Turn): void {
  const { state } = turn
  const { primary, log } = state
  if (primary === undefined || state.role === 'reconciling') return
  let seq = progressOf(state)
  for (const node of primary.required) {
    const peer = primary.peers.get(node)!
    assert(peer.storedSeq <= log.tail, 'I5: nobody has more than was ordered')
    // I18: a member that failed counts for nothing, and nothing goes on without it before it is let go.
    const storedSeq = peer.failure === undefined ? peer.storedSeq : Math.min(peer.storedSeq, log.commitSeq)
    if (storedSeq < seq) seq = storedSeq
  }
  // A copy that joins is required before it has everything: then nothing moves until it has.
  if (seq > log.commitSeq) {
    for (const { failure } of requiredPeers(primary)) {
      assert(failure === undefined, 'I18: nothing is committed on the word of a member that lost something')
    }
    commitTo(turn, seq, (record) => settle(turn, primary, record))
    // Who hears nothing more is told by itself what is committed.
    if (primary.required.length > 0) wakeBy(turn, turn.nowMs + state.options.retryMs)
  }
  if (countOf(log.window) > 0) forgetStored(state)
  releaseFlushes(turn)
  primary.orderedMax = orderedMax(primary)
  releaseHeld(turn)
  if (primary.shrinking !== undefined) askWhatLivesBeyond(turn, primary.shrinking)
  if (primary.openings.length > 0) progressOpenings(turn)
  progressFills(turn)
  if (primary.handingOver !== undefined) progressHandOver(turn)
}

function settle(turn: Turn, primary: PrimaryState, record: ReplicatedRecord): void {
  const { request, seq } = record
  if (request !== undefined) {
    for (const session of primary.sessions) {
      if (session.incarnation !== request.incarnation || session.generation !== request.generation) continue
      if (!noteFua(primary, seq)) answer(turn, session.node, request, DONE)
      break
    }
  } else if (record.kind === 'control') {
    if (record.change.operation === 'rollback') abandonFills(turn.state)
    const token = primary.commands.get(seq)
    if (token === undefined) return
    primary.commands.delete(seq)
    primary.changes.push({ seq, token })
  }
}

/** Records stay in memory until they are applied and everybody they are sent to has stored them. */
function forgetStored({ log, primary }: CopyState): void {
  let floor = log.appliedSeq
  for (const peer of primary!.peers.values()) {
    if (peer.fill !== undefined && peer.isFollowing && peer.storedSeq < floor) floor = peer.storedSeq
    if (peer.fill?.phase === 'starting' && peer.fill.target < floor) floor = peer.fill.target
  }
  forgetUpTo(log.window, floor)
}
