/**
 * Key files, wrapped keys, certificates and who they name. Promises: each is a key, or refused in words; nothing that
 * was not wrapped opens; a certificate names one identity or says why none.
 */
import { createHash, X509Certificate } from 'node:crypto'
import { assert } from '../../../engine/assert.ts'
import { unwrapDataKey, unwrapKeys } from '../../../cluster/keys/data-key.ts'
import { keptCheckValues, keptKeyOf } from '../../../cluster/keys/key-folder.ts'
import { decodeKey, userKeyOf } from '../../../cluster/keys/user-key.ts'
import { decodeEncryption } from '../../../cluster/store/volume-records.ts'
import { makeAuthority } from '../../../cluster/tls/certificate.ts'
import { CLUSTER_ID, identityOf, identityUri } from '../../../cluster/tls/identity.ts'
import { isText } from '../../../engine/value-shape.ts'
import { chosen, oneOf } from '../target.ts'
import type { Target } from '../target.ts'

const VOLUME = '22'.repeat(16)
/** Not the one under which inputs of the corpus were wrapped once: those would open. */
const user = userKeyOf(new Uint8Array(32).fill(11))
const place = { cipher: 'aes-256-xts', volumeId: VOLUME, keyNumber: 1 } as const
/** Wrapped once and for all: what each process made anew would be forged for the next one, and open all the same. */
const GENUINE = 'HS03GlnCzQY+7SjdevB0kKg6FW3qHglVfcUVQF18BXIwQU8l7q4eFk0BuwoNGRwcb84KHIH0rKD8NbHoXMFjgsBFmM8aQyk+F6rX'
  + 'H3E7twQw0UKKq1WahgcFl8k='
const ENCRYPTION = {
  cipher: 'aes-256-xts', keys: [{ volumeId: VOLUME, dataKey: { wrappedBy: user.id, wrapped: GENUINE } }],
} as const
assert(unwrapDataKey(ENCRYPTION.keys[0].dataKey, user, place) !== undefined, 'what is genuine opens')
const CA = makeAuthority({
  commonName: 'test', nowMs: Date.now(), validMs: 3_600_000,
  uri: identityUri({ clusterId: VOLUME, role: 'admin', name: 'ca' }),
}).certificate

const DECODERS = [
  (bytes: Buffer) => {
    const key = decodeKey(bytes)
    assert(key === undefined || key.length === 32, 'a key has 32 bytes')
  },
  (bytes: Buffer) => {
    const wrapped = bytes.toString('latin1')
    const opened = unwrapDataKey({ wrappedBy: user.id, wrapped }, user, place)
    const isGenuine = Buffer.from(wrapped, 'base64').equals(Buffer.from(GENUINE, 'base64'))
    assert(opened === undefined || isGenuine, 'only what was wrapped opens')
  },
  (bytes: Buffer) => {
    let value: unknown
    try {
      value = JSON.parse(bytes.toString())
    } catch {
      return
    }
    const encryption = decodeEncryption(value, VOLUME)
    if (encryption !== undefined) unwrapKeys(encryption, user, 'v')
  },
  (bytes: Buffer) => identityOf({ subjectAltName: bytes.toString() } as X509Certificate),
  (bytes: Buffer) => {
    let certificate: X509Certificate
    try {
      certificate = new X509Certificate(bytes)
    } catch {
      return
    }
    const identity = identityOf(certificate)
    assert(typeof identity === 'string' || CLUSTER_ID.test(identity.clusterId), 'who is named has a cluster')
  },
  (bytes: Buffer) => {
    const kept = keptKeyOf(VOLUME, bytes)
    if (kept !== undefined) assert(keptCheckValues(kept).every(isText), 'what it opens has check values')
  },
] as const

export const target: Target = {
  parsers: [
    'cluster/keys/key-folder.ts', 'cluster/keys/user-key.ts', 'cluster/keys/data-key.ts', 'cluster/tls/identity.ts',
  ],
  seeds: () => [
    chosen(0, createHash('sha256').update('k').digest()), chosen(0, `${'ab'.repeat(32)}\n`),
    chosen(0, `${'A'.repeat(43)}=`), chosen(1, GENUINE), chosen(2, JSON.stringify(ENCRYPTION)),
    chosen(3, `URI:${identityUri({ clusterId: VOLUME, role: 'node', name: 'n1' })}, DNS:n1`),
    chosen(4, CA), chosen(4, new X509Certificate(CA).raw),
    chosen(5, Buffer.concat([Buffer.alloc(32, 11), Buffer.from(JSON.stringify(ENCRYPTION))])),
  ],
  words: ['URI:holdfast://cluster/', ', ', '"', 'null', '{}', '[]'],
  execute: (input) => oneOf(input, DECODERS),
}
