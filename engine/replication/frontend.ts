/**
 * The frontend of an attachment (SPEC.md sections 3 and 6): it brings the requests of its clients to the primary,
 * wherever that is, until they are answered, and each of them at most once into the history of the volume.
 *
 * request -> (waits for overlapping ones in front, then for room) -> edges read -> numbered and sent -> answered
 *
 * S5: overlapping requests are sent in order of arrival, the next one after the answer to the former. A client that
 * re-sends on another socket is a new arrival, so the late first one can never overwrite what came after it: it was
 * dropped unsent, or holds its range until it is answered. The same after `ioTimeoutMs`: the client is told, the
 * range stays locked until the primary has answered.
 * I19: what is sent again has the number it had; the primary knows whether it ordered it.
 */
import { unreachable } from '../assert.ts'
import { admitReady, BACKOFF_STEPS_MAX, leave, sendAgain } from './frontend-sending.ts'
import { believes, configRead, hinted, look, lookSoon, opened, redirected } from './frontend-link.ts'
import type { ClientFailure, FrontendEvent, FrontendPort } from './frontend-port.ts'
import { takeReply } from './frontend-replies.ts'
import { isChange } from './frontend-state.ts'
import type { ClientRequest, FrontendState } from './frontend-state.ts'
import type { FrontendMessage } from './messages.ts'
import type { NodeId } from './configuration.ts'
import { enterNumbered } from './numbered.ts'
import { enterRange } from './range-order.ts'
import { blocksOf } from './request-parts.ts'

export { createFrontend } from './frontend-state.ts'

export function stepFrontend(state: FrontendState, event: FrontendEvent, nowMs: number, port: FrontendPort): void {
  if (state.failed === undefined || event.type === 'request') handle(state, event, nowMs, port)
  if (state.failed !== undefined) return
  if (due(state.expireAtMs, nowMs)) expire(state, nowMs, port)
  if (due(state.resendAtMs, nowMs) && sendAgain(state, nowMs, port)) {
    lookSoon(state, nowMs, state.options.resendMs)
  }
  if (due(state.link.lookAtMs, nowMs)) look(state, nowMs, port)
  admitReady(state, nowMs, port)
  wake(state, nowMs, port)
}

function handle(state: FrontendState, event: FrontendEvent, nowMs: number, port: FrontendPort): void {
  switch (event.type) {
    case 'request':
      return arrive(state, event, nowMs, port)
    case 'connection-closed':
      for (const request of [...state.requests.values]) {
        if (request.connection === event.connection) abandon(state, request)
      }
      return
    case 'message':
      return receive(state, event.from, event.message, nowMs, port)
    case 'config-hint':
      return hinted(state, event.value, nowMs)
    case 'config-read': {
      const value = event.ok ? event.value : undefined
      return configRead(state, { token: event.token, value }, nowMs, port)
    }
    case 'resized':
      state.sizeBytes = event.sizeBytes
      return
    case 'timed':
      state.options = { ...state.options, ioTimeoutMs: event.ioTimeoutMs }
      // The oldest that is held says when, in this very step.
      state.expireAtMs = event.ioTimeoutMs > 0 ? nowMs : undefined
      return
    case 'tick':
      // Whatever the port was asked for: it had an earlier time, perhaps, and forgot the later one over it.
      state.wakeAtMs = undefined
      return
    default:
      return unreachable(event)
  }
}

function arrive(
  state: FrontendState,
  { connection, tag, operation }: Extract<FrontendEvent, { type: 'request' }>,
  nowMs: number,
  port: FrontendPort,
): void {
  const refusal = refusalOf(state, isChange(operation))
  if (refusal !== undefined) return port.answer(connection, tag, { ok: false, code: refusal })
  const arrival = state.nextArrival++
  enterNumbered(state.requests, arrival, {
    arrival,
    connection,
    tag,
    operation,
    atMs: nowMs,
    phase: 'waiting',
    isWanted: true,
    number: 0,
    parts: [],
    missing: 0,
    failure: undefined,
    versions: [],
    edgeReads: [],
  })
  const { ioTimeoutMs } = state.options
  if (ioTimeoutMs > 0) state.expireAtMs ??= nowMs + ioTimeoutMs
  if (operation.type === 'flush') state.ready.push(arrival)
  else {
    const { first, end } = blocksOf(operation)
    if (enterRange(state.order, arrival, { first, end, writes: isChange(operation) })) state.ready.push(arrival)
  }
}

function refusalOf({ failed, options }: FrontendState, changes: boolean): ClientFailure | undefined {
  if (failed !== undefined) return failed
  return changes && options.mode === 'read' ? 'read-only' : undefined
}

function receive(
  state: FrontendState,
  from: NodeId,
  message: FrontendMessage,
  nowMs: number,
  port: FrontendPort,
): void {
  switch (message.type) {
    case 'opened': {
      const { session } = state.options
      const isOurs =
        session.generation === message.session.generation && session.incarnation === message.session.incarnation
      if (!isOurs || !opened(state, from, message.epoch)) return
      state.sizeBytes = Math.max(state.sizeBytes ?? 0, message.sizeBytes)
      sendAgain(state, nowMs, port, 'everything')
      return
    }
    case 'redirect':
      return redirected(state, from, message, nowMs)
    case 'reply':
      return takeReply(state, from, message, nowMs, port)
    case 'held':
      return noteHeld(state, from, message, nowMs)
    case 'open':
    case 'request':
    case 'snapshot-open':
    case 'snapshot-ask':
    case 'snapshot-close':
      // A node's question to a copy that lost its way; nobody waits for an answer of ours.
      return
    case 'snapshot-opened':
    case 'snapshot-blocks':
    case 'snapshot-map':
    case 'snapshot-refused':
      // For readers of this node.
      return
    default:
      return unreachable(message)
  }
}

/** Nobody waits for it any more. What may be in a copy already stays until it is answered, and its range with it. */
function abandon(state: FrontendState, request: ClientRequest): void {
  request.isWanted = false
  if (request.phase !== 'sent' || !isChange(request.operation)) leave(state, request)
}

/** It is said again whenever a request is sent again, so it counts until after the longest time between two. */
function noteHeld(
  state: FrontendState,
  from: NodeId,
  { session, epoch }: Extract<FrontendMessage, { type: 'held' }>,
  nowMs: number,
): void {
  const { session: own, resendMs } = state.options
  if (session.generation !== own.generation || session.incarnation !== own.incarnation) return
  if (believes(state.link, from, epoch)) state.fullUntilMs = nowMs + resendMs * (2 ** BACKOFF_STEPS_MAX + 1)
}

/** In order of arrival, so the first one that has time left ends it. Silence of the primary shows here, too. */
function expire(state: FrontendState, nowMs: number, port: FrontendPort): void {
  const { ioTimeoutMs } = state.options
  state.expireAtMs = undefined
  for (const request of [...state.requests.values]) {
    if (!request.isWanted) continue
    if (request.atMs + ioTimeoutMs > nowMs) {
      state.expireAtMs = request.atMs + ioTimeoutMs
      return
    }
    if (request.phase !== 'waiting') lookSoon(state, nowMs, state.options.resendMs)
    const code = isChange(request.operation) && nowMs < state.fullUntilMs ? 'no-space' : 'timeout'
    port.answer(request.connection, request.tag, { ok: false, code })
    abandon(state, request)
  }
}

const due = (atMs: number | undefined, nowMs: number): boolean => atMs !== undefined && atMs <= nowMs

function wake(state: FrontendState, nowMs: number, port: FrontendPort): void {
  if (due(state.wakeAtMs, nowMs)) state.wakeAtMs = undefined
  for (const atMs of [state.expireAtMs, state.resendAtMs, state.link.lookAtMs]) {
    if (atMs === undefined || (state.wakeAtMs !== undefined && state.wakeAtMs <= atMs)) continue
    state.wakeAtMs = atMs
    port.wakeAt(atMs)
  }
}
