/**
 * Reads (SPEC section 8, L3 and L4): of committed state, by a primary that every other member still holds for one.
 *
 *   lease: each member's promise not to follow anybody else, as a time; no question is asked while all of them run
 *   confirm: one question to all for all reads that came before it
 *
 * A lease is begun by a `confirm`, and extended by acknowledged beacons only as long as it has not run out: beacons are
 * between nodes, and a member that went over to somebody else still acknowledges them, but not before its lease ended.
 *
 * I8: nothing is read under E once a primary of a higher epoch is active.
 * I9: what is read is committed, and everything answered before is applied to the map.
 */
import { assert } from '../assert.ts'
import { requiredPeers } from './commit.ts'
import type { NodeId } from './configuration.ts'
import type { CopyEvent } from './copy-port.ts'
import { nextToken } from './copy-state.ts'
import type { CopyState } from './copy-state.ts'
import { awaitSync } from './flush.ts'
import type { ConfirmRound, Peer, PendingRead, PrimaryState } from './primary-state.ts'
import type { RequestId } from './record.ts'
import { isInside, isLost } from './primary.ts'
import { awaitRepair } from './repair.ts'
import { isOfSnapshot, onSnapshotRead, readSnapshot, refuse } from './snapshot-reads.ts'
import { answer, wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

export function onRead(turn: Turn, read: PendingRead): void {
  if (!isInside(turn, read)) return answer(turn, read.from, idOf(read), { ok: false, code: 'range' })
  whenLed(turn, read)
}

/** A read that met damage, once more. */
export function readAgain(turn: Turn, read: PendingRead): void {
  if (isOfSnapshot(read)) readSnapshot(turn, turn.state.primary!, read)
  else onRead(turn, read)
}

/** It is lost for good. */
export function sayDamaged(turn: Turn, read: PendingRead): void {
  if (isOfSnapshot(read)) refuse(turn, read, 'damaged')
  else answer(turn, read.from, idOf(read), { ok: false, code: 'damaged' })
}

function idOf({ id }: PendingRead): RequestId {
  assert(!('reader' in id), 'reads of snapshots are answered to their readers')
  return id
}

/** Serve it when nobody else can have taken our place before it came. */
export function whenLed(turn: Turn, read: PendingRead): void {
  const primary = turn.state.primary!
  if (primary.waitingReads.length === 0 && mayRead(turn, primary)) serve(turn, primary, read)
  else {
    const isWaiting = isAmong(primary.waitingReads, read) || isAmong(primary.round?.reads ?? [], read)
    if (!isWaiting || read.lost !== undefined) primary.waitingReads.push(read)
    progressReads(turn)
  }
}

/**
 * Whether it waits already: its frontend sends again what is not answered, for as long as a member is away that has to
 * be asked, and when that one is back each is read once.
 */
export function isAmong(reads: readonly PendingRead[], { from, id }: PendingRead): boolean {
  if ('reader' in id) return false
  return reads.some(({ from: other, id: one }) =>
    !('reader' in one) && one.request === id.request && one.part === id.part && other === from &&
    one.incarnation === id.incarnation && one.generation === id.generation)
}

function mayRead({ state, nowMs }: Turn, primary: PrimaryState): boolean {
  if (primary.required.length === 0) return true
  if (state.options.readCheck !== 'lease') return false
  for (const node of primary.required) if (primary.peers.get(node)!.lease.untilMs <= nowMs) return false
  return true
}

function serve(turn: Turn, primary: PrimaryState, read: PendingRead): void {
  const { state, port } = turn
  assert(primary.handingOver?.isReleased !== true, 'I8: nobody reads under an epoch that binds nobody any more')
  if (read.flushSeq !== undefined) return awaitSync(turn, { seq: read.flushSeq, from: read.from, id: idOf(read) })
  assert(state.log.appliedSeq === state.log.commitSeq, 'I9: everything answered is applied before it is read')
  const token = nextToken(state)
  primary.reads.set(token, read)
  port.store.read(token, read.lba, read.blockCount)
}

export function onReadEnded(turn: Turn, event: Extract<CopyEvent, { type: 'read-ended' }>): void {
  const { token, ok, versions, damaged } = event
  const { primary } = turn.state
  const read = primary?.reads.get(token)
  if (primary === undefined || read === undefined) return
  primary.reads.delete(token)
  if (isOfSnapshot(read)) return onSnapshotRead(turn, primary, read, event)
  if (damaged !== undefined && damaged.length > 0) return awaitRepair(turn, primary, read, damaged)
  if (ok) return answer(turn, read.from, idOf(read), { ok, versions })
  // No damage, and no answer: the store has failed and is about to say so (D5). Who takes our place is asked again.
  if (isLost(turn, read)) sayDamaged(turn, read)
}

/** After leases, the set or a round may have changed. */
export function progressReads(turn: Turn): void {
  const { state } = turn
  const { primary } = state
  if (primary === undefined || state.role !== 'primary') return
  if (mayRead(turn, primary)) {
    const reads = [...(primary.round?.reads ?? []), ...primary.waitingReads]
    primary.round = undefined
    primary.waitingReads = []
    for (const read of reads) serve(turn, primary, read)
  } else if (primary.round === undefined && (primary.waitingReads.length > 0 || lacksLease(turn, primary))) {
    const reads = primary.waitingReads
    primary.waitingReads = []
    ask(turn, primary, reads)
  }
}

/** Also without reads, and where none is served by a lease: a primary that knows its leases knows who is gone. */
const lacksLease = ({ nowMs }: Turn, primary: PrimaryState): boolean =>
  requiredPeers(primary).some(({ lease }) => lease.untilMs <= nowMs)

/** What was asked so far tells nothing any more; the reads wait. */
export function forgetRound(primary: PrimaryState): void {
  primary.waitingReads = [...(primary.round?.reads ?? []), ...primary.waitingReads]
  primary.round = undefined
}

function ask(turn: Turn, primary: PrimaryState, reads: PendingRead[]): void {
  const { state, nowMs, port } = turn
  const token = nextToken(state)
  primary.round = { token, askedAtMs: nowMs, sentAtMs: nowMs, missing: [...primary.required], reads }
  for (const node of primary.required) {
    const peer = primary.peers.get(node)!
    peer.owedSinceMs ??= nowMs
    port.send(node, { type: 'confirm', epoch: primary.epoch, token })
  }
  wakeBy(turn, nowMs + state.options.retryMs)
}

/** Questions that got lost are asked again; anew, of all, when the answers would come too late for a lease. */
export function retryRound(turn: Turn): void {
  const { state, nowMs, port } = turn
  const { primary } = state
  const round = primary?.round
  if (primary === undefined || round === undefined) return
  const { retryMs, leaseMs, readCheck } = state.options
  if (progressRound(turn, primary, round)) return
  if (nowMs - round.sentAtMs < retryMs) return wakeBy(turn, round.sentAtMs + retryMs)
  if (readCheck === 'lease' && nowMs - round.askedAtMs >= leaseMs / 2) {
    return ask(turn, primary, [...round.reads, ...primary.waitingReads.splice(0)])
  }
  round.sentAtMs = nowMs
  for (const node of round.missing) port.send(node, { type: 'confirm', epoch: primary.epoch, token: round.token })
  wakeBy(turn, nowMs + retryMs)
}

export function onConfirmed(turn: Turn, from: NodeId, instance: string, token: number): void {
  const { state } = turn
  const { primary } = state
  const round = primary?.round
  const peer = primary?.peers.get(from)
  if (primary === undefined || round === undefined || peer === undefined || round.token !== token) return
  if (peer.instance !== instance) return
  grant(peer, instance, round.askedAtMs + state.options.leaseMs)
  if (peer.storedSeq >= peer.sentSeq) peer.owedSinceMs = undefined
  round.missing = round.missing.filter((node) => node !== from)
  progressRound(turn, primary, round)
}

/** Whether it ended: everybody who is required now has answered. Who is not required any more is not waited for. */
function progressRound(turn: Turn, primary: PrimaryState, round: ConfirmRound): boolean {
  round.missing = round.missing.filter((node) => primary.required.includes(node))
  if (round.missing.length > 0) return false
  // Whoever joined the set meanwhile was not asked.
  const isWhole = primary.required.every((node) => primary.peers.get(node)!.lease.instance !== undefined)
  if (!isWhole) ask(turn, primary, round.reads)
  else {
    primary.round = undefined
    for (const read of round.reads) serve(turn, primary, read)
    progressReads(turn)
  }
  return true
}

function grant(peer: Peer, instance: string, untilMs: number): void {
  if (peer.lease.instance === instance) peer.lease.untilMs = Math.max(peer.lease.untilMs, untilMs)
  else peer.lease = { untilMs, instance }
}

/** L3: a beacon extends what runs. */
export function onBeaconAcknowledged(turn: Turn, event: Extract<CopyEvent, { type: 'beacon-acknowledged' }>): void {
  const { state, nowMs } = turn
  const peer = state.primary?.peers.get(event.from)
  if (peer === undefined) return
  if (event.left === true) {
    peer.lease = { untilMs: -Infinity, instance: undefined }
    return progressReads(turn)
  }
  if (peer.lease.instance !== event.instance || peer.lease.untilMs <= nowMs) return
  if (state.primary!.handingOver?.isReleased === true) return
  grant(peer, event.instance, event.sentAtMs + state.options.leaseMs)
  if (peer.storedSeq >= peer.sentSeq && peer.fill === undefined) peer.owedSinceMs = undefined
}

/** Whether an acknowledgement from that node changes anything, if it is the next event. */
export const heedsAcknowledgement = ({ primary }: CopyState, from: NodeId): boolean =>
  primary?.peers.has(from) === true

/** L6: our clock may have stood still, or jumped. Nobody failed for that. */
export function dropLeases(turn: Turn): void {
  const { primary } = turn.state
  if (primary === undefined) return
  if (primary.owedSinceMs !== undefined) primary.owedSinceMs = turn.nowMs
  if (primary.reconciling?.phase === 'promising') primary.reconciling.sinceMs = turn.nowMs
  for (const peer of primary.peers.values()) {
    peer.lease = { untilMs: -Infinity, instance: undefined }
    if (peer.owedSinceMs !== undefined) peer.owedSinceMs = turn.nowMs
  }
  progressReads(turn)
}
