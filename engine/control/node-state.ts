/**
 * Whether a node is there, from the silence of its heartbeat (SPEC.md N1-N3): for display and placement, never for
 * safety.
 */
import { seconds } from './amounts.ts'
import type { Cluster, NodeView } from './cluster.ts'
import type { ControlOptions } from './control-options.ts'

export type Liveness = 'up' | 'suspect' | 'down'
/** As it is shown. */
export type NodeState = 'up' | 'down' | 'cordoned' | 'draining'

export function livenessOf(node: NodeView, { suspectAfterMs, downAfterMs }: ControlOptions, nowMs: number): Liveness {
  const silentMs = nowMs - node.heardAtMs
  if (silentMs > downAfterMs) return 'down'
  return silentMs > suspectAfterMs ? 'suspect' : 'up'
}

/** N7: it neither beat nor spoke. */
export function isQuiet(node: NodeView, { quietAfterMs }: ControlOptions, nowMs: number): boolean {
  return nowMs - node.heardAtMs > quietAfterMs
}

/** N2: the first that applies. */
export function nodeState(node: NodeView, { options }: Cluster, nowMs: number): NodeState {
  if (livenessOf(node, options, nowMs) === 'down') return 'down'
  if (node.wish.isDraining) return 'draining'
  return node.wish.isCordoned ? 'cordoned' : 'up'
}

/** N3, as a sentence without a subject; undefined when the node may take a copy. */
export function whyNoNewCopy(node: NodeView, { options }: Cluster, nowMs: number): string | undefined {
  if (node.record === undefined) return 'is no node of this cluster'
  const liveness = livenessOf(node, options, nowMs)
  if (liveness !== 'up') return `is ${liveness}: silent for ${seconds(nowMs - node.heardAtMs)}`
  if (node.wish.isDraining) return 'is being drained'
  if (node.wish.isCordoned) return 'is cordoned'
  if (node.said === undefined) return 'has not told yet what it has'
  if (!node.said.isOpen) return 'is recovering its disks'
  const backMs = nowMs - node.backAtMs
  if (backMs < options.steadyAfterMs) return `came back ${seconds(backMs)} ago`
  return undefined
}
