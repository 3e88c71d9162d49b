/**
 * What the primary answers (SPEC.md S4 to S6). Answers may be late, repeated and out of order: what does not belong to
 * something that is under way is ignored, and so is everything of an epoch lower than the highest that was seen.
 */
import { assert } from '../assert.ts'
import type { NodeId } from './configuration.ts'
import { believes } from './frontend-link.ts'
import type { ClientFailure, FrontendPort } from './frontend-port.ts'
import { fail, forwardWhenRead, leave, readEdges, resendAt, sendMerged, take, takePart } from './frontend-sending.ts'
import { isChange } from './frontend-state.ts'
import type { ClientRequest, FrontendState, Outgoing } from './frontend-state.ts'
import type { FrontendMessage, FrontendResult, SessionRefusal } from './messages.ts'
import { noNumbered, numberedAt } from './numbered.ts'
import { emptyOrder } from './range-order.ts'
import type { BlockVersion } from './record.ts'

type Reply = Extract<FrontendMessage, { type: 'reply' }>

export function takeReply(
  state: FrontendState,
  from: NodeId,
  { id, epoch, result }: Reply,
  nowMs: number,
  port: FrontendPort,
): void {
  const { session } = state.options
  if (id.generation !== session.generation || id.incarnation !== session.incarnation) return
  if (!believes(state.link, from, epoch)) return
  if (!result.ok && endsSession(result.code)) return end(state, result.code, port)
  const one = numberedAt(state.outgoing, id.request)?.[id.part]
  if (one === undefined) return
  if (one.edgeOf !== undefined) return takeEdge(state, one, result, nowMs, port)
  if (result.ok) return settle(state, one, result.versions, undefined, port)
  if (result.code !== 'edge-changed') return settle(state, one, [], result.code, port)
  changeEdges(state, one, nowMs, port)
}

const endsSession = (code: Extract<FrontendResult, { ok: false }>['code']): code is SessionRefusal =>
  code === 'stale-session' || code === 'session-broken' || code === 'too-many-sessions'

/** The session ended for ever: everybody is told, nothing is sent any more. */
function end(state: FrontendState, code: SessionRefusal, port: FrontendPort): void {
  const { requests } = state
  state.failed = code
  state.requests = noNumbered()
  state.order = emptyOrder()
  state.ready = []
  state.refused = []
  state.outgoing = noNumbered()
  state.inFlightParts = 0
  state.inFlightBytes = 0
  state.unnumbered = 0
  for (const { isWanted, connection, tag } of requests.values) {
    if (isWanted) port.answer(connection, tag, { ok: false, code })
  }
}

/**
 * Somebody else wrote an edge after we read it. The first repetition is at once, later ones wait: what changed it may
 * not be committed for long, and until then it is not read.
 */
function changeEdges(state: FrontendState, one: Outgoing, nowMs: number, port: FrontendPort): void {
  const request = numberedAt(state.requests, one.arrival)!
  const part = request.parts[one.part]!
  if (one.state !== 'sent' || part.edges.length === 0) return
  one.state = 'edges'
  if (part.refusals++ === 0) {
    one.dueAtMs = undefined
    readEdges(state, request, one.part, nowMs, port)
  } else {
    one.dueAtMs = nowMs + state.options.retryMs
    resendAt(state, one.dueAtMs)
  }
}

function takeEdge(
  state: FrontendState,
  edge: Outgoing,
  result: FrontendResult,
  nowMs: number,
  port: FrontendPort,
): void {
  const request = numberedAt(state.requests, edge.arrival)!
  const part = request.parts[edge.edgeOf!]!
  assert(edge.operation.type === 'read', 'an edge is read')
  const { lba } = edge.operation
  if (!result.ok && result.code === 'edge-changed') return
  take(state, edge.number)
  request.edgeReads = request.edgeReads.filter((number) => number !== edge.number)
  const sent = request.phase === 'sent' ? numberedAt(state.outgoing, request.number)?.[edge.edgeOf!] : undefined
  if (!result.ok) {
    if (sent === undefined) fail(state, request, result.code as ClientFailure, port)
    else settle(state, sent, [], result.code as ClientFailure, port)
    return
  }
  const version = result.versions.find((one) => one.lba === lba)
  if (version !== undefined) part.old.push(version)
  if (--part.edgesMissing > 0) return
  if (sent !== undefined) sendMerged(state, sent, nowMs, port)
  else forwardWhenRead(state, request, nowMs, port)
}

/** A part has its answer; with the last one the client has its own. */
function settle(
  state: FrontendState,
  one: Outgoing,
  versions: BlockVersion[],
  failure: ClientFailure | undefined,
  port: FrontendPort,
): void {
  const request = numberedAt(state.requests, one.arrival)!
  if (request.edgeReads.length > 0) dropEdgeReads(state, request, one.part)
  takePart(state, numberedAt(state.outgoing, one.number)!, one.part)
  request.versions[one.part] = versions
  request.failure ??= failure
  if (--request.missing > 0) return
  const { failure: code, number } = request
  if (request.isWanted) {
    const { versions: found } = request
    const all = found.length === 1 ? found[0]! : found.flat()
    const answer = code === undefined ? ({ ok: true, versions: all } as const) : undefined
    port.answer(request.connection, request.tag, answer ?? { ok: false, code: code! })
  }
  take(state, number)
  if (code === undefined) endComposed(request, port)
  if (code !== undefined && isChange(request.operation) && state.answeredBelow <= number) {
    request.isWanted = false
    state.refused.push(request.arrival)
  } else leave(state, request)
  if (state.refused.length > 0) releaseRefused(state)
}

function endComposed({ parts }: ClientRequest, port: FrontendPort): void {
  for (const { payload } of parts) if (payload !== undefined) port.composedEnded(payload)
}

/**
 * No window knows a refused change, so a copy of it that is still on its way would be ordered. What comes after it on
 * its range therefore goes out only when it says by `answeredBelow`, which its record keeps, that the refused one is
 * over.
 */
function releaseRefused(state: FrontendState): void {
  const { refused } = state
  state.refused = []
  for (const arrival of refused) {
    const request = numberedAt(state.requests, arrival)!
    if (request.number < state.answeredBelow) leave(state, request)
    else state.refused.push(arrival)
  }
}

/** A part that was refused turns out to be done: its edges are of no interest any more. */
function dropEdgeReads(state: FrontendState, request: ClientRequest, part: number): void {
  request.edgeReads = request.edgeReads.filter((number) => {
    const isOfPart = numberedAt(state.outgoing, number)![0]!.edgeOf === part
    if (isOfPart) take(state, number)
    return !isOfPart
  })
}
