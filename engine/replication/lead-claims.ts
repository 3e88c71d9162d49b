/**
 * Who says that it leads, and whether the cluster store says so too (SPEC C12):
 *
 *   new-epoch -> named                 promised to when the grace allows it
 *             -> open -> record read   -> named, or nothing of it is left
 *                     -> a grace passes without a word of the store: believed
 *             -> unnamed               nothing
 *
 * Who may lead has won the CAS before it says so, and a read that begins when it is heard sees that. A node of the
 * cluster that was broken into can say anything: it is no member, or no primary, for all that it says of itself.
 */
import { hasMember } from './configuration.ts'
import type { VolumeConfig } from './configuration.ts'
import type { CopyState, LeadClaim, Promised } from './copy-state.ts'
import { leave, noteAlive, progressGrace } from './grace.ts'
import type { Turn } from './turn.ts'

/** `open`: it may be; the record of that epoch is not known here. */
export type Standing = 'named' | 'open' | 'unnamed'

/** By the record of the cluster store as it is known here. */
export function standingOf({ config, promise, told }: CopyState, { epoch, primary }: Promised): Standing {
  const record = config?.config
  if (record !== undefined && record.epoch >= epoch) return record.primary === primary ? 'named' : 'unnamed'
  // It was named once, and goes on under epochs of its own also where the store is away (W2).
  if (primary === promise.primary) return 'named'
  if (record === undefined || hasMember(record, primary)) return 'open'
  return told !== undefined && told.epoch > record.epoch && told.members.includes(primary) ? 'open' : 'unnamed'
}

/**
 * The primary that was promised this epoch named its members. One of them that the record as it is known here does not
 * have may lead next, with a copy that hears nothing of the store, and may not be free to let that copy go.
 */
export function noteTold(state: CopyState, epoch: number, { members }: VolumeConfig): void {
  const isNews = epoch > (state.config?.config.epoch ?? 0)
  state.told = isNews ? { epoch, members: Object.keys(members) } : undefined
}

/** Until we are free, or know better. What a claim that comes to nothing took away a `confirm` gives back (L2). */
export function holdClaim(turn: Turn, claim: Omit<LeadClaim, 'isNamed' | 'heardAtMs'>): void {
  const { grace } = turn.state
  const { promise, from, instance } = claim
  const { waiting } = grace
  const isNamed = standingOf(turn.state, promise) === 'named'
  if (waiting === undefined || waiting.promise.epoch < promise.epoch || (isNamed && !waiting.isNamed)) {
    grace.waiting = { ...claim, isNamed, heardAtMs: turn.nowMs }
  }
  if (!grace.hasLeft) {
    leave(turn)
    grace.hasStood = grace.hasLeft
  }
  noteAlive(turn, from, instance)
  progressGrace(turn)
}

/** The store was read. @param isLate  the read began before something that was said since */
export function judgeClaim(turn: Turn, record: VolumeConfig | undefined, isLate: boolean): void {
  const { state, nowMs } = turn
  const { grace, options, copyId } = state
  const { waiting } = grace
  if (record !== undefined && record.epoch >= (state.told?.epoch ?? Infinity)) state.told = undefined
  if (waiting === undefined || state.role === 'fenced') return
  const { epoch, primary } = waiting.promise
  if (record !== undefined && record.epoch >= epoch) {
    if (record.primary === primary && record.members[options.node]?.copyId === copyId) waiting.isNamed = true
    else grace.waiting = undefined
  } else if (isLate) waiting.heardAtMs = nowMs
  else if (!waiting.isNamed) grace.waiting = undefined
  progressGrace(turn)
}
