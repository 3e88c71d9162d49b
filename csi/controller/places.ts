/**
 * Where a new volume may lie, and where it had best: Kubernetes names the places from which it has to be reached. They
 * are the nodes where pods may be, each with all its segments, unless the class has `allowedTopologies`, e.g. by zone;
 * only then copies are bound to them, and only then the answer names places, for a PersistentVolume that does is pinned
 * to them, and does not follow its pod elsewhere. So a node that is not registered with Kubernetes yet pins nothing.
 */
import { status } from '@grpc/grpc-js'
import type { ControlClient } from '../../cluster/api/client.ts'
import type { Node } from '../../cluster/api/node-messages.ts'
import type { Topology, TopologyRequirement } from '../messages.ts'
import { CsiRefusal } from '../refusal.ts'
import { NODE_KEY, nodesIn, ZONE_KEY } from '../topology.ts'

export interface Places {
  preferredNodes: string[]
  allowedNodes: string[]
  allowedZones: string[]
}

const ANYWHERE: Omit<Places, 'preferredNodes'> = { allowedNodes: [], allowedZones: [] }

/** @throws CsiRefusal RESOURCE_EXHAUSTED: no node is in any of the places */
export async function placesOf(
  api: Pick<ControlClient, 'listNodes'>, requirement: TopologyRequirement | null,
): Promise<Places> {
  const { requisite = [], preferred = [] } = requirement ?? {}
  if (requisite.length + preferred.length === 0) return { preferredNodes: [], ...ANYWHERE }
  const { nodes } = await api.listNodes()
  const names = (places: readonly Topology[]): string[] =>
    [...new Set(places.flatMap((one) => {
      const node = nodeOf(one, nodes)
      return node === undefined ? nodesIn(one, nodes).map(({ name }) => name) : [node.name]
    }))]
  const preferredNodes = names(preferred)
  const allowed = names(requisite)
  const isOfNodes = requisite.every((one) => nodeOf(one, nodes) !== undefined)
  if (isOfNodes || allowed.length === nodes.length) return { preferredNodes, ...ANYWHERE }
  if (allowed.length === 0) {
    throw new CsiRefusal(status.RESOURCE_EXHAUSTED, 'no node of this cluster is in any of the allowed topologies: '
      + '`holdfast node ls` shows nodes and their zones')
  }
  const isByZone = requisite.every(({ segments }) => Object.keys(segments).join() === ZONE_KEY)
  const zones = requisite.map(({ segments }) => segments[ZONE_KEY]!)
  return isByZone ? { preferredNodes, allowedNodes: [], allowedZones: zones }
    : { preferredNodes, allowedNodes: allowed, allowedZones: [] }
}

/**
 * Whose term it is, as NodeGetInfo reports one: with all segments. Its zone may be one that the node had before, for
 * Kubernetes keeps what was reported until the plugin there registers again. A class that names a node without zone by
 * its name says the very same, and binds nothing.
 */
function nodeOf({ segments }: Topology, nodes: readonly Node[]): Node | undefined {
  const { [NODE_KEY]: name, [ZONE_KEY]: zone, ...foreign } = segments
  if (Object.keys(foreign).length > 0) return undefined
  return nodes.find((node) => node.name === name && (zone !== undefined || node.zone === ''))
}
