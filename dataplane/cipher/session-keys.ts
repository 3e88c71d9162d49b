/**
 * Session keys and their contexts (ENCRYPTION.md sections 1 and 2). The salt of a session is drawn by who begins to
 * write, so no two sessions have the same key, whatever generations, counters or clocks were lost or given twice.
 *
 * Contexts to read with are kept by salt, the least recently begun one goes first: their number is bounded, whatever
 * headers a copy answers with.
 */
import { hkdfSync, randomBytes } from 'node:crypto'
import { assert } from '../../engine/assert.ts'
import type { UnwrappedKeys } from '../../cluster/keys/data-key.ts'
import { GCM_KEY_BYTES, GcmContext, XTS_KEY_BYTES, XtsContext } from './libcrypto.ts'

export const SALT_BYTES = 16
/** Blocks under one salt: 2^40 AES blocks of whole blocks. */
export const SESSION_BLOCKS_MAX = 2 ** 32
const READ_CONTEXTS_MAX = 256

export type SessionContext = { cipher: 'aes-256-xts'; xts: XtsContext } | { cipher: 'aes-256-gcm'; gcm: GcmContext }

export interface WriteSession {
  keyNumber: number
  salt: Uint8Array
  context: SessionContext
}

const free = (context: SessionContext): void => ('xts' in context ? context.xts : context.gcm).free()

export class SessionKeys {
  opened: UnwrappedKeys
  /** By key number and salt, as the bytes of a string. */
  readonly #reading = new Map<string, SessionContext>()
  #isClosed = false

  constructor(opened: UnwrappedKeys) {
    assert(opened.keys.length > 0, 'a volume has a key')
    this.opened = opened
  }

  get writesUnder(): number {
    return this.opened.writesUnder ?? this.opened.keys.length
  }

  /** The same keys, and perhaps more: ENCRYPTION.md section 6. */
  renew(opened: UnwrappedKeys): void {
    assert(!this.#isClosed && opened.keys.length >= this.opened.keys.length, 'no entry is taken out')
    const former = this.opened
    this.opened = opened
    for (const { dataKey } of former.keys) dataKey.erase()
  }

  /** Under a salt that nobody had before; to be freed by who uses it. */
  beginWriting(): WriteSession {
    const keyNumber = this.writesUnder
    const salt = randomBytes(SALT_BYTES)
    return { keyNumber, salt, context: this.#contextOf(keyNumber, salt, true) }
  }

  /** @returns undefined when the volume has no such key. Valid until the next call. */
  reading(keyNumber: number, salt: Uint8Array): SessionContext | undefined {
    if (keyNumber < 1 || keyNumber > this.opened.keys.length) return undefined
    const id = `${keyNumber} ${Buffer.from(salt.buffer, salt.byteOffset, SALT_BYTES).toString('latin1')}`
    const known = this.#reading.get(id)
    if (known !== undefined) return known
    if (this.#reading.size >= READ_CONTEXTS_MAX) {
      const [oldest, context] = this.#reading.entries().next().value!
      this.#reading.delete(oldest)
      free(context)
    }
    const context = this.#contextOf(keyNumber, salt, false)
    this.#reading.set(id, context)
    return context
  }

  endWriting({ context }: WriteSession): void {
    free(context)
  }

  /** No context is used after that; data keys are zeroed. */
  close(): void {
    this.#isClosed = true
    for (const context of this.#reading.values()) free(context)
    this.#reading.clear()
    for (const { dataKey } of this.opened.keys) dataKey.erase()
  }

  #contextOf(keyNumber: number, salt: Uint8Array, isEncrypting: boolean): SessionContext {
    assert(!this.#isClosed, 'no session begins under a key that was zeroed')
    const { cipher, keys } = this.opened
    const { volumeId, dataKey } = keys[keyNumber - 1]!
    const info = Buffer.alloc(20)
    info.write(volumeId, 'hex')
    info.writeUInt32LE(keyNumber, 16)
    const label = Buffer.concat([Buffer.from(`holdfast 1 ${cipher}\0`), info])
    const lengthBytes = cipher === 'aes-256-xts' ? XTS_KEY_BYTES : GCM_KEY_BYTES
    const key = new Uint8Array(hkdfSync('sha256', dataKey.reveal(), salt, label, lengthBytes))
    try {
      return cipher === 'aes-256-xts'
        ? { cipher, xts: new XtsContext(key, isEncrypting) }
        : { cipher, gcm: new GcmContext(key, isEncrypting) }
    } finally {
      key.fill(0)
    }
  }
}
