/**
 * How large a volume could be made now (SPEC.md P6), by the rules of placement (P1): what a scheduler asks before it
 * sends a user to a node. A volume is used over the network wherever its copies lie, so where its user is matters only
 * when a copy has to be there.
 */
import type { NodeId } from '../replication/configuration.ts'
import { MIB, VOLUME_BYTES_MAX } from '../units.ts'
import type { Cluster, NodeView } from './cluster.ts'
import { roomBytes, spaceFor } from './disk-class.ts'
import { whyNoNewCopy } from './node-state.ts'
import { whyNotAllowed } from './placement.ts'
import { wantedCopies } from './volume-record.ts'
import type { VolumeRecord } from './volume-record.ts'

/** Where the user is: both empty: anywhere. */
export interface Segment {
  node: string
  zone: string
}

export interface Capacity {
  /** The largest volume for a user there, in whole MiB; 0: none. */
  largestBytes: number
  /** The largest one of which a copy could lie there. */
  localBytes: number
  /** What may still be written on the disks there that fit. */
  freeBytes: number
  /** The latter two of each node there. */
  nodes: NodeCapacity[]
}

export interface NodeCapacity {
  node: NodeId
  localBytes: number
  freeBytes: number
}

/** @param record  of the volume, whatever its size */
export function capacityFor(cluster: Cluster, record: VolumeRecord, { node, zone }: Segment, nowMs: number): Capacity {
  const sizes: number[] = []
  let localBytes = 0
  let freeBytes = 0
  const nodes: NodeCapacity[] = []
  for (const view of cluster.nodes.values()) {
    const largest = largestOn(cluster, view, record, nowMs)
    sizes.push(largest)
    if (node !== '' && view.name !== node) continue
    if (zone !== '' && view.record?.zone !== zone) continue
    localBytes = Math.max(localBytes, largest)
    const space = largest === 0 ? undefined : spaceFor(view.classes, record.spec)
    const free = space === undefined ? 0 : Math.max(0, roomBytes(space))
    freeBytes += free
    nodes.push({ node: view.name, localBytes: largest, freeBytes: free })
  }
  const needed = record.allowDegraded ? 1 : wantedCopies(record)
  const anywhere = sizes.sort((a, b) => b - a)[needed - 1] ?? 0
  const largestBytes = record.dataLocality === 'strict' ? Math.min(anywhere, localBytes) : anywhere
  return { largestBytes, localBytes, freeBytes, nodes }
}

function largestOn(cluster: Cluster, node: NodeView, record: VolumeRecord, nowMs: number): number {
  if ((whyNoNewCopy(node, cluster, nowMs) ?? whyNotAllowed(node, record)) !== undefined) return 0
  const space = spaceFor(node.classes, record.spec)
  const { overCommit, lowSpaceShare } = cluster.options
  if (space === undefined || roomBytes(space) < space.capacityBytes * lowSpaceShare) return 0
  const left = Math.min(VOLUME_BYTES_MAX, space.capacityBytes * overCommit - space.committedBytes)
  return Math.max(0, Math.floor(left / MIB) * MIB)
}
