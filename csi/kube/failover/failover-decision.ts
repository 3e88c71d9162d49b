/**
 * What follows from what is seen (SPEC.md F1 to F5): which nodes are dead, whether anything may be done at all, which
 * pods are ours to move, and what is next for one node. Pure: nothing is remembered here, so a step that was cut off,
 * lost or done by somebody else is decided again from what is there then.
 */
import { isOurTaint, isOurUnreachable, isOutOfService, OUT_OF_SERVICE, OURS, UNREACHABLE } from './failover-facts.ts'
import type { AttachmentFacts, HoldfastUse, NodeFacts, PodFacts, Taint } from './failover-facts.ts'

/** Both by the monotonic clock of who looks. */
export const SILENT_MS = 20_000
export const STORAGE_DOWN_MS = 20_000
/** An upgrade pulls an image meanwhile. */
export const STARTING_MS = 300_000
/** Who decides for Holdfast anew takes every node for up at first. */
export const STEADY_MS = 15_000

/** A node over time, as it was seen here. */
export interface NodeSeen {
  node: NodeFacts
  /** For how long its Lease did not change; whether it was seen to change, and does. */
  silentMs: number
  doesRenew: boolean
  /** For how long its storage is as it is. */
  storageForMs: number
}

export type Verdict = 'dead' | 'dead-storage' | 'well' | 'unclear'

/** A node whose data process is being started may be `dead-storage` here: `isStarting` looks closer. */
export function verdictOf({ node: { storage }, silentMs, doesRenew, storageForMs }: NodeSeen): Verdict {
  const isSilent = silentMs >= SILENT_MS
  if (storage === 'down' && isSilent) return 'dead'
  if (storage === 'down' && doesRenew && storageForMs >= STORAGE_DOWN_MS) return 'dead-storage'
  // One that Holdfast does not know any more has nothing of ours, and is none of ours to keep pods from.
  return storage !== 'down' && doesRenew && !isSilent && storageForMs >= STEADY_MS ? 'well' : 'unclear'
}

/** F1; undefined: go on. */
export function whyStopped(nodes: readonly NodeSeen[]): string | undefined {
  const known = nodes.filter(({ node }) => node.storage !== 'unknown')
  const down = known.filter(({ node }) => node.storage === 'down').length
  // Without a Lease, and without Holdfast, it may be virtual: there is no kubelet to be heard, and nothing of ours.
  const kubelets = nodes.filter(({ node }) => node.lease !== '' || node.storage !== 'unknown')
  const silent = kubelets.filter(({ silentMs }) => silentMs >= SILENT_MS).length
  const isTooMany = (count: number, of: number): boolean => count > 1 && count * 3 >= of
  if (isTooMany(down, known.length)) return `${down} of ${known.length} nodes of Holdfast are down`
  return isTooMany(silent, kubelets.length) ? `${silent} of ${kubelets.length} kubelets are silent` : undefined
}

/** F4: its data process comes up, and has a while for that. */
export const isStarting = ({ storageForMs }: NodeSeen, pods: readonly PodFacts[]): boolean =>
  storageForMs < STARTING_MS && pods.some(({ isStorageStarting }) => isStorageStarting)

export interface SortedPods {
  /** F2: ours to move. */
  toMove: PodFacts[]
  /** That the out-of-service taint would take from somebody: it is not set while there is one. */
  holdBack: PodFacts[]
}

/** Of all pods of a node. */
export function sortPods(pods: readonly PodFacts[]): SortedPods {
  const there = pods.filter(({ isOver, isGone }) => !isOver && !isGone)
  const toMove = new Set(there.filter(isOursToMove))
  // Who shares a volume with one that stays, stays, and then those who share one with him.
  for (let isSettled = false; !isSettled;) {
    const kept = new Set(there.filter((pod) => !toMove.has(pod)).flatMap(idsOf))
    const shares = [...toMove].filter((pod) => idsOf(pod).some((id) => kept.has(id)))
    for (const pod of shares) toMove.delete(pod)
    isSettled = shares.length === 0
  }
  const holdBack = there.filter((pod) => !toMove.has(pod) && (pod.volumes.length > 0 || pod.isOptedOut))
  return { toMove: [...toMove], holdBack }
}

function isOursToMove(pod: PodFacts): boolean {
  if (pod.volumes.length === 0 || !pod.volumes.every(({ isOurs }) => isOurs)) return false
  if (pod.isOptedOut || pod.isMirror) return false
  if (pod.toleratesUs && !pod.wasStarted && !pod.isGoing) return false
  return pod.isGoing || (pod.owner !== '' && pod.owner !== 'DaemonSet' && pod.owner !== 'Node')
}

export const idsOf = ({ volumes }: PodFacts): string[] => volumes.flatMap((one) => (one.isOurs ? [one.id] : []))

export type Step =
  | { do: 'taint'; which: 'unreachable' | 'out-of-service'; taints: Taint[] }
  | { do: 'untaint'; taints: Taint[] }
  /** Each as soon as all its volumes are fenced. */
  | { do: 'move'; pods: PodFacts[]; how: 'delete' | 'evict' }
  | { do: 'release'; attachments: AttachmentFacts[] }

/** F3 and F4: what is to be done now for a node that is dead, or whose storage is; in this order. */
export function stepsFor(
  verdict: 'dead' | 'dead-storage', { taints }: Pick<NodeFacts, 'taints'>,
  { pods, attachments }: { pods: readonly PodFacts[]; attachments: readonly AttachmentFacts[] },
): Step[] {
  if (!taints.some(isOurUnreachable)) {
    return [{ do: 'taint', which: 'unreachable', taints: [...taints, { key: UNREACHABLE, effect: 'NoSchedule' }] }]
  }
  const { toMove, holdBack } = sortPods(pods)
  const isDead = verdict === 'dead'
  const steps: Step[] = []
  if (toMove.length > 0) steps.push({ do: 'move', pods: toMove, how: isDead ? 'delete' : 'evict' })
  if (!isDead || taints.some(isOutOfService)) return steps
  if (toMove.length === 0 && holdBack.length === 0) {
    const ours: Taint = { key: OUT_OF_SERVICE, value: OURS, effect: 'NoExecute' }
    return [{ do: 'taint', which: 'out-of-service', taints: [...taints, ours] }]
  }
  const used = new Set(pods.filter(({ isOver, isGone }) => !isOver && !isGone).flatMap(idsOf))
  const unused = attachments.filter(({ volumeId, isGoing }) => !isGoing && !used.has(volumeId))
  if (unused.length > 0) steps.push({ do: 'release', attachments: unused })
  return steps
}

/**
 * F5: what Kubernetes believes to be attached to a node that lives, and was taken from it (it came back between the
 * fence and the deletion), or was given to it anew for a pod that found the device of a former one. Devices of pods
 * that use it fail for good, and nobody else makes it right.
 */
export const lostAttachments = (
  attachments: readonly AttachmentFacts[], { holds, stale }: HoldfastUse,
): AttachmentFacts[] => attachments.filter(({ isAttached, isGoing, volumeId }) =>
  isAttached && !isGoing && (!holds.has(volumeId) || stale.has(volumeId)))

/** Those of whom somebody has to say that they end. */
export const usersOf = (volumeId: string, pods: readonly PodFacts[]): PodFacts[] =>
  pods.filter((pod) => !pod.isOver && !pod.isGoing && !pod.isMirror && idsOf(pod).includes(volumeId))

/** F5; undefined: none is ours. Whether its sessions are over is looked at before. */
export function withoutOurs({ taints }: Pick<NodeFacts, 'taints'>): Step | undefined {
  const others = taints.filter((taint) => !isOurTaint(taint))
  return others.length === taints.length ? undefined : { do: 'untaint', taints: others }
}
