/** Bearer tokens in the cluster store: `tokens/<name>`, written by whoever is elected. A revoked one is not there. */
import { isCount, isText } from '../../engine/value-shape.ts'
import { IDENTITY_NAME, ROLES } from '../tls/identity.ts'
import type { Role } from '../tls/identity.ts'
import { TOKEN_HASH } from '../tls/bearer-token.ts'
import { encodeJson, isOneOf, parseRecord } from './json-value.ts'

export const TOKEN_PREFIX = 'tokens/'

export const tokenKey = (name: string): string => `${TOKEN_PREFIX}${name}`

/** The cluster store asks nobody, so nobody is it. */
export const TOKEN_ROLES: readonly Role[] = ROLES.filter((role) => role !== 'store')

export interface TokenRecord {
  name: string
  role: Role
  /** SHA-256 of its secret, in hex. */
  hash: string
  /** Since 1970. */
  createdAtMs: number
  expiresAtMs: number
}

export const encodeToken = (token: TokenRecord): Uint8Array => encodeJson(token)

/** Undefined when it is not the record of that token. */
export function decodeToken(name: string, value: Uint8Array): TokenRecord | undefined {
  const found = parseRecord(value)
  if (found === undefined || found.name !== name || !IDENTITY_NAME.test(name)) return undefined
  const { role, hash, createdAtMs, expiresAtMs } = found
  if (!isOneOf(role, TOKEN_ROLES) || !isText(hash) || !TOKEN_HASH.test(hash)) return undefined
  if (!isCount(createdAtMs) || !isCount(expiresAtMs)) return undefined
  return { name, role, hash, createdAtMs, expiresAtMs }
}
