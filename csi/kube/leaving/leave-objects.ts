/** What of Kubernetes' objects counts for the decision about leaving nodes (SPEC.md section 7), read off them. */
import type { Volume } from '../../../cluster/api/volume-messages.ts'
import type { Json } from '../../../cluster/store/json-value.ts'
import { isRecord } from '../../../engine/value-shape.ts'
import {
  annotationOf, GUARDS_LABEL, imageOf, isLeavingTaint, MARK_ANNOTATION, NODE_ANNOTATION,
} from './guard-objects.ts'
import type { Taint } from './guard-objects.ts'
import type { GuardView, KubeNodeView, LeaveLook, NodePod } from './leave-look.ts'
import { registerOf } from './leave-register.ts'
import type { VolumeFact } from './leave-rules.ts'
import { nodeNameOf } from '../node-name.ts'

export const REGISTER_ANNOTATION = 'holdfast.io/may-leave'
export const REPLACEMENT_ANNOTATION = 'holdfast.io/replacement'
const GUARD_ANNOTATION = 'holdfast.io/drain-guard'
const HASH_LABEL = 'controller-revision-hash'
const UNREACHABLE_TAINT = 'holdfast.io/unreachable'

const recordOf = (value: unknown): Json => (isRecord(value) ? value : {})
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '')
const numberOf = (value: unknown): number => (typeof value === 'number' ? value : 0)
const listOf = (value: unknown): Json[] => (Array.isArray(value) ? value.filter(isRecord) : [])

export const nameOf = ({ metadata }: Json): string => textOf(recordOf(metadata).name)
export const uidOf = ({ metadata }: Json): string => textOf(recordOf(metadata).uid)
export const versionOf = ({ metadata }: Json): string => textOf(recordOf(metadata).resourceVersion)
const labelsOf = ({ metadata }: Json): Json => recordOf(recordOf(metadata).labels)

function isOwnedBy({ metadata }: Json, uid: string): boolean {
  return listOf(recordOf(metadata).ownerReferences).some((owner) => owner.controller === true && owner.uid === uid)
}

const isEnding = ({ metadata }: Json): boolean => recordOf(metadata).deletionTimestamp !== undefined

function conditionOf({ status }: Json, type: string): Json {
  return listOf(recordOf(status).conditions).find((one) => one.type === type) ?? {}
}

/** Those of the DaemonSet. */
export function nodePodsOf(pods: readonly Json[], daemonSet: Json): NodePod[] {
  return pods.filter((pod) => isOwnedBy(pod, uidOf(daemonSet))).map((pod) => ({
    node: boundTo(pod),
    name: nameOf(pod),
    uid: uidOf(pod),
    version: versionOf(pod),
    hash: textOf(labelsOf(pod)[HASH_LABEL]),
    isReady: conditionOf(pod, 'Ready').status === 'True',
    isEnding: isEnding(pod),
    mark: markOf(pod),
  })).filter(({ node }) => node !== '')
}

/** Where it runs, or has to: a pod of a DaemonSet is bound to its node before it is scheduled there. */
function boundTo({ spec }: Json): string {
  const { nodeName, affinity } = recordOf(spec)
  if (typeof nodeName === 'string') return nodeName
  const required = recordOf(recordOf(recordOf(affinity).nodeAffinity).requiredDuringSchedulingIgnoredDuringExecution)
  for (const term of listOf(required.nodeSelectorTerms)) {
    for (const { key, values } of listOf(term.matchFields)) {
      if (key === 'metadata.name' && Array.isArray(values)) return textOf(values[0])
    }
  }
  return ''
}

const markOf = (object: Json): number => Number(annotationOf(object, MARK_ANNOTATION) ?? 0) || 0

/** By the nodes that budgets and pods name. @param budgets, pods  in the order in which they were read */
export function guardsOf(
  { budgets, pods, daemonSet }: { budgets: readonly Json[]; pods: readonly Json[]; daemonSet: Json },
): Map<string, GuardView> {
  const image = imageOf(daemonSet)
  const guards = new Map<string, GuardView>()
  for (const budget of budgets) {
    const node = annotationOf(budget, NODE_ANNOTATION)
    if (node === undefined) continue
    const own = pods.filter((pod) => labelsOf(pod)[GUARDS_LABEL] === nodeNameOf(node))
    const running = own.filter((pod) => !isEnding(pod) && recordOf(pod.spec).nodeName === node && isRunning(pod))
    guards.set(node, {
      budget: { version: versionOf(budget), isOpen: recordOf(budget.spec).maxUnavailable !== 0, mark: markOf(budget) },
      isThere: running.length > 0,
      image: imageState(own, running, image),
    })
  }
  return guards
}

const isRunning = ({ status }: Json): boolean => recordOf(status).phase === 'Running'

function imageState(own: readonly Json[], running: readonly Json[], image: string): GuardView['image'] {
  const has = (pod: Json): boolean => listOf(recordOf(pod.spec).containers).some((one) => one.image === image)
  if (running.some((pod) => has(pod) && conditionOf(pod, 'Ready').status === 'True')) return 'ready'
  const scheduled = own.filter(has).map((pod) => conditionOf(pod, 'PodScheduled'))
  return scheduled.some(({ status, reason }) => status === 'False' && reason === 'Unschedulable') ? 'unknown' : 'waits'
}

export const taintsOf = ({ spec }: Json): Taint[] =>
  listOf(recordOf(spec).taints).map(({ key, effect }) => ({ key: textOf(key), effect: textOf(effect) }))

export function kubeNodesOf(nodes: readonly Json[]): Map<string, KubeNodeView> {
  return new Map(nodes.map((node) => {
    const taints = taintsOf(node)
    return [nameOf(node), {
      isLeaving: recordOf(node.spec).unschedulable === true || taints.some(isLeavingTaint),
      isReleased: annotationOf(node, GUARD_ANNOTATION) === 'released',
      isUnreachable: taints.some(({ key }) => key === UNREACHABLE_TAINT),
    }]
  }))
}

/** @param revisions  ControllerRevisions, read behind the DaemonSet */
export function setOf(daemonSet: Json, revisions: readonly Json[]): LeaveLook['set'] {
  const { generation } = recordOf(daemonSet.metadata)
  const { observedGeneration, desiredNumberScheduled } = recordOf(daemonSet.status)
  const own = revisions.filter((one) => isOwnedBy(one, uidOf(daemonSet)))
  const newest = own.sort((a, b) => numberOf(b.revision) - numberOf(a.revision))[0]
  const isObserved = observedGeneration === generation && newest !== undefined
  return {
    version: versionOf(daemonSet),
    hash: isObserved ? textOf(labelsOf(newest)[HASH_LABEL]) : '',
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
