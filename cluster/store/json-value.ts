/**
 * Records of the cluster store are JSON. What is read is looked at before anybody believes it, since a restored backup
 * or a person may have put it there (engine/value-shape.ts).
 */
import { isRecord, isText } from '../../engine/value-shape.ts'

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

const VOLUME_ID = /^[0-9a-f]{32}$/

export const isVolumeId = (value: unknown): value is string => isText(value) && VOLUME_ID.test(value)

/** What stands behind the prefix of a key; undefined: the key has another one. */
export const afterPrefix = (key: string, prefix: string): string | undefined =>
  key.startsWith(prefix) ? key.slice(prefix.length) : undefined
