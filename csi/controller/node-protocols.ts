/**
 * Whether the control API may be asked at all: a node of a former version that is elected takes a volume's id for a
 * name that it does not know, so what is to be deleted or unpublished would be told as gone, and is not (SPEC.md N4).
 *
 * Invariant: nothing is asked while a node that may be elected, or that passes calls on, is known to be of a former
 * version; that was looked at 10 s ago at most.
 */
import { status } from '@grpc/grpc-js'
import type { ControlClient } from '../../cluster/api/client.ts'
import type { Node } from '../../cluster/api/node-messages.ts'
import { CsiRefusal } from '../refusal.ts'

/** Of the protocol between data workers, by which nodes tell how new they are. */
export const PROTOCOL_NEEDED = 7
const RENEWED_MS = 10_000

export class NodeProtocols {
  private readonly api: Pick<ControlClient, 'listNodes'>
  private readonly nowMs: () => number
  /** When it was asked for what was good. */
  private goodAtMs = -Infinity
  private asking: Promise<void> | undefined

  /** @param nowMs  monotonic */
  constructor(api: Pick<ControlClient, 'listNodes'>, nowMs: () => number = () => performance.now()) {
    this.api = api
    this.nowMs = nowMs
  }

  /** One question for all who wait. @throws CsiRefusal UNAVAILABLE, HoldfastError of the call */
  async check(): Promise<void> {
    if (this.nowMs() - this.goodAtMs < RENEWED_MS) return
    this.asking ??= this.look().finally(() => (this.asking = undefined))
    return this.asking
  }

  /** The same, as it is now. */
  async look(): Promise<void> {
    const askedAtMs = this.nowMs()
    const why = whyNotAsked((await this.api.listNodes()).nodes)
    if (why !== undefined) throw new CsiRefusal(status.UNAVAILABLE, why)
    this.goodAtMs = askedAtMs
  }
}

/** Undefined: nothing is against it. Who is down cannot be elected, and of whom nothing was heard nothing is known. */
export function whyNotAsked(nodes: readonly Node[]): string | undefined {
  const next = 'run this version on every node, one after the other, and it goes on by itself'
  const old = nodes.filter(({ state, version, protocol }) =>
    state !== 'down' && version !== '' && protocol < PROTOCOL_NEEDED)
  if (nodes.some(({ protocol }) => protocol >= PROTOCOL_NEEDED) && old.length === 0) return undefined
  const named = old.map(({ name, version }) => `${name} (version ${version})`).sort().join(' and ')
  return old.length === 0 ? `who answers for the cluster is of a former version: ${next}`
    : `Kubernetes' volumes wait for newer nodes: ${named} would take their ids for unknown names; ${next}`
}
