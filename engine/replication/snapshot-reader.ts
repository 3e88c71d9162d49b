/**
 * A reader: it has one snapshot of a volume, for one client on some node, and brings what is asked of it to the
 * primary, wherever that is, until it is answered (SPEC section 11).
 *
 * snapshot-open (a name) -> opened: id and place, from now on fixed -> parts sent, a few at a time -> answered
 *
 * It has no session: it changes nothing, and attachments, rollbacks and broken sessions do not concern it. What is
 * asked may be sent as often as one likes, to anybody who leads. That it reads is said again every
 * `SNAPSHOT_USE_MS / 4`.
 *
 * N2: whatever primary answers, answers the same. So it is enough to know which snapshot it speaks of, and an answer
 *     that is late is as good as any.
 * N3: `gone` ends it for ever: a name that is given again is another snapshot.
 */
import { assert, unreachable } from '../assert.ts'
import type { NodeId } from './configuration.ts'
import { believes, closedLink, configRead, hinted, look, lookSoon, opened, redirected } from './frontend-link.ts'
import type { Looking } from './frontend-link.ts'
import type { VersionedConfig } from './copy-port.ts'
import type { FrontendPort } from './frontend-port.ts'
import { BACKOFF_STEPS_MAX } from './frontend-sending.ts'
import type { FrontendMessage, OpenedSnapshot, SnapshotOperation, SnapshotPlace } from './messages.ts'
import { enterNumbered, leaveNumbered, noNumbered, numberedAt } from './numbered.ts'
import type { Numbered } from './numbered.ts'
import type { BlockVersion } from './record.ts'
import { SNAPSHOT_USE_MS } from './snapshot-uses.ts'

export interface SnapshotReaderOptions {
  /** No other reader of the cluster has it, nor had. */
  reader: number
  /** A name, else an id. */
  wanted: string
  /** How long what is asked is held before it fails; 0 = for ever. */
  ioTimeoutMs: number
  /** Silence after which something is sent again and the primary looked for. */
  resendMs: number
  /** Between one attempt to find the primary and the next; grows up to `resendMs`. */
  retryMs: number
  /** Of a part of a read. */
  partBlocksMax: number
  /** Sent and not answered; one part may go beyond. */
  inFlightBlocksMax: number
}

export type ReaderEvent =
  | { type: 'ask'; tag: number; operation: SnapshotOperation }
  | { type: 'message'; from: NodeId; message: FrontendMessage }
  | { type: 'config-hint'; value: VersionedConfig }
  | { type: 'config-read'; token: number; value: VersionedConfig | undefined; ok: boolean }
  | { type: 'tick' }

export type ReaderFailure = 'timeout' | 'snapshot-gone' | 'range' | 'damaged'

export type ReaderAnswer =
  | { ok: true; type: 'read'; versions: BlockVersion[] }
  | { ok: true; type: 'map'; runs: number[]; endLba: number }
  | { ok: false; code: ReaderFailure }

export interface ReaderPort extends Pick<FrontendPort, 'send' | 'readConfig' | 'wakeAt'> {
  /** Once, before anything is answered. Undefined: there is no such snapshot. */
  opened(snapshot: OpenedSnapshot | undefined): void
  answer(tag: number, answer: ReaderAnswer): void
}

interface Asked {
  tag: number
  atMs: number
  /** Of the parts of a read, in order. */
  versions: BlockVersion[][]
  missing: number
}

interface Part {
  arrival: number
  index: number
  operation: SnapshotOperation
  isSent: boolean
  dueAtMs: number
  attempts: number
}

export interface SnapshotReaderState extends Looking {
  options: SnapshotReaderOptions
  snapshot: OpenedSnapshot | undefined
  isGone: boolean
  /** By arrival. */
  asked: Numbered<Asked>
  /** By number. */
  parts: Numbered<Part>
  /** Numbers of parts that wait for room. */
  waiting: number[]
  inFlightBlocks: number
  nextArrival: number
  nextNumber: number
  renewAtMs: number | undefined
  /** What was said last of the use was not answered. */
  isUnheard: boolean
  resendAtMs: number | undefined
  expireAtMs: number | undefined
  wakeAtMs: number | undefined
}

export const createSnapshotReader = (options: SnapshotReaderOptions): SnapshotReaderState => ({
  options,
  link: closedLink(),
  opening: { type: 'snapshot-open', reader: options.reader, wanted: options.wanted },
  snapshot: undefined,
  isGone: false,
  asked: noNumbered(),
  parts: noNumbered(),
  waiting: [],
  inFlightBlocks: 0,
  nextArrival: 1,
  nextNumber: 1,
  renewAtMs: undefined,
  isUnheard: false,
  resendAtMs: undefined,
  expireAtMs: undefined,
  wakeAtMs: undefined,
})

export function stepSnapshotReader(
  state: SnapshotReaderState,
  event: ReaderEvent,
  nowMs: number,
  port: ReaderPort,
): void {
  handle(state, event, nowMs, port)
  if (state.isGone) return
  if (due(state.expireAtMs, nowMs)) expire(state, nowMs, port)
  if (due(state.resendAtMs, nowMs)) resend(state, nowMs, port)
  if (due(state.renewAtMs, nowMs)) renew(state, nowMs, port)
  if (due(state.link.lookAtMs, nowMs)) look(state, nowMs, port)
  sendWaiting(state, nowMs, port)
  wake(state, nowMs, port)
}

/** Nobody reads any more; it is not stepped again. */
export function closeSnapshotReader({ link, options: { reader } }: SnapshotReaderState, port: ReaderPort): void {
  if (link.state !== 'closed') port.send(link.primary!, { type: 'snapshot-close', reader })
}

function handle(state: SnapshotReaderState, event: ReaderEvent, nowMs: number, port: ReaderPort): void {
  switch (event.type) {
    case 'ask':
      return ask(state, event, nowMs, port)
    case 'message':
      return state.isGone ? undefined : receive(state, event.from, event.message, nowMs, port)
    case 'config-hint':
      return hinted(state, event.value, nowMs)
    case 'config-read': {
      const value = event.ok ? event.value : undefined
      return configRead(state, { token: event.token, value }, nowMs, port)
    }
    case 'tick':
      state.wakeAtMs = undefined
      return
    default:
      return unreachable(event)
  }
}

function ask(
  state: SnapshotReaderState,
  { tag, operation }: Extract<ReaderEvent, { type: 'ask' }>,
  nowMs: number,
  port: ReaderPort,
): void {
  if (state.isGone) return port.answer(tag, { ok: false, code: 'snapshot-gone' })
  const { partBlocksMax, ioTimeoutMs } = state.options
  const arrival = state.nextArrival++
  const end = operation.lba + operation.blockCount
  const most = operation.type === 'read' ? partBlocksMax : operation.blockCount
  let index = 0
  for (let lba = operation.lba; lba < end; lba += most, index++) {
    const part = { ...operation, lba, blockCount: Math.min(most, end - lba) }
    const number = state.nextNumber++
    enterNumbered(state.parts, number, { arrival, index, operation: part, isSent: false, dueAtMs: 0, attempts: 0 })
    state.waiting.push(number)
  }
  enterNumbered(state.asked, arrival, { tag, atMs: nowMs, versions: [], missing: index })
  if (ioTimeoutMs > 0) state.expireAtMs ??= nowMs + ioTimeoutMs
}

/** Blocks of a part that its answer may bring. */
const weightOf = ({ operation }: Part): number => (operation.type === 'read' ? operation.blockCount : 1)

function sendWaiting(state: SnapshotReaderState, nowMs: number, port: ReaderPort): void {
  const { waiting, options } = state
  while (waiting.length > 0 && state.link.state === 'open' && state.snapshot !== undefined) {
    const part = numberedAt(state.parts, waiting[0]!)
    if (part !== undefined && state.inFlightBlocks > 0) {
      if (state.inFlightBlocks + weightOf(part) > options.inFlightBlocksMax) return
    }
    const number = waiting.shift()!
    if (part === undefined) continue
    part.isSent = true
    state.inFlightBlocks += weightOf(part)
    send(state, number, part, nowMs, port)
  }
}

function send(state: SnapshotReaderState, number: number, part: Part, nowMs: number, port: ReaderPort): void {
  const { link, options: { reader, resendMs } } = state
  part.dueAtMs = nowMs + resendMs * 2 ** Math.min(part.attempts, BACKOFF_STEPS_MAX)
  if (state.resendAtMs === undefined || part.dueAtMs < state.resendAtMs) state.resendAtMs = part.dueAtMs
  if (link.state !== 'open') return
  const { operation } = part
  const snapshot = placeOf(state.snapshot!)
  port.send(link.primary!, { type: 'snapshot-ask', reader, number, snapshot, operation })
}

const placeOf = ({ id, epoch, seq }: OpenedSnapshot): SnapshotPlace => ({ id, epoch, seq })

function resend(state: SnapshotReaderState, nowMs: number, port: ReaderPort, isAll = false): void {
  state.resendAtMs = undefined
  const { numbers, values } = state.parts
  for (let i = 0; i < numbers.length; i++) {
    const part = values[i]!
    if (!part.isSent) continue
    if (isAll || part.dueAtMs <= nowMs) {
      part.attempts = isAll ? 0 : part.attempts + 1
      send(state, numbers[i]!, part, nowMs, port)
      if (!isAll) lookSoon(state, nowMs, state.options.resendMs)
    } else if (state.resendAtMs === undefined || part.dueAtMs < state.resendAtMs) state.resendAtMs = part.dueAtMs
  }
}

/** Say that it is in use. Who leads answers; when nobody does, another one may lead, and has to be told. */
function renew(state: SnapshotReaderState, nowMs: number, port: ReaderPort): void {
  state.renewAtMs = nowMs + SNAPSHOT_USE_MS / 4
  if (state.isUnheard) lookSoon(state, nowMs, state.options.resendMs)
  if (state.link.state !== 'open') return
  state.isUnheard = true
  port.send(state.link.primary!, state.opening)
}

function receive(
  state: SnapshotReaderState,
  from: NodeId,
  message: FrontendMessage,
  nowMs: number,
  port: ReaderPort,
): void {
  switch (message.type) {
    case 'redirect':
      return redirected(state, from, message, nowMs)
    case 'snapshot-opened':
      return take(state, from, message, nowMs, port)
    case 'snapshot-blocks': {
      const answered = settled(state, from, message)
      if (answered === undefined) return
      const { asked, part } = answered
      asked.versions[part.index] = message.versions
      if (asked.missing > 0) return
      return end(state, part.arrival, { ok: true, type: 'read', versions: asked.versions.flat() }, port)
    }
    case 'snapshot-map': {
      const answered = settled(state, from, message)
      if (answered === undefined) return
      const { runs, endLba } = message
      return end(state, answered.part.arrival, { ok: true, type: 'map', runs, endLba }, port)
    }
    case 'snapshot-refused': {
      const { code } = message
      const answered = settled(state, from, message)
      if (answered === undefined) return
      if (code === 'gone') return gone(state, port)
      return end(state, answered.part.arrival, { ok: false, code }, port)
    }
    default:
      return
  }
}

function take(
  state: SnapshotReaderState,
  from: NodeId,
  { reader, epoch, snapshot }: Extract<FrontendMessage, { type: 'snapshot-opened' }>,
  nowMs: number,
  port: ReaderPort,
): void {
  if (reader !== state.options.reader || epoch < state.link.highestEpoch) return
  const { snapshot: former } = state
  const isAnother = former !== undefined && snapshot !== undefined && !isSame(former, snapshot)
  if (snapshot === undefined || isAnother) return gone(state, port)
  state.isUnheard = false
  const isOpen = opened(state, from, epoch)
  if (former === undefined) {
    state.snapshot = snapshot
    // From now on it is this one, whatever gets its name.
    state.opening = { type: 'snapshot-open', reader, wanted: snapshot.id }
    port.opened(snapshot)
  }
  if (!isOpen) return
  state.renewAtMs = nowMs + SNAPSHOT_USE_MS / 4
  resend(state, nowMs, port, true)
}

const isSame = (a: SnapshotPlace, b: SnapshotPlace): boolean => a.id === b.id && a.seq === b.seq && a.epoch === b.epoch

/** Something that is under way was answered. */
function settled(
  state: SnapshotReaderState,
  from: NodeId,
  { reader, number, epoch }: { reader: number; number: number; epoch: number },
): { asked: Asked; part: Part } | undefined {
  if (reader !== state.options.reader || !believes(state.link, from, epoch)) return undefined
  const part = numberedAt(state.parts, number)
  if (part === undefined) return undefined
  leave(state, number, part)
  const asked = numberedAt(state.asked, part.arrival)!
  asked.missing--
  return { asked, part }
}

function leave(state: SnapshotReaderState, number: number, part: Part): void {
  leaveNumbered(state.parts, number)
  if (part.isSent) state.inFlightBlocks -= weightOf(part)
}

/** Its answer is known; parts of it that are under way are of no interest any more. */
function end(state: SnapshotReaderState, arrival: number, answer: ReaderAnswer, port: ReaderPort): void {
  const asked = numberedAt(state.asked, arrival)
  assert(asked !== undefined, 'what is asked is answered once')
  leaveNumbered(state.asked, arrival)
  if (asked.missing > 0) {
    for (const number of [...state.parts.numbers]) {
      const part = numberedAt(state.parts, number)!
      if (part.arrival === arrival) leave(state, number, part)
    }
  }
  port.answer(asked.tag, answer)
}

function gone(state: SnapshotReaderState, port: ReaderPort): void {
  const { values } = state.asked
  const wasOpen = state.snapshot !== undefined
  state.isGone = true
  state.asked = noNumbered()
  state.parts = noNumbered()
  state.waiting = []
  state.inFlightBlocks = 0
  if (!wasOpen) port.opened(undefined)
  for (const { tag } of values) port.answer(tag, { ok: false, code: 'snapshot-gone' })
}

/** In order of arrival, so the first one that has time left ends it. */
function expire(state: SnapshotReaderState, nowMs: number, port: ReaderPort): void {
  const { ioTimeoutMs } = state.options
  state.expireAtMs = undefined
  for (const arrival of [...state.asked.numbers]) {
    const { atMs } = numberedAt(state.asked, arrival)!
    if (atMs + ioTimeoutMs > nowMs) {
      state.expireAtMs = atMs + ioTimeoutMs
      return
    }
    end(state, arrival, { ok: false, code: 'timeout' }, port)
  }
}

const due = (atMs: number | undefined, nowMs: number): boolean => atMs !== undefined && atMs <= nowMs

function wake(state: SnapshotReaderState, nowMs: number, port: ReaderPort): void {
  if (due(state.wakeAtMs, nowMs)) state.wakeAtMs = undefined
  for (const atMs of [state.expireAtMs, state.resendAtMs, state.renewAtMs, state.link.lookAtMs]) {
    if (atMs === undefined || (state.wakeAtMs !== undefined && state.wakeAtMs <= atMs)) continue
    state.wakeAtMs = atMs
    port.wakeAt(atMs)
  }
}
