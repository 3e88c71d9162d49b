/** Bearer tokens of the API, as records of the cluster store (docs/tls.md): made, listed, revoked. */
import { HoldfastError } from '../../engine/errors.ts'
import { formatDuration } from '../api/amounts.ts'
import type { CreateTokenRequest, Token } from '../api/node-messages.ts'
import { shown } from '../api/names.ts'
import { isOneOf } from '../store/json-value.ts'
import { TOKEN_PREFIX, TOKEN_ROLES, decodeToken, encodeToken, tokenKey } from '../store/token-records.ts'
import type { TokenRecord } from '../store/token-records.ts'
import { TOKEN_HASH } from '../tls/bearer-token.ts'
import { IDENTITY_NAME } from '../tls/identity.ts'
import type { RecordStore } from './record-store.ts'

export const TOKEN_VALID_MS = { least: 1_000, most: 3_660 * 24 * 3_600_000 }
/** Each node keeps all of them. */
const TOKENS_MAX = 1_000

export interface TokenControlOptions {
  records: RecordStore
  clusterId: string
  /** Since 1970. */
  wallMs(): number
}

export class TokenControl {
  readonly #o: TokenControlOptions

  constructor(options: TokenControlOptions) {
    this.#o = options
  }

  async create({ name, role, hash, validMs }: CreateTokenRequest): Promise<Token> {
    const { records, wallMs } = this.#o
    if (!IDENTITY_NAME.test(name)) refuse('name', name, '1 to 63 characters of a-z, 0-9, - and .')
    if (!isOneOf(role, TOKEN_ROLES)) return refuse('role', role, TOKEN_ROLES.join(', '))
    if (!TOKEN_HASH.test(hash)) refuse('hash', '(not shown)', 'the SHA-256 of a secret, 64 hex digits')
    const { least, most } = TOKEN_VALID_MS
    if (!(validMs >= least && validMs <= most)) {
      refuse('expires', String(validMs), `${formatDuration(least)} to ${formatDuration(most)}`)
    }
    const createdAtMs = wallMs()
    const record: TokenRecord = { name, role, hash, createdAtMs, expiresAtMs: createdAtMs + validMs }
    const key = tokenKey(name)
    const found = await records.read(key, (value) => decodeToken(name, value))
    // One that has ended holds its name for nobody.
    if (found !== undefined && found.value.expiresAtMs > createdAtMs) throw new HoldfastError('token-exists', { name })
    if (found === undefined && (await this.#records()).length >= TOKENS_MAX) {
      throw new HoldfastError('token-limit', { most: TOKENS_MAX })
    }
    if (await records.put(key, found?.version, encodeToken(record))) return this.#view(record)
    throw new HoldfastError('token-exists', { name })
  }

  async list(): Promise<{ tokens: Token[] }> {
    const found = await this.#records()
    return { tokens: found.sort((a, b) => (a.name < b.name ? -1 : 1)).map((record) => this.#view(record)) }
  }

  async revoke({ name }: { name: string }): Promise<object> {
    const { records } = this.#o
    if (!IDENTITY_NAME.test(name)) throw new HoldfastError('token-not-found', { name: shown(name) })
    // Also one that cannot be read.
    const found = await records.read(tokenKey(name), (value) => value)
    if (found === undefined) throw new HoldfastError('token-not-found', { name })
    await records.remove(tokenKey(name))
    return {}
  }

  #records(): Promise<TokenRecord[]> {
    return this.#o.records.list(TOKEN_PREFIX, decodeToken)
  }

  #view({ name, role, createdAtMs, expiresAtMs }: TokenRecord): Token {
    return { name, role, createdAtMs, expiresAtMs, clusterId: this.#o.clusterId }
  }
}

function refuse(parameter: string, value: string, allowed: string): never {
  throw new HoldfastError('parameter', { parameter, value: shown(value), allowed })
}
