/**
 * What wraps data keys: a key in a file, or one that a key server keeps and never shows. Commands use it, and nobody
 * else: a daemon opens volumes with what lies in its node's key folder, so it asks no server, and serves on, and starts
 * again, while the server is down.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto'
import { HoldfastError } from '../../engine/errors.ts'
import type { Secret } from '../../engine/secret.ts'
import type { Cipher, VolumeEncryption, WrappedKey } from '../../engine/volume/volume-encryption.ts'
import {
  checkWrappedBy, eraseKeys, newDataKey, rewrap, sharedKeys, unwrapDataKey, withWraps, wrapDataKey, wrapsOf,
} from './data-key.ts'
import type { KeyPlace, UnwrappedKeys } from './data-key.ts'
import type { KeptKey } from './key-folder.ts'
import { USER_KEY_BYTES, userKeyOf } from './user-key.ts'
import type { UserKey } from './user-key.ts'

export interface KeySource {
  /** As in `WrappedKey.wrappedBy`. */
  readonly id: string
  /** For that place: it opens in no other. @throws HoldfastError `kms-unreachable`, `kms-refused` */
  wrap(dataKey: Secret, place: KeyPlace): Promise<WrappedKey>
  /** Undefined: it was not wrapped by that key, for that place. @throws HoldfastError as `wrap` */
  unwrap(wrapped: WrappedKey, place: KeyPlace): Promise<Secret | undefined>
  /** The key itself, where it can be had. */
  readonly userKey?: UserKey
}

export const fileSource = (userKey: UserKey): KeySource => ({
  id: userKey.id,
  userKey,
  wrap: async (dataKey, place) => wrapDataKey(dataKey, userKey, place),
  unwrap: async (wrapped, place) => unwrapDataKey(wrapped, userKey, place),
})

/** Of a new volume: one data key, drawn here and forgotten. @throws HoldfastError as `wrap` */
export async function newEncryptionBy(cipher: Cipher, volumeId: string, by: KeySource): Promise<VolumeEncryption> {
  const dataKey = newDataKey()
  try {
    return { cipher, keys: [{ volumeId, dataKey: await by.wrap(dataKey, { cipher, volumeId, keyNumber: 1 }) }] }
  } finally {
    dataKey.erase()
  }
}

/**
 * All data keys of a volume; the caller erases them.
 * @throws HoldfastError `key-wrong`, `key-refused`, and as `unwrap`
 */
export async function openKeys(encryption: VolumeEncryption, by: KeySource, volume: string): Promise<UnwrappedKeys> {
  const opened: Array<Secret | undefined> = []
  try {
    for (const { wrapped, place } of wrapsOf(encryption)) {
      checkWrappedBy(wrapped, by.id, volume)
      opened.push(await by.unwrap(wrapped, place))
    }
  } catch (error) {
    for (const dataKey of opened) dataKey?.erase()
    throw error
  }
  return sharedKeys(encryption, opened, by.id, volume)
}

/**
 * The same data keys, wrapped by another key; each was opened with that once.
 * @throws HoldfastError as `wrap` and `openKeys`
 */
export async function rewrapBy(
  encryption: VolumeEncryption, { keys }: UnwrappedKeys, to: KeySource, volume: string,
): Promise<VolumeEncryption> {
  const wraps: WrappedKey[] = []
  for (const { place } of wrapsOf(encryption)) wraps.push(await to.wrap(keys[place.keyNumber - 1]!.dataKey, place))
  const next = withWraps(encryption, wraps)
  await checkOpens(next, keys, to, volume)
  return next
}

/**
 * One data key more, drawn here and forgotten, under which nobody writes yet; it was opened once.
 * @throws HoldfastError as `rewrapBy`
 */
export async function rekeyBy(
  former: VolumeEncryption, opened: UnwrappedKeys, by: KeySource, volume: string,
): Promise<VolumeEncryption> {
  const { cipher, keys } = former
  const { volumeId } = keys.at(-1)!
  const dataKey = newDataKey()
  try {
    const wrapped = await by.wrap(dataKey, { cipher, volumeId, keyNumber: keys.length + 1 })
    const next = { ...former, keys: [...keys, { volumeId, dataKey: wrapped }], writesUnder: keys.length }
    await checkOpens(next, [...opened.keys, { volumeId, dataKey }], by, volume)
    return next
  } finally {
    dataKey.erase()
  }
}

/** Wraps that do not open to these would be all that is left of them. */
async function checkOpens(
  encryption: VolumeEncryption, wanted: UnwrappedKeys['keys'], by: KeySource, volume: string,
): Promise<void> {
  const opened = await openKeys(encryption, by, volume)
  const isSame = opened.keys.every(({ dataKey }, i) => timingSafeEqual(dataKey.reveal(), wanted[i]!.dataKey.reveal()))
  eraseKeys(opened)
  if (!isSame) throw new HoldfastError('key-refused', { volume, wanted: by.id })
}

/**
 * What a node needs to open the volume without asking anyone. Of a key server's key: the data keys under a key that is
 * drawn here and lies beside them.
 */
export async function keptKeyOf(encryption: VolumeEncryption, by: KeySource, volume: string): Promise<KeptKey> {
  const opened = await openKeys(encryption, by, volume)
  try {
    if (by.userKey !== undefined) return { key: by.userKey, encryption }
    const key = userKeyOf(new Uint8Array(randomBytes(USER_KEY_BYTES)))
    return { key, encryption: rewrap(encryption, opened, key) }
  } finally {
    eraseKeys(opened)
  }
}
