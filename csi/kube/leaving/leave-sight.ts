/** What follows from one look at once, for all who decide about leaving nodes (SPEC.md section 7). */
import type { HoldfastNode, LeaveLook } from './leave-look.ts'
import type { LeaveRegister, PodLeave } from './leave-register.ts'
import { nodeNameOf } from '../node-name.ts'

/** What the control API says of a node that died is not older than 10 s: then it calls it down. */
const SURE_MS = 60_000

/** A look, with what follows from it at once. */
export interface Sight {
  look: LeaveLook
  register: LeaveRegister
  /** Nodes that may be away, and stand in no register: nothing can be taken back of them. */
  strays: ReadonlySet<string>
}

export function holdfastNode({ cluster }: LeaveLook, node: string): HoldfastNode | undefined {
  const own = nodeNameOf(node)
  return cluster?.nodes.find(({ name }) => name === own)
}

export const isLeaving = ({ kubeNodes }: LeaveLook, node: string): boolean => kubeNodes.get(node)?.isLeaving === true

/** Q3: nothing keeps its drain from going on. */
export const hasLeft = (look: LeaveLook, node: string): boolean =>
  isLeaving(look, node) && look.guards.get(node)?.isThere !== true

/** A drain that begins now waits for leave; or nothing can be done about it, and none has begun. */
export function isGuarded(look: LeaveLook, node: string): boolean {
  const guard = look.guards.get(node)
  if (guard?.isThere === true) return true
  return !isLeaving(look, node) && (guard === undefined || guard.image === 'unknown')
}

/** It is no node of Kubernetes any more; what it had counts until the control API knows, too. */
export const isGone = (look: LeaveLook, node: string): boolean => !look.kubeNodes.has(node)

export const isKnownDown = (look: LeaveLook, node: string): boolean =>
  look.cluster !== undefined && (holdfastNode(look, node)?.state ?? 'down') === 'down'

/** Leave that is there although no register says so: guards that are lacking, budgets that somebody opened. */
export function straysOf(look: LeaveLook, { nodes }: LeaveRegister): Set<string> {
  const strays = new Set<string>()
  for (const [node, { budget }] of look.guards) {
    if (budget?.isOpen === true && nodes[node]?.guard === undefined) strays.add(node)
  }
  for (const node of look.kubeNodes.keys()) if (nodes[node] === undefined && hasLeft(look, node)) strays.add(node)
  return strays
}

/** Nodes that may be away, by their Holdfast names. */
export const letGoBy = ({ strays }: Sight, nodes: Iterable<string>): Set<string> =>
  new Set([...strays, ...nodes].map(nodeNameOf))

/** That the pod was deleted. */
export function isDeleted({ pods }: LeaveLook, { uid }: PodLeave): boolean {
  const pod = pods.find((one) => one.uid === uid)
  return pod === undefined || pod.isEnding
}

/** Leave for it was taken back, and nobody's call of before can delete it any more. */
export const isKept = ({ pods }: LeaveLook, { state, uid, mark }: PodLeave): boolean =>
  state === 'kept' && pods.some((pod) => pod.uid === uid && pod.mark === mark && !pod.isEnding)

/** Its node is away, or was when its pod was spared. */
export const isUnderWay = (look: LeaveLook, pod: PodLeave): boolean => isDeleted(look, pod) || isKept(look, pod)

/** U1. */
export function isBack(look: LeaveLook, node: string, { uid, instance }: PodLeave): boolean {
  const isReady = look.pods.some((pod) => pod.node === node && pod.uid !== uid && pod.isReady && !pod.isEnding)
  const own = holdfastNode(look, node)
  if (!isReady || own === undefined || own.state === 'down') return false
  return own.instance !== '' && (own.instance !== instance || look.awayMs > SURE_MS)
}
