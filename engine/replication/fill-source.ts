/**
 * Filling a copy, the primary's side (SPEC section 5): from what it still has in common with us up to the commit point
 * of now, slice by slice, while new records reach it in order; then it is required, and taken into the set.
 *
 *   join -> starting -> filling (scan, fill, filled)* -> ending -> following -> joining (required) -> compare-and-swap
 *                                                                    ^---- slow ----'
 *
 * I12: only who leads is a source, and only of what is committed.
 * I20: a base lies above everything whose trims may have left no trace; otherwise the slice is wiped and filled whole.
 */
import { assert } from '../assert.ts'
import { advance, refreshRequired } from './commit.ts'
import { overduePeers, startChange } from './configuration-change.ts'
import { withMember, withoutMembers } from './configuration.ts'
import type { NodeId } from './configuration.ts'
import type { CopyEvent } from './copy-port.ts'
import { commitTo } from './copy-log.ts'
import { nextToken, slicesOf } from './copy-state.ts'
import type { CopyState } from './copy-state.ts'
import { forgetSent, isSpared, mayReadOn, waitNoLonger } from './fill-losses.ts'
import { askForSync } from './flush.ts'
import type { CopyReport, PeerMessage } from './messages.ts'
import type { FillPiece, FillSource, Peer, PrimaryState } from './primary-state.ts'
import { AHEAD_RECORDS_MAX, isWindowFull, pump } from './primary.ts'
import { progressReconcile } from './promotion.ts'
import { forkOf } from './record-id.ts'
import { noteDamage } from './repair.ts'
import { covers } from './session-fence.ts'
import { encodeWindows } from './session-window.ts'
import { wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

/** So many pieces are on their way to a copy at most: it stores one while the next is read and sent. */
const PIECES_MAX = 4

/**
 * A copy wants to join. While it is filled that says only that it lives and heard nothing of us: what is unanswered is
 * sent again anyhow, and begun anew it would lose what it has of its slice (F5). It may be long on its way, as our
 * begin may be: that is replaced only when it is not taken any more.
 */
export function considerFill(turn: Turn, peer: Peer, report: CopyReport): void {
  const { state, nowMs } = turn
  const member = state.config!.config.members[peer.node]!
  if (member.state === 'failed' || state.role === 'handing-over') return
  if (peer.fill !== undefined && mayGoOn(turn, peer.fill, report)) {
    const { sentAtMs } = peer.fill
    if (nowMs - sentAtMs >= fillPatienceMs(state) / 2) sendAgain(turn, peer, peer.fill)
    return
  }
  if (report.commitSeq > state.log.commitSeq && forkOf(report, state.log) >= report.commitSeq) {
    // It knows more of what is committed than a primary that still reconciles.
    commitTo(turn, report.commitSeq)
  }
  // As many as the descriptor says: it goes with them.
  const sliceCount = turn.port.store.slicesShown()
  const plan = planFill(state, report, member.state === 'needs-full', sliceCount)
  const spareMs = 2 * BUSY_PATIENCES * fillPatienceMs(state)
  if (isSpared(turn, peer, report, plan.wipe, spareMs)) return
  const id = nextToken(state)
  const target = state.log.commitSeq
  const { windows, log, sizeBytes } = state
  const start: FillSource['start'] = {
    type: 'fill-start',
    epoch: state.primary!.epoch,
    fill: id,
    target,
    ...plan,
    descriptor: turn.port.store.descriptor(),
    epochs: log.epochs.filter(([, firstSeq]) => firstSeq <= target),
    windows: encodeWindows(windows),
    sizeBytes,
    ...(sliceCount === slicesOf(state) ? {} : { sliceCount }),
    forInstance: peer.instance!,
    joinOf: report.joinNumber ?? 0,
    attach: state.attach,
    forgottenSeq: forgottenUpTo(state),
    isWhole: state.isWhole,
    durability: state.durability,
  }
  peer.isFollowing = false
  if (!state.config!.config.inSync.includes(peer.node)) peer.failure = undefined
  peer.attach = report.attach
  peer.fill = {
    id,
    copyId: report.copyId,
    phase: 'starting',
    start,
    isTaken: false,
    target,
    slices: [...plan.slices],
    cursor: 0,
    scanToken: undefined,
    awaited: [],
    awaitedAtMs: nowMs,
    lost: [],
    silent: [],
    takesMarks: true,
    number: 0,
    unanswered: [],
    slowed: undefined,
    joinSeq: 0,
    sentAtMs: nowMs,
    resends: 0,
    beganAtMs: nowMs,
    progressAtMs: nowMs,
  }
  sendAgain(turn, peer, peer.fill)
}

function mayGoOn({ state, nowMs }: Turn, fill: FillSource, { joinNumber = 0, commitSeq }: CopyReport): boolean {
  // Whoever waits for what we read waits for our disk.
  if (fill.phase === 'joining' || fill.scanToken !== undefined || fill.awaited.length > 0) return true
  const { joinOf, fork } = fill.start
  // It took another begin of ours, which we gave up: it had said so before of this one.
  const tookAnother = joinNumber > joinOf && !fill.isTaken
  const knowsMore = joinNumber === joinOf && fork > 0 && commitSeq > fork
  if (fill.phase === 'starting' && (tookAnother || knowsMore)) return false
  return nowMs - fill.progressAtMs < 2 * BUSY_PATIENCES * fillPatienceMs(state)
}

/** F1. */
function planFill(
  state: CopyState,
  report: CopyReport,
  isForeign: boolean,
  sliceCount: number,
): Pick<FillSource['start'], 'fork' | 'slices' | 'wipe'> {
  const { log, rollbacks } = state
  const forgottenSeq = forgottenUpTo(state)
  const common = forkOf(report, log)
  const provable = (base: number): boolean => base >= forgottenSeq && base >= (rollbacks.at(-1)?.[1] ?? 0)
  const { consistency, lostSlices } = report
  const reached = consistency.state === 'filling' ? consistency.target : 0
  const isDelta = !isForeign && common >= report.commitSeq && common >= reached && provable(common)
  const fork = isDelta ? Math.min(common, log.commitSeq) : 0
  const unfilled = new Map(consistency.state === 'filling' ? consistency.slices : [])
  const slices: Array<[number, number]> = []
  const wipe: number[] = []
  for (let slice = 0; slice < sliceCount; slice++) {
    const former = unfilled.get(slice) ?? fork
    const base = !isDelta || lostSlices.includes(slice) || !provable(former) ? 0 : Math.min(former, fork)
    assert(base === 0 || base >= forgottenSeq, 'I20: a base lies above what may be forgotten')
    if (base === 0) wipe.push(slice)
    if (base < log.commitSeq) slices.push([slice, base])
  }
  return { fork, slices, wipe }
}

/** While nobody is away trims leave no trace; a member that is filled where it is then needs everything. */
const forgottenUpTo = ({ trimsKeptAbove, forgottenSeq, log }: CopyState): number =>
  trimsKeptAbove === Infinity ? log.commitSeq : forgottenSeq

function sendAgain(turn: Turn, peer: Peer, fill: FillSource): void {
  const { state, nowMs, port } = turn
  const { epoch } = state.primary!
  const { id } = fill
  fill.sentAtMs = nowMs
  if (fill.phase === 'starting') port.send(peer.node, { ...fill.start, epoch })
  else if (fill.phase === 'filling') {
    // The copy keeps those behind it until their turn: most often it lacks this one only.
    const [first] = fill.unanswered
    if (first !== undefined) sendPiece(turn, peer, fill, first)
  } else if (fill.phase === 'ending') port.send(peer.node, { type: 'fill-end', epoch, fill: id })
  wakeBy(turn, nowMs + state.options.retryMs)
}

function sendPiece({ state, nowMs, port }: Turn, peer: Peer, fill: FillSource, piece: FillPiece): void {
  fill.sentAtMs = nowMs
  port.send(peer.node, { type: 'fill', epoch: state.primary!.epoch, fill: fill.id, ...piece })
}

function fillOf(
  turn: Turn,
  from: NodeId,
  instance: string,
  id: number,
): { peer: Peer; fill: FillSource } | undefined {
  const peer = turn.state.primary?.peers.get(from)
  if (peer?.fill?.id !== id || peer.instance !== instance) return undefined
  peer.fill.progressAtMs = turn.nowMs
  peer.fill.isTaken = true
  return { peer, fill: peer.fill }
}

export function onFillStarted(turn: Turn, from: NodeId, instance: string, id: number): void {
  const found = fillOf(turn, from, instance, id)
  if (found?.fill.phase !== 'starting') return
  const { peer, fill } = found
  fill.phase = 'filling'
  peer.isFollowing = true
  peer.fillId = id
  peer.timedSeq = 0
  peer.sentSeq = peer.storedSeq = peer.durableSeq = fill.target
  peer.owedSinceMs = undefined
  if (turn.state.primary!.reconciling === undefined || turn.state.primary!.reconciling.phase === 'syncing')
    pump(turn, peer)
  scanNext(turn, peer, fill)
}

/** While some pieces are on their way the next one is read; what is behind the end of a slice waits for its answer. */
function scanNext(turn: Turn, peer: Peer, fill: FillSource): void {
  const { state, port } = turn
  const next = fill.slices[0]
  if (next === undefined) {
    if (fill.unanswered.length > 0 || !mayEnd(state, peer)) return
    fill.phase = 'ending'
    return sendAgain(turn, peer, fill)
  }
  const { cursor, target } = fill
  if (cursor === undefined || fill.scanToken !== undefined || fill.unanswered.length >= PIECES_MAX) return
  if (!mayReadOn(state, fill)) return
  const [slice, above] = next
  fill.scanToken = nextToken(state)
  const { fillBytesMax: bytesMax } = state.options
  // Found out now: its connection may be one of another version.
  fill.takesMarks = port.takesMarks?.(peer.node) ?? true
  const lost = fill.takesMarks ? [...fill.lost] : []
  port.store.scan(fill.scanToken, { slice, above, upTo: target, cursor, bytesMax, lost })
}

/**
 * F4: a member that is filled where it is may stand as soon as it is consistent. What is answered and above the target
 * it has only behind our epoch record.
 */
function mayEnd({ config, primary, log }: CopyState, { node, storedSeq }: Peer): boolean {
  const [epoch, epochSeq] = log.epochs.at(-1) ?? [0, 0]
  return !config!.config.inSync.includes(node) || (epoch === primary!.epoch && storedSeq >= epochSeq)
}

export function onScanned(
  turn: Turn,
  {
    token,
    ok,
    versions,
    cursor,
    damaged,
  }: Extract<CopyEvent, { type: 'scanned' }>,
): void {
  if (damaged !== undefined) noteDamage(turn, damaged)
  const { primary } = turn.state
  if (primary === undefined) return
  for (const peer of primary.peers.values()) {
    const { fill } = peer
    if (fill === undefined || fill.scanToken !== token) continue
    fill.scanToken = undefined
    // What we cannot read we cannot give: it is repaired first, or nobody has it. Else the copy asks again.
    if (!ok && damaged !== undefined && damaged.length > 0) {
      fill.awaited = damaged.map(({ lba, epoch, seq }) => ({ lba, epoch, seq }))
      fill.awaitedAtMs = turn.nowMs
      return wakeBy(turn, turn.nowMs + turn.state.options.retryMs)
    }
    if (!ok) return abandonFill(peer)
    const slicesDone = cursor === undefined ? [fill.slices[0]![0]] : []
    const piece: FillPiece = { number: ++fill.number, versions, slicesDone }
    if (cursor === undefined) piece.appliedSeq = turn.state.log.appliedSeq
    fill.cursor = cursor
    forgetSent(fill, versions)
    fill.unanswered.push(piece)
    sendPiece(turn, peer, fill, piece)
    wakeBy(turn, turn.nowMs + turn.state.options.retryMs)
    return scanNext(turn, peer, fill)
  }
}

export function abandonFill(peer: Peer): void {
  peer.fill = undefined
  peer.isFollowing = false
  peer.owedSinceMs = undefined
}

/** F5: after a rollback what is filled is not what the volume is. Who has it all has the rollback as a record. */
export function abandonFills({ primary }: CopyState): void {
  for (const peer of primary!.peers.values()) {
    const { fill } = peer
    if (fill !== undefined && fill.phase !== 'following' && fill.phase !== 'joining') abandonFill(peer)
  }
}

export function onFilled(
  turn: Turn,
  from: NodeId,
  instance: string,
  message: Extract<PeerMessage, { type: 'filled' }>,
): void {
  const found = fillOf(turn, from, instance, message.fill)
  const piece = found?.fill.unanswered.find(({ number }) => number === message.number)
  if (found === undefined || piece === undefined) return
  const { peer, fill } = found
  fill.unanswered = fill.unanswered.filter((one) => one !== piece)
  // It may take as long the next time.
  fill.resends = Math.max(0, fill.resends - 1)
  if (piece.slicesDone.length > 0) {
    fill.slices.shift()
    fill.cursor = 0
  }
  scanNext(turn, peer, fill)
}

/** F4: it is consistent, durably; its answer is required as soon as it is near. */
export function onFillEnded(turn: Turn, from: NodeId, instance: string, id: number): void {
  const found = fillOf(turn, from, instance, id)
  if (found?.fill.phase !== 'ending') return
  found.fill.phase = 'following'
  if (turn.state.role === 'primary') advance(turn)
  else progressFills(turn)
}

/**
 * Requests that wait for its answers do not wait long (C5). A member of the set is required anyhow. Who hands the lead
 * over orders nothing more: what it waits for is the set, and nobody besides.
 */
function isNear(turn: Turn, peer: Peer): boolean {
  const { role, config, log } = turn.state
  if (config!.config.inSync.includes(peer.node)) return true
  if (role !== 'primary') return role === 'reconciling'
  return !isLate(turn, peer) && log.commitSeq - peer.storedSeq <= AHEAD_RECORDS_MAX
}

const isLate = ({ state, nowMs }: Turn, { owedSinceMs }: Peer): boolean =>
  owedSinceMs !== undefined && nowMs - owedSinceMs >= state.options.evictAfterMs

/**
 * F4: who follows and stores less than clients write would be a full window behind for as long as they do. From when
 * the window is full half as much is ordered as it stores, until it is near or late.
 */
function follow(turn: Turn, peer: Peer, fill: FillSource): void {
  if (isNear(turn, peer)) beginToRequire(turn, peer, fill)
  else if (isLate(turn, peer)) fill.slowed = undefined
  else if (isWindowFull(turn)) fill.slowed ??= { tail: turn.state.log.tail, storedSeq: peer.storedSeq }
}

/** Up to where requests are ordered now, so that those who follow come near. */
export function orderedMax({ peers }: PrimaryState): number {
  let max = Infinity
  for (const { fill, storedSeq } of peers.values()) {
    if (fill?.slowed === undefined) continue
    max = Math.min(max, fill.slowed.tail + (storedSeq - fill.slowed.storedSeq) / 2)
  }
  return max
}

function beginToRequire({ state, nowMs }: Turn, peer: Peer, fill: FillSource): void {
  fill.phase = 'joining'
  fill.slowed = undefined
  fill.joinSeq = state.log.commitSeq
  // L3: one that ended while it was away is no sign that it is gone again.
  if (peer.lease.untilMs <= nowMs) peer.lease = { untilMs: -Infinity, instance: undefined }
  refreshRequired(state)
}

/** C5: into the set, when it has all that the others have. */
export function progressFills(turn: Turn): void {
  const { state, nowMs, port } = turn
  const { primary, config, log } = state
  if (primary === undefined) return
  for (const peer of primary.peers.values()) {
    const { fill } = peer
    if (fill === undefined) continue
    if (config!.config.members[peer.node]?.copyId !== fill.copyId && state.change === undefined) {
      abandonFill(peer)
      refreshRequired(state)
      // What waited for it, for its answers or because it was slow, does not any more; perhaps nothing else happens.
      wakeBy(turn, nowMs)
      continue
    }
    if (fill.phase === 'filling' && fill.slices.length === 0) scanNext(turn, peer, fill)
    if (fill.phase === 'following') follow(turn, peer, fill)
    if (fill.phase !== 'joining' || state.change !== undefined) continue
    if (config!.config.inSync.includes(peer.node)) {
      // A member that lacked something and could not be let go was filled where it is.
      if (!mayEnd(state, peer)) continue
      peer.fill = undefined
      peer.failure = undefined
      if (state.role === 'reconciling') progressReconcile(turn)
      else advance(turn)
      return
    }
    // The epoch record of now included: so it stands behind everything that was chosen before.
    if (peer.storedSeq < Math.max(log.commitSeq, log.epochs.at(-1)?.[1] ?? 0)) continue
    // What was flushed before this term may be all up to its begin; since it is required no flush goes without it.
    const flushedSeq = Math.max(fill.joinSeq, log.epochs.at(-1)?.[1] ?? 0)
    if (peer.durableSeq < flushedSeq) {
      askForSync(turn, flushedSeq, peer)
      continue
    }
    if (!covers(peer.attach, state.attach)) {
      if (nowMs - peer.askedAtMs < state.options.retryMs) continue
      peer.askedAtMs = nowMs
      port.send(peer.node, { type: 'fence', epoch: primary.epoch, fence: state.attach })
      continue
    }
    const gone = goneMembers(turn)
    if (state.role === 'reconciling' && gone.length === 0) continue
    startChange(turn, 'join', withMember(config!.config, peer.node, gone, port.nonce()))
  }
}

/** F6: dead members that minInSync kept in the set leave it with the change that takes their replacement in. */
function goneMembers(turn: Turn): NodeId[] {
  const { config } = turn.state.config!
  const { reconciling } = turn.state.primary!
  const { graceMs, evictAfterMs } = turn.state.options
  if (turn.state.role === 'primary') {
    const gone = overduePeers(turn).map(({ node }) => node)
    const isStuck = gone.length > 0 && withoutMembers(config, gone, '') === undefined
    return isStuck ? gone.filter((node) => config.inSync.includes(node)) : []
  }
  if (reconciling?.phase !== 'syncing' || turn.nowMs - reconciling.sinceMs < graceMs + evictAfterMs) return []
  const { peers, required } = turn.state.primary!
  return required.filter((node) => peers.get(node)!.report === undefined && config.inSync.includes(node))
}

/** So many times as long as otherwise a copy may be silent, or owe records, that nobody waits for. */
const BUSY_PATIENCES = 10

/** How long either side waits for a sign of the other before it says so. */
export const fillPatienceMs = ({ options: { evictAfterMs, retryMs } }: CopyState): number =>
  Math.max(evictAfterMs, 4 * retryMs)

/** Messages that got lost are sent again; a copy that fell silent is not fed any more. */
export function tickFills(turn: Turn): void {
  const { state, nowMs } = turn
  const { retryMs } = state.options
  const patienceMs = 2 * fillPatienceMs(state)
  for (const peer of state.primary!.peers.values()) {
    const { fill } = peer
    if (fill === undefined) continue
    // What requests wait for may not take its time; else a loop that is late, or a link that is down for a while, costs
    // nothing but memory, and to begin anew costs all that was filled of a slice.
    const isUrgent = fill.phase === 'joining' || isWindowFull(turn)
    const mostMs = (isUrgent ? 1 : BUSY_PATIENCES) * patienceMs
    // It is not the copy that is waited for.
    if (fill.awaited.length > 0) fill.progressAtMs = nowMs
    if (fill.awaited.length > 0 && nowMs - fill.awaitedAtMs >= patienceMs) {
      waitNoLonger(state, fill)
      fill.awaited = []
    }
    if (fill.phase === 'filling') scanNext(turn, peer, fill)
    const isReading = fill.scanToken !== undefined || fill.awaited.length > 0
    const isStill = nowMs - fill.progressAtMs >= mostMs && !isReading
    const isSlow = peer.owedSinceMs !== undefined && nowMs - peer.owedSinceMs >= mostMs
    // What failed in the set is why it is filled there.
    const isIn = state.config!.config.inSync.includes(peer.node)
    const isFree = fill.phase !== 'joining' || state.change === undefined
    // All records since wait in the window for the end of its begin: requests do not.
    const holdsUp = fill.phase === 'starting' && nowMs - fill.beganAtMs >= patienceMs && isWindowFull(turn)
    const isOver = (isStill && fill.phase !== 'joining') || isSlow || holdsUp
    // What is large and under way only gets later by being sent again; who heard nothing of it says so (`join`).
    const againMs = fill.phase === 'filling' ? patienceMs : patienceMs / 4
    const isNoUse = peer.failure !== undefined && !isIn
    if (isFree && fill.phase === 'joining' && isSlow && !isIn && !isNoUse) {
      // C5: requests wait for it no more, and it loses nothing.
      fill.phase = 'following'
      refreshRequired(state)
    } else if (isFree && (isOver || isNoUse)) {
      if (!isIn) peer.failure = undefined
      abandonFill(peer)
      refreshRequired(state)
    } else if (nowMs - fill.sentAtMs >= Math.min(retryMs * 2 ** fill.resends, againMs)) {
      fill.resends++
      sendAgain(turn, peer, fill)
    }
    wakeBy(turn, nowMs + retryMs)
  }
  progressFills(turn)
}
