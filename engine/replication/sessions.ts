/**
 * Who may ask (SPEC S2, S3): attachments, their generations and incarnations. An `open` is answered when every required
 * copy refuses what is older, durably, and everything ordered of the older ones is committed.
 *
 * I24: writers are among the holders, each with the newest session of its generation only. A holder that is none any
 *     more is refused from the moment its primary knows; the next one is served only by a primary that knows.
 */
import { requiredPeers } from './commit.ts'
import { readConfig } from './configuration-change.ts'
import { HOLDERS_MAX } from './configuration.ts'
import type { NodeId } from './configuration.ts'
import type { CopyState } from './copy-state.ts'
import type { FrontendMessage, PeerMessage, SessionRefusal } from './messages.ts'
import type { Opening, OpenSession, PrimaryState } from './primary-state.ts'
import type { RequestId, Session } from './record.ts'
import { progressReconcile } from './promotion.ts'
import { keepAttach } from './replica.ts'
import { adopted, covers, inForce, isFormer, joined, leastIncarnation } from './session-fence.ts'
import type { SessionFence } from './session-fence.ts'
import { findWindow, windowOf, WINDOWS_MAX } from './session-window.ts'
import { answer, redirect, wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

const sameSession = (a: Session, b: Session): boolean =>
  a.incarnation === b.incarnation && a.generation === b.generation

export function openSessionOf(primary: PrimaryState, id: Session, from: NodeId): OpenSession | undefined {
  for (const session of primary.sessions) if (sameSession(session, id) && session.node === from) return session
  return undefined
}

/** Why a session is not served; `wait`: the configuration that we know is too old to tell. */
export function refusalOf(
  turn: Turn,
  from: NodeId,
  session: Session,
): 'stale-session' | 'session-broken' | 'wait' | undefined {
  const { state } = turn
  const { attach } = state.config!.config
  if (session.generation <= state.attach.brokenGeneration) return 'session-broken'
  if (session.generation > attach.generation) {
    readConfig(turn)
    return 'wait'
  }
  if (attach.mode === 'open') {
    const isOld = session.generation < attach.generation || isFormer(state.attach, from, session)
    return isOld ? 'stale-session' : undefined
  }
  if (attach.holders[from] !== session.generation) return 'stale-session'
  return session.incarnation < leastIncarnation(state.attach, session.generation) ? 'stale-session' : undefined
}

export function onOpen(
  turn: Turn,
  from: NodeId,
  { session, mode }: Extract<FrontendMessage, { type: 'open' }>,
): void {
  const { state, nowMs } = turn
  const { primary } = state
  if (primary === undefined) {
    if (state.isRecovered) redirect(turn, from, undefined)
    return
  }
  const refusal = refusalOf(turn, from, session)
  if (refusal === 'wait') return
  if (refusal !== undefined) return refuseSession(turn, from, session, refusal)
  const open = openSessionOf(primary, session, from)
  if (open !== undefined) return sayOpened(turn, open)
  if (primary.openings.some((one) => sameSession(one, session) && one.node === from)) return
  if (!hasPlace(state, primary, session, from)) return refuseSession(turn, from, session, 'too-many-sessions')
  const { generation, incarnation } = session
  dropOlder(turn, session, from)
  primary.openings.push({
    generation,
    incarnation,
    node: from,
    mode,
    waitSeq: state.log.tail,
    sentAtMs: -Infinity,
  })
  progressOpenings(turn)
  wakeBy(turn, nowMs + state.options.retryMs)
}

/** Whether what is known of one session more can be told to other copies: its window, and in mode `open` its node. */
function hasPlace(
  { windows, attach, config }: CopyState,
  { openings }: PrimaryState,
  of: Session,
  from: NodeId,
): boolean {
  if (findWindow(windows, of) === undefined && windows.length + openings.length >= WINDOWS_MAX) return false
  const { mode, generation } = config!.config.attach
  if (mode !== 'open') return true
  const nodes = new Set(openings.map(({ node }) => node))
  for (const [node, opened] of attach.open ?? []) if (opened >= generation) nodes.add(node)
  return nodes.has(from) || nodes.size < HOLDERS_MAX
}

function refuseSession(turn: Turn, to: NodeId, session: Session, code: SessionRefusal): void {
  const { generation, incarnation } = session
  const id: RequestId = { generation, incarnation, request: 0, part: 0, parts: 1 }
  answer(turn, to, id, { ok: false, code })
}

/** From now on nothing of an older session of the same attachment is ordered. */
function dropOlder(turn: Turn, { generation, incarnation }: Session, from: NodeId): void {
  const isOpen = turn.state.config!.config.attach.mode === 'open'
  const isOlder = (one: Session & { node: NodeId }): boolean =>
    one.generation === generation && one.incarnation < incarnation && (!isOpen || one.node === from)
  dropSessions(turn, (one) => (isOlder(one) ? 'stale-session' : undefined))
}

/** Who holds the volume no more gets errors at once, so that its host can let go of it. */
export function dropFormerHolders(turn: Turn): void {
  dropSessions(turn, (one) => {
    const refusal = refusalOf(turn, one.node, one)
    return refusal === 'wait' ? undefined : refusal
  })
}

function dropSessions(
  turn: Turn,
  why: (one: Session & { node: NodeId }) => 'stale-session' | 'session-broken' | undefined,
): void {
  const { primary } = turn.state
  if (primary === undefined) return
  const stays = (one: Session & { node: NodeId }): boolean => {
    const refusal = why(one)
    if (refusal !== undefined) refuseSession(turn, one.node, one, refusal)
    return refusal === undefined
  }
  primary.sessions = primary.sessions.filter(stays)
  primary.openings = primary.openings.filter(stays)
}

export function progressOpenings(turn: Turn): void {
  const { state } = turn
  const { primary, log } = state
  if (primary === undefined || state.role !== 'primary') return
  for (const opening of [...primary.openings]) {
    const refusal = refusalOf(turn, opening.node, opening)
    // Of whom the volume is no more nothing is kept, so that his would be asked for again and again.
    const mayOpen = refusal === undefined || refusal === 'wait'
    if (mayOpen && (!isFenced(turn, primary, opening) || log.commitSeq < opening.waitSeq)) continue
    primary.openings = primary.openings.filter((one) => one !== opening)
    if (refusal !== undefined) {
      if (refusal !== 'wait') refuseSession(turn, opening.node, opening, refusal)
      continue
    }
    const { node, generation, incarnation } = opening
    const mayWrite = opening.mode === 'write'
    const session = { node, generation, incarnation, mayWrite, answeredBelow: 0, refused: new Map() }
    primary.sessions.push(session)
    windowOf(state.windows, session)
    sayOpened(turn, session)
  }
}

/** Whether every required copy refuses what is older. Asks those that do not, again after a while. */
function isFenced(turn: Turn, primary: PrimaryState, opening: Opening): boolean {
  const { state, nowMs, port } = turn
  const { config } = state.config!
  const { node, generation, incarnation } = opening
  const own: SessionFence =
    config.attach.mode === 'open'
      ? { brokenGeneration: 0, incarnations: [], open: [[node, generation, incarnation]] }
      : { brokenGeneration: 0, incarnations: [[generation, incarnation]] }
  if (!covers(state.attach, own)) {
    keepAttach(turn, inForce(joined(state.attach, own), config.attach), undefined)
  }
  const missing = requiredPeers(primary).filter(({ attach }) => !covers(attach, own))
  if (missing.length > 0 && nowMs - opening.sentAtMs >= state.options.retryMs) {
    opening.sentAtMs = nowMs
    for (const { node } of missing) port.send(node, { type: 'fence', epoch: primary.epoch, fence: state.attach })
  }
  return missing.length === 0 && covers(state.durableAttach, own)
}

function sayOpened({ state, port }: Turn, { node, generation, incarnation }: OpenSession): void {
  const session = { generation, incarnation }
  port.reply(node, { type: 'opened', session, epoch: state.primary!.epoch, sizeBytes: state.sizeBytes })
}

/** A copy refuses older sessions from now on. */
export function onFenced(turn: Turn, from: NodeId, message: Extract<PeerMessage, { type: 'fenced' }>): void {
  const { primary } = turn.state
  const peer = primary?.peers.get(from)
  if (primary === undefined || peer === undefined || message.epoch < primary.sinceEpoch) return
  peer.attach = adopted(peer.attach, message.fence)
  if (turn.state.role === 'reconciling') progressReconcile(turn)
  else progressOpenings(turn)
}
