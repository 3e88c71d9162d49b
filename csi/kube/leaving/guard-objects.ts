/**
 * The drain guard of a node (SPEC.md D1): a Deployment of one pod that sleeps, bound to the node, and its
 * PodDisruptionBudget. Everything of it follows from the DaemonSet and the node, so there is nothing to configure; its
 * image is that of the newest template, which brings it to the node before the node's own pod needs it (U4).
 *
 * It tolerates what taints the node has for reasons of its own, and none of those by which a node is emptied: one that
 * was evicted does not come back before that is over.
 */
import { createHash } from 'node:crypto'
import { annotationOf, nameOf, recordOf, recordsOf, textOf, uidOf } from '../../../cluster/kubernetes/api-objects.ts'
import type { ApiObject } from '../../../cluster/kubernetes/api-objects.ts'
import type { Taint } from '../failover/failover-facts.ts'
import { nodeNameOf } from '../node-name.ts'

export const GUARDS_LABEL = 'holdfast.io/guards'
export const NODE_ANNOTATION = 'holdfast.io/node'
export const MARK_ANNOTATION = 'holdfast.io/mark'
const DIGEST_ANNOTATION = 'holdfast.io/template'
/** Of a guard's pod: its image as it is wished. What admission makes of it (a mirror, a digest) is not ours to know. */
const IMAGE_ANNOTATION = 'holdfast.io/image'
const COMPONENT = 'app.kubernetes.io/component'

/** What a guard is made of. */
export interface GuardSource {
  namespace: string
  /** Whole, as it was read. */
  daemonSet: ApiObject
  /** Name in Kubernetes, and the taints that it has. */
  node: string
  taints: readonly Taint[]
}

/** By which nodes are emptied, or that come by themselves. */
const PASSING = [
  /^node\.kubernetes\.io\//, /^node\.cloudprovider\.kubernetes\.io\//, /^holdfast\.io\//, /^karpenter\.sh\/disrupt/,
  /^ToBeDeletedByClusterAutoscaler$/, /^DeletionCandidateOfClusterAutoscaler$/,
]

/** Somebody empties a node that has one of these, also without cordoning it. */
export const isLeavingTaint = ({ key }: Taint): boolean =>
  key === 'ToBeDeletedByClusterAutoscaler' || key.startsWith('karpenter.sh/disrupt')

export const guardName = (node: string): string => `holdfast-guard-${nodeNameOf(node)}`

export function guardDeployment(source: GuardSource): ApiObject {
  const { node } = source
  const spec = {
    replicas: 1,
    revisionHistoryLimit: 0,
    // One is always there.
    strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
    selector: { matchLabels: labelsOf(source) },
    template: {
      metadata: { labels: labelsOf(source), annotations: { [IMAGE_ANNOTATION]: imageOf(source.daemonSet) } },
      spec: podSpec(source),
    },
  }
  return {
    apiVersion: 'apps/v1', kind: 'Deployment',
    metadata: metadataOf(source, { [NODE_ANNOTATION]: node, [DIGEST_ANNOTATION]: digestOf(spec) }), spec,
  }
}

/** Closed, as it is made. */
export function guardBudget(source: GuardSource): ApiObject {
  return {
    apiVersion: 'policy/v1', kind: 'PodDisruptionBudget',
    metadata: metadataOf(source, { [NODE_ANNOTATION]: source.node, [MARK_ANNOTATION]: '0' }),
    spec: { maxUnavailable: 0, selector: { matchLabels: labelsOf(source) } },
  }
}

/** Whether a Deployment that is there is what it is to be. */
export function isSameGuard(present: ApiObject, wanted: ApiObject): boolean {
  return annotationOf(present, DIGEST_ANNOTATION) === annotationOf(wanted, DIGEST_ANNOTATION)
}

/** A guard's pod that is to have the image of the newest template. */
export const isOfImage = (pod: ApiObject, daemonSet: ApiObject): boolean =>
  annotationOf(pod, IMAGE_ANNOTATION) === imageOf(daemonSet)

/** Of the container of the data path. */
const imageOf = (daemonSet: ApiObject): string => textOf(dataContainer(daemonSet).image)

function metadataOf(source: GuardSource, annotations: Record<string, string>) {
  const { namespace, daemonSet, node } = source
  const owner = { apiVersion: 'apps/v1', kind: 'DaemonSet', name: nameOf(daemonSet), uid: uidOf(daemonSet) }
  return { name: guardName(node), namespace, labels: labelsOf(source), annotations, ownerReferences: [owner] }
}

function podSpec({ daemonSet, node, taints }: GuardSource): ApiObject {
  const { imagePullPolicy = 'IfNotPresent' } = dataContainer(daemonSet)
  const { imagePullSecrets } = templateSpec(daemonSet)
  const lasting = taints.filter(({ key }) => !PASSING.some((one) => one.test(key)))
  const tolerations = lasting.map(({ key, effect }) => ({ key, effect, operator: 'Exists' }))
    .sort((a, b) => (`${a.key} ${a.effect}` < `${b.key} ${b.effect}` ? -1 : 1))
  const term = { matchFields: [{ key: 'metadata.name', operator: 'In', values: [node] }] }
  return {
    priorityClassName: 'system-cluster-critical',
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: 1,
    ...(imagePullSecrets === undefined ? {} : { imagePullSecrets }),
    affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [term] } } },
    ...(tolerations.length === 0 ? {} : { tolerations }),
    containers: [{
      name: 'guard', image: imageOf(daemonSet), imagePullPolicy, command: ['sleep', 'infinity'],
      resources: { requests: { cpu: '1m', memory: '4Mi' }, limits: { memory: '32Mi' } },
      securityContext: {
        allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] }, readOnlyRootFilesystem: true,
        runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, seccompProfile: { type: 'RuntimeDefault' },
      },
    }],
  }
}

const templateSpec = ({ spec }: ApiObject): ApiObject => recordOf(recordOf(recordOf(spec).template).spec)

const dataContainer = (daemonSet: ApiObject): ApiObject =>
  recordsOf(templateSpec(daemonSet).containers).find(({ name }) => name === 'data') ?? {}

/** As the pods of the DaemonSet, but for the component and the node. */
function labelsOf({ daemonSet: { spec }, node }: GuardSource): ApiObject {
  const { matchLabels } = recordOf(recordOf(spec).selector)
  return { ...recordOf(matchLabels), [COMPONENT]: 'guard', [GUARDS_LABEL]: nodeNameOf(node) }
}

const digestOf = (value: object): string =>
  createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16)
