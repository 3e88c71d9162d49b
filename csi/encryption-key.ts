/**
 * The key of an encrypted volume out of the secrets that a StorageClass names for CSI: `encryption-key`, 32 bytes in
 * hex or base64. The controller wraps the data key of a new volume with it (provisioner secret), and a node unlocks the
 * volume with it (node-stage secret). The text itself cannot be erased; it is never logged (shown-request.ts).
 */
import { decodeKey, userKeyOf } from '../cluster/keys/user-key.ts'
import type { UserKey } from '../cluster/keys/user-key.ts'
import { invalid } from './refusal.ts'

export const KEY_SECRET = 'encryption-key'

/** To be erased by the caller; undefined: none is given, and the cluster key is meant. @throws CsiRefusal */
export function keyOfSecrets(secrets: Readonly<Record<string, string>>): UserKey | undefined {
  const text = Object.hasOwn(secrets, KEY_SECRET) ? secrets[KEY_SECRET] : undefined
  if (text === undefined) return undefined
  const bytes = Buffer.from(text)
  try {
    // Raw bytes do not survive as text.
    const key = bytes.length === 32 ? undefined : decodeKey(bytes)
    if (key !== undefined) return userKeyOf(key)
  } finally {
    bytes.fill(0)
  }
  throw invalid(`the secret's \`${KEY_SECRET}\` is no key: give 32 random bytes in hex or base64, as `
    + '`openssl rand -hex 32` makes them, and keep a copy: without it the data is lost')
}
