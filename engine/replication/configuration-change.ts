/**
 * Changes of the configuration, one at a time (SPEC 2.1, C1, C6), and what a configuration that was read means.
 *
 *   asked -> won | lost -> read | unknown -> read -> ours is there: won; the old one: the same again; another: lost
 *
 * I1: an epoch has one (primary, set): what we know of the set changes only by a value that was read, or won.
 * I6: from the moment a change is asked until its outcome is known, the members of both sets are required.
 */
import { assert } from '../assert.ts'
import { stand, takeUp } from './candidate.ts'
import { advance, refreshRequired, requiredPeers } from './commit.ts'
import { withoutMembers } from './configuration.ts'
import type { NodeId, VolumeConfig } from './configuration.ts'
import type { CopyEvent, VersionedConfig } from './copy-port.ts'
import { endCommands } from './control.ts'
import { appendRecord } from './copy-log.ts'
import { leads, nextToken } from './copy-state.ts'
import type { ConfigChange, CopyState, Promised, Role } from './copy-state.ts'
import { isSettled, watch } from './grace.ts'
import { endHandOver } from './hand-over.ts'
import { judgeClaim } from './lead-claims.ts'
import { noNumbered } from './numbered.ts'
import { sendNewEpoch } from './peer-reports.ts'
import type { Peer, PrimaryState } from './primary-state.ts'
import { sendToAll } from './primary.ts'
import { beginReconcile } from './promotion.ts'
import { progressReads } from './reads.ts'
import { forgetUpTo } from './record-window.ts'
import { keepPromise, refuse } from './replica.ts'
import { dropFormerHolders } from './sessions.ts'
import { redirect, wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

const REMOVED = 'the volume was removed'
const NO_MEMBER = 'it is no copy of the volume any more'

/** Nothing failed that fenced it: it has no part in the volume (C10). */
export const isLetGo = ({ fencedBecause }: CopyState): boolean =>
  fencedBecause === REMOVED || fencedBecause === NO_MEMBER

export function readConfig(turn: Turn, toStand = false, isFresh = false): void {
  const { state, port } = turn
  if (state.role === 'fenced') return
  if (state.reading !== undefined && !isFresh) {
    state.reading.toStand ||= toStand
    return
  }
  const token = nextToken(state)
  state.reading = { token, againAtMs: Infinity, toStand: toStand || state.reading?.toStand === true, isLate: false }
  port.readConfig(token)
}

/** Something was told that a read under way may not see, and will not be told again: read once more behind it. */
export function readNews(turn: Turn): void {
  const { reading } = turn.state
  if (reading !== undefined) reading.isLate = true
  else readConfig(turn)
}

export function startChange(turn: Turn, purpose: ConfigChange['purpose'], to: VolumeConfig | undefined): boolean {
  const { state, port } = turn
  if (to === undefined || state.change !== undefined) return false
  const from = state.config
  assert(from !== undefined && to.epoch > from.config.epoch, 'I1: a change of primary or set takes a new epoch')
  const token = nextToken(state)
  state.change = { purpose, token, from, to, phase: 'asked', againAtMs: Infinity }
  refreshRequired(state)
  port.compareAndSwap(token, from.version, to)
  return true
}

export function onCasEnded(turn: Turn, event: Extract<CopyEvent, { type: 'cas-ended' }>): void {
  const { state } = turn
  const { change } = state
  if (change === undefined || change.token !== event.token || change.phase !== 'asked') return
  if (event.outcome === 'won' && event.version !== undefined) {
    won(turn, change, { config: change.to, version: event.version })
  } else {
    // Also when it was lost: an earlier attempt of the same change may have won.
    change.phase = 'reading'
    readConfig(turn, false, true)
  }
}

export function onConfigRead(turn: Turn, event: Extract<CopyEvent, { type: 'config-read' }>): void {
  const { state, nowMs } = turn
  const { reading, change } = state
  if (reading === undefined || reading.token !== event.token) return
  if (!event.ok) {
    reading.againAtMs = nowMs + state.options.retryMs
    return wakeBy(turn, reading.againAtMs)
  }
  state.reading = undefined
  if (event.value === undefined) {
    if (!isUnnamed(state) && !reading.isLate) fence(turn, REMOVED)
  } else if (change === undefined) adopt(turn, event.value, reading.toStand, reading.isLate)
  else if (change.phase === 'reading') resolve(turn, change, event.value)
  judgeClaim(turn, event.value?.config, reading.isLate)
  if (reading.isLate) readNews(turn)
}

function resolve(turn: Turn, change: ConfigChange, value: VersionedConfig): void {
  const { state, nowMs } = turn
  const { config } = value
  // Somebody may have changed something else on top of ours, e.g. who is attached.
  const isOurs = config.nonce === change.to.nonce || sameChoice(config, change.to)
  if (isOurs) won(turn, change, value)
  else if (value.version === change.from.version) {
    change.phase = 'again'
    change.againAtMs = nowMs + state.options.retryMs
    wakeBy(turn, change.againAtMs)
  } else {
    state.change = undefined
    adopt(turn, value, false)
    if (state.primary !== undefined) {
      refreshRequired(state)
      if (change.purpose === 'hand-over' && state.primary.handingOver !== undefined) endHandOver(turn, false)
      advance(turn)
    } else follow(turn)
  }
}

const sameChoice = (a: VolumeConfig, b: VolumeConfig): boolean =>
  a.epoch === b.epoch &&
  a.primary === b.primary &&
  a.inSync.length === b.inSync.length &&
  a.inSync.every((node) => b.inSync.includes(node))

function won(turn: Turn, change: ConfigChange, value: VersionedConfig): void {
  const { state } = turn
  state.change = undefined
  state.config = value
  watch(turn, value.config)
  noteMembers(turn)
  switch (change.purpose) {
    case 'evict':
    case 'join':
      dropFormerHolders(turn)
      return enterEpoch(turn)
    case 'stand':
    case 'renew':
      if (state.promise.epoch >= value.config.epoch) return follow(turn)
      return beginReconcile(turn)
    case 'pass-on':
    case 'hand-over': {
      const { primary, epoch } = value.config
      turn.port.send(primary, { type: 'new-epoch', epoch, config: value.config })
      if (change.purpose === 'pass-on') state.passing.to.push(primary)
      if (change.purpose === 'hand-over') endHandOver(turn, true)
      else depose(turn, { epoch, primary })
      return follow(turn)
    }
  }
}

/** The same primary goes on under its next epoch, with another set (SPEC C1, C5). */
function enterEpoch(turn: Turn): void {
  const { state } = turn
  const primary = state.primary!
  const { epoch, inSync } = state.config!.config
  if (state.role === 'reconciling') return beginReconcile(turn)
  primary.epoch = epoch
  keepPromise(turn, { epoch, primary: state.options.node }, undefined)
  for (const peer of primary.peers.values()) {
    const isIn = inSync.includes(peer.node)
    if (isIn && peer.fill?.phase === 'joining') peer.fill = undefined
    if (!isIn && peer.fill === undefined) peer.isFollowing = false
    if (!isIn || peer.isFollowing) peer.failure = undefined
    if (!isIn) peer.owedSinceMs = undefined
  }
  refreshRequired(state)
  appendEpoch(turn, primary)
  for (const peer of primary.peers.values()) sendNewEpoch(turn, peer)
  sendToAll(turn)
  advance(turn)
  progressReads(turn)
}

export function appendEpoch(turn: Turn, primary: PrimaryState): number {
  const { state } = turn
  const seq = state.log.tail + 1
  const { epoch } = primary
  const epochs = [...state.log.epochs, [epoch, seq] as const]
  appendRecord(turn, { epoch, seq, request: undefined, kind: 'control', change: { operation: 'epoch', epochs } })
  return seq
}

/** C1: without those that failed, all at once or not at all: a primary that is cut off evicts nobody. */
export function evict(turn: Turn, nodes: readonly NodeId[]): void {
  const { state, port } = turn
  if (nodes.length > 0) startChange(turn, 'evict', withoutMembers(state.config!.config, nodes, port.nonce()))
}

/** Required copies that owe us an answer for too long, or said that they cannot give one. */
export function overduePeers({ state, nowMs }: Turn): Peer[] {
  const { evictAfterMs, readCheck } = state.options
  return requiredPeers(state.primary!).filter(({ failure, owedSinceMs, lease }) => {
    const isSilent = owedSinceMs !== undefined && nowMs - owedSinceMs >= evictAfterMs
    const hasEnded = readCheck === 'lease' && lease.instance !== undefined && nowMs >= lease.untilMs
    return failure !== undefined || isSilent || hasEnded
  })
}

/** Made, and not named by any configuration yet (C10): the one that names it comes as a hint. */
const isUnnamed = ({ config, promise, log, baseSeq }: CopyState): boolean =>
  config === undefined && promise.epoch === 0 && log.tail === baseSeq

/** A value that was read. @param isLate  it may be from before we were named */
export function adopt(turn: Turn, value: VersionedConfig, toStand: boolean, isLate = false): void {
  const { state } = turn
  const { node } = state.options
  const { config } = value
  if (config.epoch < (state.config?.config.epoch ?? 0) || config.volumeId !== state.options.volumeId) return
  const isMember = config.members[node]?.copyId === state.copyId
  if (!isMember && (isUnnamed(state) || isLate)) return
  state.config = value
  if (!isMember) return fence(turn, NO_MEMBER)
  watch(turn, config)
  noteMembers(turn)
  if (state.primary !== undefined) {
    if (config.primary === node && config.epoch === state.primary.epoch) {
      dropFormerHolders(turn)
      return refreshRequired(state)
    }
    depose(turn, { epoch: config.epoch, primary: config.primary })
  }
  follow(turn)
  if (config.primary === node) takeUp(turn)
  else if (toStand) stand(turn)
}

/** The role of a copy that does not lead. */
export function follow(turn: Turn): void {
  const { state, nowMs } = turn
  if (state.role === 'fenced' || leads(state.role)) return
  state.role = followerRole(turn)
  const settledAtMs = state.grace.startedAtMs + state.options.graceMs
  if (state.role === 'starting' && nowMs < settledAtMs) wakeBy(turn, settledAtMs)
  if (state.role === 'replica') wakeBy(turn, nowMs + state.options.retryMs)
  if (state.greetAtMs === Infinity && (state.role === 'out' || !state.isGreeted)) {
    state.greetAtMs = nowMs
    wakeBy(turn, nowMs)
  }
}

function followerRole(turn: Turn): Role {
  const { change, config, consistency, options } = turn.state
  if (change?.purpose === 'stand' || change?.purpose === 'renew') return 'candidate'
  if (config !== undefined && !config.config.inSync.includes(options.node)) return 'out'
  if (consistency.state !== 'consistent') return 'out'
  return isSettled(turn) && config !== undefined ? 'replica' : 'starting'
}

/** C6: stop answering clients in this very step. */
export function depose(turn: Turn, by: Promised): void {
  const { state, port } = turn
  const { primary, log } = state
  if (primary === undefined) return
  const nodes = new Set(primary.sessions.map(({ node }) => node))
  if (primary.reconciling !== undefined) state.fruitlessTerms++
  // What they promised us binds them no more. Under an epoch that we promised ourselves we never lead again; under
  // another one we may, and then a late release would undo what they promise then.
  if (state.promise.epoch === primary.epoch) state.released = { epoch: primary.epoch, nodes: primary.required }
  state.primary = undefined
  state.change = undefined
  state.isFollowing = false
  state.isGreeted = false
  state.role = 'starting'
  forgetUpTo(log.window, log.appliedSeq)
  for (const window of state.windows) window.ordered = noNumbered()
  const { handingOver } = primary
  const why = `node ${by.primary} leads epoch ${by.epoch}`
  if (handingOver?.isTold === false) {
    // Its successor may speak before our own change is answered.
    const isDone = handingOver.isReleased && by.primary === handingOver.to
    port.commandEnded(handingOver.token, isDone ? { ok: true, seq: log.commitSeq } : { ok: false, code: 'lost', why })
  }
  endCommands(turn, primary, why)
  for (const node of nodes) redirect(turn, node, undefined)
  sayReleased(turn)
  follow(turn)
  readConfig(turn)
}

/** C6: until somebody else leads us, for it may get lost. */
export function sayReleased({ state, port }: Turn): void {
  const { released } = state
  if (released === undefined) return
  for (const node of released.nodes) port.send(node, { type: 'release', epoch: released.epoch })
}

/** The end of this copy's part, for as long as its process lives (I14). */
export function fence(turn: Turn, why: string): void {
  const { state } = turn
  if (state.role === 'fenced') return
  // What was asked for may be so, and nobody shall wait for us under that epoch either.
  state.fencedEpoch = Math.max(state.promise.epoch, state.config?.config.epoch ?? 0, state.change?.to.epoch ?? 0)
  if (state.primary !== undefined) depose(turn, { epoch: state.primary.epoch, primary: '' })
  state.role = 'fenced'
  state.fencedBecause = why
  state.change = state.reading = undefined
  tellFenced(turn)
}

/** Nobody shall wait for us: the others let us go, or stand for our place. Said again, for it may get lost. */
export function tellFenced(turn: Turn): void {
  const { state, nowMs } = turn
  const { fencedEpoch, config, options } = state
  for (const node of Object.keys(config?.config.members ?? {})) {
    if (node !== options.node) refuse(turn, node, fencedEpoch, 'fenced')
  }
  wakeBy(turn, nowMs + options.graceMs)
}

/** Trims keep their trace while a member is away that may need it (SPEC F1, I20). */
function noteMembers({ state, port }: Turn): void {
  const { members, inSync } = state.config!.config
  const isAway = Object.keys(members).some((node) => !inSync.includes(node))
  if (!isAway) {
    if (state.trimsKeptAbove === Infinity) return
    state.trimsKeptAbove = Infinity
    port.store.keepTrimsAbove(Number.MAX_SAFE_INTEGER)
  } else if (state.trimsKeptAbove === undefined || state.trimsKeptAbove === Infinity) {
    // After a start the store knows what it forgot; before, it forgot what was committed while all were in.
    if (state.trimsKeptAbove === Infinity) state.forgottenSeq = Math.max(state.forgottenSeq, state.log.commitSeq)
    state.trimsKeptAbove = state.forgottenSeq
    port.store.keepTrimsAbove(state.forgottenSeq)
  }
}

/** What is to be tried again by now. */
export function progressChange(turn: Turn): void {
  const { state, nowMs, port } = turn
  const { change, reading } = state
  if (reading !== undefined && nowMs >= reading.againAtMs) readConfig(turn, reading.toStand, true)
  else if (reading !== undefined && reading.againAtMs < Infinity) wakeBy(turn, reading.againAtMs)
  if (change?.phase !== 'again') return
  if (nowMs < change.againAtMs) return wakeBy(turn, change.againAtMs)
  change.phase = 'asked'
  change.token = nextToken(state)
  port.compareAndSwap(change.token, change.from.version, change.to)
}
