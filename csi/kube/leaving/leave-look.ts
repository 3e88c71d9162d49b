/**
 * Everything that the decision about leaving nodes looks at (SPEC.md section 7), as plain data. Read in this order,
 * which Q2 and Q3 stand on: budgets, then pods, then what the control API shows, then the DaemonSet with the register.
 */
import type { LeaveRegister } from './leave-register.ts'
import type { VolumeFact } from './leave-rules.ts'

/** Of the DaemonSet. Nodes by their names in Kubernetes. */
export interface NodePod {
  node: string
  name: string
  uid: string
  version: string
  /** Of the template that it was made of. */
  hash: string
  isReady: boolean
  /** It was deleted, and is not gone yet. */
  isEnding: boolean
  /** Of the annotation by which leave was taken back; 0: none. */
  mark: number
}

export interface GuardView {
  /** Undefined: there is none. */
  budget: { version: string; isOpen: boolean; mark: number } | undefined
  /** A pod of it runs on its node, and was not evicted. */
  isThere: boolean
  /**
   * Of the template of the DaemonSet: it runs there; it is being pulled, or cannot be; nobody pulls it there. `absent`:
   * no pod is to pull it yet, and with time it is `unknown`.
   */
  image: 'ready' | 'waits' | 'absent' | 'unknown'
}

export interface KubeNodeView {
  /** Cordoned, or chosen by an autoscaler to be deleted. */
  isLeaving: boolean
  /** Its user gives it leave whatever that costs. */
  isReleased: boolean
  /** By our taint: its pods are moved off. */
  isUnreachable: boolean
}

/** By its Holdfast name. */
export interface HoldfastNode {
  name: string
  state: 'up' | 'down' | 'cordoned' | 'draining'
  /** Of its daemon; empty: not known. */
  instance: string
  isElected: boolean
}

export interface LeaveLook {
  pods: readonly NodePod[]
  guards: ReadonlyMap<string, GuardView>
  kubeNodes: ReadonlyMap<string, KubeNodeView>
  /** Undefined: the control API does not say. */
  cluster: { nodes: readonly HoldfastNode[]; volumes: readonly VolumeFact[] } | undefined
  /** For how long it has not. */
  silentMs: number
  set: {
    version: string
    /** Of the newest template; empty: its controller has not seen it yet. */
    hash: string
    wantedPods: number
    isPaused: boolean
    /** Undefined: it cannot be read. */
    register: LeaveRegister | undefined
  }
  /** For how long the node that is replaced has been away, as seen here. */
  awayMs: number
}
