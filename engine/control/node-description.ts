/**
 * What the disks of a node say when the cluster store is lost (cluster/store/REBUILD.md section 1): each copy with its
 * place in the history of its volume, and what its node noted of the store while that was there.
 */
import type { NodeId, VolumeConfig } from '../replication/configuration.ts'
import type { VolumeSpec } from '../volume/volume-spec.ts'
import type { VolumeRecord } from './volume-record.ts'

/** As a copy keeps it (engine/log/FORMAT.md section 7). */
export interface NotedVolume {
  config: VolumeConfig | undefined
  record: VolumeRecord | undefined
}

export interface CopyDescription {
  volumeId: string
  copyId: string
  /** It was taken away; only that word is left, and nothing else of this counts. */
  isErased: boolean
  /** Why it cannot be read, as a sentence; empty: it can. */
  failure: string
  isConsistent: boolean
  /** In `writeback`: it has all that it acknowledged. */
  isWhole: boolean
  /** Slices that went with a disk. */
  lostSlices: number
  promise: { epoch: number; primary: NodeId }
  /** The id of its last record; 0, 0: none. */
  lastEpoch: number
  tail: number
  /** The highest attach generation and incarnation that its fence knows. */
  generation: number
  incarnation: number
  /** As it was made, with the size that the volume has once all of this copy's log is applied. */
  spec: VolumeSpec
  noted: NotedVolume | undefined
}

export interface DiskDescription {
  path: string
  /** Why it cannot be read; empty: it can. */
  failure: string
}

export interface NodeDescription {
  name: NodeId
  nodeId: string
  clusterId: string
  zone: string
  /** Of its last start that the former store counted; 0: not known. */
  startNumber: number
  /** The newest that it has seen (cluster/store/REBUILD.md section 4). */
  era: number
  /** All nodes it met in its cluster, but itself. */
  met: NodeId[]
  /** Of everything its disks say. */
  digest: string
  disks: DiskDescription[]
  copies: CopyDescription[]
}

/** It has been in a configuration, or may have been. */
export const wasUsed = ({ isErased, promise, tail, failure, noted }: CopyDescription): boolean =>
  !isErased && (failure !== '' || promise.epoch > 0 || tail > 0 || noted?.config !== undefined)

/** It can be read, and is a state that the volume was in. */
export const isReadable = ({ failure, isConsistent, lostSlices }: CopyDescription): boolean =>
  failure === '' && isConsistent && lostSlices === 0
