/**
 * A planned hand-over (SPEC C8): order nothing more, wait until everything is committed, release the others from their
 * grace, stop reads, let the configuration name the successor. Nobody is promoted for it who is not in the set.
 *
 * I8: released members may follow another primary at once, so no lease of before counts from then on. A `release` that
 *     comes late must not undo what was confirmed after it: both carry tokens.
 */
import { withPrimary, withSuccessor } from './configuration.ts'
import type { NodeId, VolumeConfig } from './configuration.ts'
import { depose, startChange } from './configuration-change.ts'
import { advance } from './commit.ts'
import { nextToken } from './copy-state.ts'
import type { PrimaryState } from './primary-state.ts'
import { forgetRound, progressReads } from './reads.ts'
import { wakeBy } from './turn.ts'
import type { Turn } from './turn.ts'

export function beginHandOver(turn: Turn, token: number, to: NodeId): void {
  const { state, nowMs, port } = turn
  const { primary, config, options } = state
  if (state.role !== 'primary' || primary === undefined) {
    return port.commandEnded(token, { ok: false, code: 'not-primary', why: 'this copy does not lead' })
  }
  if (to === options.node) return port.commandEnded(token, { ok: true, seq: state.log.commitSeq })
  if (!isFit(primary, config!.config, to)) {
    return port.commandEnded(token, { ok: false, code: 'refused', why: `node ${to} holds no copy that is in sync` })
  }
  state.role = 'handing-over'
  primary.handingOver = { to, token, sinceMs: nowMs, isReleased: false, isTold: false }
  wakeBy(turn, nowMs + options.retryMs)
  progressHandOver(turn)
}

/** I12: a member that lacks something, and may not leave the set, is filled where it is: it cannot lead. */
function isFit({ peers }: PrimaryState, { inSync }: VolumeConfig, node: NodeId): boolean {
  const peer = peers.get(node)
  return inSync.includes(node) && peer !== undefined && peer.failure === undefined && peer.fill === undefined
}

export function progressHandOver(turn: Turn): void {
  const { state, nowMs, port } = turn
  const primary = state.primary!
  const handingOver = primary.handingOver
  if (handingOver === undefined || state.change !== undefined) return
  const { config } = state.config!
  if (handingOver.isReleased) {
    // Not won, and nobody is bound to this epoch any more: serve again under the next one (C8).
    startChange(turn, 'renew', withPrimary(config, state.options.node, port.nonce()))
    return
  }
  const isTooLate = nowMs - handingOver.sinceMs >= 2 * state.options.evictAfterMs
  if (isTooLate || !isFit(primary, config, handingOver.to)) return endHandOver(turn, false)
  if (state.log.commitSeq < state.log.tail) return
  handingOver.isReleased = true
  const token = nextToken(state)
  for (const peer of primary.peers.values()) peer.lease = { untilMs: -Infinity, instance: undefined }
  forgetRound(primary)
  for (const node of primary.required) port.send(node, { type: 'release', epoch: primary.epoch, token })
  startChange(turn, 'hand-over', withSuccessor(config, handingOver.to, port.nonce()))
}

/** It was won and we follow; or the set is as it was and we serve on. */
export function endHandOver(turn: Turn, isWon: boolean): void {
  const { state, port } = turn
  const primary = state.primary!
  const handingOver = primary.handingOver!
  const { to, token, isReleased, isTold } = handingOver
  handingOver.isTold = true
  if (isWon) {
    if (!isTold) port.commandEnded(token, { ok: true, seq: state.log.commitSeq })
    return depose(turn, { epoch: state.config!.config.epoch, primary: to })
  }
  if (!isTold) port.commandEnded(token, { ok: false, code: 'lost', why: `node ${to} did not take over` })
  if (isReleased) return progressHandOver(turn)
  primary.handingOver = undefined
  state.role = 'primary'
  advance(turn)
  progressReads(turn)
}
