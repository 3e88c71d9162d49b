/** Objects of the Kubernetes API as what failover sees of them (failover-facts.ts). */
import { isRecord } from '../../../engine/value-shape.ts'
import { DRIVER_NAME } from '../../identity.ts'
import { UNREACHABLE } from './failover-facts.ts'
import type { AttachmentFacts, NodeFacts, PodFacts, Taint } from './failover-facts.ts'

type Json = Record<string, unknown>

const recordOf = (value: unknown): Json => (isRecord(value) ? value : {})
const recordsOf = (value: unknown): Json[] => (Array.isArray(value) ? value.filter(isRecord) : [])
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '')

export type KubeNode = Pick<NodeFacts, 'name' | 'uid' | 'version' | 'taints'>

export function kubeNodeOf({ metadata, spec }: Json): KubeNode {
  const { name, uid, resourceVersion } = recordOf(metadata)
  // Whole: what others wrote into theirs is put back with them.
  const taints = recordsOf(recordOf(spec).taints) as unknown as Taint[]
  return { name: textOf(name), uid: textOf(uid), version: textOf(resourceVersion), taints }
}

/** The node id of our driver; empty: it is not there. */
export function nodeIdOf({ spec }: Json): string {
  return textOf(recordsOf(recordOf(spec).drivers).find(({ name }) => name === DRIVER_NAME)?.nodeID)
}

/** An attachment of our driver, its volume by the name of its PersistentVolume; undefined: another one's. */
export function attachmentOf(
  { metadata, spec, status }: Json,
): (Omit<AttachmentFacts, 'volumeId'> & { node: string; volume: string }) | undefined {
  const { attacher, nodeName, source } = recordOf(spec)
  const volume = textOf(recordOf(source).persistentVolumeName)
  const { name, uid, deletionTimestamp } = recordOf(metadata)
  if (attacher !== DRIVER_NAME || volume === '') return undefined
  const isGoing = deletionTimestamp !== undefined
  const isAttached = recordOf(status).attached === true
  return { name: textOf(name), uid: textOf(uid), volume, node: textOf(nodeName), isAttached, isGoing }
}

/** Of a PersistentVolume: its volume; undefined: it is not of our driver. */
export function volumeIdOf({ spec }: Json): string | undefined {
  const { driver, volumeHandle } = recordOf(recordOf(spec).csi)
  return driver === DRIVER_NAME && textOf(volumeHandle) !== '' ? textOf(volumeHandle) : undefined
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

export function podOf({ metadata, spec, status }: Json, ownNamespace: string): PodObject {
  const { name, namespace, uid, resourceVersion, labels, annotations, ownerReferences, ...rest } = recordOf(metadata)
  const label = (which: string): string => textOf(recordOf(labels)[which])
  const isGoing = rest.deletionTimestamp !== undefined
  const { phase, startTime } = recordOf(status)
  const owner = recordsOf(ownerReferences).find(({ controller }) => controller === true)
  const volumes = recordsOf(recordOf(spec).volumes)
  const claims = volumes.flatMap((volume) => {
    if (isRecord(volume.persistentVolumeClaim)) return [textOf(volume.persistentVolumeClaim.claimName)]
    return isRecord(volume.ephemeral) ? [`${textOf(name)}-${textOf(volume.name)}`] : []
  })
  const isKnown = (volume: Json): boolean => Object.keys(volume).every((kind) =>
    kind === 'name' || kind === 'persistentVolumeClaim' || kind === 'ephemeral' || LOCAL.has(kind)
    || (kind === 'csi' && LOCAL_DRIVERS.has(recordOf(volume.csi).driver)))
  const isStorage = namespace === ownNamespace && label('app.kubernetes.io/name') === 'holdfast'
    && label('app.kubernetes.io/component') === 'node'
  return {
    namespace: textOf(namespace), name: textOf(name), uid: textOf(uid), version: textOf(resourceVersion),
    owner: textOf(owner?.kind),
    isOptedOut: label(OPT_OUT) === 'disabled' || label(FORMER_OPT_OUT) === 'false',
    isMirror: recordOf(annotations)['kubernetes.io/config.mirror'] !== undefined,
    isOver: phase === 'Succeeded' || phase === 'Failed',
    isGoing, isGone: isGoing && rest.deletionGracePeriodSeconds === 0,
    wasStarted: startTime !== undefined,
    toleratesUs: recordsOf(recordOf(spec).tolerations).some(toleratesUs),
    isStorageStarting: isStorage && (isGoing || phase === 'Pending'),
    claims: [...new Set(claims)], hasOthers: !volumes.every(isKnown),
  }
}

/** Of a pod of a DaemonSet: the node that it is for, also before it is scheduled; empty: no such pod. */
export function wishedNodeOf({ spec }: Json): string {
  const { requiredDuringSchedulingIgnoredDuringExecution: required } =
    recordOf(recordOf(recordOf(spec).affinity).nodeAffinity)
  const fields = recordsOf(recordOf(required).nodeSelectorTerms).flatMap(({ matchFields }) => recordsOf(matchFields))
  const values = fields.find(({ key, operator }) => key === 'metadata.name' && operator === 'In')?.values
  return Array.isArray(values) ? textOf(values[0]) : ''
}

function toleratesUs({ key, operator, value, effect }: Json): boolean {
  if (effect !== undefined && effect !== '' && effect !== 'NoSchedule') return false
  const isAny = (key === undefined || key === '') && operator === 'Exists'
  return isAny || (key === UNREACHABLE && (operator === 'Exists' || textOf(value) === ''))
}
