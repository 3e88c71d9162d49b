/**
 * A hold (SPEC W8): for a moment the primary orders nothing of any client, so that snapshots of several volumes, each
 * by its own primary, can be of one instant. It ends by its time, by `release`, or by the snapshot that is taken in it;
 * reads go on, and so do changes of the volume itself.
 *
 *   hold -> (writes wait among the held ones) -> snapshot that names it: ordered, the hold is over, they go on behind
 *
 * It is in the memory of one term: who leads after that has none. Its token is kept when it is over, so that a `hold`
 * that comes twice does not begin anew what has had a gap.
 */
import type { OperatorCommand } from './copy-port.ts'
import type { PrimaryState } from './primary-state.ts'
import { releaseHeld } from './primary.ts'
import type { RecordId } from './record-id.ts'
import { wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

/** Whatever is asked for: clients do not notice so short a pause. */
export const HOLD_MS_MAX = 2_000

type HoldCommand = Extract<OperatorCommand, { type: 'hold' | 'release' }>

export interface Hold {
  token: string
  /** It is over from then on. */
  untilMs: number
}

export const isHeld = ({ nowMs }: Turn, { hold }: PrimaryState): boolean => hold !== undefined && nowMs < hold.untilMs

/** Who leads answers with its tail: nothing of a client stands above it until the hold is over. */
export function onHold(
  turn: Turn, primary: PrimaryState, { token, command }: { token: number; command: HoldCommand },
): void {
  const { state, nowMs, port } = turn
  const refuse = (code: 'refused' | 'superseded', why: string) => port.commandEnded(token, { ok: false, code, why })
  if (command.type === 'release') {
    if (primary.hold?.token === command.hold) endHold(turn, primary)
    return port.commandEnded(token, { ok: true, seq: state.log.tail })
  }
  if (!isAsExpected(primary, command.expected)) return refuse('superseded', 'another change of the volume came first')
  if (primary.hold?.token === command.hold) return refuse('refused', 'it was held for this already')
  if (isHeld(turn, primary)) return refuse('refused', 'it is held for another group snapshot')
  const untilMs = nowMs + Math.min(Math.max(0, command.holdMs), HOLD_MS_MAX)
  primary.hold = { token: command.hold, untilMs }
  wakeBy(turn, untilMs)
  port.commandEnded(token, { ok: true, seq: state.log.tail })
}

/** What waited goes on in this very step. */
export function endHold(turn: Turn, primary: PrimaryState): void {
  if (primary.hold === undefined) return
  primary.hold.untilMs = -Infinity
  releaseHeld(turn)
}

/** Why a snapshot is not taken in that hold; undefined: it is. */
export function holdRefusal(turn: Turn, primary: PrimaryState, hold: string): string | undefined {
  return primary.hold?.token === hold && isHeld(turn, primary) ? undefined : 'the hold it was to be taken in is over'
}

/** After a tick: it ends without one more. */
export function tickHold(turn: Turn): void {
  const primary = turn.state.primary!
  if (isHeld(turn, primary)) wakeBy(turn, primary.hold!.untilMs)
}

/** SPEC W7. */
export function isAsExpected({ changed }: PrimaryState, expected: RecordId | undefined): boolean {
  return expected === undefined || (expected.epoch === changed.epoch && expected.seq === changed.seq)
}
