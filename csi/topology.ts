/**
 * Where a pod may be, in Kubernetes' words: the node and the zone that NodeGetInfo reports. The keys are the driver's
 * own: a label of Kubernetes' that says something else would keep the driver from being registered.
 */
import type { Node } from '../cluster/api/node-messages.ts'
import type { Topology } from './messages.ts'

export const NODE_KEY = 'topology.csi.holdfast.io/node'
export const ZONE_KEY = 'topology.csi.holdfast.io/zone'

export const topologyOf = ({ name, zone }: Pick<Node, 'name' | 'zone'>): Topology => ({
  segments: { [NODE_KEY]: name, ...(zone === '' ? {} : { [ZONE_KEY]: zone }) },
})

/** Which of these nodes are in that segment; a key that is not ours is nowhere. */
export function nodesIn({ segments }: Topology, nodes: readonly Node[]): Node[] {
  const wanted = Object.entries(segments)
  return nodes.filter((node) => {
    const own = topologyOf(node).segments
    return wanted.every(([key, value]) => own[key] === value)
  })
}
