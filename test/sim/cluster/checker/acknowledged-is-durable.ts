/**
 * I6, I7, I13, I14, I18: an answer is a promise.
 *
 * At the moment of the answer: every member of the configuration in force has the record stored (durably, unless the
 * mode is `writeback`: then one that lost power since it had written it is excused), and after a FLUSH everything
 * answered before it durably. A member whose disk was taken out since it had it, or that lied, is excused: it may have
 * said so before.
 * In the end: what was answered is in the log, in every era that did not excuse its loss.
 */
import type { ClientOperation, History, Violation } from './history.ts'

export interface MemberLog {
  node: string
  /** Highest seq stored as the mode asks. */
  storedSeq: number
  durableSeq: number
  /** Whether its record of this seq is the one of this epoch. */
  has(epoch: number, seq: number): boolean
  /** Whether it had that record written, not durable, when its machine lost power last. */
  hadWritten(epoch: number, seq: number): boolean
  /** Whether it had that seq durable on a disk that is gone since, or lied, and nothing was filled in its place. */
  hadDurable(seq: number): boolean
}

const bad = (message: string): Violation => ({ checker: 'acknowledged-is-durable', message })

/** A write is being answered. `id` undefined: nobody has applied it. */
export function checkAnswer(
  request: string,
  id: { epoch: number; seq: number } | undefined,
  members: readonly MemberLog[],
  mustBeDurable: boolean,
): Violation[] {
  if (id === undefined) return [bad(`request ${request} is answered, and no copy has applied it`)]
  const violations: Violation[] = []
  for (const member of members) {
    if (!mustBeDurable && member.hadWritten(id.epoch, id.seq)) continue
    if (member.hadDurable(id.seq)) continue
    const upTo = mustBeDurable ? member.durableSeq : member.storedSeq
    if (upTo < id.seq || !member.has(id.epoch, id.seq)) {
      const what = `request ${request} (${id.epoch}, ${id.seq}) is answered`
      violations.push(bad(`${what}, and ${member.node} of the in-sync set has only up to ${upTo}`))
    }
  }
  return violations
}

/** C4 (e): a primary begins to serve; the record that makes every other log void is durable on all of the set. */
export function checkBegun(epoch: number, seq: number, members: readonly MemberLog[]): Violation[] {
  return members
    .filter((member) => (member.durableSeq < seq || !member.has(epoch, seq)) && !member.hadDurable(seq))
    .map(({ node }) => bad(`epoch ${epoch} is served, and its record (${epoch}, ${seq}) is not durable on ${node}`))
}

/** A flush is being answered; `seq` = the highest answered to anybody when it was sent. */
export function checkFlush(request: string, seq: number, members: readonly MemberLog[]): Violation[] {
  return members
    .filter((member) => member.durableSeq < seq && !member.hadDurable(seq))
    .map(({ node, durableSeq }) =>
      bad(`flush ${request} covers seq ${seq}, and ${node} has durable only up to ${durableSeq}`),
    )
}

/** I6: a primary counts this much of a member as stored. */
export const checkCounted = (node: string, member: string, seq: number, has: number): Violation[] =>
  seq <= has ? [] : [bad(`${node} counts seq ${seq} of ${member}, which has stored up to ${has}`)]

/** I14: a copy whose store failed, and that knows it, says that something is stored. */
export const checkAfterFailure = (node: string, what: string): Violation =>
  bad(`${node} says "${what}" after its store failed`)

/** All that was answered is in the log. */
export function checkAnswered({ operations, eras, lost }: History): Violation[] {
  const violations: Violation[] = []
  for (let index = 0; index < eras.length; index++) {
    const era = eras[index]!
    const until = eras[index + 1]?.from ?? Infinity
    const inLog = new Set(era.log.map(({ request }) => request))
    for (const op of operations) {
      if (!isAnswered(op) || op.end < era.from || op.end >= until) continue
      if (!inLog.has(op.request) && lost?.has(op.request) !== true) {
        violations.push(
          bad(`${op.kind} ${op.request} by ${op.client} of block ${op.lba} was answered and is not in the log`),
        )
      }
    }
  }
  return violations
}

const isAnswered = ({ kind, result }: ClientOperation): boolean =>
  result === 'ok' && (kind === 'write' || kind === 'zero' || kind === 'trim')
