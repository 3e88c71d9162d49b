/**
 * I9, I10, I19, S4: every block is a linearizable register. The committed log is the order claimed; the checker looks
 * for one client observation that it does not explain:
 *
 * - a read returns what the block held at some point of the log, not before anything that had ended when the read
 *   began: writes answered, and what earlier reads of any client had seen (so nobody goes back either); and not
 *   what was asked for only after the read had ended
 * - a write stands in the log once, behind everything that had ended when it began
 * - nor does what failed, and may have happened, come behind what the same session began after it had failed
 * - a narrow write follows the version it took the rest of its block from
 * - what was refused is not in the log
 */
import { endpoints, replay, type Change, type ClientOperation, type Era, type History } from './history.ts'
import type { Violation } from './history.ts'

/** Nothing of it may come any more. */
const ANSWERED = ['ok', 'again']

const REFUSED = ['edge-changed', 'range', 'read-only']

export function checkReadsMatchHistory({ operations, eras, bases = new Map() }: History): Violation[] {
  const violations: Violation[] = []
  const bad = (message: string) => void violations.push({ checker: 'reads-match-history', message })
  /** Per block: no later operation may stand, or see, below this. */
  let bounds = new Map<number, number>()
  /** What a clone began as is what it shows least. */
  let allBound = eras[0]?.base?.seq ?? 0
  /** Per session: so far its own operations that failed go, and may not come any more. */
  const failed = new Map<number, Map<number, number>>()
  const seen = new Map<ClientOperation, Map<number, number>>()
  let eraIndex = 0
  let view = eraView(eras, 0, operations, bases)
  violations.push(...view.violations)

  for (const { at, op, isEnd } of endpoints(operations)) {
    while (eras[eraIndex + 1] !== undefined && eras[eraIndex + 1]!.from <= at) {
      const era = eras[++eraIndex]!
      bounds = new Map([...bounds].map(([lba, seq]) => [lba, Math.min(seq, era.cutSeq)]))
      allBound = Math.min(allBound, era.cutSeq)
      for (const own of failed.values()) for (const [lba, seq] of own) own.set(lba, Math.min(seq, era.cutSeq))
      view = eraView(eras, eraIndex, operations, bases)
      violations.push(...view.violations)
    }
    const spansEras = eras.some(({ from }) => from > op.start && from <= op.end && from > 0)
    if (op.kind === 'control') {
      if (isEnd && op.result === 'ok' && !spansEras) allBound = Math.max(allBound, op.seq)
      continue
    }
    const own = ownBounds(failed, op)
    const boundOf = (lba: number) => Math.max(bounds.get(lba) ?? 0, own.get(lba) ?? 0, allBound)
    const raise = (lba: number, seq: number, of = bounds) => void of.set(lba, Math.max(of.get(lba) ?? 0, seq))
    const isWrite = op.kind === 'write' || op.kind === 'zero' || op.kind === 'trim'
    if (isWrite) {
      const seq = view.seqOf.get(op.request)
      if (seq === undefined) continue
      for (let lba = op.lba; lba < op.lba + op.blockCount; lba++) {
        if (isEnd) {
          raise(lba, seq, ANSWERED.includes(op.result) ? bounds : own)
        } else if (!spansEras && seq <= boundOf(lba)) {
          bad(
            `${name(op)} of block ${lba} stands at seq ${seq}, below ${boundOf(lba)} which had ended before it began`,
          )
        }
      }
      continue
    }
    if (op.kind !== 'read' || op.result !== 'ok' || spansEras) continue
    for (let i = 0; i < op.blockCount; i++) {
      const lba = op.lba + i
      if (isEnd) {
        const seq = seen.get(op)?.get(lba)
        if (seq !== undefined) raise(lba, seq)
        continue
      }
      const stamp = op.stamps[i] ?? 0
      const changes = view.changes.get(lba) ?? []
      const hasBegun = ({ seq }: Change) => (view.beganAt.get(seq) ?? 0) < op.end
      const position = findFrom(changes, boundOf(lba), stamp, hasBegun)
      if (position === undefined) {
        const last = [...changes].reverse().find(({ seq }) => seq <= boundOf(lba))
        bad(
          `${name(op)} of block ${lba} returned ${stamp || 'zeroes'}; from seq ${boundOf(lba)} on it was ` +
            `${last?.stamp ?? 0}, then ${
              changes
                .filter(({ seq }) => seq > boundOf(lba))
                .map((one) => one.stamp)
                .join() || 'nothing else'
            }`,
        )
        continue
      }
      const perOp = seen.get(op) ?? new Map<number, number>()
      seen.set(op, perOp.set(lba, position))
    }
  }
  return violations
}

function ownBounds(failed: Map<number, Map<number, number>>, { session }: ClientOperation): Map<number, number> {
  const own = failed.get(session ?? 0) ?? new Map<number, number>()
  if (session !== undefined) failed.set(session, own)
  return own
}

/** The first point at or after `bound` where the block holds this, before the first change that had not begun. */
function findFrom(
  changes: readonly Change[],
  bound: number,
  stamp: number,
  hasBegun: (change: Change) => boolean,
): number | undefined {
  let held = 0
  for (const change of changes) {
    if (change.seq > bound) {
      if (held === stamp) return bound
      break
    }
    held = change.stamp
  }
  if (held === stamp) return bound
  const next = changes.find((change) => change.seq > bound && (change.stamp === stamp || !hasBegun(change)))
  return next?.stamp === stamp && hasBegun(next) ? next.seq : undefined
}

const name = (op: ClientOperation): string => `${op.kind} ${op.request} by ${op.client}`

function eraView(
  eras: readonly Era[],
  index: number,
  operations: readonly ClientOperation[],
  bases: ReadonlyMap<number, number>,
) {
  const era = eras[index]!
  const later = eras.slice(index + 1)
  const violations: Violation[] = []
  const bad = (message: string) => void violations.push({ checker: 'reads-match-history', message })
  const seqOf = new Map<string, number>()
  for (const { request, seq } of era.log) {
    if (request === '') continue
    if (seqOf.has(request)) bad(`request ${request} is in the log twice, at seq ${seqOf.get(request)} and ${seq}`)
    else seqOf.set(request, seq)
  }
  const { changes } = replay(era.log, era.base)
  for (const [lba, list] of changes) {
    let held = 0
    for (const { seq, stamp, kind } of list) {
      const base = kind === 'write' ? bases.get(stamp) : undefined
      if (base !== undefined && base !== held) {
        bad(`a narrow write of block ${lba} at seq ${seq} took ${base} for its rest, and the block held ${held}`)
      }
      held = stamp
    }
  }
  for (const op of operations) {
    const seq = seqOf.get(op.request)
    if (seq === undefined || op.request === '') continue
    // Sent again to who was forced to lead without that record, it may be refused there.
    const isGone = later.some(({ from, cutSeq }) => from <= op.end && cutSeq < seq)
    if (!REFUSED.includes(op.result) || isGone) continue
    bad(`${name(op)} was answered ${op.result} and is in the log at seq ${seq}`)
  }
  /** By seq, when somebody asked for it; of what the operator was not answered that is not known. */
  const beganAt = new Map<number, number>()
  for (const { kind, request, start, result, seq: controlSeq } of operations) {
    if (kind !== 'control') {
      const seq = seqOf.get(request)
      if (seq !== undefined) beganAt.set(seq, start)
    } else if (result === 'ok' && era.log[controlSeq - 1]?.kind === 'control') {
      // A hand-over and a flush name the commit point; a later era has other records under these numbers.
      beganAt.set(controlSeq, Math.min(beganAt.get(controlSeq) ?? Infinity, start))
    }
  }
  return { violations, seqOf, changes, beganAt }
}
