/**
 * One attempt to take snapshots of several volumes at one instant (GROUPS.md G1, G2):
 *
 *   HOLD all -> all are held -> TAKE all -> each is taken, or one is refused
 *          \-> one is not: those that are held are let go at once
 *
 * Each order is sent once, and names what was read before the record of the group was written. An answer that is lost
 * says nothing: then the others are waited for, and the volumes are read (group-remains.ts).
 */
import type { MemberRecord } from '../../engine/control/snapshot-group.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { SnapshotTitle } from '../../engine/replication/record.ts'
import type { ReachedNode } from './action-runner.ts'
import { orderedChange } from './change-order.ts'
import { isRefusal, within } from './settled-change.ts'

/** Of a primary's own clock; whatever happens, writes wait no longer. */
export const HOLD_MS = 2_000
/** Who has not answered by then is not worth that the others go on waiting. */
const HOLD_CALL_MS = 1_000

export interface AttemptMember {
  record: MemberRecord
  /** Name of the volume, for sentences. */
  volume: string
  primary: ReachedNode
}

export interface Attempt {
  snapshotId: string
  title: SnapshotTitle
  members: readonly AttemptMember[]
}

export type AttemptEnd =
  /** Where each snapshot stands, in the order of the members; `heldMs`: how long writes of them waited at most. */
  | { outcome: 'taken'; seqs: number[]; heldMs: number }
  /** `refused`: that one was not taken, and never will be. `unknown`: it may have been, or may be yet. */
  | { outcome: 'refused' | 'unknown'; volume: string; error: HoldfastError }

/** Never rejects but for a bug. */
export async function takeAtOnce(attempt: Attempt): Promise<AttemptEnd> {
  const { snapshotId: hold, title, members } = attempt
  let isOver = false
  const held = await all(members, async (member) => {
    const { volumeId, expected } = member.record
    const { calls, addressee } = member.primary
    const answer = within(calls.hold({ volumeId, ...addressee, hold, holdMs: HOLD_MS, expected }), HOLD_CALL_MS)
    const { seq } = await answer
    // It was held after the others had been let go.
    if (isOver) release(member, hold)
    return seq
  })
  if ('error' in held) {
    isOver = true
    for (const member of members) release(member, hold)
    return { outcome: 'refused', volume: held.volume, error: held.error }
  }
  const taken = await all(members, async ({ record: { volumeId, expected }, primary: { calls, addressee } }) => {
    const change = { operation: 'snapshot', id: hold, title } as const
    return within(calls.change({ volumeId, ...addressee, ...orderedChange({ change, expected, hold }) }))
  }, 'all-ended')
  if (!('error' in taken)) {
    const heldMs = Math.max(...taken.values.map((one) => one.heldMs))
    return { outcome: 'taken', seqs: taken.values.map(({ seq }) => seq), heldMs }
  }
  for (const member of members) release(member, hold)
  return { outcome: isRefusal(taken.error) ? 'refused' : 'unknown', volume: taken.volume, error: taken.error }
}

/** It ends by itself soon, if this does not come there. */
function release({ record: { volumeId }, primary: { calls, addressee } }: AttemptMember, hold: string): void {
  within(calls.release({ volumeId, ...addressee, hold })).catch((error: unknown) => {
    if (!(error instanceof HoldfastError)) throw error
  })
}

interface Failure {
  volume: string
  error: HoldfastError
}

/** All values in their order, or a failure: the first one, or when all have ended a refusal, if there is one. */
async function all<T>(
  members: readonly AttemptMember[], call: (member: AttemptMember) => Promise<T>, when: 'soon' | 'all-ended' = 'soon',
): Promise<{ values: T[] } | Failure> {
  const failures: Failure[] = []
  const calls = members.map(async (member) => {
    try {
      return await call(member)
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error
      failures.push({ volume: member.volume, error })
      throw error
    }
  })
  try {
    if (when === 'all-ended') await Promise.allSettled(calls)
    return { values: await Promise.all(calls) }
  } catch (error) {
    if (failures.length === 0) throw error
    return failures.find(({ error }) => isRefusal(error)) ?? failures[0]!
  }
}
