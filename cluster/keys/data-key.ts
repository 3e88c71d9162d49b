/**
 * Data keys, wrapped and not (ENCRYPTION.md section 1): AES-256-GCM under a user's key, bound to cipher, volume and key
 * number, so that none opens in another place than the one it was made for.
 */
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto'
import { HoldfastError } from '../../engine/errors.ts'
import { Secret } from '../../engine/secret.ts'
import { newestFrom } from '../../engine/volume/volume-encryption.ts'
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

/** What a wrap is bound to. */
export const boundTo = ({ cipher, volumeId, keyNumber }: KeyPlace): Buffer =>
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

export interface UnwrappedKeys {
  cipher: Cipher
  /** By key number - 1. Those who share a data key have the same `Secret`. */
  keys: Array<{ volumeId: string; dataKey: Secret }>
  /** Key number of what is written; absent: the last. */
  writesUnder?: number
  /** Least key number under the newest data key; absent: 1. */
  newestFrom?: number
}

/**
 * All data keys of a volume; the caller erases them.
 * @param volume  its name, for the sentence
 * @throws HoldfastError `key-wrong`: they are wrapped by another key; `key-refused`: one does not open with it
 */
export function unwrapKeys(encryption: VolumeEncryption, by: UserKey, volume: string): UnwrappedKeys {
  const opened = wrapsOf(encryption).map(({ wrapped, place }) => {
    checkWrappedBy(wrapped, by.id, volume)
    return unwrapDataKey(wrapped, by, place)
  })
  return sharedKeys(encryption, opened, by.id, volume)
}

/** Each wrapped key of a spec, and where it opens. */
export const wrapsOf = ({ cipher, keys }: VolumeEncryption): Array<{ wrapped: WrappedKey; place: KeyPlace }> =>
  keys.flatMap(({ volumeId, dataKey: wrapped }, i) =>
    wrapped === undefined ? [] : [{ wrapped, place: { cipher, volumeId, keyNumber: i + 1 } }])

/** @throws HoldfastError `key-wrong` */
export function checkWrappedBy({ wrappedBy: wanted }: WrappedKey, found: string, volume: string): void {
  if (wanted !== found) throw new HoldfastError('key-wrong', { volume, found, wanted })
}

/**
 * By key number, out of what `wrapsOf` named; entries without one have that of the entry before.
 * @throws HoldfastError `key-refused`: one did not open; the others are erased
 */
export function sharedKeys(
  encryption: VolumeEncryption, opened: ReadonlyArray<Secret | undefined>, by: string, volume: string,
): UnwrappedKeys {
  if (opened.length === 0 || opened.includes(undefined)) {
    for (const dataKey of opened) dataKey?.erase()
    throw new HoldfastError('key-refused', { volume, wanted: by })
  }
  const { cipher, keys, writesUnder } = encryption
  let next = 0
  const unwrapped = keys.map(({ volumeId, dataKey }) => {
    if (dataKey !== undefined) next++
    return { volumeId, dataKey: opened[next - 1]! }
  })
  const under = writesUnder === undefined ? {} : { writesUnder }
  return { cipher, keys: unwrapped, ...under, newestFrom: newestFrom(encryption) }
}

/** The same data keys, each wrapped anew. @param wraps  in the order of `wrapsOf` */
export function withWraps(encryption: VolumeEncryption, wraps: readonly WrappedKey[]): VolumeEncryption {
  let next = 0
  const keys = encryption.keys.map((key) => (key.dataKey === undefined ? key : { ...key, dataKey: wraps[next++]! }))
  return { ...encryption, keys }
}

export const rewrap = (encryption: VolumeEncryption, { keys }: UnwrappedKeys, to: UserKey): VolumeEncryption =>
  withWraps(
    encryption, wrapsOf(encryption).map(({ place }) => wrapDataKey(keys[place.keyNumber - 1]!.dataKey, to, place)),
  )

/**
 * By key number - 1: 32 hex digits that tell each data key from any other one, and nothing else of it, since it is 64
 * random bytes.
 */
export const checkValuesOf = ({ keys }: UnwrappedKeys): string[] =>
  keys.map(({ dataKey }) =>
    createHmac('sha256', dataKey.reveal()).update('holdfast data key check value').digest('hex').slice(0, 32))

export function eraseKeys(opened: UnwrappedKeys | undefined): void {
  for (const { dataKey } of opened?.keys ?? []) dataKey.erase()
}
