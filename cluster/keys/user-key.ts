/**
 * A key that wraps data keys: of a user, or of a cluster. It is 32 random bytes in a file; never a passphrase, which
 * would be guessed off a stolen disk: 32 bytes that are all text are refused, too.
 */
import { createHmac, randomBytes } from 'node:crypto'
import { closeSync, openSync, readSync, writeFileSync } from 'node:fs'
import { HoldfastError } from '../../engine/errors.ts'
import { Secret } from '../../engine/secret.ts'

export const USER_KEY_BYTES = 32
/** A longer file is none; nobody reads all of a disk that was named by mistake. */
const FILE_BYTES_MAX = 256

export interface UserKey {
  /** 16 hex digits. It tells nothing of the key. */
  id: string
  key: Secret
}

/** @param bytes  32 of them, the key's from now on */
export function userKeyOf(bytes: Uint8Array): UserKey {
  const id = createHmac('sha256', bytes).update('holdfast key id').digest('hex').slice(0, 16)
  return { id, key: new Secret(bytes) }
}

/**
 * Raw, as hex digits, or as base64; these two with or without an end of line.
 * @throws HoldfastError `key-file`
 */
export function readKeyFile(file: string): UserKey {
  const bytes = new Uint8Array(FILE_BYTES_MAX)
  try {
    const found = bytes.subarray(0, readFirst(file, bytes))
    const key = decodeKey(found)
    if (key === undefined) {
      const reason = found.length === USER_KEY_BYTES ? 'its 32 bytes are text, as of a passphrase'
        : `it has ${found.length === FILE_BYTES_MAX ? 'too many' : found.length} bytes that are no key`
      throw new HoldfastError('key-file', { file, reason })
    }
    return userKeyOf(key)
  } finally {
    bytes.fill(0)
  }
}

function readFirst(file: string, into: Uint8Array): number {
  try {
    const fd = openSync(file, 'r')
    try {
      return readSync(fd, into, 0, into.length, 0)
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    throw new HoldfastError('key-file', { file, reason: (error as Error).message })
  }
}

/** 32 bytes as they are, as hex or as base64; undefined: none of these. */
export function decodeKey(found: Uint8Array): Uint8Array | undefined {
  if (found.length === USER_KEY_BYTES) return found.every(isText) ? undefined : found.slice()
  const text = Buffer.from(found.buffer, found.byteOffset, found.length).toString('latin1').replace(/\r?\n$/, '')
  if (/^[0-9a-f]{64}$/i.test(text)) return decoded(text, 'hex')
  if (/^[0-9a-z+/]{43}=$/i.test(text)) return decoded(text, 'base64')
  return undefined
}

/** Printable ASCII or white space. 32 random bytes are all so once in 10^13. */
const isText = (byte: number): boolean => (byte >= 0x20 && byte < 0x7f) || (byte >= 0x09 && byte <= 0x0d)

/** Not in memory that buffers share. */
function decoded(text: string, encoding: 'hex' | 'base64'): Uint8Array {
  const key = new Uint8Array(USER_KEY_BYTES)
  Buffer.from(key.buffer).write(text, encoding)
  return key
}

/** A new key, unless there is a file: one that was there stays. @throws HoldfastError `key-file` */
export function makeKeyFile(file: string): void {
  try {
    writeFileSync(file, `${randomBytes(USER_KEY_BYTES).toString('hex')}\n`, { mode: 0o600, flag: 'wx' })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code !== 'EEXIST') throw new HoldfastError('key-file', { file, reason: message })
  }
}
