/**
 * Damage (SPEC section 10): a version whose bytes the medium lost is asked for under its exact id from every other
 * member, whatever its role, and written anew by the store.
 *
 *   damaged -> asked of all others, again until each has answered -> repaired | nobody has it -> read again
 *
 * I5: the same id is the same bytes everywhere, and the checksum of the damaged entry covers them; so whoever sends
 *     them, in the set or not, cannot send wrong ones.
 * I9: a read that met damage waits; it is answered `damaged` only when no member has the version, and it is still the
 *     one that is read here.
 */
import type { NodeId } from './configuration.ts'
import type { CopyEvent } from './copy-port.ts'
import { nextToken } from './copy-state.ts'
import type { CopyState } from './copy-state.ts'
import type { PeerMessage } from './messages.ts'
import type { PendingRead, PrimaryState } from './primary-state.ts'
import { readAgain, sayDamaged } from './reads.ts'
import type { VersionId } from './record.ts'
import { wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

/** A version that cannot be read here. */
export interface DamagedVersion extends VersionId {
  /** Members that do not have it. */
  missingAt: NodeId[]
  askedAtMs: number
  isRepairing: boolean
}

/** Of one message; the rest is asked for when these are done. */
const ASKED_MAX = 16
const REPAIRED_KEPT = 64

const isSame = (a: VersionId, b: VersionId): boolean => a.lba === b.lba && a.seq === b.seq && a.epoch === b.epoch

const idOf = ({ lba, epoch, seq }: VersionId): VersionId => ({ lba, epoch, seq })

/** The store found damage. */
export function noteDamage(turn: Turn, versions: readonly VersionId[]): void {
  const { damaged } = turn.state
  for (const id of versions) {
    if (damaged.some((one) => isSame(one, id))) continue
    // What was just repaired, and is damaged again, is waited for: the medium may not read anything at all.
    const isAgain = turn.state.repaired.some((one) => isSame(one, id))
    const askedAtMs = isAgain ? turn.nowMs : -Infinity
    damaged.push({ ...idOf(id), missingAt: [], askedAtMs, isRepairing: false })
  }
  progressRepairs(turn)
}

/** A read met damage: it is served again when that is repaired. */
export function awaitRepair(turn: Turn, primary: PrimaryState, read: PendingRead, damaged: readonly VersionId[]): void {
  const isLost = damaged.some((id) => read.lost?.some((one) => isSame(one, id)) === true)
  if (isLost) return sayDamaged(turn, read)
  primary.damagedReads.push({ read, damaged: damaged.map(idOf) })
  noteDamage(turn, damaged)
}

const othersOf = ({ config, options }: CopyState): NodeId[] =>
  Object.keys(config?.config.members ?? {}).filter((node) => node !== options.node)

/** Ask for what is missing, again now and then; give up what nobody has. */
export function progressRepairs(turn: Turn): void {
  const { state, nowMs, port } = turn
  if (state.damaged.length === 0 || state.config === undefined) return
  const others = othersOf(state)
  const lost = state.damaged.filter(
    ({ isRepairing, missingAt }) => !isRepairing && others.every((node) => missingAt.includes(node)),
  )
  if (lost.length > 0) {
    state.damaged = state.damaged.filter((one) => !lost.includes(one))
    endReads(turn, lost, false)
  }
  const due = state.damaged
    .filter(({ isRepairing, askedAtMs }) => !isRepairing && nowMs - askedAtMs >= state.options.retryMs)
    .slice(0, ASKED_MAX)
  for (const node of others) {
    const wanted = due.filter(({ missingAt }) => !missingAt.includes(node)).map(idOf)
    if (wanted.length > 0) port.send(node, { type: 'fetch-versions', epoch: state.promise.epoch, wanted })
  }
  for (const one of due) one.askedAtMs = nowMs
  if (state.damaged.some(({ isRepairing }) => !isRepairing)) wakeBy(turn, nowMs + state.options.retryMs)
}

export function onFetchVersions(
  { state, port }: Turn,
  from: NodeId,
  { wanted }: Extract<PeerMessage, { type: 'fetch-versions' }>,
): void {
  const token = nextToken(state)
  // What is applied while the store looks it need not see; nor what is to be applied and not written yet.
  const appliedSeq = Math.min(state.log.appliedSeq, state.log.writtenSeq)
  state.fetches.set(token, { to: from, wanted, appliedSeq })
  port.store.readVersions(token, wanted)
}

/**
 * The store has looked. What is not applied here yet may still come, what is damaged may be repaired: of that nothing
 * is said.
 */
export function onVersionsRead(
  turn: Turn,
  { token, versions, damaged = [] }: Extract<CopyEvent, { type: 'versions-read' }>,
): void {
  const { state, port } = turn
  const fetch = state.fetches.get(token)
  if (fetch === undefined) return
  state.fetches.delete(token)
  const found = [...versions, ...damaged]
  const missing = fetch.wanted.filter(
    (id) => id.seq <= fetch.appliedSeq && !found.some((version) => isSame(version, id)),
  )
  if (damaged.length > 0) noteDamage(turn, damaged)
  if (versions.length === 0 && missing.length === 0) return
  port.send(fetch.to, { type: 'versions', epoch: state.promise.epoch, versions: [...versions], missing })
}

export function onVersions(
  turn: Turn,
  from: NodeId,
  { versions, missing }: Extract<PeerMessage, { type: 'versions' }>,
): void {
  const { state, port } = turn
  for (const one of state.damaged)
    if (missing.some((id) => isSame(id, one)) && !one.missingAt.includes(from)) one.missingAt.push(from)
  const usable = versions.filter((version) => {
    const one = state.damaged.find((id) => isSame(id, version))
    if (one === undefined || one.isRepairing) return false
    one.isRepairing = true
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
  state.damaged = state.damaged.filter((one) => !versions.some((id) => isSame(id, one)))
  state.repaired = [...state.repaired, ...versions].slice(-REPAIRED_KEPT)
  endReads(turn, versions, true)
  progressRepairs(turn)
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
