/**
 * One step of a copy: its state, the time, the world. Everything that happens in a step is told these three, and asks
 * the world only through the port, which answers in later steps.
 */
import type { NodeId } from './configuration.ts'
import type { CopyPort } from './copy-port.ts'
import type { CopyState } from './copy-state.ts'
import type { FrontendMessage, FrontendResult } from './messages.ts'
import type { RequestId } from './record.ts'

export interface Turn {
  state: CopyState
  nowMs: number
  port: CopyPort
  /** What a client's request orders leaves with what the next event orders, which is a request too. */
  isMore: boolean
}

/** Have a `tick` at this time or before. */
export function wakeBy({ state, nowMs, port }: Turn, atMs: number): void {
  // One that is overdue is asked for again: a tick that got lost must not be the last one.
  if (atMs >= state.wakeAtMs && state.wakeAtMs > nowMs) return
  state.wakeAtMs = atMs
  port.wakeAt(atMs)
}

/** A change or a flush has ended well. Nobody changes it. */
export const DONE: FrontendResult = { ok: true, versions: [] }

export function answer({ state, port }: Turn, to: NodeId, id: RequestId, result: FrontendResult): void {
  const epoch = state.primary?.epoch ?? state.promise.epoch
  port.reply(to, { type: 'reply', id: plainId(id), epoch, result })
}

export function redirect({ state, port }: Turn, to: NodeId, id: RequestId | undefined): void {
  const known = state.config?.config
  const epoch = Math.max(known?.epoch ?? 0, state.promise.epoch)
  const named = known !== undefined && known.epoch >= state.promise.epoch ? known.primary : state.promise.primary
  const primary = named === '' || named === state.options.node ? undefined : named
  const message: FrontendMessage = {
    type: 'redirect',
    id: id === undefined ? undefined : plainId(id),
    epoch,
    primary,
  }
  port.reply(to, message)
}

const plainId = ({ generation, incarnation, request, part, parts }: RequestId): RequestId => ({
  generation,
  incarnation,
  request,
  part,
  parts,
})
