/**
 * Which log goes on (SPEC C4 c, S6): the one with the highest last id among the set. It has every answered write (I7),
 * because each of them is stored on all members; in `writeback` those that may lack something have a say only when
 * there is nobody else. What of it we lack is fetched; the epoch record behind it makes every other tail void.
 *
 * I10: what we know as committed is in the chosen log.
 */
import { assert } from '../assert.ts'
import { mayLack } from './candidate.ts'
import { requiredPeers } from './commit.ts'
import { FORCED_EPOCH_STEP, withoutMembers, withSuccessor } from './configuration.ts'
import { appendEpoch, startChange } from './configuration-change.ts'
import type { NodeId } from './configuration.ts'
import { appendRecord, commitTo, cutBack, tailOf } from './copy-log.ts'
import { knownCommitSeq } from './copy-state.ts'
import type { CopyState } from './copy-state.ts'
import type { PeerMessage } from './messages.ts'
import { runProblem } from './peer-claims.ts'
import type { Peer, PrimaryState, Reconciling } from './primary-state.ts'
import { pump } from './primary.ts'
import { bringInLine } from './reconcile.ts'
import { compareIds, epochAt, forkOf, ROOT_ID, tailId } from './record-id.ts'
import { keepAttach } from './replica.ts'
import { covers, inForce, joined, withBroken } from './session-fence.ts'
import type { Turn } from './turn.ts'

/** How much longer than for others a writeback volume waits for a member that may have what all present lack. */
export const LOST_GRACES = 4

/**
 * Everybody answered. Or some did not for long, and minInSync keeps them in the set: what was answered to clients all
 * others have too, unless they lost power since. Nothing is served before they are in line, or replaced.
 */
export function isChoiceComplete({ state, nowMs }: Turn, primary: PrimaryState, { sinceMs }: Reconciling): boolean {
  const { graceMs, evictAfterMs } = state.options
  const missing = requiredPeers(primary).filter(({ report }) => report === undefined)
  if (missing.length === 0) return !isForced(state) || nowMs - sinceMs >= graceMs
  if (nowMs - sinceMs < graceMs + evictAfterMs || state.change !== undefined) return false
  const nodes = missing.map(({ node }) => node)
  if (withoutMembers(state.config!.config, nodes, '') !== undefined) return false
  // After a longer while what the missing ones had counts as lost, and the sessions are told (S6).
  if (nowMs - sinceMs >= LOST_GRACES * (graceMs + evictAfterMs)) return true
  return !mayLack(state) || hasWhole(primary)
}

/** C9: for a grace members whom it let go may still acknowledge what their former primary takes. */
const isForced = ({ config, log }: CopyState): boolean =>
  config!.config.epoch - (log.epochs.at(-1)?.[0] ?? 0) >= FORCED_EPOCH_STEP

/** It answered, and has all that it acknowledged. */
export const isWhole = ({ failure, report }: Peer): boolean => failure === undefined && report?.isWhole === true

export const hasWhole = (primary: PrimaryState, except?: Peer): boolean =>
  requiredPeers(primary).some((peer) => peer !== except && isWhole(peer))

const answered = (primary: PrimaryState): Peer[] =>
  requiredPeers(primary).filter(({ report }) => report !== undefined)

export function choose(turn: Turn, primary: PrimaryState, reconciling: Reconciling): void {
  const { state, nowMs, port } = turn
  // Who is not consistent has no say; it is let go, or filled, before anything is served.
  let best: Peer | undefined
  const isWholeThere = !mayLack(state) || hasWhole(primary)
  let bestId = isWholeThere && mayLack(state) ? ROOT_ID : tailOf(state)
  for (const peer of answered(primary)) {
    if (peer.failure !== undefined || (isWholeThere && !peer.report!.isWhole)) continue
    const id = tailId(peer.report!)
    if (compareIds(id, bestId) <= 0) continue
    if (forkOf(peer.report!, state.log) < knownCommitSeq(state)) {
      // Chosen without us, and never served: we are in the set and did not store it (S6).
      assert(mayLack(state), 'I10: what we know as committed is in the chosen log')
      continue
    }
    best = peer
    bestId = id
  }
  // What the whole one has may be the beginning of what we have.
  if (best === undefined || forkOf(best.report!, state.log) === best.report!.tail)
    return beginEpoch(turn, primary, reconciling)
  reconciling.phase = 'fetching'
  reconciling.from = best.node
  reconciling.fork = forkOf(best.report!, state.log)
  reconciling.sinceMs = reconciling.sentAtMs = nowMs
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
  const problem = runProblem(records, { seq: fork, epoch: epochAt(state.log.epochs, fork) }, primary.epoch, [])
  if (problem !== undefined) return port.disbelieved?.(from, problem)
  if (records.at(-1)!.seq < tail) return
  cutBack(turn, fork)
  for (const record of records) if (record.seq <= tail) appendRecord(turn, record)
  beginEpoch(turn, primary, reconciling)
}

function beginEpoch(turn: Turn, primary: PrimaryState, reconciling: Reconciling): void {
  const { state, nowMs, port } = turn
  for (const { report, failure } of answered(primary)) {
    const hasAll = forkOf(report!, state.log) >= report!.commitSeq
    assert(hasAll || failure !== undefined || mayLack(state), 'I7: the chosen log has what anybody knows as committed')
    if (hasAll && report!.commitSeq > state.log.commitSeq) commitTo(turn, report!.commitSeq)
  }
  noteAttach(turn, primary)
  noteLostPower(turn, primary)
  reconciling.phase = 'syncing'
  reconciling.sinceMs = nowMs
  reconciling.epochSeq = appendEpoch(turn, primary)
  // What they waited for may have been cut: of older sessions nothing is left but what was chosen.
  for (const opening of primary.openings) opening.waitSeq = reconciling.epochSeq
  port.store.sync()
  for (const peer of answered(primary)) bringInLine(turn, primary, peer, peer.report!)
  for (const peer of primary.peers.values()) if (peer.fill !== undefined && peer.isFollowing) pump(turn, peer)
}

/** Sessions that the set refused stay refused. */
function noteAttach(turn: Turn, primary: PrimaryState): void {
  const { state } = turn
  let fence = state.attach
  for (const { attach } of requiredPeers(primary)) if (!covers(fence, attach)) fence = joined(fence, attach)
  fence = inForce(fence, state.config!.config.attach)
  const isShorter = (fence.open ?? []).length < (state.attach.open ?? []).length
  if (isShorter || !covers(state.attach, fence)) keepAttach(turn, fence, undefined)
}

/**
 * S6: nobody who kept his power since had a say in the choice, so what was answered and not flushed may be gone. The
 * sessions of until now are broken for ever, whoever leads.
 */
function noteLostPower(turn: Turn, primary: PrimaryState): void {
  const { state } = turn
  if (!mayLack(state)) return
  if (hasWhole(primary)) return
  const generations = [state.config!.config.attach.generation, ...state.windows.map(({ generation }) => generation)]
  keepAttach(turn, withBroken(state.attach, Math.max(...generations)), undefined)
}
