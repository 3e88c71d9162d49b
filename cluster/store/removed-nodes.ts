/**
 * Nodes that an operator took out (`node rm`): `removed-nodes/<name>`, for good. What proved to be that node until
 * then, a certificate or a token, proves nothing any more; who takes its name gets a newer one.
 */
import { isCount } from '../../engine/value-shape.ts'
import { encodeJson, isNode, parseRecord } from './json-value.ts'

/** A date reaches no further; a record may say more, and the node is out all the same. */
const DATE_MS_MAX = 8_640_000_000_000_000

export const REMOVED_PREFIX = 'removed-nodes/'

export const removedKey = (name: string): string => `${REMOVED_PREFIX}${name}`

export interface RemovedNode {
  name: string
  /** Since 1970, by the clock of the node that decided. */
  removedAtMs: number
}

export const encodeRemoved = (node: RemovedNode): Uint8Array => encodeJson(node)

/** Undefined when it is not the record of that node. */
export function decodeRemoved(name: string, value: Uint8Array): RemovedNode | undefined {
  const found = parseRecord(value)
  if (found === undefined || found.name !== name || !isNode(name) || !isCount(found.removedAtMs)) return undefined
  return { name, removedAtMs: found.removedAtMs }
}

/** @param issuedAtMs  from when on what somebody shows is valid. @returns why it is worth nothing */
export function whyRemoved(removed: RemovedNode | undefined, issuedAtMs: number): string | undefined {
  if (removed === undefined || issuedAtMs > removed.removedAtMs) return undefined
  const [from, at] = [issuedAtMs, removed.removedAtMs].map((ms) => new Date(Math.min(ms, DATE_MS_MAX)).toISOString())
  return `node ${removed.name} was removed from the cluster at ${at}, and this is of ${from}: it needs a newer one`
}
