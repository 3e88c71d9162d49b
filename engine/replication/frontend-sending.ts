/**
 * From a request that may go out to messages on their way (SPEC.md S1, S4, S5): room in the window, numbers, edges
 * read first, sending and sending again.
 *
 * Nothing of a request is sent to be ordered before all its edges are read; from then on it has a number and goes on
 * until it is answered, wanted or not.
 */
import { assert } from '../assert.ts'
import { BLOCK_BYTES } from '../units.ts'
import type { ClientFailure, FrontendPort } from './frontend-port.ts'
import { isChange, REQUEST_SPAN_MAX } from './frontend-state.ts'
import type { ClientRequest, FrontendState, Outgoing } from './frontend-state.ts'
import type { FrontendOperation } from './messages.ts'
import { enterNumbered, leaveNumbered, numberedAt } from './numbered.ts'
import { leaveRange } from './range-order.ts'
import { partsOf } from './request-parts.ts'
import type { RequestPart } from './request-parts.ts'

/** Of the resend time: how often it doubles at most. */
export const BACKOFF_STEPS_MAX = 3

/** Of a write of whole blocks. Nobody changes it. */
const NO_EDGES: Array<[lba: number, seq: number]> = []

/** Forward what is ready, in order, while there is room and somebody to send to. */
export function admitReady(state: FrontendState, nowMs: number, port: FrontendPort): void {
  const { ready, options } = state
  while (ready.length > 0 && state.link.state === 'open') {
    const request = numberedAt(state.requests, ready[0]!)
    if (request !== undefined) {
      if (state.inFlightParts >= options.inFlightPartsMax || state.inFlightBytes >= options.inFlightBytesMax) return
      const span = state.nextNumber + state.unnumbered - state.answeredBelow
      if (isChange(request.operation) && span >= REQUEST_SPAN_MAX) return
    }
    ready.shift()
    if (request !== undefined) admit(state, request, nowMs, port)
  }
}

function admit(state: FrontendState, request: ClientRequest, nowMs: number, port: FrontendPort): void {
  const { operation } = request
  assert(state.sizeBytes !== undefined, 'the size is known when the session is open')
  if (operation.type !== 'flush' && operation.offsetBytes + operation.lengthBytes > state.sizeBytes) {
    return fail(state, request, 'range', port)
  }
  request.parts = partsOf(operation, Math.max(1, Math.floor(state.options.partBytesMax / BLOCK_BYTES)))
  request.missing = request.parts.length
  request.phase = 'reading'
  if (isChange(operation)) state.unnumbered++
  const { parts } = request
  for (let i = 0; i < parts.length; i++) if (parts[i]!.edges.length > 0) readEdges(state, request, i, nowMs, port)
  forwardWhenRead(state, request, nowMs, port)
}

/** Answer a request of which nothing was sent to be ordered. */
export function fail(state: FrontendState, request: ClientRequest, code: ClientFailure, port: FrontendPort): void {
  assert(request.isWanted && request.phase !== 'sent', 'what was sent is answered by the primary')
  port.answer(request.connection, request.tag, { ok: false, code })
  leave(state, request)
}

export function readEdges(
  state: FrontendState,
  request: ClientRequest,
  index: number,
  nowMs: number,
  port: FrontendPort,
): void {
  const part = request.parts[index]!
  part.old = []
  part.payload = undefined
  part.edgesMissing = part.edges.length
  for (const lba of part.edges) {
    const number = state.nextReadNumber++
    request.edgeReads.push(number)
    const operation: FrontendOperation = { type: 'read', lba, blockCount: 1 }
    put(state, [outgoing(request, { number, operation, edgeOf: index })], nowMs, port)
  }
}

export function forwardWhenRead(
  state: FrontendState,
  request: ClientRequest,
  nowMs: number,
  port: FrontendPort,
): void {
  for (const { edgesMissing } of request.parts) if (edgesMissing > 0) return
  assert(request.phase === 'reading', 'a request is numbered once')
  const changes = isChange(request.operation)
  if (changes) state.unnumbered--
  request.phase = 'sent'
  request.number = changes ? state.nextNumber++ : state.nextReadNumber++
  const { number, parts } = request
  const sent: Outgoing[] = []
  for (let part = 0; part < parts.length; part++) {
    const operation = operationOf(request, parts[part]!, port)
    sent.push(outgoing(request, { number, part, parts: parts.length, operation }))
  }
  put(state, sent, nowMs, port)
}

/** A part whose edges changed goes out once more, under the number it has. */
export function sendMerged(state: FrontendState, one: Outgoing, nowMs: number, port: FrontendPort): void {
  const request = numberedAt(state.requests, one.arrival)!
  one.operation = operationOf(request, request.parts[one.part]!, port)
  one.state = 'sent'
  one.attempts = 0
  transmit(state, one, nowMs, port)
}

/**
 * Send what is overdue, or everything (the session was opened anew). Returns whether something was overdue.
 */
export function sendAgain(
  state: FrontendState,
  nowMs: number,
  port: FrontendPort,
  which: 'overdue' | 'everything' = 'overdue',
): boolean {
  let isSilent = false
  state.resendAtMs = undefined
  for (const sent of state.outgoing.values) {
    for (const one of sent) {
      if (one === undefined) continue
      const isOverdue = one.dueAtMs !== undefined && one.dueAtMs <= nowMs
      if (one.state === 'sent' && (isOverdue || which === 'everything')) {
        isSilent = true
        one.attempts = which === 'everything' ? 0 : one.attempts + 1
        transmit(state, one, nowMs, port)
      } else if (one.state === 'edges' && isOverdue) {
        one.dueAtMs = undefined
        readEdges(state, numberedAt(state.requests, one.arrival)!, one.part, nowMs, port)
      } else if (one.dueAtMs !== undefined) resendAt(state, one.dueAtMs)
    }
  }
  return isSilent
}

/** A request ends here: answered, or nobody waits for it and no copy can have it. */
export function leave(state: FrontendState, request: ClientRequest): void {
  for (const number of request.edgeReads) take(state, number)
  if (request.phase === 'sent') take(state, request.number)
  if (request.phase === 'reading' && isChange(request.operation)) state.unnumbered--
  leaveNumbered(state.requests, request.arrival)
  if (request.operation.type === 'flush') return
  leaveRange(state.order, request.arrival, (arrival) => state.ready.push(arrival))
}

/** Forget all parts of a number. */
export function take(state: FrontendState, number: number): void {
  const sent = numberedAt(state.outgoing, number)
  if (sent === undefined) return
  for (let part = 0; part < sent.length; part++) takePart(state, sent, part)
  leaveNumbered(state.outgoing, number)
  const { outgoing, nextNumber } = state
  while (state.answeredBelow < nextNumber && numberedAt(outgoing, state.answeredBelow) === undefined) {
    state.answeredBelow++
  }
}

export function takePart(state: FrontendState, sent: Array<Outgoing | undefined>, part: number): void {
  const one = sent[part]
  if (one === undefined) return
  sent[part] = undefined
  state.inFlightParts--
  state.inFlightBytes -= one.bytes
}

export function resendAt(state: FrontendState, atMs: number): void {
  if (state.resendAtMs === undefined || atMs < state.resendAtMs) state.resendAtMs = atMs
}

function put(state: FrontendState, sent: Outgoing[], nowMs: number, port: FrontendPort): void {
  enterNumbered(state.outgoing, sent[0]!.number, sent)
  for (const one of sent) {
    state.inFlightParts++
    state.inFlightBytes += one.bytes
    transmit(state, one, nowMs, port)
  }
}

function transmit(state: FrontendState, one: Outgoing, nowMs: number, port: FrontendPort): void {
  const { link, options } = state
  one.dueAtMs = nowMs + options.resendMs * 2 ** Math.min(one.attempts, BACKOFF_STEPS_MAX)
  resendAt(state, one.dueAtMs)
  if (link.state !== 'open') return
  const { generation, incarnation } = options.session
  port.send(link.primary!, {
    type: 'request',
    id: { generation, incarnation, request: one.number, part: one.part, parts: one.parts },
    epoch: link.openedEpoch,
    operation: one.operation,
    answeredBelow: state.answeredBelow,
  })
}

function outgoing(
  { arrival }: ClientRequest,
  {
    number,
    operation,
    part = 0,
    parts = 1,
    edgeOf,
  }: { number: number; operation: FrontendOperation; part?: number; parts?: number; edgeOf?: number },
): Outgoing {
  const moves = operation.type === 'write' || operation.type === 'read'
  const bytes = moves ? operation.blockCount * BLOCK_BYTES : 0
  return { arrival, number, part, parts, edgeOf, operation, bytes, dueAtMs: 0, state: 'sent', attempts: 0 }
}

function operationOf({ operation }: ClientRequest, part: RequestPart, port: FrontendPort): FrontendOperation {
  const { type, lba, blockCount, fromBytes, skipBytes, lengthBytes, old } = part
  if (type === 'flush') return { type }
  if (type === 'read') return { type, lba, blockCount }
  const fua = 'fua' in operation && operation.fua
  if (type !== 'write') return { type, lba, blockCount, fua }
  const data = operation.type === 'write' ? operation.data : undefined
  part.payload ??= port.compose({ data, fromBytes, skipBytes, lengthBytes, lba, blockCount, old })
  const withSeq = (edge: number): [number, number] => [edge, old.find((one) => one.lba === edge)?.seq ?? 0]
  const edges = part.edges.length === 0 ? NO_EDGES : part.edges.map(withSeq)
  return { type, lba, blockCount, payload: part.payload, fua, edges }
}
