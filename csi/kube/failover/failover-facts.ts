/** What failover sees of a cluster (SPEC.md section 4): plain values, made of what two APIs say, without a clock. */

export const UNREACHABLE = 'holdfast.io/unreachable'
export const OUT_OF_SERVICE = 'node.kubernetes.io/out-of-service'
/** Of an out-of-service taint that is ours (F5): Kubernetes looks at its key alone. */
export const OURS = 'holdfast'

export interface Taint {
  key: string
  effect: string
  value?: string
}

/** A Node, with what Kubernetes says of the same host elsewhere. */
export interface ListedNode {
  name: string
  uid: string
  /** resourceVersion. */
  version: string
  taints: readonly Taint[]
  /** resourceVersion of its kubelet's Lease; empty: there is none. */
  lease: string
  /** As Holdfast calls it. */
  holdfastNode: string
}

/** And with what Holdfast says of it. */
export interface NodeFacts extends ListedNode {
  /** unknown: Holdfast has no such node. */
  storage: 'up' | 'down' | 'unknown'
}

/** Of all nodes of Holdfast, by their names. */
export type StorageStates = ReadonlyMap<string, 'up' | 'down'>

/** That reaches beyond the node of its pod. */
export type PodVolume = { isOurs: true; id: string; claim: string; claimUid: string } | { isOurs: false }

export interface PodFacts {
  namespace: string
  name: string
  uid: string
  /** resourceVersion. */
  version: string
  /** Kind of the controller it belongs to; empty: none. */
  owner: string
  isOptedOut: boolean
  isMirror: boolean
  /** Succeeded or Failed. */
  isOver: boolean
  /** Is being deleted; and, of those, without any grace: nobody has to do anything more. */
  isGoing: boolean
  isGone: boolean
  /** Its kubelet has seen it. */
  wasStarted: boolean
  /** Our taint of step 1 does not keep it off. */
  toleratesUs: boolean
  /** It is the data process of that node, and comes up or goes. */
  isStorageStarting: boolean
  volumes: readonly PodVolume[]
}

/** A VolumeAttachment of our driver. */
export interface AttachmentFacts {
  name: string
  uid: string
  volumeId: string
  /** As Kubernetes believes. */
  isAttached: boolean
  isGoing: boolean
}

/** What Holdfast says of a node of its own. */
export interface HoldfastUse {
  /** Volumes that it holds. */
  holds: ReadonlySet<string>
  /** Volumes of which a session of it has a generation that is not in force. */
  stale: ReadonlySet<string>
}

export const isOurUnreachable = ({ key, effect }: Taint): boolean => key === UNREACHABLE && effect === 'NoSchedule'
export const isOutOfService = ({ key, effect }: Taint): boolean => key === OUT_OF_SERVICE && effect === 'NoExecute'
export const isOurTaint = (taint: Taint): boolean =>
  isOurUnreachable(taint) || (isOutOfService(taint) && taint.value === OURS)
