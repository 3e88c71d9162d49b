/** How many starts of daemons there were in the cluster: `starts` (cluster/membership/start-number.ts). */
import { isCount } from '../../engine/value-shape.ts'
import { encodeJson, parseRecord } from './json-value.ts'

export const STARTS_KEY = 'starts'

export const encodeStarts = (count: number): Uint8Array => encodeJson({ count })

export function decodeStarts(value: Uint8Array): number | undefined {
  const count = parseRecord(value)?.count
  return isCount(count) ? count : undefined
}
