/**
 * Data keys, wrapped and not (ENCRYPTION.md section 1): AES-256-GCM under a user's key, bound to cipher, volume and key
 * number, so that none opens in another place than the one it was made for.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { HoldfastError } from '../../engine/errors.ts'
import { Secret } from '../../engine/secret.ts'
import type { Cipher, VolumeEncryption, WrappedKey } from '../../engine/volume/volume-encryption.ts'
import type { UserKey } from './user-key.ts'

export const DATA_KEY_BYTES = 64
const NONCE_BYTES = 12
const TAG_BYTES = 16

/** The only place where a wrapped key opens. */
export interface KeyPlace {
  cipher: Cipher
  volumeId: string
  keyNumber: number
}

/** No copy, which nobody would zero. */
const memoryOf = ({ buffer, byteOffset, length }: Buffer): Uint8Array => new Uint8Array(buffer, byteOffset, length)

export const newDataKey = (): Secret => new Secret(memoryOf(randomBytes(DATA_KEY_BYTES)))

const boundTo = ({ cipher, volumeId, keyNumber }: KeyPlace): Buffer =>
  Buffer.from(`holdfast data key 1 ${cipher} ${volumeId} ${keyNumber}`)

export function wrapDataKey(dataKey: Secret, by: UserKey, place: KeyPlace): WrappedKey {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv('aes-256-gcm', by.key.reveal(), nonce).setAAD(boundTo(place))
  const wrapped = Buffer.concat([nonce, cipher.update(dataKey.reveal()), cipher.final(), cipher.getAuthTag()])
  return { wrappedBy: by.id, wrapped: wrapped.toString('base64') }
}

/** Undefined: it was not wrapped by that key, for that place. */
export function unwrapDataKey({ wrapped }: WrappedKey, by: UserKey, place: KeyPlace): Secret | undefined {
  const bytes = Buffer.from(wrapped, 'base64')
  if (bytes.length !== NONCE_BYTES + DATA_KEY_BYTES + TAG_BYTES) return undefined
  const end = NONCE_BYTES + DATA_KEY_BYTES
  const decipher = createDecipheriv('aes-256-gcm', by.key.reveal(), bytes.subarray(0, NONCE_BYTES))
    .setAAD(boundTo(place))
    .setAuthTag(bytes.subarray(end))
  const dataKey = new Secret(memoryOf(decipher.update(bytes.subarray(NONCE_BYTES, end))))
  try {
    decipher.final()
    return dataKey
  } catch {
    dataKey.erase()
    return undefined
  }
}

/** Of a new volume: one data key, drawn here and forgotten. */
export function newEncryption(cipher: Cipher, volumeId: string, by: UserKey): VolumeEncryption {
  const dataKey = newDataKey()
  try {
    return { cipher, keys: [{ volumeId, dataKey: wrapDataKey(dataKey, by, { cipher, volumeId, keyNumber: 1 }) }] }
  } finally {
    dataKey.erase()
  }
}

/** By key number - 1. Those who share a data key have the same `Secret`. */
export type UnwrappedKeys = { cipher: Cipher; keys: Array<{ volumeId: string; dataKey: Secret }> }

/**
 * All data keys of a volume; the caller erases them.
 * @param volume  its name, for the sentence
 * @throws HoldfastError `key-wrong`: they are wrapped by another key; `key-refused`: one does not open with it
 */
export function unwrapKeys(encryption: VolumeEncryption, by: UserKey, volume: string): UnwrappedKeys {
  const { cipher } = encryption
  const keys: UnwrappedKeys['keys'] = []
  for (const [i, { volumeId, dataKey: wrapped }] of encryption.keys.entries()) {
    let dataKey = keys[i - 1]?.dataKey
    if (wrapped !== undefined) {
      if (wrapped.wrappedBy !== by.id)
        throw new HoldfastError('key-wrong', { volume, found: by.id, wanted: wrapped.wrappedBy })
      dataKey = unwrapDataKey(wrapped, by, { cipher, volumeId, keyNumber: i + 1 })
    }
    if (dataKey === undefined) throw new HoldfastError('key-refused', { volume, wanted: by.id })
    keys.push({ volumeId, dataKey })
  }
  return { cipher, keys }
}

/**
 * The newest data key of a volume, wrapped by another key.
 * @throws HoldfastError `key-wrong`, `key-refused`
 */
export function rewrap(encryption: VolumeEncryption, from: UserKey, to: UserKey, volume: string): WrappedKey {
  const { cipher, keys } = unwrapKeys(encryption, from, volume)
  const index = encryption.keys.findLastIndex(({ dataKey }) => dataKey !== undefined)
  const { volumeId, dataKey } = keys[index]!
  try {
    return wrapDataKey(dataKey, to, { cipher, volumeId, keyNumber: index + 1 })
  } finally {
    for (const one of keys) one.dataKey.erase()
  }
}
