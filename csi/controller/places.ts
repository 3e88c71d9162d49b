/**
 * Where a new volume may lie, and where it had best: Kubernetes names the places from which it has to be reached. They
 * are the nodes where pods may be, each with all its segments, unless the class has `allowedTopologies`, e.g. by zone;
 * only then copies are bound to them, and only then the answer names places, for a PersistentVolume that does is pinned
 * to them, and does not follow its pod elsewhere. So a node that is not registered with Kubernetes yet pins nothing.
 */
import { status } from '@grpc/grpc-js'
import type { ControlClient } from '../../cluster/api/client.ts'
import type { Topology, TopologyRequirement } from '../messages.ts'
import { CsiRefusal } from '../refusal.ts'
import { nodesIn, topologyOf, ZONE_KEY } from '../topology.ts'

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
    [...new Set(places.flatMap((one) => nodesIn(one, nodes).map(({ name }) => name)))]
  const preferredNodes = names(preferred)
  const allowed = names(requisite)
  const isOfNodes = requisite.every((one) => nodes.some((node) => isSame(topologyOf(node), one)))
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

function isSame({ segments: a }: Topology, { segments: b }: Topology): boolean {
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key])
}
