/**
 * Damage (SPEC section 10): a version whose bytes the medium lost is asked for under its exact id from every other
 * member, whatever its role, and written anew by the store.
 *
 *   damaged -> asked of all others, again until each has answered -> repaired | lost: nobody has it -> read again
 *
 * I5: the same id is the same bytes everywhere, and the checksum of the damaged entry covers them; so whoever sends
 *     them, in the set or not, cannot send wrong ones.
 * I9: a read that met damage waits; it is answered `damaged` only when every other member has said that it lacks the
 *     version or cannot read it either, asked since this damage was noted, and it is still the one that is read here.
 */
import { dropMarks } from './kept-marks.ts'
import type { NodeId } from './configuration.ts'
import type { CopyEvent } from './copy-port.ts'
import { nextToken } from './copy-state.ts'
import type { CopyState } from './copy-state.ts'
import { awaitedByFills, hearSilent, noteLost } from './fill-losses.ts'
import type { PeerMessage } from './messages.ts'
import type { PendingRead, PrimaryState } from './primary-state.ts'
import { isAmong, readAgain, sayDamaged } from './reads.ts'
import type { VersionId } from './record.ts'
import { wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

/** A version that cannot be read here. */
export interface DamagedVersion extends VersionId {
  /** Members that do not have it. */
  missingAt: NodeId[]
  /** Members that have it, and could not read it when they were asked last. */
  damagedAt: NodeId[]
  askedAtMs: number
  /** When it was noted, or looked at again here. */
  lookedAtMs: number
  /** Number of the first question about it since it was noted; answers to older ones do not count. */
  firstAsked: number | undefined
  isRepairing: boolean
  /** All have answered, and nobody has it. Kept for a while, so that those who asked each other come to an end. */
  isLost: boolean
}

/**
 * While a member is away that may have them, whole disks of blocks may be found damaged. What is left out no read waits
 * for; it is looked for again once these are done.
 */
export const DAMAGED_MOST = 1024
/** Of one message; the rest is asked for when these are done. */
const ASKED_MAX = 16
/** Questions of one node that are looked for at a time. */
const FETCHES_MAX = 8
/** So many times `retryMs` from one look at what waits to the next. */
const LOOK_RETRIES = 8
const REPAIRED_KEPT = 64

const isSame = (a: VersionId, b: VersionId): boolean => a.lba === b.lba && a.seq === b.seq && a.epoch === b.epoch

const idOf = ({ lba, epoch, seq }: VersionId): VersionId => ({ lba, epoch, seq })

const notedAt = (id: VersionId, askedAtMs: number, nowMs: number): DamagedVersion => ({
  ...idOf(id),
  missingAt: [],
  damagedAt: [],
  askedAtMs,
  lookedAtMs: nowMs,
  firstAsked: undefined,
  isRepairing: false,
  isLost: false,
})

/** The store found damage: a read, a scan, the cleaner or a scrub did. What was lost is asked for anew. */
export function noteDamage(turn: Turn, versions: readonly VersionId[], isRead = false): void {
  const { state } = turn
  for (const id of versions) {
    const known = state.damaged.find((one) => isSame(one, id))
    if (known?.isLost === true) Object.assign(known, notedAt(id, -Infinity, turn.nowMs))
    else if (known === undefined) note(turn, id)
  }
  if (isRead) putFirst(state, versions)
  leaveOut(state)
  progressRepairs(turn)
}

/** The newest ones, but for marks and what a read or a fill waits for, so that as many are left as there may be. */
function leaveOut(state: CopyState): void {
  let over = state.damaged.length - DAMAGED_MOST
  if (over <= 0) return
  const nameOf = ({ lba, epoch, seq }: VersionId): string => `${lba} ${epoch} ${seq}`
  const byReads = state.primary?.damagedReads.flatMap(({ damaged }) => damaged) ?? []
  const waitedFor = new Set([...byReads, ...awaitedByFills(state), ...state.marks.ids].map(nameOf))
  const kept: DamagedVersion[] = []
  for (const one of [...state.damaged].reverse()) {
    const isLeftOut = over > 0 && isAsked(one) && !waitedFor.has(nameOf(one))
    if (isLeftOut) over--
    else kept.push(one)
  }
  if (kept.length === state.damaged.length) return
  state.isDamageLeftOut = true
  state.damaged = kept.reverse()
}

/** What was left out is found by looking at the blocks again. */
function lookForLeftOut({ state, port }: Turn): void {
  if (!state.isDamageLeftOut || state.damaged.length > 0) return
  state.isDamageLeftOut = false
  port.store.scrubSoon?.()
}

/** What was just repaired, and is damaged again, is waited for: the medium may not read anything at all. */
function note({ state, nowMs }: Turn, id: VersionId): void {
  const isAgain = state.repaired.some((one) => isSame(one, id))
  state.damaged.push(notedAt(id, isAgain ? nowMs : -Infinity, nowMs))
}

/** So many are asked for at a time, and somebody waits for these. */
function putFirst(state: CopyState, versions: readonly VersionId[]): void {
  const isOne = (one: DamagedVersion): boolean => versions.some((id) => isSame(id, one))
  state.damaged = [...state.damaged.filter(isOne), ...state.damaged.filter((one) => !isOne(one))]
}

/** A read met damage: it is served again when that is repaired. */
export function awaitRepair(turn: Turn, primary: PrimaryState, read: PendingRead, damaged: readonly VersionId[]): void {
  const isLost = damaged.some((id) => read.lost?.some((one) => isSame(one, id)) === true)
  if (isLost) return sayDamaged(turn, read)
  const isWaiting = isAmong(primary.damagedReads.map((one) => one.read), read)
  if (!isWaiting) primary.damagedReads.push({ read, damaged: damaged.map(idOf) })
  noteDamage(turn, damaged, true)
}

export const othersOf = ({ config, options }: CopyState): NodeId[] =>
  Object.keys(config?.config.members ?? {}).filter((node) => node !== options.node)

/** Ask for what is missing, again now and then; give up what nobody has. */
export function progressRepairs(turn: Turn): void {
  const { state, nowMs, port } = turn
  if (state.damaged.length === 0 || state.config === undefined) return lookForLeftOut(turn)
  forgetLost(turn)
  lookForLeftOut(turn)
  const others = othersOf(state)
  const lost = state.damaged.filter((one) => isAsked(one) && others.every((node) => hasNoneAt(one, node)))
  if (lost.length > 0) {
    for (const one of lost) one.isLost = true
    port.store.lost?.(lost.map(idOf))
    dropMarks(turn, lost)
    if (noteLost(turn, lost)) wakeBy(turn, nowMs)
    endReads(turn, lost, false)
  }
  const due = state.damaged
    .filter((one) => isAsked(one) && nowMs - one.askedAtMs >= state.options.retryMs)
    .sort(byAge)
    .slice(0, ASKED_MAX)
  if (due.length > 0) ask(turn, others, due)
  lookAgain(turn)
  if (state.damaged.some(({ isRepairing }) => !isRepairing)) wakeBy(turn, nowMs + state.options.retryMs)
}

export const isAsked = ({ isRepairing, isLost }: DamagedVersion): boolean => !isRepairing && !isLost

/** Each in its turn, also while nobody answers. */
const byAge = (a: DamagedVersion, b: DamagedVersion): number =>
  a.askedAtMs === b.askedAtMs ? 0 : a.askedAtMs < b.askedAtMs ? -1 : 1

export const hasNoneAt = ({ missingAt, damagedAt }: DamagedVersion, node: NodeId): boolean =>
  missingAt.includes(node) || damagedAt.includes(node)

/**
 * What waits for a member that is away may have been written over, or be readable again: then nobody has to be waited
 * for any more.
 */
function lookAgain(turn: Turn): void {
  const { state, nowMs } = turn
  const { node, retryMs } = state.options
  if ([...state.fetches.values()].some(({ to }) => to === node)) return
  const due = state.damaged
    .filter((one) => isAsked(one) && nowMs - one.lookedAtMs >= LOOK_RETRIES * retryMs)
    .slice(0, ASKED_MAX)
  for (const one of due) one.lookedAtMs = nowMs
  if (due.length > 0) look(turn, due)
}

function look({ state, port }: Turn, versions: readonly VersionId[]): void {
  const token = nextToken(state)
  const appliedSeq = Math.min(state.log.appliedSeq, state.log.writtenSeq)
  const wanted = versions.map(idOf)
  state.fetches.set(token, { to: state.options.node, wanted, appliedSeq, asked: undefined })
  port.store.readVersions(token, wanted)
}

/** @param left  still there and not to be read, or perhaps */
function onLookedAt(turn: Turn, wanted: readonly VersionId[], left: readonly VersionId[]): void {
  const whole = wanted.filter((id) => !left.some((one) => isSame(one, id)))
  if (whole.length > 0) end(turn, whole)
  const { state } = turn
  const isMark = (id: VersionId): boolean => state.marks.ids.some((one) => isSame(one, id))
  const marks = wanted.filter((id) => isMark(id) && !state.damaged.some((one) => isSame(one, id)))
  if (marks.length > 0) noteDamage(turn, marks)
}

/** Who has it damaged is asked again too: it may have been repaired by one that answers this one later. */
function ask({ state, nowMs, port }: Turn, others: readonly NodeId[], due: readonly DamagedVersion[]): void {
  const asked = nextToken(state)
  for (const node of others) {
    const wanted = due.filter(({ missingAt }) => !missingAt.includes(node)).map(idOf)
    if (wanted.length > 0) port.send(node, { type: 'fetch-versions', epoch: state.promise.epoch, wanted, asked })
  }
  for (const one of due) {
    one.askedAtMs = nowMs
    one.firstAsked ??= asked
  }
}

/** Not while others ask for it: what we say to them would have us ask them again. */
function forgetLost({ state, nowMs }: Turn): void {
  const { node } = state.options
  const wanted = [...state.fetches.values()].flatMap((fetch) => (fetch.to === node ? [] : fetch.wanted))
  state.damaged = state.damaged.filter(
    (one) =>
      !one.isLost || nowMs - one.askedAtMs < state.options.retryMs || wanted.some((id) => isSame(id, one)),
  )
}

export function onFetchVersions(
  { state, port }: Turn,
  from: NodeId,
  { wanted, asked }: Extract<PeerMessage, { type: 'fetch-versions' }>,
): void {
  // It asks again what is not answered; only who does not wait for answers has so many.
  const underWay = [...state.fetches.values()].filter(({ to }) => to === from).length
  if (underWay >= FETCHES_MAX) return
  const token = nextToken(state)
  // What is applied while the store looks it need not see; nor what is to be applied and not written yet.
  const appliedSeq = Math.min(state.log.appliedSeq, state.log.writtenSeq)
  state.fetches.set(token, { to: from, wanted, appliedSeq, asked })
  port.store.readVersions(token, wanted)
}

/** The store has looked. What is not applied here yet may still come: of that nothing is said. */
export function onVersionsRead(
  turn: Turn,
  { token, versions, damaged = [], unknown = [] }: Extract<CopyEvent, { type: 'versions-read' }>,
): void {
  const { state, port } = turn
  const fetch = state.fetches.get(token)
  if (fetch === undefined) return
  const found = [...versions, ...damaged, ...unknown]
  const missing = fetch.wanted.filter(
    (id) => id.seq <= fetch.appliedSeq && !found.some((version) => isSame(version, id)),
  )
  if (fetch.to === state.options.node) {
    state.fetches.delete(token)
    return onLookedAt(turn, [...versions, ...missing, ...damaged, ...unknown].map(idOf), [...damaged, ...unknown])
  }
  for (const id of damaged) if (!state.damaged.some((one) => isSame(one, id))) note(turn, id)
  leaveOut(state)
  if (damaged.length > 0) progressRepairs(turn)
  state.fetches.delete(token)
  const answer: Extract<PeerMessage, { type: 'versions' }> = {
    type: 'versions', epoch: state.promise.epoch, versions: [...versions], missing,
  }
  if (fetch.asked !== undefined) {
    answer.asked = fetch.asked
    if (damaged.length > 0) answer.damaged = damaged.map(idOf)
  }
  if (versions.length + missing.length + (answer.damaged?.length ?? 0) > 0) port.send(fetch.to, answer)
}

export function onVersions(
  turn: Turn,
  from: NodeId,
  { versions, missing, damaged = [], asked }: Extract<PeerMessage, { type: 'versions' }>,
): void {
  const { state, port } = turn
  hearSilent(state, from)
  for (const one of state.damaged) {
    // What was so before it was noted may not be so any more. Who is of before has no numbers, and says so at any time.
    const isLate = asked !== undefined && (one.firstAsked === undefined || asked < one.firstAsked)
    if (isLate) continue
    if (missing.some((id) => isSame(id, one)) && !one.missingAt.includes(from)) one.missingAt.push(from)
    if (damaged.some((id) => isSame(id, one)) && !one.damagedAt.includes(from)) one.damagedAt.push(from)
  }
  const usable = versions.filter((version) => {
    const one = state.damaged.find((id) => isSame(id, version))
    if (one === undefined || one.isRepairing) return false
    one.isRepairing = true
    one.isLost = false
    return true
  })
  if (usable.length > 0) {
    const token = nextToken(state)
    state.kept.set(token, { type: 'repaired', versions: usable.map(idOf) })
    port.store.repair(token, usable)
  }
  progressRepairs(turn)
}

/** They are durable again, or were replaced meanwhile. */
export function onRepaired(turn: Turn, versions: readonly VersionId[]): void {
  const { state } = turn
  state.repaired = [...state.repaired, ...versions].slice(-REPAIRED_KEPT)
  // What came is written where it fits, and a mark is kept until that was seen.
  const marks = state.marks.ids.filter((id) => versions.some((one) => isSame(one, id)))
  if (marks.length > 0) look(turn, marks)
  end(turn, versions, marks)
  progressRepairs(turn)
}

/** Nobody has to be asked for these any more. */
function end(turn: Turn, versions: readonly VersionId[], unseen: readonly VersionId[] = []): void {
  const { state } = turn
  state.damaged = state.damaged.filter((one) => !versions.some((id) => isSame(id, one)))
  dropMarks(turn, versions.filter((id) => !unseen.some((one) => isSame(one, id))))
  endReads(turn, versions, true)
  if (awaitedByFills(state).length > 0) wakeBy(turn, turn.nowMs)
}

function endReads(turn: Turn, versions: readonly VersionId[], isRepaired: boolean): void {
  const { primary } = turn.state
  if (primary === undefined) return
  const isOf = ({ damaged }: PrimaryState['damagedReads'][number]): boolean =>
    damaged.some((id) => versions.some((other) => isSame(id, other)))
  const ended = primary.damagedReads.filter(isOf)
  primary.damagedReads = primary.damagedReads.filter((one) => !ended.includes(one))
  for (const { read } of ended) {
    // What nobody has any more was replaced while we asked, or it is lost: the next look tells.
    readAgain(turn, isRepaired ? read : { ...read, lost: [...(read.lost ?? []), ...versions.map(idOf)] })
  }
}
