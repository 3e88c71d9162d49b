/**
 * I25: snapshots that were taken of several volumes in holds that were in force together are of one instant. If a
 * change is in one of them, everything is in them that was answered before that change was asked for, by whichever
 * volume: there is an instant behind the beginning of all that is in, and before the end of all that is not.
 */
import type { ClientOperation, LoggedRecord, Violation } from './history.ts'

export interface GroupMember {
  volume: string
  /** Of its snapshot. */
  seq: number
  operations: readonly ClientOperation[]
  /** Committed so far. */
  log: readonly LoggedRecord[]
}

interface Found {
  at: number
  what: string
}

/** Positions of all members are of one order. */
export function checkGroup(id: string, members: readonly GroupMember[]): Violation[] {
  let last: Found = { at: -Infinity, what: '' }
  let first: Found = { at: Infinity, what: '' }
  for (const { volume, seq, operations, log } of members) {
    const seqOf = new Map(log.map((record) => [record.request, record.seq] as const))
    for (const { kind, request, start, end, result } of operations) {
      if (kind === 'read' || kind === 'flush' || kind === 'control') continue
      const at = seqOf.get(request)
      if (at === undefined) continue
      const what = `${kind} ${request} of volume ${volume} (seq ${at}, its snapshot ${seq})`
      if (at <= seq && start > last.at) last = { at: start, what }
      if (at > seq && result === 'ok' && end < first.at) first = { at: end, what }
    }
  }
  if (first.at > last.at) return []
  const message = `group ${id} lacks ${first.what}, answered before ${last.what} was asked for, which it has`
  return [{ checker: 'group-order', message }]
}
