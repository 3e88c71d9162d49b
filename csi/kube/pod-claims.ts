/** Which PVCs a pod has, as its object says (SPEC.md L4), also one that a scheduler sends; and the volume of a PV. */
import { nameOf, recordOf, recordsOf, textOf } from '../../cluster/kubernetes/api-objects.ts'
import type { ApiObject } from '../../cluster/kubernetes/api-objects.ts'
import { isRecord } from '../../engine/value-shape.ts'
import { DRIVER_NAME } from '../identity.ts'

/** More than any node attaches. */
const CLAIMS_MAX = 1000

export interface PodClaims {
  namespace: string
  pod: string
  /** Names of PVCs in that namespace, each once. */
  claims: string[]
}

/** Undefined: it is no pod. */
export function podClaims(value: unknown): PodClaims | undefined {
  if (!isRecord(value)) return undefined
  const [pod, namespace] = [nameOf(value), textOf(recordOf(value.metadata).namespace)]
  const volumes = recordOf(value.spec).volumes ?? []
  if (pod === '' || namespace === '' || !Array.isArray(volumes)) return undefined
  const claims = claimsOf(value)
  return claims.length > CLAIMS_MAX ? undefined : { namespace, pod, claims }
}

/** Each once. */
export function claimsOf(pod: ApiObject): string[] {
  const all = recordsOf(recordOf(pod.spec).volumes).map((volume) => claimOf(nameOf(pod), volume))
  return [...new Set(all.filter((one) => one !== undefined))]
}

/** That of a generic ephemeral volume is called after pod and volume. Undefined: it is none. */
export function claimOf(pod: string, { persistentVolumeClaim, ephemeral, name }: ApiObject): string | undefined {
  const claim = textOf(recordOf(persistentVolumeClaim).claimName)
  if (claim !== '') return claim
  return isRecord(ephemeral) && textOf(name) !== '' ? `${pod}-${textOf(name)}` : undefined
}

/** Of a PersistentVolume: its volume; undefined: it is not of our driver. */
export function volumeIdOf({ spec }: ApiObject): string | undefined {
  const { driver, volumeHandle } = recordOf(recordOf(spec).csi)
  return driver === DRIVER_NAME && textOf(volumeHandle) !== '' ? textOf(volumeHandle) : undefined
}
