/** A cluster as one controller knows it, made with few words: nodes n1, n2, ..., one disk each, and volumes on them. */
import { heard, newCluster, setConfig, setNode, setNodeStatus, setVolume } from '../../../engine/control/cluster.ts'
import type { Cluster } from '../../../engine/control/cluster.ts'
import type { ControlOptions } from '../../../engine/control/control-options.ts'
import { NEVER_SCRUBBED, NOTHING_SHARED } from '../../../engine/control/node-status.ts'
import type { CopyStatus, NodeStatus } from '../../../engine/control/node-status.ts'
import type { VolumeRecord } from '../../../engine/control/volume-record.ts'
import type { NodeId, VolumeConfig } from '../../../engine/replication/configuration.ts'
import { GIB } from '../../../engine/units.ts'

export interface SmallNode {
  zone?: string
  capacityBytes?: number
  freeBytes?: number
  pool?: string
  tags?: string[]
}

/** Known for long: whatever waits for a new controller is over. */
export const NOW = 1_000_000

export class SmallCluster {
  readonly cluster: Cluster
  private readonly statuses = new Map<NodeId, NodeStatus>()

  constructor(nodes: Record<NodeId, SmallNode>, options: Partial<ControlOptions> = {}) {
    this.cluster = newCluster(0, options)
    for (const [name, node] of Object.entries(nodes)) {
      const { zone = '', capacityBytes = 100 * GIB, freeBytes = capacityBytes, pool = 'default', tags = [] } = node
      const disk = { uuid: `${name}.d`, path: `/${name}`, pool, tags, state: 'online' as const, reason: '' }
      setNode(this.cluster, name, { name, zone }, 0)
      this.statuses.set(name, {
        node: name,
        instance: name,
        isOpen: true,
        disks: [{ ...disk, capacityBytes, freeBytes, reserveBytes: 0, checksumErrors: 0 }],
        copies: [],
      })
      this.speak(name)
    }
  }

  /** It says again what it said, changed. */
  speak(name: NodeId, change: Partial<NodeStatus> = {}, atMs = NOW): void {
    const status = { ...this.statuses.get(name)!, ...change }
    this.statuses.set(name, status)
    heard(this.cluster, name, atMs)
    setNodeStatus(this.cluster, status, atMs)
    this.cluster.nodes.get(name)!.backAtMs = -Infinity
  }

  /** Everybody is heard later, but for some. */
  later(nowMs: number, silent: readonly NodeId[] = []): void {
    for (const name of this.statuses.keys()) if (!silent.includes(name)) this.speak(name, {}, nowMs)
  }

  record(id: string, change: Partial<VolumeRecord> = {}, spec: Partial<VolumeRecord['spec']> = {}): VolumeRecord {
    const record = recordOf(id, change, spec)
    setVolume(this.cluster, id, record, `r.${id}`)
    return record
  }

  /** A volume whose members are in sync and say so, the first one leads. */
  volume(
    id: string,
    nodes: readonly NodeId[],
    change: Partial<VolumeConfig> = {},
    spec: Partial<VolumeRecord['spec']> = {},
  ): void {
    this.record(id, {}, { replicas: nodes.length - 1, ...spec })
    const members: VolumeConfig['members'] = {}
    for (const node of nodes) members[node] = { copyId: `${id}.${node}`, state: 'in-sync' }
    const config: VolumeConfig = {
      volumeId: id,
      epoch: 1,
      primary: nodes[0]!,
      inSync: [...nodes],
      members,
      minInSync: nodes.length >= 3 ? 2 : 1,
      attach: { generation: 0, mode: 'single', holders: {} },
      nonce: '',
      ...change,
    }
    for (const node of Object.keys(config.members)) {
      const role = node === config.primary ? 'primary' : config.inSync.includes(node) ? 'replica' : 'out'
      this.copy(node, id, { role, epoch: config.epoch, copyId: config.members[node]!.copyId })
    }
    setConfig(this.cluster, id, config, `c.${id}`)
  }

  /** What a node says of a copy; undefined: it has none. */
  copy(node: NodeId, volumeId: string, change: Partial<CopyStatus> | undefined, atMs = NOW): void {
    const status = this.statuses.get(node)!
    const before = status.copies.find((copy) => copy.volumeId === volumeId)
    const copies = status.copies.filter((copy) => copy.volumeId !== volumeId)
    if (change !== undefined) copies.push({ ...(before ?? copyOf(volumeId, node)), ...change })
    this.speak(node, { copies }, atMs)
  }
}

export function recordOf(
  id: string,
  change: Partial<VolumeRecord> = {},
  spec: Partial<VolumeRecord['spec']> = {},
): VolumeRecord {
  return {
    spec: {
      id, name: id, sizeBytes: 10 * GIB, blockSizeBytes: 4096, replicas: 2, durability: 'durable', onFull: 'hold',
      ioTimeoutMs: 0, pool: 'default', diskTags: [], ...spec,
    },
    minInSync: 0,
    allowDegraded: false,
    firstNode: '',
    attachMode: 'single',
    trash: null,
    ...change,
  }
}

const copyOf = (volumeId: string, node: NodeId): CopyStatus => ({
  volumeId, copyId: `${volumeId}.${node}`, role: 'replica', epoch: 1, isConsistent: true, isWhole: true,
  durability: 'durable', durabilityNext: '',
  isVirgin: false, lostSlices: 0, diskUuids: [`${node}.d`], usedBytes: 0, logicalBytes: 0,
  snapshots: 0, newestSnapshot: '', newestSnapshotAtMs: 0, newestScheduledAtMs: 0, seq: 0, commitSeq: 0, lagBytes: 0,
  hearsPrimary: true, held: '', isPoolFull: false, awaits: [], heldRequests: 0, joining: '', failure: '',
  ...NEVER_SCRUBBED, ...NOTHING_SHARED,
})
