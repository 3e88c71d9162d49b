/**
 * Records of the cluster store are JSON. What is read is looked at before anybody believes it, since a restored backup
 * or a person may have put it there (engine/value-shape.ts).
 */
import { isRecord, isText } from '../../engine/value-shape.ts'
import { isId, isName, isNodeName } from '../api/names.ts'

export type Json = Record<string, unknown>

export const encodeJson = (value: object): Uint8Array => Buffer.from(JSON.stringify(value))

/** Undefined when it is no JSON, or no object. */
export function parseRecord(value: Uint8Array): Json | undefined {
  try {
    const found: unknown = JSON.parse(Buffer.from(value).toString())
    return isRecord(found) ? found : undefined
  } catch {
    return undefined
  }
}

export const isOneOf = <T>(value: unknown, choices: readonly T[]): value is T => choices.includes(value as T)

export const isVolumeId = (value: unknown): value is string => isText(value) && isId(value)

/**
 * What a volume or a group may be called, and what a node. A name in a record becomes part of a key, and a key that no
 * store can have is a bug of ours: so a record with another one is none.
 */
export const isRecordName = (value: unknown): value is string => isText(value) && isName(value)
export const isNode = (value: unknown): value is string => isText(value) && isNodeName(value)
/** Empty: none is meant. */
export const isNodeOrNone = (value: unknown): value is string => value === '' || isNode(value)

/** What stands behind the prefix of a key; undefined: the key has another one. */
export const afterPrefix = (key: string, prefix: string): string | undefined =>
  key.startsWith(prefix) ? key.slice(prefix.length) : undefined
