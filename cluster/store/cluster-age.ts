/** How long the cluster was watched by a controller: `cluster-age` (SPEC.md T2 of engine/control). */
import { isCount } from '../../engine/value-shape.ts'
import { encodeJson, parseRecord } from './json-value.ts'

export const AGE_KEY = 'cluster-age'

export const encodeAge = (ageMs: number): Uint8Array => encodeJson({ ageMs: Math.floor(ageMs) })

export function decodeAge(value: Uint8Array): number | undefined {
  const found = parseRecord(value)
  return isCount(found?.ageMs) ? found.ageMs : undefined
}
