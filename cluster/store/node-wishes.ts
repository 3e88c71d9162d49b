/** What the operator wishes of a node: `node-wishes/<name>` (engine/control/node-status.ts). */
import type { NodeWish } from '../../engine/control/node-status.ts'
import { isFlag } from '../../engine/value-shape.ts'
import { encodeJson, parseRecord } from './json-value.ts'

export const NODE_WISH_PREFIX = 'node-wishes/'

/** Of a node of which nothing is wished; the same as no record. */
export const NO_NODE_WISH: NodeWish = { isCordoned: false, isDraining: false }

export const nodeWishKey = (name: string): string => `${NODE_WISH_PREFIX}${name}`

export const encodeNodeWish = (wish: NodeWish): Uint8Array => encodeJson(wish)

export function decodeNodeWish(value: Uint8Array): NodeWish | undefined {
  const found = parseRecord(value)
  if (found === undefined) return undefined
  const { isCordoned, isDraining } = found
  return isFlag(isCordoned) && isFlag(isDraining) ? { isCordoned, isDraining } : undefined
}
