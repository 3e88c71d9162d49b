/**
 * The primary's write path (SPEC section 3; D4 and D5): admit, order, append locally, send, count what comes back.
 *
 * request -> (held: window full, or W8) -> (edges compared) -> (E, next seq) -> own store + every required copy
 *        \-> refused for good: its frontend may know it, so a copy of it that comes late is refused as well (S1)
 *
 * I18: what an instance of a peer says counts only after that instance told us what it has: a copy that lost memory
 *      is not taken for the one it was.
 * I19: a request is ordered only if its session's window does not know it, and it was not refused in this term.
 * I25: nothing is ordered while a hold is in force.
 * I26: nothing is ordered beyond the end that the volume has at that place of the log.
 * W6: the window is bounded; a record leaves it when every copy it is sent to has stored it.
 */
import { assert } from '../assert.ts'
import { BLOCK_BYTES } from '../units.ts'
import { appendRecord, idAt } from './copy-log.ts'
import { advance } from './commit.ts'
import { depose, readConfig } from './configuration-change.ts'
import type { NodeId } from './configuration.ts'
import { durabilityAt } from './copy-state.ts'
import { answerAgain, onFlush, waitForFua } from './flush.ts'
import { isHeld } from './hold.ts'
import type { FrontendMessage, FrontendOperation, PeerMessage } from './messages.ts'
import { checkEdges, noteNewer } from './narrow-writes.ts'
import { noteOwing } from './own-disk.ts'
import type { HeldRequest, OpenSession, Peer, PrimaryState, RefusalCode } from './primary-state.ts'
import { sendNewEpoch } from './peer-reports.ts'
import { onRead } from './reads.ts'
import { isKnownMember } from './replica.ts'
import type { ReplicatedRecord, RequestId, Session } from './record.ts'
import { countOf, recordsFrom } from './record-window.ts'
import { fateOf, noteOrdered, windowOf } from './session-window.ts'
import { openSessionOf, refusalOf } from './sessions.ts'
import { isBeyondOrdered, noteBeyond } from './shrink.ts'
import { answer, redirect, wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

/** Sent beyond what a peer stored; more waits for its answers, so that a slow peer gets large messages. */
export const AHEAD_RECORDS_MAX = 256
const HELD_MAX = 8192
const ANSWER_DECAY = 0.75

type Change = Exclude<FrontendOperation, { type: 'read' | 'flush' }>

export function onRequest(
  turn: Turn,
  from: NodeId,
  { id, epoch, operation, answeredBelow }: Extract<FrontendMessage, { type: 'request' }>,
): void {
  const { state } = turn
  const { primary } = state
  if (state.role !== 'primary' || primary === undefined) {
    if (primary === undefined && state.isRecovered) redirect(turn, from, id)
    return
  }
  const session = openSessionOf(primary, id, from)
  // Of a former term we do not know what was refused. Who has not heard of this one opens his session here again.
  if (session === undefined || epoch < primary.sinceEpoch) {
    const refusal = refusalOf(turn, from, id)
    if (refusal === undefined || refusal === 'wait') redirect(turn, from, id)
    else answer(turn, from, id, { ok: false, code: refusal })
    return
  }
  if (answeredBelow > session.answeredBelow) noteAnswered(session, answeredBelow)
  if (operation.type === 'read')
    return onRead(turn, { from, id, lba: operation.lba, blockCount: operation.blockCount })
  if (operation.type === 'flush') return onFlush(turn, from, id)
  if (id.request < session.answeredBelow) return
  const isReadOnly = !session.mayWrite || state.config?.config.attach.mode === 'read-only'
  if (isReadOnly) return refuse(turn, session, id, 'read-only')
  if (!isInside(turn, operation)) {
    // It may be done, from before the volume was made smaller.
    if (!isKnown(turn, session, id, operation.fua)) refuse(turn, session, id, 'range')
    return
  }
  if (isLost(turn, operation)) return refuse(turn, session, id, 'damaged')
  if (turn.port.store.roomFor?.(operation) === 'wait') sayHeld(turn, from, id)
  const mustWait = isFull(turn) || isHeld(turn, primary)
  if (mustWait || primary.held.length > primary.heldHead) hold(primary, { from, id, operation })
  else admit(turn, primary, session, { from, id, operation })
}

function noteAnswered(session: OpenSession, below: number): void {
  session.answeredBelow = below
  if (session.refused.size === 0) return
  for (const number of session.refused.keys()) if (number < below) session.refused.delete(number)
}

function refuse(turn: Turn, session: OpenSession, id: RequestId, code: RefusalCode): void {
  const parts = session.refused.get(id.request)
  if (parts === undefined) session.refused.set(id.request, new Map([[id.part, code]]))
  else parts.set(id.part, code)
  answer(turn, session.node, id, { ok: false, code })
}

/** Whether a change is over, or on its way: then all is done about it here. Asked again after what it waited for. */
export function isKnown(turn: Turn, session: OpenSession, id: RequestId, fua: boolean): boolean {
  const isAnswered = id.request < session.answeredBelow
  if (isAnswered) return true
  const code = session.refused.get(id.request)?.get(id.part)
  if (code !== undefined) {
    answer(turn, session.node, id, { ok: false, code })
    return true
  }
  const fate = fateOf(windowOf(turn.state.windows, id), id)
  if (fate === 'applied') answerAgain(turn, session.node, id, fua)
  return fate !== 'new'
}

export const isInside = ({ state }: Turn, { lba, blockCount }: { lba: number; blockCount: number }): boolean =>
  lba >= 0 && blockCount > 0 && lba + blockCount <= state.sizeBytes / BLOCK_BYTES

/**
 * I26: inside the volume as it is once all that is ordered is applied. What lies beyond an end of which it is not known
 * yet whether it comes is not answered: its frontend sends it again.
 */
export function isOrderable(
  turn: Turn,
  primary: PrimaryState,
  session: OpenSession,
  id: RequestId,
  operation: Change,
): boolean {
  if (isInside(turn, operation)) return !isBeyondOrdered(turn, primary, operation)
  refuse(turn, session, id, 'range')
  return false
}

/** The only copy, and the disk of a slice is gone: the others are served. */
export const isLost = ({ state }: Turn, { lba, blockCount }: { lba: number; blockCount: number }): boolean =>
  state.lostSlices.some(
    (slice) => lba < (slice + 1) * state.sliceBlocks && slice * state.sliceBlocks < lba + blockCount,
  )

function isFull(turn: Turn): boolean {
  const { primary, log } = turn.state
  return isWindowFull(turn) || (primary !== undefined && log.tail >= primary.orderedMax)
}

/** There is no room in memory, whoever takes his time to store what is there. */
export function isWindowFull({ state: { options, log: { window } } }: Turn): boolean {
  return countOf(window) >= options.windowRecordsMax || window.bytes >= options.windowBytesMax
}

/** So that a frontend whose request is over before there is room knows why. */
function sayHeld({ state, port }: Turn, to: NodeId, { generation, incarnation }: Session): void {
  port.reply(to, { type: 'held', session: { generation, incarnation }, epoch: state.primary!.epoch })
}

/** What finds no room among the held ones is sent again by its frontend. */
export function hold(primary: PrimaryState, request: HeldRequest): void {
  if (primary.held.length - primary.heldHead < HELD_MAX) primary.held.push(request)
}

/** Requests that waited, in order, as far as there is room now and no hold. */
export function releaseHeld(turn: Turn): void {
  const { primary } = turn.state
  if (primary === undefined || turn.state.role !== 'primary') return
  while (primary.heldHead < primary.held.length && !isFull(turn) && !isHeld(turn, primary)) {
    const request = primary.held[primary.heldHead++]!
    const session = openSessionOf(primary, request.id, request.from)
    if (session !== undefined) admit(turn, primary, session, request)
  }
  if (primary.heldHead === primary.held.length && primary.heldHead > 0) {
    primary.held = []
    primary.heldHead = 0
  }
}

function admit(turn: Turn, primary: PrimaryState, session: OpenSession, request: HeldRequest): void {
  const { from, id } = request
  const operation = request.operation as Change
  if (isKnown(turn, session, id, operation.fua)) return
  if (!isOrderable(turn, primary, session, id, operation)) return
  // Refused before it is in the log: from there on it waits for room, as everything behind it would.
  if (turn.port.store.roomFor?.(operation) === 'refuse') return refuse(turn, session, id, 'no-space')
  if (operation.type === 'write' && operation.edges.length > 0) checkEdges(turn, primary, { from, id, operation })
  else order(turn, primary, from, id, operation)
}

/** I19: only what the window does not know. */
export function order(turn: Turn, primary: PrimaryState, from: NodeId, id: RequestId, operation: Change): void {
  const { state } = turn
  const window = windowOf(state.windows, id)
  assert(fateOf(window, id) === 'new', 'I19: a request is ordered once')
  assert(!isHeld(turn, primary), 'I25: nothing of a client is ordered in a hold')
  const isWithin = isInside(turn, operation) && !isBeyondOrdered(turn, primary, operation)
  assert(isWithin, 'I26: nothing of a client is ordered beyond the end')
  noteOrdered(window, id)
  const { answeredBelow } = openSessionOf(primary, id, from)!
  const { generation, incarnation, part, parts } = id
  const request = { generation, incarnation, request: id.request, part, parts, answeredBelow }
  const { epoch } = primary
  const seq = state.log.tail + 1
  const { lba, blockCount } = operation
  const record: ReplicatedRecord =
    operation.type === 'write'
      ? { epoch, seq, request, kind: 'write', lba, blockCount, payload: operation.payload }
      : { epoch, seq, request, kind: operation.type, lba, blockCount }
  if (operation.fua && durabilityAt(state, state.log.tail) === 'writeback') waitForFua(primary, { seq, from, id })
  if (primary.edges.size > 0) noteNewer(primary, record)
  if (primary.shrinking !== undefined) noteBeyond(primary.shrinking, record)
  appendRecord(turn, record)
  if (turn.isMore) primary.isSendDue = true
  else sendToAll(turn)
}

/** Send what each peer lacks, as far as it is not too far behind. */
export function sendToAll(turn: Turn): void {
  turn.state.primary!.isSendDue = false
  noteOwing(turn)
  for (const peer of turn.state.primary!.peers.values()) if (peer.isFollowing) pump(turn, peer)
}

export function pump(turn: Turn, peer: Peer, evenEmpty = false): void {
  const { state, nowMs, port } = turn
  const { log, options, primary } = state
  for (let sent = 0; sent < peer.burst; sent++) {
    const isMore = peer.sentSeq < log.tail && peer.sentSeq - peer.storedSeq < AHEAD_RECORDS_MAX
    if (!isMore && (sent > 0 || !evenEmpty)) break
    const records = recordsFrom(log.window, peer.sentSeq + 1, options.fillBytesMax)
    if (records.length === 0 && peer.sentSeq < log.tail) {
      peer.failure = 'it lacks what is not in memory any more'
      return
    }
    const { commitSeq } = log
    const previous = idAt(state, peer.sentSeq)
    port.send(peer.node, { type: 'append', epoch: primary!.epoch, previous, records, commitSeq })
    peer.sentSeq += records.length
    peer.sentAtMs = nowMs
    peer.toldCommitSeq = commitSeq
    if (records.length === 0) continue
    peer.owedSinceMs ??= nowMs
    if (peer.timedSeq > peer.storedSeq) continue
    peer.timedSeq = peer.sentSeq
    peer.timedAtMs = nowMs
  }
  if (peer.owedSinceMs !== undefined) wakeBy(turn, nowMs + options.retryMs)
}

/**
 * What it was sent first of all that it did not answer, again: it may be late, and then all of that once more would
 * make it later. If it lacks the rest, its answer tells (W2).
 */
export function sendFirstAgain(turn: Turn, peer: Peer): void {
  const sentBefore = peer.sentSeq
  const { nowMs } = turn
  peer.waitedMs = Math.max(peer.waitedMs, nowMs - (peer.owedSinceMs ?? nowMs))
  stopTiming(peer)
  peer.sentSeq = peer.storedSeq
  peer.burst = 1
  pump(turn, peer)
  peer.againSeq = peer.sentSeq
  peer.sentSeq = Math.max(peer.sentSeq, sentBefore)
}

/** Of records that are sent again nobody knows which sending is answered: until all of them are, nothing is timed. */
export function stopTiming(peer: Peer): void {
  peer.timedSeq = Math.max(peer.timedSeq, peer.sentSeq)
  peer.timedAtMs = undefined
}

/** D7: a peer stored a prefix. */
export function onStored(
  turn: Turn,
  from: NodeId,
  instance: string,
  message: Extract<PeerMessage, { type: 'stored' }>,
): void {
  const { state, nowMs } = turn
  const primary = state.primary
  const peer = primary?.peers.get(from)
  if (primary === undefined || peer === undefined) return
  if (message.epoch < primary.sinceEpoch || message.epoch > primary.epoch) return
  if (peer.instance !== instance) return askAnew(turn, peer, instance)
  if (!peer.isFollowing || (message.fill ?? 0) !== peer.fillId) return
  const { seq, durableSeq } = message
  const isMore = Math.max(seq, durableSeq) > state.log.tail
  if (isMore) return turn.port.disbelieved?.(from, 'it stored more than was ordered')
  if (durableSeq > peer.durableSeq) peer.durableSeq = durableSeq
  if (seq > peer.storedSeq) {
    if (peer.timedSeq > peer.storedSeq && peer.timedSeq <= seq) noteAnswer(peer, nowMs)
    peer.storedSeq = seq
    peer.burst = peer.burst < AHEAD_RECORDS_MAX ? peer.burst * 2 : Infinity
    if (peer.againSeq === seq) stopTiming(peer)
    if (peer.sentSeq < seq || peer.againSeq === seq) peer.sentSeq = seq
    peer.owedSinceMs = seq < peer.sentSeq ? nowMs : undefined
    // F3: pieces are answered, and a filling ends, behind records: each one is a step.
    if (peer.fill !== undefined) peer.fill.progressAtMs = nowMs
    pump(turn, peer)
  }
  advance(turn)
}

/** Up at once, and down by and by: what is sent again too soon is what makes the next answer later. */
function noteAnswer(peer: Peer, nowMs: number): void {
  if (peer.timedAtMs === undefined) return
  peer.answerMs = Math.max(nowMs - peer.timedAtMs, peer.answerMs * ANSWER_DECAY)
  peer.waitedMs = 0
}

/** I18: an instance we do not know must say what it has. One that ended does not matter. */
export function askAnew(turn: Turn, peer: Peer, instance: string): void {
  if (peer.formerInstances.includes(instance)) return
  if (turn.nowMs - peer.askedAtMs < turn.state.options.retryMs / 4) return
  sendNewEpoch(turn, peer, instance)
}

export function onRefused(
  turn: Turn,
  from: NodeId,
  instance: string,
  message: Extract<PeerMessage, { type: 'refused' }>,
): void {
  const { state } = turn
  const { primary, log } = state
  const { promised, tail, why } = message
  const peer = primary?.peers.get(from)
  if (primary === undefined || peer === undefined || message.epoch < primary.sinceEpoch) return
  if (promised.epoch > primary.epoch && promised.primary !== state.options.node) {
    // A peer stays one for the term, and may be no member any more.
    return isKnownMember(state, from) ? depose(turn, promised) : readConfig(turn)
  }
  if (peer.instance !== undefined && peer.instance !== instance) return askAnew(turn, peer, instance)
  switch (why) {
    case 'epoch':
      return askAnew(turn, peer, instance)
    case 'gap': {
      if (state.role === 'reconciling') return askAnew(turn, peer, instance)
      const isOurs = tail.seq <= log.tail && idAt(state, tail.seq).epoch === tail.epoch
      if (!peer.isFollowing || tail.seq >= peer.sentSeq || !isOurs) return
      // What overtook another message is refused one by one, and so is what we send again when refusals overtake each
      // other. Once is enough for each place, never back to a former one, and no more than one message: else what
      // is sent again is refused in its turn, a hundred times as often.
      const isAgain = tail.seq <= peer.rewoundSeq && turn.nowMs - peer.rewoundAtMs < state.options.retryMs / 4
      if (isAgain || tail.seq < peer.storedSeq) return
      peer.rewoundSeq = tail.seq
      peer.rewoundAtMs = turn.nowMs
      peer.burst = 1
      stopTiming(peer)
      peer.sentSeq = tail.seq
      return pump(turn, peer)
    }
    case 'fenced':
    case 'not-member':
    case 'not-consistent':
      peer.failure = why
      return wakeBy(turn, turn.nowMs)
    case 'not-primary':
      return
  }
}
