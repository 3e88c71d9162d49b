/**
 * I20, and rollbacks: what was trimmed, zeroed or rolled back is not seen again, neither by a read that began after the
 * answer nor on any copy in the end. The other checkers would see it too; this one says what it is.
 */
import type { CopyContent } from './copies-identical.ts'
import { endpoints, replay } from './history.ts'
import type { Base, Change, History, LoggedRecord, Violation } from './history.ts'

const bad = (message: string): Violation => ({ checker: 'nothing-comes-back', message })

/** I20: a copy says of itself that it knows of no more trims than its source did. */
export const checkForgotten = (node: string, saysSeq: number, forgottenSeq: number): Violation[] =>
  saysSeq >= forgottenSeq
    ? []
    : [bad(`${node} takes trims above ${saysSeq} for known; its source forgot them up to ${forgottenSeq}`)]

export function checkReadsAfterRemoval({ operations, eras }: History): Violation[] {
  const violations: Violation[] = []
  eras.forEach((era, index) => {
    const until = eras[index + 1]?.from ?? Infinity
    const { changes } = replay(era.log, era.base)
    const seqOf = new Map(era.log.map(({ request, seq }) => [request, seq] as const))
    const answered = new Map<number, number>()
    let answeredAll = 0
    for (const { op, isEnd } of endpoints(operations)) {
      if (op.result !== 'ok' || op.start < era.from || op.end >= until) continue
      if (op.kind === 'control') {
        if (isEnd) answeredAll = Math.max(answeredAll, op.seq)
        continue
      }
      for (let lba = op.lba; lba < op.lba + op.blockCount; lba++) {
        if (op.kind !== 'read') {
          if (isEnd) answered.set(lba, Math.max(answered.get(lba) ?? 0, seqOf.get(op.request) ?? 0))
          continue
        }
        const stamp = op.stamps[lba - op.lba] ?? 0
        if (isEnd || stamp === 0) continue
        const gone = removalOf(changes.get(lba) ?? [], stamp, Math.max(answered.get(lba) ?? 0, answeredAll))
        if (gone === undefined) continue
        const what = `read ${op.request} by ${op.client} found ${stamp} in block ${lba}`
        violations.push(bad(`${what}: removed at seq ${gone.seq} (${gone.kind})`))
      }
    }
  })
  return violations
}

export function checkCopiesAfterRemoval(
  copies: readonly CopyContent[],
  log: readonly LoggedRecord[],
  base?: Base,
): Violation[] {
  const violations: Violation[] = []
  const { changes } = replay(log, base)
  for (const { node, head } of copies) {
    for (const [lba, stamp] of head) {
      const gone = stamp === 0 ? undefined : removalOf(changes.get(lba) ?? [], stamp, Infinity)
      if (gone !== undefined)
        violations.push(bad(`${node} holds ${stamp} in block ${lba}: removed at seq ${gone.seq} (${gone.kind})`))
    }
  }
  return violations
}

/** What took this stamp away at or before a seq, when the block did not get it again later. */
function removalOf(changes: readonly Change[], stamp: number, upTo: number): Change | undefined {
  const had = changes.findLastIndex((change) => change.stamp === stamp)
  if (had < 0) return undefined
  const next = changes[had + 1]
  const isRemoval = next !== undefined && next.kind !== 'write' && next.stamp !== stamp
  return isRemoval && next.seq <= upTo ? next : undefined
}
