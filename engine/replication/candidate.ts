/**
 * Who stands for a primary that is gone (SPEC C3), and what a copy does that finds itself named primary:
 *
 *   replica -> (grace ended, configuration read) candidate -> (CAS won) reconciling, see `promotion.ts`
 *
 * Who may not lead passes it on, to each of the others once; when all gave it back, it rests for longer and longer.
 *
 * I12: only a consistent member of the set stands.
 */
import { assert } from '../assert.ts'
import { withPrimary, withSuccessor } from './configuration.ts'
import type { NodeId } from './configuration.ts'
import { fence, readConfig, startChange } from './configuration-change.ts'
import type { CopyState } from './copy-state.ts'
import { leave } from './grace.ts'
import { wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

/** Written without sync, and the machine booted since: something acknowledged may be gone. */
export const mayLack = ({ isWhole }: CopyState): boolean => !isWhole

/** So many graces at most it is not passed on when all had it. */
const PASSES_PATIENCE_MAX = 64

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

const isUnfit = ({ consistency, lostSlices }: CopyState): boolean =>
  consistency.state !== 'consistent' || lostSlices.length > 0

/** What we lack another member has. When each of them gave it back they get their time: nobody may be fit to lead. */
function passOnUnfit(turn: Turn, others: readonly NodeId[]): void {
  const { state, nowMs, port } = turn
  const { passing, options } = state
  const { config } = state.config!
  if (nowMs < passing.againAtMs) return wakeBy(turn, passing.againAtMs)
  const untried = others.filter((node) => !passing.to.includes(node))
  if (untried.length === 0) {
    passing.to = []
    passing.againAtMs = nowMs + options.graceMs * Math.min(PASSES_PATIENCE_MAX, 2 ** passing.rounds++)
    return wakeBy(turn, passing.againAtMs)
  }
  const to = untried[config.epoch % untried.length]!
  startChange(turn, 'pass-on', withSuccessor(config, to, port.nonce()))
}

/** Who is named and could pass it on to nobody, after a while. */
export function passOnAgain(turn: Turn): void {
  const { state } = turn
  if (state.passing.rounds === 0 || state.primary !== undefined || state.role === 'fenced') return
  if (state.config?.config.primary === state.options.node) takeUp(turn)
}

/** The configuration names us, and we do not lead: after a start, a hand-over, or by the operator. */
export function takeUp(turn: Turn): void {
  const { state, port } = turn
  const { config } = state.config!
  const { node } = state.options
  if (state.change !== undefined) return
  const others = config.inSync.filter((one) => one !== node).sort()
  if (isUnfit(state) && others.length > 0) return passOnUnfit(turn, others)
  if (state.consistency.state !== 'consistent') return fence(turn, 'the only copy is not consistent')
  // A former process of ours may have acted under this epoch, and an id must never be given twice.
  if (startChange(turn, 'renew', withPrimary(config, node, port.nonce()))) state.role = 'candidate'
}
