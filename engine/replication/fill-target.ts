/**
 * Being filled (SPEC section 5): a copy out of the set asks to join, becomes durably `filling`, takes versions of
 * blocks up to the target and records above it, and is consistent again when every slice is whole.
 *
 * I12: from `fill-start` until the durable end it is not consistent: it neither stands nor is read.
 * I15, I16: versions are inserted by (epoch, seq), never above the target; what is newer came as records. A slice is
 * whole only with the records up to what its source had applied: of blocks overwritten by then nothing else was sent.
 */
import { assert } from '../assert.ts'
import { BLOCK_BYTES } from '../units.ts'
import { follow, readConfig, sayReleased } from './configuration-change.ts'
import type { NodeId } from './configuration.ts'
import { durabilityAt, knownCommitSeq, leads, nextToken, slicesOf, wholeBootOf } from './copy-state.ts'
import type { CopyState, FillTarget, KeptPurpose } from './copy-state.ts'
import { fillPatienceMs } from './fill-source.ts'
import type { PeerMessage } from './messages.ts'
import { askForMarks, takeMarks, unwiped } from './kept-marks.ts'
import { fillProblem } from './peer-claims.ts'
import { reportOf } from './peer-reports.ts'
import { emptyWindow } from './record-window.ts'
import { admits, answerStored, disbelieve, followTold, refuse } from './replica.ts'
import { adopted } from './session-fence.ts'
import { decodeWindows } from './session-window.ts'
import { wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

type Message<T extends PeerMessage['type']> = Extract<PeerMessage, { type: T }>

/** A piece that comes so many before its turn is not kept: a source has fewer under way. */
const EARLY_MAX = 4

/** Greetings after which the configuration is read again: we may be asking the wrong one. */
const GREETS_PER_READ = 8

/** A copy that is not in contact with the primary says what it has: to join, or that it is back (C5, C7). */
export function greet(turn: Turn): void {
  const { state, nowMs, port } = turn
  const { role, config, promise, fillTarget, options } = state
  if (nowMs < state.greetAtMs) {
    if (state.greetAtMs < Infinity) wakeBy(turn, state.greetAtMs)
    return
  }
  if (leads(role) || role === 'fenced' || (state.isGreeted && role !== 'out')) {
    state.greetAtMs = Infinity
    return
  }
  sayReleased(turn)
  state.greetAtMs = nowMs + options.retryMs
  wakeBy(turn, state.greetAtMs)
  const isBeingFilled = fillTarget !== undefined && nowMs - fillTarget.heardAtMs < fillPatienceMs(state)
  if (isBeingFilled) return
  if (++state.greets % GREETS_PER_READ === 0) readConfig(turn)
  const to = config?.config.primary ?? promise.primary
  if (to === '' || to === options.node) return
  const report = reportOf(state)
  if (role === 'out') port.send(to, { type: 'join', ...report })
  else port.send(to, { type: 'hello', epoch: promise.epoch, ...report })
}

export function onFillStart(turn: Turn, from: NodeId, instance: string, message: Message<'fill-start'>): void {
  const { state, port } = turn
  const { fill, fork, target, slices, wipe, descriptor } = message
  if (message.forInstance !== state.options.instance || !admits(turn, from, instance, message.epoch)) return
  // One that comes late was answered, and what was answered since must not be wiped. In the set we did not ask: the
  // primary found that we lack something, and may not let us go.
  const former = state.fillTarget
  if (former !== undefined && former.from === from && former.instance === instance && fill <= former.fill) {
    if (fill !== former.fill) return
    former.heardAtMs = turn.nowMs
    if (former.phase === 'starting') sayAlive(turn, former)
    else sayStarted(turn, former)
    return
  }
  if (message.joinOf !== state.joinNumber) return
  // We are primary, or may be before we know it, and must be consistent then (I12). Asked again, we know.
  if (state.change !== undefined || leads(state.role)) return
  // F1: since it asked, more may have become known as committed, and what is applied is not given up but by a wipe.
  if (fork > 0 && fork < knownCommitSeq(state)) return
  const { log } = state
  const problem = fillProblem(message, log.commitSeq, state.sliceBlocks * BLOCK_BYTES)
  if (problem !== undefined) return disbelieve(turn, from, { epoch: message.epoch, why: problem })
  assert(fork === 0 || target >= log.commitSeq, 'I11: only a wipe gives up what is known as committed')
  state.joinNumber++
  const attach = adopted(state.attach, message.attach)
  state.attach = attach
  for (const [token, { type }] of state.kept)
    if (type === 'filled' || type === 'nothing' || type === 'repaired') state.kept.delete(token)
  // What is still there of it is found again.
  state.damaged = []
  state.isDamageLeftOut = false
  state.fillTarget = {
    fill,
    from,
    instance,
    phase: 'starting',
    target,
    nextNumber: 1,
    storing: [],
    early: new Map(),
    heardAtMs: turn.nowMs,
    done: undefined,
  }
  state.consistency = { state: 'filling', target, slices: [...slices] }
  state.isFollowing = false
  state.isWhole = message.isWhole
  state.durability = message.durability ?? state.durability
  state.windows = decodeWindows(message.windows)
  const formerCount = state.sliceCount
  state.sizeBytes = message.sizeBytes
  state.sliceCount = message.sliceCount ?? slicesOf(state)
  // Of a history that was given up (C9), or of snapshots that are gone: the volume may grow there again.
  const beyond = Array.from({ length: Math.max(0, formerCount - state.sliceCount) }, (_, i) => state.sliceCount + i)
  state.marks = unwiped(state, [...wipe, ...beyond], formerCount)
  state.marksSought.token = undefined
  Object.assign(log, {
    epochs: [...message.epochs],
    tail: target,
    writtenSeq: target,
    durableSeq: target,
    commitSeq: target,
    appliedSeq: target,
    toldCommitSeq: target,
    window: emptyWindow(target + 1),
    durabilities: [],
    drops: log.drops + 1,
  })
  state.forgottenSeq = Math.max(state.forgottenSeq, message.forgottenSeq)
  const token = nextToken(state)
  state.kept.set(token, { type: 'fill-started', fill, from, fence: attach })
  const { promise, consistency, marks } = state
  const facts = { promise, attach, consistency, marks, ...wholeBootOf(state) }
  port.store.startFill(token, { fork, target, wipe: [...wipe, ...beyond], descriptor, facts, windows: message.windows })
  // At once, so before any `join` of ours that has another number: that one tells what we took.
  sayAlive(turn, state.fillTarget)
  follow(turn)
}

function targetOf(state: CopyState, fill: number, from: NodeId): FillTarget | undefined {
  const { fillTarget } = state
  return fillTarget !== undefined && fillTarget.fill === fill && fillTarget.from === from ? fillTarget : undefined
}

export function onFillStartKept(turn: Turn, fill: number, from: NodeId): void {
  const target = targetOf(turn.state, fill, from)
  if (target === undefined) return
  target.phase = 'filling'
  turn.state.isFollowing = true
  turn.state.followedFill = fill
  sayStarted(turn, target)
}

function sayStarted({ state, port }: Turn, { fill, from }: FillTarget): void {
  port.send(from, { type: 'fill-started', epoch: state.promise.epoch, fill })
}

/** What was sent last is under way, which may take long: else it would be begun anew, for ever. */
function sayAlive({ state, port }: Turn, { fill, from }: FillTarget): void {
  port.send(from, { type: 'filled', epoch: state.promise.epoch, fill, number: 0 })
}

/** Whether a message belongs to the fill that is under way. */
function belongs(
  turn: Turn,
  from: NodeId,
  instance: string,
  message: { epoch: number; fill: number },
): FillTarget | undefined {
  if (!admits(turn, from, instance, message.epoch)) return undefined
  const target = targetOf(turn.state, message.fill, from)
  if (target !== undefined && target.instance === instance) {
    target.heardAtMs = turn.nowMs
    return target
  }
  if (turn.state.role === 'out') refuse(turn, from, message.epoch, 'not-consistent')
  return undefined
}

export function onFill(turn: Turn, from: NodeId, instance: string, message: Message<'fill'>): void {
  const { state, port } = turn
  const target = belongs(turn, from, instance, message)
  if (target === undefined || target.phase === 'starting') return
  const { fill, number, versions, slicesDone, appliedSeq } = message
  if (number < target.nextNumber && !target.storing.includes(number)) {
    return port.send(from, { type: 'filled', epoch: state.promise.epoch, fill, number })
  }
  if (number > target.nextNumber && number < target.nextNumber + EARLY_MAX) target.early.set(number, message)
  if (number !== target.nextNumber || target.phase !== 'filling') return sayAlive(turn, target)
  if (versions.some(({ seq }) => seq > target.target)) {
    return disbelieve(turn, from, { epoch: message.epoch, why: 'I15: nothing above the target is filled' })
  }
  target.nextNumber++
  target.storing.push(number)
  takeMarks(state, versions)
  const token = nextToken(state)
  const isLast = slicesDone.length === 0
  state.kept.set(token, isLast ? { type: 'filled', fill, number, from } : { type: 'nothing' })
  port.store.fill(token, versions)
  if (!isLast && state.consistency.state === 'filling') {
    target.done = { number, slices: slicesDone, wholeSeq: appliedSeq ?? 0 }
    finishSlices(turn)
  }
  const next = target.early.get(target.nextNumber)
  if (next === undefined) return
  target.early.delete(next.number)
  // Of an earlier epoch it is sent again.
  if (next.epoch === state.promise.epoch) onFill(turn, from, instance, next)
}

/** Slices that were sent to their end are whole when the records are durable that overwrote what was not sent. */
export function finishSlices(turn: Turn): void {
  const { state, port } = turn
  const { fillTarget, consistency: former } = state
  const done = fillTarget?.done
  if (done === undefined || former.state !== 'filling' || !isDurable(turn, done.wholeSeq)) return
  const { fill, from } = fillTarget!
  fillTarget!.done = undefined
  const slices = former.slices.filter(([slice]) => !done.slices.includes(slice))
  const consistency = { ...former, slices, target: Math.max(former.target, done.wholeSeq) }
  const factToken = nextToken(state)
  state.kept.set(factToken, { type: 'filled', fill, number: done.number, from, consistency })
  const hasMarks = state.marks.isMore || state.marks.ids.length > 0
  port.store.keep(factToken, { consistency, ...(hasMarks ? { marks: state.marks } : {}) })
}

/** Whether all records up to this seq are durable. Those that are written become so. */
function isDurable({ state, port }: Turn, seq: number): boolean {
  const { log } = state
  if (log.durableSeq >= seq) return true
  if (log.writtenSeq >= seq && durabilityAt(state, log.tail) === 'writeback') port.store.sync()
  return false
}

export function onFilledKept(
  { state, port }: Turn,
  { fill, number, from, consistency }: Extract<KeptPurpose, { type: 'filled' }>,
): void {
  const target = targetOf(state, fill, from)
  if (target === undefined) return
  target.storing = target.storing.filter((one) => one !== number)
  // Only now: another filling may begin before, and takes what we say is whole for whole.
  if (consistency !== undefined) state.consistency = consistency
  port.send(from, { type: 'filled', epoch: state.promise.epoch, fill, number })
}

export function onFillEnd(turn: Turn, from: NodeId, instance: string, message: Message<'fill-end'>): void {
  const { state, port } = turn
  const target = belongs(turn, from, instance, message)
  if (target === undefined) return
  if (target.phase === 'ended') return sayEnded(turn, target)
  const { consistency } = state
  if (target.phase !== 'filling' || target.storing.length > 0) return sayAlive(turn, target)
  if (consistency.state !== 'filling' || consistency.slices.length > 0) {
    return disbelieve(turn, from, { epoch: message.epoch, why: 'I16: a fill ends when every slice is whole' })
  }
  target.phase = 'ending'
  const token = nextToken(state)
  state.kept.set(token, { type: 'fill-ended', fill: target.fill, from })
  port.store.keep(token, { consistency: { state: 'consistent', target: consistency.target } })
}

export function onFillEndKept(turn: Turn, fill: number, from: NodeId): void {
  const { state } = turn
  const target = targetOf(state, fill, from)
  if (target?.phase !== 'ending') return
  target.phase = 'ended'
  state.consistency = { state: 'consistent', target: state.consistency.target! }
  state.lostSlices = []
  state.isGreeted = true
  sayEnded(turn, target)
  followTold(turn, state.log.toldCommitSeq)
  answerStored(turn)
  askForMarks(turn)
  follow(turn)
}

function sayEnded({ state, port }: Turn, { fill, from }: FillTarget): void {
  port.send(from, { type: 'fill-ended', epoch: state.promise.epoch, fill, tail: state.log.tail })
}
