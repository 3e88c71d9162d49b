/**
 * What a frontend remembers: plain data, so that it can be copied, hashed and printed.
 *
 * Numbers (SPEC.md S1). What leaves a record (write, zero, trim) is numbered 1, 2, 3... in the order in which it is
 * first sent, without gaps, and at most `REQUEST_SPAN_MAX` numbers lie between the lowest unanswered one and the
 * highest: that bounds the windows of the copies. A request keeps its number until it is answered, also when its
 * edges changed and its bytes are merged anew. Reads and flushes leave no record and count from `READ_NUMBERS_FROM`.
 */
import { assert } from '../assert.ts'
import { closedLink } from './frontend-link.ts'
import type { FrontendLink } from './frontend-link.ts'
import type { ClientFailure, FrontendOptions } from './frontend-port.ts'
import type { FrontendMessage, FrontendOperation, SessionRefusal } from './messages.ts'
import { countNumbered, noNumbered, numberedAt } from './numbered.ts'
import type { Numbered } from './numbered.ts'
import { emptyOrder, rangeOf } from './range-order.ts'
import type { RangeOrder } from './range-order.ts'
import type { BlockVersion } from './record.ts'
import type { ClientOperation, RequestPart } from './request-parts.ts'

export const READ_NUMBERS_FROM = 2 ** 52
export const REQUEST_SPAN_MAX = 1024

export interface ClientRequest {
  arrival: number
  connection: number
  tag: number
  operation: ClientOperation
  atMs: number
  /** `waiting` for its range or for room; `reading` its edges; `sent`: a copy may have it, so it goes on to the end. */
  phase: 'waiting' | 'reading' | 'sent'
  /** Somebody still waits for the answer. */
  isWanted: boolean
  number: number
  parts: RequestPart[]
  /** Parts without an answer. */
  missing: number
  failure: ClientFailure | undefined
  /** By part, of a read. */
  versions: BlockVersion[][]
  /** Of the reads of its edges that are under way. */
  edgeReads: number[]
}

/** A part on its way. */
export interface Outgoing {
  arrival: number
  number: number
  part: number
  parts: number
  /** Of the read of an edge: the part it is for. */
  edgeOf: number | undefined
  operation: FrontendOperation
  bytes: number
  /** When it is sent again; of a part whose edge changed, when the edges are read again; undefined: while they are. */
  dueAtMs: number | undefined
  /** `edges`: was refused, its edges are to be read. An old success may still arrive. */
  state: 'sent' | 'edges'
  attempts: number
}

export interface FrontendState {
  options: FrontendOptions
  link: FrontendLink
  opening: FrontendMessage
  /** Of the volume, once known. */
  sizeBytes: number | undefined
  /** Nothing is served any more. */
  failed: SessionRefusal | undefined
  /** By arrival. */
  requests: Numbered<ClientRequest>
  order: RangeOrder
  /** Requests that nothing in front holds back, until there is room for them. */
  ready: number[]
  /** What is under way, by number; an answered part is undefined. */
  outgoing: Numbered<Array<Outgoing | undefined>>
  inFlightParts: number
  inFlightBytes: number
  nextArrival: number
  nextNumber: number
  nextReadNumber: number
  /** Admitted changes that have no number yet. */
  unnumbered: number
  /** All lower numbers are answered. */
  answeredBelow: number
  /** Arrivals of refused changes that keep their range until `answeredBelow` is above their number. */
  refused: number[]
  /** The primary said that its pool has no room; for so long that counts. */
  fullUntilMs: number
  /** When to look whether something is due. */
  resendAtMs: number | undefined
  expireAtMs: number | undefined
  /** What the port was asked for. */
  wakeAtMs: number | undefined
}

export const createFrontend = (options: FrontendOptions): FrontendState => ({
  options,
  link: closedLink(),
  opening: { type: 'open', session: options.session, mode: options.mode },
  sizeBytes: undefined,
  failed: undefined,
  requests: noNumbered(),
  order: emptyOrder(),
  ready: [],
  outgoing: noNumbered(),
  inFlightParts: 0,
  inFlightBytes: 0,
  nextArrival: 1,
  nextNumber: 1,
  nextReadNumber: READ_NUMBERS_FROM,
  unnumbered: 0,
  answeredBelow: 1,
  refused: [],
  fullUntilMs: -Infinity,
  resendAtMs: undefined,
  expireAtMs: undefined,
  wakeAtMs: undefined,
})

export const isChange = (operation: ClientOperation): boolean =>
  operation.type !== 'read' && operation.type !== 'flush'

/** Everything that holds between two steps; costs a look at every pair of requests. */
export function assertFrontend(state: FrontendState): void {
  let parts = 0
  let bytes = 0
  for (const [i, number] of state.outgoing.numbers.entries()) {
    assert(number >= state.answeredBelow, 'what was answered is not under way')
    assert(number - state.answeredBelow < REQUEST_SPAN_MAX || number >= READ_NUMBERS_FROM, 'numbers lie close')
    for (const one of state.outgoing.values[i]!) {
      if (one === undefined) continue
      parts++
      bytes += one.bytes
      assert(numberedAt(state.requests, one.arrival) !== undefined, 'what is under way belongs to a request')
    }
  }
  assert(parts === state.inFlightParts && bytes === state.inFlightBytes, 'the window counts what is under way')
  const out = state.requests.values.filter(({ phase }) => phase !== 'waiting')
  for (const a of out) {
    const range = rangeOf(state.order, a.arrival)
    for (const b of out) {
      const other = rangeOf(state.order, b.arrival)
      if (range === undefined || other === undefined || b.arrival <= a.arrival) continue
      const overlap = range.first < other.end && other.first < range.end
      assert(!overlap || !(range.writes || other.writes), 'S5: overlapping requests go out one after the other')
    }
  }
  assert(state.failed === undefined || countNumbered(state.requests) === 0, 'a session that ended holds nothing')
}
