/** A copy or the lead of a volume that is to move: `moves/<id>`, one a volume (engine/control/volume-record.ts). */
import type { Move } from '../../engine/control/volume-record.ts'
import { encodeJson, isNode, isNodeOrNone, isOneOf, parseRecord } from './json-value.ts'

export const MOVE_PREFIX = 'moves/'

export const moveKey = (volumeId: string): string => `${MOVE_PREFIX}${volumeId}`

export const encodeMove = (move: Move): Uint8Array => encodeJson(move)

export function decodeMove(value: Uint8Array): Move | undefined {
  const found = parseRecord(value)
  if (found === undefined) return undefined
  const { what, to, from, isFollowing } = found
  if (!isOneOf(what, ['copy', 'primary'] as const) || !isNode(to) || !isNodeOrNone(from)) return undefined
  if (isFollowing === undefined) return { what, to, from }
  return isFollowing === true && what === 'primary' ? { what, to, from, isFollowing } : undefined
}
