/**
 * Who may use a volume, as a user wishes it (SPEC.md section 13): each wish as one change of the configuration, whose
 * generations and holders are replication's (`engine/replication/SPEC.md` S2, S3).
 *
 *   rests (`open`, or held by nobody)  -- attach -->  held by nodes  -- the last one lets go -->  rests
 */
import { assertConfig, withHolder, withHolderAnew, withoutHolder } from '../replication/configuration.ts'
import type { Attach, AttachMode, NodeId, VolumeConfig } from '../replication/configuration.ts'

/** In which a node may hold a volume; in `open` nobody holds it. */
export const HOLDING_MODES = ['single', 'shared', 'read-only'] as const
export type HoldingMode = (typeof HOLDING_MODES)[number]

/** In which it may rest: for anybody, or for nobody. */
export const RESTING_MODES = ['open', 'single'] as const
export type RestingMode = (typeof RESTING_MODES)[number]

/** U7: a copy is there, or comes back there. */
export const isLocal = ({ members }: VolumeConfig, node: NodeId): boolean =>
  members[node] !== undefined && members[node].state !== 'failed'

/** Who holds it under a generation that is over when that node takes it in this mode: one mode for all, S3. */
export function losers({ attach }: VolumeConfig, node: NodeId, mode: HoldingMode): NodeId[] {
  const holders = Object.keys(attach.holders).sort()
  if (mode !== attach.mode) return holders
  return mode === 'single' ? holders.filter((holder) => holder !== node) : []
}

/** Whether a client of that node, connected under this generation, may still use it. */
export function isInForce(attach: Attach, client: { node: NodeId; generation: number }): boolean {
  return client.generation === (attach.mode === 'open' ? attach.generation : attach.holders[client.node])
}

/** The same object when it holds it already, in this mode: its generation stays. */
export const attached = (config: VolumeConfig, node: NodeId, mode: HoldingMode, nonce: string): VolumeConfig =>
  withHolder(config, node, mode, nonce)

/** Without these; when nobody is left it rests. The same object when none of them held it. */
export function detached(
  config: VolumeConfig,
  nodes: readonly NodeId[],
  restsIn: RestingMode,
  nonce: string,
): VolumeConfig {
  let next = config
  for (const node of nodes) next = withoutHolder(next, node, nonce)
  const isHeld = Object.keys(next.attach.holders).length > 0
  if (next === config || isHeld || restsIn !== 'open') return next
  return withHolder(next, nodes[0]!, restsIn, nonce)
}

/**
 * One generation is nobody's, so that no attachment that follows one of before begins any more (A7). In mode `open` it
 * would end the sessions of those who use it: the same object.
 */
export function spent(config: VolumeConfig, nonce: string): VolumeConfig {
  const { attach } = config
  if (attach.mode === 'open') return config
  const next = { ...config, attach: { ...attach, generation: attach.generation + 1 }, nonce }
  assertConfig(next)
  return next
}

/** Everybody who used it has to attach anew, under a generation that is given here; who holds it goes on holding it. */
export function attachedAnew(config: VolumeConfig, nonce: string): VolumeConfig {
  const { mode, holders } = config.attach
  const nodes = mode === 'open' ? [config.primary] : Object.keys(holders).sort()
  return nodes.reduce((next, node) => withHolderAnew(next, node, nonce), config)
}

/** What a record says of resting; the other modes need holders, and one that rests has none. */
export const restingMode = (mode: AttachMode): RestingMode => (mode === 'open' ? 'open' : 'single')
