/**
 * The replica: promise, accept, answer, apply (SPEC section 3, C4; data path D6). Who leads uses the first half for
 * its own promise; a copy that is being filled accepts in the same way, above its target.
 *
 * I3: a promise never decreases, and no answer that depends on it is sent before it is durable.
 * I4: nothing is accepted unless the sender is the promised primary under exactly the promised epoch. The same primary
 *     under a later epoch of its own is promised in passing: the promise is written before the records.
 * I5, I10: what is accepted follows what is there; only uncommitted records are ever cut back.
 */
import { assert } from '../assert.ts'
import { depose, readNews } from './configuration-change.ts'
import { hasMember } from './configuration.ts'
import type { NodeId } from './configuration.ts'
import { appendRecord, commitTo, cutBack, idAt, tailOf } from './copy-log.ts'
import {
  durabilityAt, endPassing, forgetOver, leads, nextToken, progressOf, samePromise, wholeBootOf,
} from './copy-state.ts'
import type { CopyState, KeptPurpose, Promised } from './copy-state.ts'
import { finishSlices } from './fill-target.ts'
import { comeBack, mayPromiseTo, noteAlive } from './grace.ts'
import { holdClaim, noteTold, standingOf } from './lead-claims.ts'
import type { PeerMessage, RefusalReason } from './messages.ts'
import { runProblem } from './peer-claims.ts'
import type { RunStart } from './peer-claims.ts'
import { reportOf } from './peer-reports.ts'
import { compareIds, epochAt } from './record-id.ts'
import type { RecordId } from './record-id.ts'
import type { ReplicatedRecord } from './record.ts'
import { recordsFrom } from './record-window.ts'
import { adopted, covers, followedIn } from './session-fence.ts'
import type { SessionFence } from './session-fence.ts'
import type { Turn } from './turn.ts'

/** Of mode `open`: what is applied late of one that is not among them is kept as if it went on. */
const FOLLOWED_MAX = 64

type Message<T extends PeerMessage['type']> = Extract<PeerMessage, { type: T }>

export function keepPromise(
  { state, port }: Turn,
  promise: Promised,
  answerTo: NodeId | undefined,
  probe?: number,
): void {
  assert(promise.epoch > state.promise.epoch, 'I3: a promise never decreases')
  if (promise.primary !== state.promise.primary) {
    // What we have beyond the commit point may not be in the log of the new one.
    state.isFollowing = false
    state.followedFill = 0
  }
  state.grace.confirmToken = 0
  state.grace.hasLeft = false
  state.grace.hasStood = false
  state.promise = promise
  const token = nextToken(state)
  state.kept.set(token, { type: 'promise', promise, answerTo, probe })
  port.store.keep(token, { promise, ...wholeBootOf(state) })
}

/** Whoever has no copy, as far as we know, ends no lead by what it says: the record of the cluster store does (C6). */
export const isKnownMember = ({ config }: CopyState, from: NodeId): boolean =>
  config !== undefined && hasMember(config.config, from)

/** Whether the sender is our primary under our epoch; if it may become so, it does. */
export function admits(turn: Turn, from: NodeId, instance: string, epoch: number): boolean {
  const { state } = turn
  const isMore = epoch > Math.max(state.promise.epoch, state.primary?.epoch ?? 0)
  const isAgainst = isMore && leads(state.role) && from !== state.options.node
  if (isAgainst && isKnownMember(state, from)) depose(turn, { epoch, primary: from })
  else if (isAgainst) {
    readNews(turn)
    refuse(turn, from, epoch, 'epoch')
    return false
  }
  if (from !== state.promise.primary || (!isMore && epoch !== state.promise.epoch)) {
    if (isMore) readNews(turn)
    refuse(turn, from, epoch, state.role === 'fenced' ? 'fenced' : 'epoch')
    return false
  }
  if (isMore) keepPromise(turn, { epoch, primary: from }, undefined)
  noteAlive(turn, from, instance)
  return true
}

export function refuse({ state, port }: Turn, to: NodeId, epoch: number, why: RefusalReason): void {
  port.send(to, { type: 'refused', epoch, promised: state.promise, tail: tailOf(state), why })
}

/** What it lost with a disk is not filled again yet: it has no place for records. */
const lacksSlices = ({ lostSlices, consistency }: CopyState): boolean =>
  lostSlices.length > 0 && consistency.state === 'consistent'

export function onAppend(turn: Turn, from: NodeId, instance: string, message: Message<'append'>): void {
  const { state } = turn
  if (!admits(turn, from, instance, message.epoch)) return
  if (state.consistency.state === 'filling' && !state.isFollowing) return refuse(turn, from, message.epoch, 'gap')
  if (lacksSlices(state)) return refuse(turn, from, message.epoch, 'not-consistent')
  accept(turn, from, message, message.previous, false)
}

/** SPEC C4 (d): the primary chose a log; what of ours is not in it goes. */
export function onReconcile(turn: Turn, from: NodeId, instance: string, message: Message<'reconcile'>): void {
  if (!admits(turn, from, instance, message.epoch)) return
  const { state } = turn
  if (state.consistency.state !== 'consistent' || lacksSlices(state)) {
    return refuse(turn, from, message.epoch, 'not-consistent')
  }
  accept(turn, from, message, message.fork, true)
}

function accept(
  turn: Turn,
  from: NodeId,
  { epoch, records, commitSeq }: { epoch: number; records: readonly ReplicatedRecord[]; commitSeq: number },
  previous: RecordId,
  mayCut: boolean,
): void {
  const { state, port } = turn
  const { log, promise } = state
  assert(epoch === promise.epoch && from === promise.primary, 'I4: records come under exactly the promised epoch')
  if (previous.seq > log.tail || !isOurs(state, previous)) return refuse(turn, from, epoch, 'gap')
  const problem = runProblem(records, startBehind(state, previous.seq), epoch, log.epochs)
  if (problem !== undefined) return disbelieve(turn, from, { epoch, why: problem })
  let verified = previous.seq
  let appended = 0
  for (const record of records) {
    assert(record.seq === verified + 1, 'I5: a message carries consecutive records')
    if (record.seq <= log.tail) {
      if (isOurs(state, record)) {
        verified = record.seq
        continue
      }
      if (!mayCut || state.isFollowing) return refuse(turn, from, epoch, 'gap')
      if (record.seq <= log.commitSeq) return disbelieve(turn, from, { epoch, why: 'I10: it cuts what is committed' })
      cutBack(turn, record.seq - 1)
    }
    appendRecord(turn, record)
    verified = record.seq
    appended++
  }
  if (!state.isFollowing) {
    // What we have beyond may be another history: the primary goes on from our tail, if that is in its log.
    if (log.tail > verified) return refuse(turn, from, epoch, 'gap')
    state.isFollowing = true
    log.toldCommitSeq = log.commitSeq
    if (mayCut) state.followedFill = 0
  }
  state.isGreeted = true
  state.released = undefined
  state.fruitlessTerms = 0
  endPassing(state)
  if (mayCut && durabilityAt(state, log.tail) === 'writeback') port.store.sync()
  followTold(turn, commitSeq)
  if (appended === 0 || progressOf(state) >= log.tail) answerStored(turn)
}

/** It lies, or one of us has a bug: nothing of it is taken. */
export function disbelieve(turn: Turn, from: NodeId, { epoch, why }: { epoch: number; why: string }): void {
  turn.port.disbelieved?.(from, why)
  refuse(turn, from, epoch, 'gap')
}

/** Below what the history still names an epoch is not known. */
function startBehind({ log }: CopyState, seq: number): RunStart {
  const isNamed = seq === log.tail || seq >= (log.epochs[0]?.[1] ?? Infinity)
  return { seq, epoch: isNamed ? epochAt(log.epochs, seq) : undefined }
}

function isOurs(state: CopyState, id: RecordId): boolean {
  // Below what the history still names nothing is left to compare; it is applied, so it is common.
  const firstNamed = state.log.epochs[0]?.[1] ?? 1
  return id.seq === 0 || id.seq < firstNamed || compareIds(idAt(state, id.seq), id) === 0
}

/** The primary said that this is committed: apply what of it we have stored. */
export function followTold(turn: Turn, commitSeq: number): void {
  const { log } = turn.state
  if (commitSeq > log.toldCommitSeq) log.toldCommitSeq = commitSeq
  const seq = Math.min(log.toldCommitSeq, progressOf(turn.state))
  if (turn.state.isFollowing && seq > log.commitSeq) commitTo(turn, seq)
}

/** I3: only under a durable promise. A copy whose log the primary has not seen has nothing to answer. */
export function answerStored({ state, port }: Turn): void {
  const { promise, durablePromise, isFollowing, log } = state
  assert(state.role !== 'fenced', 'I14: nothing is acknowledged after the store failed')
  if (!isFollowing || !samePromise(promise, durablePromise)) return
  const stored = { type: 'stored' as const, epoch: promise.epoch, seq: progressOf(state), durableSeq: log.durableSeq }
  port.send(promise.primary, state.followedFill === 0 ? stored : { ...stored, fill: state.followedFill })
}

export function onNewEpoch(turn: Turn, from: NodeId, instance: string, message: Message<'new-epoch'>): void {
  const { state } = turn
  const { epoch, config } = message
  const promise = { epoch, primary: from }
  if (state.config === undefined || epoch > state.config.config.epoch) readNews(turn)
  // A hand-over tells its successor so; what it does about it, it does when it has read it.
  if (config.primary !== from) return
  // It knows a copy here that was erased: what this one promised and stored would count for that one.
  if (config.members[state.options.node]?.copyId !== state.copyId) return
  if (state.primary !== undefined) {
    if (epoch <= state.primary.epoch) return refuse(turn, from, epoch, 'epoch')
    if (!isKnownMember(state, from)) return
    depose(turn, promise)
  }
  if (samePromise(promise, state.promise)) {
    noteTold(state, epoch, config)
    noteAlive(turn, from, instance)
    if (samePromise(promise, state.durablePromise)) sayPromised(turn, message.token)
    return
  }
  if (epoch <= state.promise.epoch) return refuse(turn, from, epoch, 'epoch')
  const standing = standingOf(state, promise)
  if (standing === 'unnamed') return
  if (standing === 'named' && mayPromiseTo(turn, from)) {
    const isSameTerm = from === state.promise.primary && state.promise.epoch >= (message.since ?? Infinity)
    if (!isSameTerm) {
      state.isFollowing = false
      state.followedFill = 0
    }
    keepPromise(turn, promise, from, message.token)
    noteTold(state, epoch, config)
    noteAlive(turn, from, instance)
  } else holdClaim(turn, { from, instance, promise, probe: message.token, config })
}

export function onPromiseKept(
  turn: Turn,
  { promise, answerTo, probe }: Extract<KeptPurpose, { type: 'promise' }>,
): void {
  const { state } = turn
  if (promise.epoch > state.durablePromise.epoch) state.durablePromise = promise
  if (!samePromise(promise, state.promise) || promise.primary === state.options.node) return
  if (answerTo !== undefined) sayPromised(turn, probe)
  // What came meanwhile could not be answered yet.
  answerStored(turn)
}

function sayPromised({ state, port }: Turn, probe: number | undefined): void {
  const { epoch, primary } = state.promise
  const promised = { type: 'promised' as const, epoch, ...reportOf(state) }
  port.send(primary, probe === undefined ? promised : { ...promised, answerTo: probe })
}

/** The store has more of what was accepted. */
export function progressReplica(turn: Turn): void {
  followTold(turn, turn.state.log.toldCommitSeq)
  finishSlices(turn)
  answerStored(turn)
}

export function onSync(turn: Turn, from: NodeId, instance: string, { epoch, seq }: Message<'sync'>): void {
  if (!admits(turn, from, instance, epoch)) return
  if (turn.state.log.durableSeq >= seq) answerStored(turn)
  else turn.port.store.sync()
}

/** Whether we are still bound to this primary: then for a grace from now on. */
export function onConfirm(turn: Turn, from: NodeId, instance: string, { epoch, token }: Message<'confirm'>): void {
  const { state, port } = turn
  // Before it counts as a sign of life: that extends the grace only of who is bound.
  if (from === state.promise.primary && epoch === state.promise.epoch) comeBack(turn)
  if (!admits(turn, from, instance, epoch) || !samePromise(state.promise, state.durablePromise)) return
  if (state.grace.hasLeft) return refuse(turn, from, epoch, 'epoch')
  if (token > state.grace.confirmToken) state.grace.confirmToken = token
  port.send(from, { type: 'confirmed', epoch, token })
}

export function onFence(turn: Turn, from: NodeId, instance: string, message: Message<'fence'>): void {
  const { state, port } = turn
  const { epoch, fence } = message
  if (!admits(turn, from, instance, epoch)) return
  const underWay = keptFence(state, fence)
  if (covers(state.durableAttach, fence)) port.send(from, { type: 'fenced', epoch, fence })
  else if (underWay !== undefined) underWay.answerTo = from
  else keepAttach(turn, adopted(state.attach, fence), from)
}

/** What is on its way to the disk already and says as much: a slow disk is not given it once more for each question. */
function keptFence({ kept }: CopyState, fence: SessionFence): Extract<KeptPurpose, { type: 'fence' }> | undefined {
  for (const purpose of kept.values()) if (purpose.type === 'fence' && covers(purpose.fence, fence)) return purpose
  return undefined
}

/** Which sessions are refused from now on. */
export function keepAttach({ state, port }: Turn, fence: SessionFence, answerTo: NodeId | undefined): void {
  state.attach = fence
  const token = nextToken(state)
  state.kept.set(token, { type: 'fence', fence, answerTo })
  port.store.keep(token, { attach: fence })
}

/** It is durable that they are refused, so what was applied of them is of no use any more (S1). */
export function onAttachKept({ state }: Turn, fence: SessionFence): void {
  const former = state.durableAttach
  state.durableAttach = adopted(former, fence)
  state.followed = [...state.followed, ...followedIn(former, state.durableAttach)].slice(-FOLLOWED_MAX)
  forgetOver(state)
}

export function onFetchLog(turn: Turn, from: NodeId, instance: string, message: Message<'fetch-log'>): void {
  const { state, port } = turn
  const { epoch, aboveSeq } = message
  if (!admits(turn, from, instance, epoch) || !samePromise(state.promise, state.durablePromise)) return
  // What is applied is not kept as records: then the answer begins later than asked, and the primary sees it.
  const firstSeq = Math.max(aboveSeq + 1, state.log.window.firstSeq)
  port.send(from, { type: 'log', epoch, records: recordsFrom(state.log.window, firstSeq, Infinity) })
}
