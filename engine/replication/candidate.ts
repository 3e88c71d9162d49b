/**
 * Who stands for a primary that is gone (SPEC C3), and what a copy does that finds itself named primary:
 *
 *   replica -> (grace ended, configuration read) candidate -> (CAS won) reconciling, see `promotion.ts`
 *
 * I12: only a consistent member of the set stands.
 */
import { assert } from '../assert.ts'
import { withPrimary, withSuccessor } from './configuration.ts'
import { fence, readConfig, startChange } from './configuration-change.ts'
import type { CopyState } from './copy-state.ts'
import { leave } from './grace.ts'
import { wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

/** Written without sync, and the machine booted since: something acknowledged may be gone. */
export const mayLack = ({ isWhole }: CopyState): boolean => !isWhole

/** When this replica may stand, if nothing is heard until then. Seldom two at once, the doubtful ones last. */
function standAtMs({ options, grace, config, fruitlessTerms }: CopyState, isDoubtful: boolean): number {
  const others = config!.config.inSync.filter((node) => node !== config!.config.primary).sort()
  const rank = Math.max(0, others.indexOf(options.node))
  const fromMs = Math.max(grace.goneAtMs, grace.boundUntilMs)
  // Two that cannot see each other do not depose each other for ever: each waits longer after a term for nothing.
  const patience = Math.min(64, 2 ** fruitlessTerms - 1) + (isDoubtful ? 1 : 0)
  return fromMs + rank * options.candidateStepMs + patience * options.graceMs
}

export function considerStanding(turn: Turn): void {
  const { state, nowMs } = turn
  if (state.role !== 'replica' || state.change !== undefined || state.config === undefined) return
  const atMs = standAtMs(state, mayLack(state))
  if (nowMs < atMs) return wakeBy(turn, atMs)
  readConfig(turn, true)
  wakeBy(turn, nowMs + state.options.retryMs)
}

/** The configuration was just read for this. */
export function stand(turn: Turn): void {
  const { state, nowMs, port } = turn
  const { config, consistency, lostSlices, options } = state
  if (state.role !== 'replica' || nowMs < standAtMs(state, mayLack(state))) return
  assert(consistency.state === 'consistent', 'I12: nothing inconsistent stands')
  if (lostSlices.length > 0 || config!.config.epoch < state.promise.epoch) return
  const nonce = port.nonce()
  // Who may lack something lets nobody go who may have it.
  const to = mayLack(state)
    ? withSuccessor(config!.config, options.node, nonce)
    : withPrimary(config!.config, options.node, nonce)
  if (!startChange(turn, 'stand', to)) return
  state.role = 'candidate'
  leave(turn)
  state.grace.hasStood = state.grace.hasLeft
}

/** The configuration names us, and we do not lead: after a start, a hand-over, or by the operator. */
export function takeUp(turn: Turn): void {
  const { state, port } = turn
  const { config } = state.config!
  const { node } = state.options
  if (state.change !== undefined) return
  const others = config.inSync.filter((one) => one !== node).sort()
  const isUnfit = state.consistency.state !== 'consistent' || state.lostSlices.length > 0
  if (isUnfit && others.length > 0) {
    // What we lack another member has.
    startChange(turn, 'pass-on', withSuccessor(config, others[config.epoch % others.length]!, port.nonce()))
    return
  }
  if (state.consistency.state !== 'consistent') return fence(turn, 'the only copy is not consistent')
  // A former process of ours may have acted under this epoch, and an id must never be given twice.
  if (startChange(turn, 'renew', withPrimary(config, node, port.nonce()))) state.role = 'candidate'
}
