/** Which PVCs a pod has, as its object says (SPEC.md L4), and what a scheduler sends with it. */
import { isRecord, isText } from '../../engine/value-shape.ts'

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
  if (!isRecord(value) || !isRecord(value.metadata)) return undefined
  const { name, namespace } = value.metadata
  if (!isText(name) || !isText(namespace) || name === '' || namespace === '') return undefined
  const volumes = isRecord(value.spec) ? value.spec.volumes ?? [] : []
  if (!Array.isArray(volumes)) return undefined
  const claims = new Set<string>()
  for (const volume of volumes) {
    const claim = claimOf(name, volume)
    if (claim !== undefined) claims.add(claim)
  }
  return claims.size > CLAIMS_MAX ? undefined : { namespace, pod: name, claims: [...claims] }
}

/** That of a generic ephemeral volume is called after pod and volume. */
function claimOf(pod: string, volume: unknown): string | undefined {
  if (!isRecord(volume)) return undefined
  const { persistentVolumeClaim: claim, ephemeral, name } = volume
  if (isRecord(claim) && isText(claim.claimName) && claim.claimName !== '') return claim.claimName
  return isRecord(ephemeral) && isText(name) ? `${pod}-${name}` : undefined
}
