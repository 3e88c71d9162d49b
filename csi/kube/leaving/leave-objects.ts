/** What of Kubernetes' objects counts for the decision about leaving nodes (SPEC.md section 7), read off them. */
import type { Volume } from '../../../cluster/api/volume-messages.ts'
import {
  annotationOf, conditionOf, controllerOf, isEnding, labelOf, nameOf, recordOf, recordsOf, textOf, uidOf, versionOf,
} from '../../../cluster/kubernetes/api-objects.ts'
import type { ApiObject } from '../../../cluster/kubernetes/api-objects.ts'
import { isOurUnreachable } from '../failover/failover-facts.ts'
import type { Taint } from '../failover/failover-facts.ts'
import { GUARDS_LABEL, isLeavingTaint, isOfImage, MARK_ANNOTATION, NODE_ANNOTATION } from './guard-objects.ts'
import type { GuardView, KubeNodeView, LeaveLook, NodePod } from './leave-look.ts'
import { registerOf } from './leave-register.ts'
import type { VolumeFact } from './leave-rules.ts'
import { nodeNameOf } from '../node-name.ts'
import { nodeOf, wishedNodeOf } from '../pod-state.ts'

export const REGISTER_ANNOTATION = 'holdfast.io/may-leave'
export const REPLACEMENT_ANNOTATION = 'holdfast.io/replacement'
const GUARD_ANNOTATION = 'holdfast.io/drain-guard'
const HASH_LABEL = 'controller-revision-hash'

const numberOf = (value: unknown): number => (typeof value === 'number' ? value : 0)

const isOwnedBy = (object: ApiObject, uid: string): boolean => controllerOf(object).uid === uid

/** Those of the DaemonSet. */
export function nodePodsOf(pods: readonly ApiObject[], daemonSet: ApiObject): NodePod[] {
  return pods.filter((pod) => isOwnedBy(pod, uidOf(daemonSet))).map((pod) => ({
    node: nodeOf(pod) || wishedNodeOf(pod),
    name: nameOf(pod),
    uid: uidOf(pod),
    version: versionOf(pod),
    hash: labelOf(pod, HASH_LABEL),
    isReady: conditionOf(pod, 'Ready').status === 'True',
    isEnding: isEnding(pod),
    mark: markOf(pod),
  })).filter(({ node }) => node !== '')
}

const markOf = (object: ApiObject): number => Number(annotationOf(object, MARK_ANNOTATION) ?? 0) || 0

/** By the nodes that budgets and pods name. @param budgets, pods  in the order in which they were read */
export function guardsOf(
  { budgets, pods, daemonSet }: { budgets: readonly ApiObject[]; pods: readonly ApiObject[]; daemonSet: ApiObject },
): Map<string, GuardView> {
  const guards = new Map<string, GuardView>()
  for (const budget of budgets) {
    const node = annotationOf(budget, NODE_ANNOTATION)
    if (node === undefined) continue
    const own = pods.filter((pod) => labelOf(pod, GUARDS_LABEL) === nodeNameOf(node))
    const running = own.filter((pod) => !isEnding(pod) && nodeOf(pod) === node && isRunning(pod))
    guards.set(node, {
      budget: { version: versionOf(budget), isOpen: recordOf(budget.spec).maxUnavailable !== 0, mark: markOf(budget) },
      isThere: running.length > 0,
      image: imageState(own.filter((pod) => isOfImage(pod, daemonSet)), running),
    })
  }
  return guards
}

const isRunning = ({ status }: ApiObject): boolean => recordOf(status).phase === 'Running'

/** @param newest  pods of the guard that are to have the image of the newest template. @param running  there, of all */
function imageState(newest: readonly ApiObject[], running: readonly ApiObject[]): GuardView['image'] {
  if (newest.length === 0) return 'absent'
  const isReady = (pod: ApiObject): boolean => running.includes(pod) && conditionOf(pod, 'Ready').status === 'True'
  if (newest.some(isReady)) return 'ready'
  const scheduled = newest.map((pod) => conditionOf(pod, 'PodScheduled'))
  return scheduled.some(({ status, reason }) => status === 'False' && reason === 'Unschedulable') ? 'unknown' : 'waits'
}

export const taintsOf = ({ spec }: ApiObject): Taint[] =>
  recordsOf(recordOf(spec).taints).map(({ key, effect }) => ({ key: textOf(key), effect: textOf(effect) }))

export function kubeNodesOf(nodes: readonly ApiObject[]): Map<string, KubeNodeView> {
  return new Map(nodes.map((node) => {
    const taints = taintsOf(node)
    return [nameOf(node), {
      isLeaving: recordOf(node.spec).unschedulable === true || taints.some(isLeavingTaint),
      isReleased: annotationOf(node, GUARD_ANNOTATION) === 'released',
      isUnreachable: taints.some(isOurUnreachable),
    }]
  }))
}

/** @param revisions  ControllerRevisions, read behind the DaemonSet */
export function setOf(daemonSet: ApiObject, revisions: readonly ApiObject[]): LeaveLook['set'] {
  const { generation } = recordOf(daemonSet.metadata)
  const { observedGeneration, desiredNumberScheduled } = recordOf(daemonSet.status)
  const own = revisions.filter((one) => isOwnedBy(one, uidOf(daemonSet)))
  const newest = own.sort((a, b) => numberOf(b.revision) - numberOf(a.revision))[0]
  const isObserved = observedGeneration === generation && newest !== undefined
  return {
    version: versionOf(daemonSet),
    hash: isObserved ? labelOf(newest, HASH_LABEL) : '',
    wantedPods: numberOf(desiredNumberScheduled),
    isPaused: annotationOf(daemonSet, REPLACEMENT_ANNOTATION) === 'paused',
    register: registerOf(annotationOf(daemonSet, REGISTER_ANNOTATION)),
  }
}

export function volumeFactOf({ name, replicas, minInSync, awaitsCopy, copies }: Volume): VolumeFact {
  return {
    name, wanted: replicas + 1, minInSync, awaitsCopy,
    copies: copies.map(({ node, role, state, isComplete }) =>
      ({ node, isPrimary: role === 'primary', isInSync: state === 'in-sync', isComplete })),
  }
}
