/**
 * AES-XTS and AES-GCM by the OpenSSL that is in Node itself, through koffi: a context keeps its key's schedule for as
 * long as it lives, and 4 KiB cost 0.5 us. A cipher object of `node:crypto` costs 12 us to make, has to be made for
 * each block, and cannot be given another tweak.
 *
 * What a call points into is looked at behind the call once more: so it is not collected before.
 *
 * A context is memory of OpenSSL that holds a key: whoever makes one frees it, which zeroes it, and uses it no more.
 * Nothing throws for what the world does; a key or a length that is none is a bug, and asserts.
 */
import koffi from 'koffi'
import { assert } from '../../engine/assert.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { addressOf } from '../../cluster/libc.ts'

export const XTS_KEY_BYTES = 64
export const GCM_KEY_BYTES = 32
export const TWEAK_BYTES = 16
export const NONCE_BYTES = 12
export const TAG_BYTES = 16

const EVP_CTRL_AEAD_GET_TAG = 0x10
const EVP_CTRL_AEAD_SET_TAG = 0x11

type Address = number | bigint

interface Libcrypto {
  newContext(): Address
  freeContext(context: Address): void
  xts(): Address
  gcm(): Address
  /** @param encrypt  -1: as before */
  init(context: Address, cipher: Address, engine: 0, key: number, iv: number, encrypt: -1 | 0 | 1): number
  update(context: Address, out: number, outBytes: number, from: number, fromBytes: number): number
  final(context: Address, out: number, outBytes: number): number
  control(context: Address, command: number, argument: number, pointer: number): number
}

function bind(): Libcrypto {
  const lib = koffi.load(null)
  return {
    newContext: lib.func('uint64_t EVP_CIPHER_CTX_new()'),
    freeContext: lib.func('void EVP_CIPHER_CTX_free(uint64_t context)'),
    xts: lib.func('uint64_t EVP_aes_256_xts()'),
    gcm: lib.func('uint64_t EVP_aes_256_gcm()'),
    init: lib.func(
      'int EVP_CipherInit_ex(uint64_t context, uint64_t cipher, uint64_t engine, uint64_t key, uint64_t iv, int way)',
    ),
    update: lib.func('int EVP_CipherUpdate(uint64_t context, uint64_t out, uint64_t taken, uint64_t from, int bytes)'),
    final: lib.func('int EVP_CipherFinal_ex(uint64_t context, uint64_t out, uint64_t outBytes)'),
    control: lib.func('int EVP_CIPHER_CTX_ctrl(uint64_t context, int command, int argument, uint64_t pointer)'),
  }
}

/** A tweak or nonce; filled by whoever calls, before each call. */
const iv = new Uint8Array(new ArrayBuffer(TWEAK_BYTES))
const ivWords = new Uint32Array(iv.buffer)
const ivAddress = addressOf(iv)
const outBytes = new Int32Array(new ArrayBuffer(8))
const outBytesAddress = addressOf(new Uint8Array(outBytes.buffer))
const tail = new Uint8Array(new ArrayBuffer(64))
const tailAddress = addressOf(tail)

let bound: Libcrypto | undefined

/** Once for a thread. @throws HoldfastError `cipher-unavailable`: this Node does not show its OpenSSL */
function libcrypto(): Libcrypto {
  if (bound !== undefined) return bound
  try {
    const lib = bind()
    checkKnownAnswer(lib)
    return (bound = lib)
  } catch (error) {
    throw new HoldfastError('cipher-unavailable', { reason: (error as Error).message })
  }
}

/**
 * Whoever will make contexts asks this where a refusal can be told; met later it is met in the middle of a write.
 * @throws HoldfastError `cipher-unavailable`
 */
export function requireCipher(): void {
  libcrypto()
}

/** Of NIST's vectors for XTS-AES-256, the first. */
const KNOWN = {
  key: '1ea661c58d943a0e4801e42f4b0947149e7f9f8e3e68d0c7505210bd311a0e7c'
    + 'd6e13ffdf2418d8d1911c004cda58da3d619b7e2b9141e58318eea392cf41b08',
  tweak: 'adf8d92627464ad2f0428e84a9f87564',
  plain: '2eedea52cd8215e1acc647e810bbc3642e87287f8d2e57e36c0a24fbc12a202e',
  cipher: 'cbaad0e2f6cea3f50b37f934d46a9b130b9d54f07e34f36af793e86f73c6d7db',
}

function checkKnownAnswer(lib: Libcrypto): void {
  const [key, plain] = [KNOWN.key, KNOWN.plain].map((text) => new Uint8Array(Buffer.from(text, 'hex')))
  iv.set(Buffer.from(KNOWN.tweak, 'hex'))
  const context = lib.newContext()
  lib.init(context, lib.xts(), 0, addressOf(key!), ivAddress, 1)
  lib.update(context, tailAddress, outBytesAddress, addressOf(plain!), plain!.length)
  lib.freeContext(context)
  if (Buffer.from(tail.subarray(0, plain!.length)).toString('hex') !== KNOWN.cipher)
    throw new Error('the AES-XTS of this OpenSSL gives a wrong answer')
}

/** Words of the tweak or nonce of the next call, little-endian. GCM takes the first three. */
export function setIv(first: number, second: number, third: number, fourth: number): void {
  ivWords[0] = first
  ivWords[1] = second
  ivWords[2] = third
  ivWords[3] = fourth
}

/** What of two pieces of memory a call is about; pieces of their own would cost as much as the call. */
export interface Unit {
  lengthBytes: number
  fromAt: number
  intoAt: number
}

const allOf = ({ length }: Uint8Array): Unit => ({ lengthBytes: length, fromAt: 0, intoAt: 0 })

class Context {
  protected readonly lib: Libcrypto
  protected context: Address

  /** @param key  copied: the caller may zero it */
  constructor(lib: Libcrypto, cipher: Address, key: Uint8Array, isEncrypting: boolean) {
    this.lib = lib
    this.context = lib.newContext()
    assert(this.context !== 0, 'there is memory for a cipher context')
    const isSet = lib.init(this.context, cipher, 0, addressOf(key), ivAddress, isEncrypting ? 1 : 0)
    assert(isSet === 1, 'a key of the right length, and for XTS of two different halves')
  }

  /** Repeatable. */
  free(): void {
    if (this.context !== 0) this.lib.freeContext(this.context)
    this.context = 0
  }
}

export class XtsContext extends Context {
  /** @param key  two different AES-256 keys, 64 B. @throws HoldfastError `cipher-unavailable` */
  constructor(key: Uint8Array, isEncrypting: boolean) {
    assert(key.length === XTS_KEY_BYTES, 'XTS has two keys of 32 B')
    const lib = libcrypto()
    super(lib, lib.xts(), key, isEncrypting)
  }

  /** One data unit of 16 B or more under the tweak of `setIv`. It may come to lie where it was. */
  run(from: Uint8Array, into: Uint8Array, { lengthBytes, fromAt, intoAt }: Unit = allOf(from)): void {
    const { lib, context } = this
    const hasRoom = fromAt + lengthBytes <= from.length && intoAt + lengthBytes <= into.length
    assert(context !== 0 && lengthBytes >= TWEAK_BYTES && hasRoom, 'a context and room for a unit')
    const isSet = lib.init(context, 0, 0, 0, ivAddress, -1)
    assert(isSet === 1, 'a tweak is any 16 bytes')
    const ok = lib.update(context, addressOf(into) + intoAt, outBytesAddress, addressOf(from) + fromAt, lengthBytes)
    const isThere = from.length > 0 && into.length > 0
    assert(ok === 1 && outBytes[0] === lengthBytes && isThere, 'XTS takes any unit of 16 B or more')
  }
}

export class GcmContext extends Context {
  readonly #isEncrypting: boolean

  /** @param key  an AES-256 key, 32 B. @throws HoldfastError `cipher-unavailable` */
  constructor(key: Uint8Array, isEncrypting: boolean) {
    assert(key.length === GCM_KEY_BYTES, 'GCM has one key of 32 B')
    const lib = libcrypto()
    super(lib, lib.gcm(), key, isEncrypting)
    this.#isEncrypting = isEncrypting
  }

  /**
   * Under the nonce of `setIv`, never the same twice when it encrypts.
   * @param tag  16 B: filled when it encrypts, else what has to fit
   * @returns false: the tag does not fit, and nobody may look at `into`
   */
  run(aad: Uint8Array, from: Uint8Array, into: Uint8Array, tag: Uint8Array, unit = allOf(from)): boolean {
    const { lib, context } = this
    const { lengthBytes, fromAt, intoAt } = unit
    const hasRoom = fromAt + lengthBytes <= from.length && intoAt + lengthBytes <= into.length
    assert(context !== 0 && hasRoom && tag.length === TAG_BYTES, 'a context, room and a tag')
    const isSet = lib.init(context, 0, 0, 0, ivAddress, -1)
    assert(isSet === 1, 'a nonce is any 12 bytes')
    const isCovered = lib.update(context, 0, outBytesAddress, addressOf(aad), aad.length)
    assert(isCovered === 1 && outBytes[0] === aad.length, 'GCM covers any length')
    const ok = lib.update(context, addressOf(into) + intoAt, outBytesAddress, addressOf(from) + fromAt, lengthBytes)
    assert(ok === 1 && outBytes[0] === lengthBytes && from.length >= lengthBytes, 'GCM takes any length')
    if (!this.#isEncrypting) {
      lib.control(context, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, addressOf(tag))
      return lib.final(context, tailAddress, outBytesAddress) === 1 && tag.length === TAG_BYTES && into.length > 0
    }
    assert(lib.final(context, tailAddress, outBytesAddress) === 1, 'an encryption ends well')
    const hasTag = lib.control(context, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, addressOf(tag))
    assert(hasTag === 1 && tag.length === TAG_BYTES && into.length > 0, 'there is a tag then')
    return true
  }
}
