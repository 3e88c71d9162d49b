/**
 * A primary whose own disk stands still while the others' disks do not (SPEC C11): it gives its lead to one of them,
 * and that one lets it go as it would let any member go that is silent (C4).
 *
 *   owes since (ordered, or asked to sync)  ->  evictAfterMs without any progress  ->  a fit member has what we owe  ->
 *   CAS primary = that member, same set, E+1  ->  won: deposed, the others released from their grace
 *
 * The same for one that was chosen and cannot begin, since its promise or its epoch record does not get durable. It
 * waits longer, and twice as long after each term for nothing: where all disks are slow one has to be waited for.
 *
 * I6: the set stays, so nothing is required less than before. What only our disk may have is read there, or waited for.
 */
import { requiredPeers } from './commit.ts'
import { mayShrinkTo, withSuccessor } from './configuration.ts'
import { startChange } from './configuration-change.ts'
import { progressOf } from './copy-state.ts'
import type { CopyState } from './copy-state.ts'
import type { Peer } from './primary-state.ts'
import { recordAt } from './record-window.ts'
import { wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

const TERMS_MAX = 64

const isOwing = (state: CopyState): boolean =>
  progressOf(state) < state.log.tail || state.log.durableSeq < state.primary!.syncAskedSeq

/** After something was ordered, or asked to be made durable. */
export function noteOwing({ state, nowMs }: Turn): void {
  const { primary } = state
  if (primary !== undefined && primary.owedSinceMs === undefined && isOwing(state)) primary.owedSinceMs = nowMs
}

/** After our store said that it has more than before. */
export function noteOwnProgress({ state, nowMs }: Turn): void {
  const { primary } = state
  if (primary?.owedSinceMs !== undefined) primary.owedSinceMs = isOwing(state) ? nowMs : undefined
}

export function passOnIfStill(turn: Turn): void {
  const { state, nowMs, port } = turn
  const { role, options } = state
  const primary = state.primary!
  if (primary.owedSinceMs === undefined) return
  if (waitsForRoom(turn)) {
    // Says nothing of the disk, which has all its time from when there is room (D6).
    primary.owedSinceMs = nowMs
    return wakeBy(turn, nowMs + options.retryMs)
  }
  const dueMs = primary.owedSinceMs + options.evictAfterMs
  if (nowMs < dueMs) return wakeBy(turn, dueMs)
  const { config } = state.config!
  const successor = successorOf(state)
  // Where it may not be let go it is waited for anyhow, whoever leads.
  const isOfUse = mayShrinkTo(config, config.inSync.length - 1)
  if (role !== 'primary' || successor === undefined || !isOfUse) return wakeBy(turn, nowMs + options.retryMs)
  startChange(turn, 'pass-on', withSuccessor(config, successor.node, port.nonce()))
}

/** Of one that reconciles. */
export function passOnIfUnable(turn: Turn): void {
  const { state, nowMs, port } = turn
  const { log, fruitlessTerms } = state
  const { node, evictAfterMs, graceMs, retryMs } = state.options
  const primary = state.primary!
  const { phase, sinceMs, epochSeq } = primary.reconciling!
  const isLast = log.durableSeq < epochSeq && requiredPeers(primary).every(({ durableSeq }) => durableSeq >= epochSeq)
  if (phase !== 'promising' && (phase !== 'syncing' || !isLast)) return
  const dueMs = sinceMs + (evictAfterMs + graceMs) * Math.min(TERMS_MAX, 2 ** fruitlessTerms)
  if (nowMs < dueMs) return wakeBy(turn, dueMs)
  const { config } = state.config!
  const others = config.inSync.filter((one) => one !== node).sort()
  if (!mayShrinkTo(config, others.length)) return wakeBy(turn, nowMs + retryMs)
  startChange(turn, 'pass-on', withSuccessor(config, others[config.epoch % others.length]!, port.nonce()))
}

/** A member that may lead and has the most of what we owe, if its disk does any better than ours. */
function successorOf(state: CopyState): Peer | undefined {
  const { primary, config, log, options } = state
  const own = progressOf(state)
  // Like with like: where records are owed, that another one has synced more of those before says nothing of its disk.
  const isAhead = ({ storedSeq, durableSeq }: Peer): boolean =>
    own < log.tail ? storedSeq > own : durableSeq > log.durableSeq
  let best: Peer | undefined
  for (const node of config!.config.inSync) {
    const peer = primary!.peers.get(node)
    if (node === options.node || peer === undefined || !peer.isFollowing) continue
    if (peer.failure !== undefined || peer.fill !== undefined) continue
    if (isAhead(peer) && (best === undefined || peer.storedSeq > best.storedSeq)) best = peer
  }
  return best
}

function waitsForRoom({ state, port }: Turn): boolean {
  const owed = recordAt(state.log.window, progressOf(state) + 1)
  const lba = owed === undefined || owed.kind === 'control' ? 0 : owed.lba
  return port.store.roomFor?.({ type: 'trim', lba, blockCount: 1 }) === 'wait'
}
