/**
 * The drain guard of a node (SPEC.md D1): a Deployment of one pod that sleeps, bound to the node, and its
 * PodDisruptionBudget. Everything of it follows from the DaemonSet and the node, so there is nothing to configure; its
 * image is that of the newest template, which brings it to the node before the node's own pod needs it (U4).
 *
 * It tolerates what taints the node has for reasons of its own, and none of those by which a node is emptied: one that
 * was evicted does not come back before that is over.
 */
import { createHash } from 'node:crypto'
import type { Json } from '../../../cluster/store/json-value.ts'
import { isRecord } from '../../../engine/value-shape.ts'
import { nodeNameOf } from '../node-name.ts'

export const GUARDS_LABEL = 'holdfast.io/guards'
export const NODE_ANNOTATION = 'holdfast.io/node'
export const MARK_ANNOTATION = 'holdfast.io/mark'
const DIGEST_ANNOTATION = 'holdfast.io/template'
const COMPONENT = 'app.kubernetes.io/component'

/** What a guard is made of. */
export interface GuardSource {
  namespace: string
  /** Whole, as it was read. */
  daemonSet: Json
  /** Name in Kubernetes, and the taints that it has. */
  node: string
  taints: readonly Taint[]
}

export interface Taint {
  key: string
  effect: string
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

export function guardDeployment(source: GuardSource): Json {
  const { node } = source
  const spec = {
    replicas: 1,
    revisionHistoryLimit: 0,
    // One is always there.
    strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
    selector: { matchLabels: selectorOf(source) },
    template: { metadata: { labels: labelsOf(source) }, spec: podSpec(source) },
  }
  return {
    apiVersion: 'apps/v1', kind: 'Deployment',
    metadata: metadataOf(source, { [NODE_ANNOTATION]: node, [DIGEST_ANNOTATION]: digestOf(spec) }), spec,
  }
}

/** Closed, as it is made. */
export function guardBudget(source: GuardSource): Json {
  return {
    apiVersion: 'policy/v1', kind: 'PodDisruptionBudget',
    metadata: metadataOf(source, { [NODE_ANNOTATION]: source.node, [MARK_ANNOTATION]: '0' }),
    spec: { maxUnavailable: 0, selector: { matchLabels: selectorOf(source) } },
  }
}

/** Whether a Deployment that is there is what it is to be. */
export function isSameGuard(present: Json, wanted: Json): boolean {
  return annotationOf(present, DIGEST_ANNOTATION) === annotationOf(wanted, DIGEST_ANNOTATION)
}

export function annotationOf({ metadata }: Json, name: string): string | undefined {
  const annotations = isRecord(metadata) && isRecord(metadata.annotations) ? metadata.annotations : {}
  const text = annotations[name]
  return typeof text === 'string' ? text : undefined
}

/** Of the container of the data path. */
export const imageOf = (daemonSet: Json): string => textOf(dataContainer(daemonSet).image)

function metadataOf(source: GuardSource, annotations: Record<string, string>) {
  const { namespace, daemonSet, node } = source
  const { name, uid } = isRecord(daemonSet.metadata) ? daemonSet.metadata : {}
  return {
    name: guardName(node), namespace, labels: labelsOf(source), annotations,
    ownerReferences: [{ apiVersion: 'apps/v1', kind: 'DaemonSet', name, uid }],
  }
}

function podSpec({ daemonSet, node, taints }: GuardSource): Json {
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

function templateSpec({ spec }: Json): Json {
  const template = isRecord(spec) && isRecord(spec.template) ? spec.template : {}
  return isRecord(template.spec) ? template.spec : {}
}

function dataContainer(daemonSet: Json): Json {
  const { containers } = templateSpec(daemonSet)
  const found = Array.isArray(containers) ? containers.filter(isRecord).find(({ name }) => name === 'data') : undefined
  return found ?? {}
}

/** As the pods of the DaemonSet, but for the component and the node. */
function selectorOf({ daemonSet: { spec }, node }: GuardSource): Record<string, unknown> {
  const selector = isRecord(spec) && isRecord(spec.selector) ? spec.selector : {}
  const labels = isRecord(selector.matchLabels) ? selector.matchLabels : {}
  return { ...labels, [COMPONENT]: 'guard', [GUARDS_LABEL]: nodeNameOf(node) }
}

const labelsOf = (source: GuardSource): Record<string, unknown> => selectorOf(source)

const digestOf = (value: object): string =>
  createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16)
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '')
