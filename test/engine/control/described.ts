/** Nodes and copies as their disks describe them, with few words: volume `v` has the copy `v.n1` on n1. */
import type { CopyDescription, NodeDescription } from '../../../engine/control/node-description.ts'
import type { VolumeRecord } from '../../../engine/control/volume-record.ts'
import type { MemberState, NodeId, VolumeConfig } from '../../../engine/replication/configuration.ts'
import { recordOf } from './small-cluster.ts'

export const copyIdOf = (volumeId: string, node: NodeId): string => `${volumeId}.${node}`

/** In sync are the first `count` (all, if not given), the first one leads. */
export function configOf(
  volumeId: string, epoch: number, nodes: readonly NodeId[], change: Partial<VolumeConfig> = {}, count = nodes.length,
): VolumeConfig {
  const members: VolumeConfig['members'] = {}
  for (const [at, node] of nodes.entries()) {
    const state: MemberState = at < count ? 'in-sync' : 'catching-up'
    members[node] = { copyId: copyIdOf(volumeId, node), state }
  }
  return {
    volumeId, epoch, primary: nodes[0]!, inSync: nodes.slice(0, count), members, minInSync: 1,
    attach: { generation: 3, mode: 'open', holders: {} }, nonce: '', ...change,
  }
}

export interface SaidCopy extends Partial<CopyDescription> {
  config?: VolumeConfig | undefined
  record?: Partial<VolumeRecord>
}

/** Of epoch and tail `at`, promised to n1. */
export function copyOn(
  node: NodeId, volumeId: string, at: readonly [epoch: number, tail: number], said: SaidCopy = {},
): CopyDescription {
  const { config, record, ...change } = said
  const noted = config === undefined ? undefined : { config, record: recordOf(volumeId, record) }
  return {
    volumeId, copyId: copyIdOf(volumeId, node), isErased: false, failure: '', isConsistent: true, isWhole: true,
    lostSlices: 0, promise: { epoch: at[0], primary: 'n1' }, lastEpoch: at[0], tail: at[1], generation: 3,
    incarnation: 257, spec: recordOf(volumeId).spec, noted, ...change,
  }
}

export const nodeOf = (
  name: NodeId, copies: CopyDescription[], change: Partial<NodeDescription> = {},
): NodeDescription => ({
  name, nodeId: `id ${name}`, clusterId: 'c', zone: '', startNumber: 5, era: 0, met: [], digest: `digest ${name}`,
  disks: [{ path: `/${name}`, failure: '' }], copies, ...change,
})
