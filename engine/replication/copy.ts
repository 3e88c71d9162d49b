/**
 * One copy of a volume: `step` takes an event, runs to its end, and asks the world through the port (SPEC.md). Every
 * event goes through the table of `transitions.ts`, then to its one function. Nothing here waits; nothing throws but
 * for a broken promise of our own code.
 *
 * I14: after the store failed, this process acknowledges nothing more for this copy: it is fenced.
 */
import { assert, unreachable } from '../assert.ts'
import { considerStanding, passOnAgain } from './candidate.ts'
import { advance } from './commit.ts'
import {
  evict,
  fence,
  follow,
  onCasEnded,
  onConfigRead,
  overduePeers,
  progressChange,
  readConfig,
  readNews,
  tellFenced,
} from './configuration-change.ts'
import type { NodeId } from './configuration.ts'
import { onCommand } from './control.ts'
import type { CopyEvent, CopyPort } from './copy-port.ts'
import { noteDurable, noteStored } from './copy-log.ts'
import { leads, takeStored } from './copy-state.ts'
import type { CopyState, KeptPurpose } from './copy-state.ts'
import { onFilled, onFillEnded, onFillStarted, onScanned, tickFills } from './fill-source.ts'
import { greet, onFill, onFilledKept, onFillEnd, onFillEndKept, onFillStart, onFillStartKept } from './fill-target.ts'
import { retryFlushes } from './flush.ts'
import {
  beginGrace,
  onBeacon,
  onInstanceEnded,
  onLeaderless,
  onRelease,
  progressGrace,
  restartGrace,
} from './grace.ts'
import { progressHandOver } from './hand-over.ts'
import { tickHold } from './hold.ts'
import { onLog } from './log-choice.ts'
import type { FrontendMessage, PeerMessage } from './messages.ts'
import { onLookedUp } from './narrow-writes.ts'
import { noteOwnProgress, passOnIfStill } from './own-disk.ts'
import { askForMarks, onMarksFound, progressMarks } from './kept-marks.ts'
import { onReport, sendNewEpoch } from './peer-reports.ts'
import type { Peer } from './primary-state.ts'
import { askAnew, onRefused, onRequest, onStored, pump, sendFirstAgain, sendToAll } from './primary.ts'
import { onOwnPromiseKept, progressReconcile, tickReconcile } from './promotion.ts'
import { dropLeases, onBeaconAcknowledged, onConfirmed, onReadEnded, progressReads, retryRound } from './reads.ts'
import { onReconcileStored } from './reconcile.ts'
import {
  onAppend,
  onAttachKept,
  onConfirm,
  onFence,
  onFetchLog,
  onNewEpoch,
  onPromiseKept,
  onReconcile,
  onSync,
  progressReplica,
  refuse,
} from './replica.ts'
import { noteDamage, onFetchVersions, onRepaired, onVersions, onVersionsRead, progressRepairs } from './repair.ts'
import { onFenced, onOpen, progressOpenings } from './sessions.ts'
import { onBeyondCounted } from './shrink.ts'
import { onMapped, onSnapshotAsk } from './snapshot-reads.ts'
import { doubtUses, onSnapshotClose, onSnapshotOpen } from './snapshot-uses.ts'
import { BEFORE_RECOVERY, kindOf, TRANSITIONS } from './transitions.ts'
import { redirect, wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

export { assertInvariants, createCopy } from './copy-state.ts'
export type { CopyState } from './copy-state.ts'

const isChange = (event: CopyEvent): boolean =>
  event.type === 'frontend' && event.message.type === 'request'
  && event.message.operation.type !== 'read' && event.message.operation.type !== 'flush'

/** Whether `isMore` may be said of an event that `next` follows at once: frontends ask for places in the log. */
export const isRun = (event: CopyEvent, next: CopyEvent | undefined): boolean =>
  next !== undefined && isChange(event) && isChange(next)

/**
 * @param isMore  the next event follows at once, and both ask for changes (`isRun`): what they order leaves together,
 *                in one message to each peer
 */
export function step(state: CopyState, event: CopyEvent, nowMs: number, port: CopyPort, isMore = false): void {
  const kind = kindOf(event)
  const row = state.isRecovered ? TRANSITIONS[state.role] : BEFORE_RECOVERY
  const turn: Turn = { state, nowMs, port, isMore }
  switch (row[kind]) {
    case 'handled':
      handle(turn, event)
      if (!isMore && state.primary?.isSendDue === true) sendToAll(turn)
      return
    case 'refused':
      return refuseEvent(turn, event)
    case 'ignored':
      return
    case 'impossible':
      return assert(false, 'an event came that cannot come in this role')
  }
}

function handle(turn: Turn, event: CopyEvent): void {
  const { state } = turn
  switch (event.type) {
    case 'recovered':
      return onRecovered(turn, event)
    case 'stored':
      return onOwnStored(turn, event)
    case 'kept':
      return onKept(turn, event.token)
    case 'read-ended':
      return onReadEnded(turn, event)
    case 'mapped':
      return onMapped(turn, event)
    case 'looked-up':
      return onLookedUp(turn, event.token, event.ok, event.seqs)
    case 'beyond-counted':
      return onBeyondCounted(turn, event)
    case 'scanned':
      return onScanned(turn, event)
    case 'marks-found':
      return onMarksFound(turn, event)
    case 'versions-read':
      return onVersionsRead(turn, event)
    case 'damaged':
      return noteDamage(turn, event.versions)
    case 'store-failed':
      state.isRecovered = true
      return fence(turn, event.reason)
    case 'message':
      return onMessage(turn, event.from, event.instance, event.message)
    case 'frontend':
      return onFrontend(turn, event.from, event.message)
    case 'config-hint':
      if (event.value.config.epoch >= (state.config?.config.epoch ?? 0)) {
        if (event.value.version !== state.config?.version) readNews(turn)
      }
      return
    case 'config-read':
      return onConfigRead(turn, event)
    case 'cas-ended':
      return onCasEnded(turn, event)
    case 'beacon':
      return onBeacon(turn, event)
    case 'beacon-acknowledged':
      return onBeaconAcknowledged(turn, event)
    case 'instance-ended':
      return onInstanceEnded(turn, event.node, event.instance)
    case 'clock-doubt':
      restartGrace(turn)
      doubtUses(turn)
      return dropLeases(turn)
    case 'command':
      return onCommand(turn, event)
    case 'tick':
      return onTick(turn)
    default:
      return unreachable(event)
  }
}

function onMessage(turn: Turn, from: NodeId, instance: string, message: PeerMessage): void {
  const { state } = turn
  switch (message.type) {
    case 'append':
      return onAppend(turn, from, instance, message)
    case 'stored': {
      const peer = state.primary?.peers.get(from)
      if (state.role !== 'reconciling') return onStored(turn, from, instance, message)
      if (peer === undefined || message.epoch !== state.primary!.epoch) return
      // What we sent to its former self may have reached it, and it thinks that we know it.
      if (peer.instance !== instance) return askAnew(turn, peer, instance)
      if (state.primary!.reconciling!.phase === 'syncing') onReconcileStored(turn, peer, message)
      return
    }
    case 'refused':
      if (state.primary !== undefined) return onRefused(turn, from, instance, message)
      if (message.why === 'fenced') onLeaderless(turn, from, instance, message.epoch)
      return
    case 'sync':
      return onSync(turn, from, instance, message)
    case 'new-epoch':
      return onNewEpoch(turn, from, instance, message)
    case 'promised':
    case 'hello':
    case 'join':
      return onReport(turn, from, instance, message)
    case 'fetch-log':
      return onFetchLog(turn, from, instance, message)
    case 'log':
      return onLog(turn, from, instance, message)
    case 'reconcile':
      return onReconcile(turn, from, instance, message)
    case 'release':
      return onRelease(turn, from, message)
    case 'confirm':
      return onConfirm(turn, from, instance, message)
    case 'confirmed':
      return onConfirmed(turn, from, instance, message.token)
    case 'fence':
      return onFence(turn, from, instance, message)
    case 'fenced':
      return onFenced(turn, from, message)
    case 'fill-start':
      return onFillStart(turn, from, instance, message)
    case 'fill-started':
      return onFillStarted(turn, from, instance, message.fill)
    case 'fill':
      return onFill(turn, from, instance, message)
    case 'filled':
      return onFilled(turn, from, instance, message)
    case 'fill-end':
      return onFillEnd(turn, from, instance, message)
    case 'fill-ended':
      return onFillEnded(turn, from, instance, message.fill)
    case 'fetch-versions':
      return onFetchVersions(turn, from, message)
    case 'versions':
      return onVersions(turn, from, message)
    default:
      return unreachable(message)
  }
}

function onFrontend(turn: Turn, from: NodeId, message: FrontendMessage): void {
  if (message.type === 'open') onOpen(turn, from, message)
  else if (message.type === 'request') onRequest(turn, from, message)
  else if (message.type === 'snapshot-open') onSnapshotOpen(turn, from, message)
  else if (message.type === 'snapshot-ask') onSnapshotAsk(turn, from, message)
  else if (message.type === 'snapshot-close') onSnapshotClose(turn, from, message)
}

function refuseEvent(turn: Turn, event: CopyEvent): void {
  const { state, port } = turn
  if (event.type === 'message') {
    const { message } = event
    const epoch = 'epoch' in message ? message.epoch : state.promise.epoch
    refuse(turn, event.from, epoch, state.role === 'fenced' ? 'fenced' : 'not-primary')
  } else if (event.type === 'frontend') {
    redirect(turn, event.from, event.message.type === 'request' ? event.message.id : undefined)
  } else if (event.type === 'command') {
    const why = state.fencedBecause ?? 'this copy does not lead'
    port.commandEnded(event.token, { ok: false, code: 'not-primary', why })
  }
}

function onRecovered(turn: Turn, { stored }: Extract<CopyEvent, { type: 'recovered' }>): void {
  takeStored(turn.state, stored)
  turn.state.isRecovered = true
  beginGrace(turn)
  readConfig(turn)
  follow(turn)
  askForMarks(turn)
  onTick(turn)
}

function onOwnStored(turn: Turn, event: Extract<CopyEvent, { type: 'stored' }>): void {
  const { state } = turn
  if (!noteStored(state, event)) return
  noteDurable(turn)
  noteOwnProgress(turn)
  if (state.role === 'reconciling') progressReconcile(turn)
  else if (state.primary !== undefined) advance(turn)
  else progressReplica(turn)
}

function onKept(turn: Turn, token: number): void {
  const { state, port } = turn
  const purpose: KeptPurpose | undefined = state.kept.get(token)
  if (purpose === undefined) return
  state.kept.delete(token)
  switch (purpose.type) {
    case 'promise':
      onPromiseKept(turn, purpose)
      return onOwnPromiseKept(turn, purpose.promise)
    case 'fence': {
      const { fence, answerTo } = purpose
      onAttachKept(turn, fence)
      if (answerTo !== undefined) port.send(answerTo, { type: 'fenced', epoch: state.promise.epoch, fence })
      if (state.role === 'reconciling') return progressReconcile(turn)
      return progressOpenings(turn)
    }
    case 'fill-started':
      onAttachKept(turn, purpose.fence)
      return onFillStartKept(turn, purpose.fill, purpose.from)
    case 'filled':
      return onFilledKept(turn, purpose)
    case 'fill-ended':
      return onFillEndKept(turn, purpose.fill, purpose.from)
    case 'repaired':
      return onRepaired(turn, purpose.versions)
    case 'nothing':
      return
  }
}

/** Everything that time alone brings about. Each part says when it wants to be woken next. */
function onTick(turn: Turn): void {
  const { state } = turn
  state.wakeAtMs = Infinity
  if (state.role === 'fenced') return tellFenced(turn)
  progressChange(turn)
  if (state.role === 'starting' || state.role === 'out') follow(turn)
  progressGrace(turn)
  progressRepairs(turn)
  progressMarks(turn)
  greet(turn)
  considerStanding(turn)
  passOnAgain(turn)
  if (state.role === 'reconciling') tickReconcile(turn)
  else if (leads(state.role)) tickPrimary(turn)
}

/** So many times `retryMs` at most passes before records are sent again. */
const RESEND_RETRIES_MAX = 8

/**
 * Not before an answer can be there, and twice as long each time: who is late with many records only gets later by
 * getting them again. Where all of late were sent again, the next ones are given the time in which one may have come.
 */
function resendAfterMs({ state, nowMs }: Turn, peer: Peer): number {
  const { retryMs } = state.options
  const { answerMs, waitedMs, storedSeq, againSeq, owedSinceMs = nowMs } = peer
  const answerableMs = Math.max(2 * answerMs, againSeq > storedSeq ? waitedMs : 2 * waitedMs)
  return Math.min(RESEND_RETRIES_MAX * retryMs, Math.max(retryMs, answerableMs, (nowMs - owedSinceMs) / 2))
}

const nodesOf = (peers: readonly Peer[]): NodeId[] => peers.map(({ node }) => node)

function tickPrimary(turn: Turn): void {
  const { state, nowMs } = turn
  const primary = state.primary!
  const { retryMs, evictAfterMs } = state.options
  advance(turn)
  if (state.primary !== primary) return
  const overdue = overduePeers(turn).filter(({ node }) => state.config!.config.inSync.includes(node))
  evict(turn, nodesOf(overdue))
  // Silence of many may be our own; what one said of itself is its own.
  evict(turn, nodesOf(overdue.filter(({ failure }) => failure !== undefined)))
  passOnIfStill(turn)
  for (const peer of primary.peers.values()) {
    if (peer.lease.instance !== undefined && peer.lease.untilMs > nowMs) {
      if (primary.required.includes(peer.node)) wakeBy(turn, peer.lease.untilMs)
    }
    if (!peer.isFollowing) continue
    const isOwed = peer.storedSeq < state.log.tail
    if (isOwed && nowMs - peer.sentAtMs >= resendAfterMs(turn, peer)) sendFirstAgain(turn, peer)
    else if (peer.toldCommitSeq < state.log.commitSeq && nowMs - peer.sentAtMs >= retryMs) pump(turn, peer, true)
    if (isOwed || peer.toldCommitSeq < state.log.commitSeq) wakeBy(turn, nowMs + retryMs)
    if (peer.owedSinceMs !== undefined) wakeBy(turn, Math.max(nowMs + 1, peer.owedSinceMs + evictAfterMs))
  }
  for (const peer of overduePeers(turn)) {
    // It could not be let go: perhaps it can be filled, or has recovered.
    const isDue = nowMs - peer.askedAtMs >= retryMs
    if (peer.failure !== undefined && peer.fill === undefined && isDue) sendNewEpoch(turn, peer)
    wakeBy(turn, nowMs + retryMs)
  }
  tickHold(turn)
  tickFills(turn)
  if (primary.openings.length > 0) {
    progressOpenings(turn)
    wakeBy(turn, nowMs + retryMs)
  }
  retryRound(turn)
  progressReads(turn)
  retryFlushes(turn)
  if (primary.handingOver !== undefined) {
    progressHandOver(turn)
    wakeBy(turn, nowMs + retryMs)
  }
}
