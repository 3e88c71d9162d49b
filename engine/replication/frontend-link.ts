/**
 * How a frontend finds the primary and opens its session there (SPEC.md S2, S5). A look is a linearizable read of the
 * configuration and an `open` to the primary it names; it is repeated until `opened` comes, ever more slowly. What
 * makes it look: a redirect, silence, a configuration of a higher epoch. Without the cluster store the best hint is
 * followed instead, which is safe: whoever answers `opened` is primary of an epoch, or was. A first look that has a
 * hint follows it at once, so that a client that comes while the store is away does not wait for the read to fail.
 *
 * `highestEpoch` never decreases, and nothing of a lower epoch is believed: so a client never goes back (2.4, S5).
 */
import { assert } from '../assert.ts'
import type { NodeId } from './configuration.ts'
import type { VersionedConfig } from './copy-port.ts'
import type { FrontendPort } from './frontend-port.ts'
import type { FrontendMessage } from './messages.ts'

/** Who looks: a frontend for its session, a reader for its snapshot. */
export interface Looking {
  link: FrontendLink
  options: { resendMs: number; retryMs: number }
  /** What a primary is told first; it answers when it serves us. */
  opening: FrontendMessage
}

export type LinkPort = Pick<FrontendPort, 'send' | 'readConfig'>

export interface FrontendLink {
  /** `closed`: there is nobody to send to. */
  state: 'closed' | 'opening' | 'open'
  primary: NodeId | undefined
  /** Highest epoch of which we have seen or opened anything. */
  highestEpoch: number
  /** Highest epoch in which `primary` answered that it serves us. */
  openedEpoch: number
  /** The most recent primary that somebody named; what the store says takes its place, whatever its epoch. */
  named: { epoch: number; primary: NodeId } | undefined
  /** When to look again. */
  lookAtMs: number | undefined
  lookedAtMs: number | undefined
  /** Of the last read of the configuration. */
  token: number
  isReading: boolean
  attempts: number
}

export const closedLink = (): FrontendLink => ({
  state: 'closed',
  primary: undefined,
  highestEpoch: 0,
  openedEpoch: 0,
  named: undefined,
  lookAtMs: 0,
  lookedAtMs: undefined,
  token: 0,
  isReading: false,
  attempts: 0,
})

/** Look for the primary now, or as soon as `paceMs` have passed since the last look. */
export function lookSoon({ link, options }: Looking, nowMs: number, paceMs = options.retryMs): void {
  const atMs = link.lookedAtMs === undefined ? nowMs : Math.max(nowMs, link.lookedAtMs + paceMs)
  if (link.lookAtMs === undefined || link.lookAtMs > atMs) link.lookAtMs = atMs
}

export function look(state: Looking, nowMs: number, port: LinkPort): void {
  const { link, options } = state
  link.lookedAtMs = nowMs
  link.lookAtMs = nowMs + options.resendMs
  link.isReading = true
  port.readConfig(++link.token)
  if (link.state === 'closed' && link.openedEpoch === 0 && link.named !== undefined) {
    openAt(state, link.named.primary, port)
  }
}

function openAt({ link, opening }: Looking, primary: NodeId, port: LinkPort): void {
  link.state = 'opening'
  link.primary = primary
  port.send(primary, opening)
}

/** A hint may be old, but an epoch that it names has been. */
export function hinted(state: Looking, { config }: VersionedConfig, nowMs: number): void {
  if (config.epoch <= state.link.highestEpoch) return
  state.link.highestEpoch = config.epoch
  nameOf(state.link, config.epoch, config.primary)
  lookSoon(state, nowMs)
}

/** `value` is undefined when the store did not answer (or has no such volume). */
export function configRead(
  state: Looking,
  { token, value }: { token: number; value: VersionedConfig | undefined },
  nowMs: number,
  port: LinkPort,
): void {
  const { link, options } = state
  if (token !== link.token || !link.isReading) return
  link.isReading = false
  if (value !== undefined) {
    const { epoch, primary } = value.config
    link.highestEpoch = Math.max(link.highestEpoch, epoch)
    link.named = { epoch, primary }
  }
  const { named } = link
  const isServed = link.state === 'open' && link.openedEpoch >= link.highestEpoch
  if (isServed && (value === undefined || value.config.epoch <= link.openedEpoch)) {
    link.lookAtMs = undefined
    return
  }
  link.lookAtMs = nowMs + Math.min(options.resendMs, options.retryMs * 2 ** Math.min(link.attempts++, 10))
  if (named !== undefined) openAt(state, named.primary, port)
}

/** Whether we are served now, so that everything unanswered is to be sent. The answer is ours. */
export function opened({ link }: Looking, from: NodeId, epoch: number): boolean {
  if (link.state !== 'opening' || from !== link.primary || epoch < link.highestEpoch) return false
  link.state = 'open'
  link.highestEpoch = epoch
  link.openedEpoch = epoch
  link.lookAtMs = undefined
  link.isReading = false
  link.attempts = 0
  return true
}

export function redirected(
  state: Looking,
  from: NodeId,
  { epoch, primary }: Extract<FrontendMessage, { type: 'redirect' }>,
  nowMs: number,
): void {
  const { link } = state
  if (epoch < link.highestEpoch) return
  if (primary !== undefined) nameOf(link, epoch, primary)
  if (from === link.primary) link.state = 'closed'
  else if (epoch === link.highestEpoch) return
  lookSoon(state, nowMs)
}

/** Whether an answer of this epoch counts. It is of a primary, so the epoch has been. */
export function believes(link: FrontendLink, from: NodeId, epoch: number): boolean {
  if (epoch < link.highestEpoch) return false
  link.highestEpoch = epoch
  if (link.state === 'open' && from === link.primary) link.openedEpoch = epoch
  return true
}

function nameOf(link: FrontendLink, epoch: number, primary: NodeId): void {
  assert(Number.isSafeInteger(epoch), 'an epoch is a number')
  if (link.named === undefined || epoch >= link.named.epoch) link.named = { epoch, primary }
}
