/**
 * Who may ask (SPEC S2, S3): attachments, their generations and incarnations. An `open` is answered when every required
 * copy refuses what is older, durably, and everything ordered of the older ones is committed.
 *
 * I24: writers are among the holders; in mode `single` there is one, and its newest session only.
 */
import { requiredPeers } from './commit.ts'
import { readConfig } from './configuration-change.ts'
import type { NodeId } from './configuration.ts'
import type { FrontendMessage, PeerMessage } from './messages.ts'
import type { Opening, OpenSession, PrimaryState } from './primary-state.ts'
import type { RequestId, Session } from './record.ts'
import { progressReconcile } from './promotion.ts'
import { keepAttach } from './replica.ts'
import { windowOf } from './session-window.ts'
import { answer, redirect, wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

/** A fence with it breaks all sessions of its generation. */
export const BROKEN_INCARNATION = Number.MAX_SAFE_INTEGER

export const compareSessions = (a: Session, b: Session): number =>
  a.generation - b.generation || a.incarnation - b.incarnation

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
  const { generation, incarnation } = state.attach
  if (incarnation === BROKEN_INCARNATION && session.generation <= generation) return 'session-broken'
  if (attach.mode === 'open') return undefined
  if (session.generation > attach.generation) {
    readConfig(turn)
    return 'wait'
  }
  if (!attach.holders.includes(from)) return 'stale-session'
  // Holders of a shared volume are added one by one, each with a generation of its own; all of them stay.
  if (attach.mode !== 'single') return undefined
  if (session.generation < attach.generation) return 'stale-session'
  return compareSessions(session, state.attach) < 0 ? 'stale-session' : undefined
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
  const { generation, incarnation } = session
  dropOlder(turn, primary, from, session)
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

function refuseSession(turn: Turn, to: NodeId, session: Session, code: 'stale-session' | 'session-broken'): void {
  const { generation, incarnation } = session
  const id: RequestId = { generation, incarnation, request: 0, part: 0, parts: 1 }
  answer(turn, to, id, { ok: false, code })
}

/** From now on nothing of an older session is ordered. */
function dropOlder(turn: Turn, primary: PrimaryState, from: NodeId, session: Session): void {
  const { mode } = turn.state.config!.config.attach
  if (mode === 'open') return
  const isOlder = (one: Session & { node: NodeId }): boolean =>
    compareSessions(one, session) < 0 && (mode === 'single' || one.node === from)
  for (const one of primary.sessions) if (isOlder(one)) refuseSession(turn, one.node, one, 'stale-session')
  primary.sessions = primary.sessions.filter((one) => !isOlder(one))
  primary.openings = primary.openings.filter((one) => !isOlder(one))
}

export function progressOpenings(turn: Turn): void {
  const { state } = turn
  const { primary, log } = state
  if (primary === undefined || state.role !== 'primary') return
  for (const opening of [...primary.openings]) {
    if (!isFenced(turn, primary, opening) || log.commitSeq < opening.waitSeq) continue
    primary.openings = primary.openings.filter((one) => one !== opening)
    const refusal = refusalOf(turn, opening.node, opening)
    if (refusal !== undefined) {
      if (refusal !== 'wait') refuseSession(turn, opening.node, opening, refusal)
      continue
    }
    const { node, generation, incarnation } = opening
    const session = { node, generation, incarnation, mayWrite: opening.mode === 'write', answeredBelow: 0 }
    primary.sessions.push(session)
    windowOf(state.windows, session)
    sayOpened(turn, session)
  }
}

/** Whether every required copy refuses what is older. Asks those that do not, again after a while. */
function isFenced(turn: Turn, primary: PrimaryState, opening: Opening): boolean {
  const { state, nowMs, port } = turn
  if (state.config!.config.attach.mode !== 'single') return true
  if (compareSessions(opening, state.attach) > 0) keepAttach(turn, opening, undefined)
  const isOwn = compareSessions(state.durableAttach, opening) >= 0
  const missing = requiredPeers(primary).filter(({ attach }) => compareSessions(attach, opening) < 0)
  if (missing.length > 0 && nowMs - opening.sentAtMs >= state.options.retryMs) {
    opening.sentAtMs = nowMs
    const { generation, incarnation } = opening
    const fence: PeerMessage = { type: 'fence', epoch: primary.epoch, session: { generation, incarnation } }
    for (const { node } of missing) port.send(node, fence)
  }
  return isOwn && missing.length === 0
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
  if (compareSessions(message.session, peer.attach) > 0) peer.attach = message.session
  if (turn.state.role === 'reconciling') progressReconcile(turn)
  else progressOpenings(turn)
}
