/** Objects of the Kubernetes API as what failover sees of them (failover-facts.ts). */
import {
  annotationOf, controllerOf, isEnding, labelOf, nameOf, recordOf, recordsOf, textOf, uidOf, versionOf,
} from '../../../cluster/kubernetes/api-objects.ts'
import type { ApiObject } from '../../../cluster/kubernetes/api-objects.ts'
import { DRIVER_NAME } from '../../identity.ts'
import { UNREACHABLE } from './failover-facts.ts'
import type { AttachmentFacts, NodeFacts, PodFacts, Taint } from './failover-facts.ts'
import { claimOf, claimsOf } from '../pod-claims.ts'
import { isPodOver } from '../pod-state.ts'

export type KubeNode = Pick<NodeFacts, 'name' | 'uid' | 'version' | 'taints'>

export function kubeNodeOf(node: ApiObject): KubeNode {
  // Whole: what others wrote into theirs is put back with them.
  const taints = recordsOf(recordOf(node.spec).taints) as unknown as Taint[]
  return { name: nameOf(node), uid: uidOf(node), version: versionOf(node), taints }
}

/** The node id of our driver; empty: it is not there. */
export function nodeIdOf({ spec }: ApiObject): string {
  return textOf(recordsOf(recordOf(spec).drivers).find(({ name }) => name === DRIVER_NAME)?.nodeID)
}

/** An attachment of our driver, its volume by the name of its PersistentVolume; undefined: another one's. */
export function attachmentOf(
  object: ApiObject,
): (Omit<AttachmentFacts, 'volumeId'> & { node: string; volume: string }) | undefined {
  const { attacher, nodeName, source } = recordOf(object.spec)
  const volume = textOf(recordOf(source).persistentVolumeName)
  if (attacher !== DRIVER_NAME || volume === '') return undefined
  const isAttached = recordOf(object.status).attached === true
  return {
    name: nameOf(object), uid: uidOf(object), volume, node: textOf(nodeName), isAttached, isGoing: isEnding(object),
  }
}

/** Kinds of volumes of a pod that are of its node, or hold nothing that others write. */
const LOCAL: ReadonlySet<string> = new Set([
  'emptyDir', 'configMap', 'secret', 'downwardAPI', 'projected', 'hostPath', 'image', 'gitRepo',
])

/**
 * Drivers of inline `csi` volumes that make what is in them on the node: secrets, certificates, identities. Those of
 * other drivers may be shares that others write (SMB, Azure File).
 */
const LOCAL_DRIVERS: ReadonlySet<unknown> = new Set([
  'secrets-store.csi.k8s.io', 'csi.cert-manager.io', 'spiffe.csi.cert-manager.io', 'csi.spiffe.io',
  'csi.sharedresource.openshift.io',
])

/** A pod, its volumes still by the names of their claims. */
export interface PodObject extends Omit<PodFacts, 'volumes'> {
  claims: string[]
  /** It has a volume beyond its node that is no claim. */
  hasOthers: boolean
}

const OPT_OUT = 'holdfast.io/failover'
const FORMER_OPT_OUT = 'storageos.com/fenced'

export function podOf(pod: ApiObject, ownNamespace: string): PodObject {
  const { namespace, deletionGracePeriodSeconds } = recordOf(pod.metadata)
  const { volumes, tolerations } = recordOf(pod.spec)
  const { phase, startTime } = recordOf(pod.status)
  const isGoing = isEnding(pod)
  const isKnown = (volume: ApiObject): boolean => Object.keys(volume).every((kind) => {
    if (kind === 'persistentVolumeClaim' || kind === 'ephemeral') return claimOf(nameOf(pod), volume) !== undefined
    return kind === 'name' || LOCAL.has(kind) || (kind === 'csi' && LOCAL_DRIVERS.has(recordOf(volume.csi).driver))
  })
  const isStorage = namespace === ownNamespace && labelOf(pod, 'app.kubernetes.io/name') === 'holdfast'
    && labelOf(pod, 'app.kubernetes.io/component') === 'node'
  return {
    namespace: textOf(namespace), name: nameOf(pod), uid: uidOf(pod), version: versionOf(pod),
    owner: textOf(controllerOf(pod).kind),
    isOptedOut: labelOf(pod, OPT_OUT) === 'disabled' || labelOf(pod, FORMER_OPT_OUT) === 'false',
    isMirror: annotationOf(pod, 'kubernetes.io/config.mirror') !== undefined,
    isOver: isPodOver(pod),
    isGoing, isGone: isGoing && deletionGracePeriodSeconds === 0,
    wasStarted: startTime !== undefined,
    toleratesUs: recordsOf(tolerations).some(toleratesUs),
    isStorageStarting: isStorage && (isGoing || phase === 'Pending'),
    claims: claimsOf(pod), hasOthers: !recordsOf(volumes).every(isKnown),
  }
}

function toleratesUs({ key, operator, value, effect }: ApiObject): boolean {
  if (effect !== undefined && effect !== '' && effect !== 'NoSchedule') return false
  const isAny = (key === undefined || key === '') && operator === 'Exists'
  return isAny || (key === UNREACHABLE && (operator === 'Exists' || textOf(value) === ''))
}
