/** What is in the cluster store of a large cluster, and what its nodes say: three copies of each volume, all well. */
import { NEVER_SCRUBBED, NOTHING_SHARED } from '../../engine/control/node-status.ts'
import type { CopyStatus, NodeStatus } from '../../engine/control/node-status.ts'
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import type { VolumeConfig } from '../../engine/replication/configuration.ts'
import { GIB } from '../../engine/units.ts'

/** So far apart on the ring of nodes lie the copies of a volume. */
const STEP = 7
const CAPACITY_BYTES = 64 * 1024 * GIB

export const paperNames = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => `n${String(index).padStart(4, '0')}`)

/** 32 hex digits. */
export const paperId = (index: number): string => index.toString(16).padStart(32, '0')

export function paperCopy(volumeId: string, node: string, role: CopyStatus['role']): CopyStatus {
  return {
    volumeId, copyId: `${volumeId.slice(-12)}.${node}`, role, epoch: 1, isConsistent: true, isWhole: true,
    durability: 'durable', durabilityNext: '', isVirgin: false,
    lostSlices: 0, diskUuids: [`${node}.d`], usedBytes: 4 * GIB, logicalBytes: 4 * GIB, snapshots: 0,
    newestSnapshot: '', newestSnapshotAtMs: 0, newestScheduledAtMs: 0, seq: 0, commitSeq: 0, lagBytes: 0,
    hearsPrimary: role !== 'primary', held: '', isPoolFull: false, awaits: [], heldRequests: 0, joining: '',
    failure: '', ...NEVER_SCRUBBED, ...NOTHING_SHARED,
  }
}

export function paperDisks(node: string): NodeStatus['disks'] {
  const disk = { uuid: `${node}.d`, path: '/d', pool: 'default', tags: [], state: 'online' as const, reason: '' }
  return [{
    ...disk, capacityBytes: CAPACITY_BYTES, freeBytes: CAPACITY_BYTES / 2, reserveBytes: 0, checksumErrors: 0,
  }]
}

export function paperRecord(id: string, index: number): VolumeRecord {
  return {
    spec: {
      id, name: `pvc-${index}`, sizeBytes: 10 * GIB, blockSizeBytes: 4096, replicas: 2, durability: 'durable',
      onFull: 'hold', ioTimeoutMs: 600_000, pool: 'default', diskTags: [],
    },
    minInSync: 0, allowDegraded: false, firstNode: '', attachMode: 'single', trash: null,
  }
}

/** @param nodes  the first one leads; used where its last copy is */
export function paperConfig(volumeId: string, nodes: readonly string[]): VolumeConfig {
  const members = Object.fromEntries(nodes.map((node) =>
    [node, { copyId: paperCopy(volumeId, node, 'replica').copyId, state: 'in-sync' as const }]))
  const attach = { generation: 1, mode: 'single' as const, holders: { [nodes.at(-1)!]: 1 } }
  return { volumeId, epoch: 1, primary: nodes[0]!, inSync: [...nodes], members, minInSync: 2, attach, nonce: 'first' }
}

/**
 * Where the copies of a volume lie, the one that leads first: evenly, but the second node leads the first `leads`
 * volumes, and what follows those lies all over the others.
 */
export function paperPlaces(index: number, names: readonly string[], leads: number): string[] {
  const count = names.length
  const step = count > 2 * STEP ? STEP : 1
  const isLed = index < leads
  const [first, shift] = isLed ? [1, index % Math.max(1, (count - 1) >> 1)] : [index % count, 0]
  return [0, 1, 2].map((copy) => names[(first + copy * step + (copy === 0 ? 0 : shift)) % count]!)
}
