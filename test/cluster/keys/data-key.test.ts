/**
 * Risk: a wrapped key opens where it does not belong, or with a key that did not wrap it; a user's key is taken from a
 * file that holds none; something secret stands in what is stored or said.
 */
import crypto, { randomBytes } from 'node:crypto'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import path from 'node:path'
import t from 'tap'
import {
  DATA_KEY_BYTES, newDataKey, newEncryption, rewrap, unwrapDataKey, unwrapKeys, wrapDataKey,
} from '../../../cluster/keys/data-key.ts'
import { makeKeyFile, readKeyFile, userKeyOf } from '../../../cluster/keys/user-key.ts'
import { decodeSpec } from '../../../cluster/store/volume-records.ts'
import { CIPHERS, encryptionOfClone, hasSameKeys, wrappedKeyOf } from '../../../engine/volume/volume-encryption.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

const ID = 'a0'.repeat(16)
const CLONE = 'b0'.repeat(16)
/** Of 32 bytes, as a raw key. */
const PASSPHRASE = 'an unguessable phrase of letter\n'
const aKey = () => userKeyOf(new Uint8Array(randomBytes(32)))

t.test('a wrapped key opens with its key, at its place, and nowhere else', async (t) => {
  const [key, other] = [aKey(), aKey()]
  const place = { cipher: 'aes-256-xts', volumeId: ID, keyNumber: 1 } as const
  const dataKey = newDataKey()
  const wrapped = wrapDataKey(dataKey, key, place)
  t.same(unwrapDataKey(wrapped, key, place)?.reveal(), dataKey.reveal())
  t.not(wrapDataKey(dataKey, key, place).wrapped, wrapped.wrapped, 'another nonce each time')
  t.equal(wrapped.wrappedBy, key.id)
  const stored = JSON.stringify(wrapped)
  for (const secret of [key.key, dataKey]) {
    const bytes = Buffer.from(secret.reveal())
    for (const form of ['hex', 'base64'] as const) t.notOk(stored.includes(bytes.toString(form)))
  }
  t.equal(unwrapDataKey(wrapped, other, place), undefined, 'another key')
  t.equal(unwrapDataKey(wrapped, { ...other, id: key.id }, place), undefined, 'another key that says it is this one')
  t.equal(unwrapDataKey(wrapped, key, { ...place, volumeId: CLONE }), undefined, 'another volume')
  t.equal(unwrapDataKey(wrapped, key, { ...place, keyNumber: 2 }), undefined, 'another number')
  t.equal(unwrapDataKey(wrapped, key, { ...place, cipher: 'aes-256-gcm' }), undefined, 'another cipher')
  const bytes = Buffer.from(wrapped.wrapped, 'base64')
  for (let at = 0; at < bytes.length; at++) {
    bytes[at]! ^= 1
    t.equal(unwrapDataKey({ ...wrapped, wrapped: bytes.toString('base64') }, key, place), undefined, `byte ${at}`)
    bytes[at]! ^= 1
  }
  t.equal(unwrapDataKey({ ...wrapped, wrapped: '' }, key, place), undefined)
})

t.test('a data key that was erased lies nowhere else', async (t) => {
  const seen: Buffer[] = []
  const drawn = crypto.randomBytes
  const update = crypto.Decipheriv.prototype.update as (data: Uint8Array) => Buffer
  const key = aKey()
  t.teardown(() => {
    crypto.randomBytes = drawn
    crypto.Decipheriv.prototype.update = update as never
    syncBuiltinESMExports()
  })
  crypto.randomBytes = ((bytes: number) => {
    const drawnNow = drawn(bytes)
    if (bytes === DATA_KEY_BYTES) seen.push(drawnNow)
    return drawnNow
  }) as typeof drawn
  crypto.Decipheriv.prototype.update = function (this: crypto.Decipheriv, data: Uint8Array) {
    const opened = update.call(this, data)
    seen.push(opened)
    return opened
  } as never
  syncBuiltinESMExports()
  const place = { cipher: 'aes-256-xts', volumeId: ID, keyNumber: 1 } as const
  const dataKey = newDataKey()
  const wrapped = wrapDataKey(dataKey, key, place)
  unwrapDataKey(wrapped, key, place)!.erase()
  t.equal(unwrapDataKey(wrapped, key, { ...place, keyNumber: 2 }), undefined)
  dataKey.erase()
  t.equal(seen.length, 3)
  for (const bytes of seen) t.ok(bytes.every((byte) => byte === 0))
})

t.test('a clone has the data key of its origin under its own id, and rewraps by itself', async (t) => {
  for (const cipher of CIPHERS) {
    const [key, other] = [aKey(), aKey()]
    const origin = newEncryption(cipher, ID, key)
    const clone = encryptionOfClone(origin, CLONE)
    const opened = unwrapKeys(clone, key, 'c')
    t.same(opened.keys.map(({ volumeId }) => volumeId), [ID, CLONE])
    t.equal(opened.keys[0]!.dataKey, opened.keys[1]!.dataKey)
    t.same(unwrapKeys(origin, key, 'o').keys[0]!.dataKey.reveal(), opened.keys[0]!.dataKey.reveal())
    const again = rewrap(clone, opened, other)
    t.ok(hasSameKeys(clone, again))
    t.notOk(hasSameKeys(clone, origin))
    t.equal(wrappedKeyOf(again).wrappedBy, other.id)
    t.same(unwrapKeys(again, other, 'c').keys[1]!.dataKey.reveal(), opened.keys[1]!.dataKey.reveal())
    t.equal(wrappedKeyOf(origin).wrappedBy, key.id, 'its origin has the former wrap')
    t.throws(() => unwrapKeys(again, key, 'c'), { code: 'key-wrong' })
    t.throws(() => unwrapKeys(again, { ...key, id: other.id }, 'c'), { code: 'key-refused' })
  }
})

t.test('in a spec it is what it says, or the spec is none: never a plain volume', async (t) => {
  const spec = {
    id: ID, name: 'v', sizeBytes: 2 ** 20, blockSizeBytes: 4096, replicas: 0, durability: 'durable', onFull: 'hold',
    ioTimeoutMs: 0, pool: 'default', diskTags: [],
  }
  const key = aKey()
  const encryption = newEncryption('aes-256-gcm', ID, key)
  t.same(decodeSpec(JSON.parse(JSON.stringify({ ...spec, encryption })))?.encryption, encryption)
  const clone = encryptionOfClone(newEncryption('aes-256-gcm', CLONE, key), ID)
  t.same(decodeSpec({ ...spec, encryption: clone })?.encryption, clone)
  const [first] = encryption.keys
  const wrong: unknown[] = [
    null, true, {}, { ...encryption, cipher: 'rot13' }, { ...encryption, keys: [] }, { ...encryption, keys: {} },
    { ...encryption, keys: [{ volumeId: ID }] }, { ...encryption, keys: [{ ...first, volumeId: CLONE }] },
    { ...encryption, keys: [{ ...first, volumeId: '../..' }] },
    { ...encryption, keys: [{ ...first, dataKey: { ...first!.dataKey, wrappedBy: 'me' } }] },
    { ...encryption, keys: [{ ...first, dataKey: { ...first!.dataKey, wrapped: 'AAAA' } }] },
    { ...encryption, keys: [first, { volumeId: CLONE }] },
  ]
  for (const one of wrong) t.equal(decodeSpec({ ...spec, encryption: one }), undefined, JSON.stringify(one))
})

t.test('a key file: raw, hex and base64 are the same key, and anything else is none', async (t) => {
  const dir = temporaryFolder(t)
  const file = path.join(dir, 'key')
  const key = randomBytes(32)
  const ids = new Set<string>()
  const hex = key.toString('hex')
  for (const content of [key, hex, `${hex.toUpperCase()}\n`, `${key.toString('base64')}\r\n`]) {
    writeFileSync(file, content)
    const read = readKeyFile(file)
    t.same(Buffer.from(read.key.reveal()), key)
    ids.add(read.id)
  }
  t.equal(ids.size, 1)
  t.match([...ids][0], /^[0-9a-f]{16}$/)
  t.notOk(hex.includes([...ids][0]!))
  for (const content of [
    '', 'correct horse battery staple', PASSPHRASE, key.subarray(1), Buffer.alloc(9000, 65), `${hex}  `,
  ]) {
    writeFileSync(file, content)
    t.throws(() => readKeyFile(file), { code: 'key-file' })
    try {
      readKeyFile(file)
    } catch (error) {
      t.notMatch((error as Error).message, /correct horse|AAAA|unguessable/, 'the sentence has nothing of it')
    }
  }
  t.throws(() => readKeyFile(path.join(dir, 'none')), { code: 'key-file' })
  t.throws(() => readKeyFile(dir), { code: 'key-file' })
})

t.test('a key is made once, for its owner alone', async (t) => {
  const file = path.join(temporaryFolder(t), 'cluster.key')
  makeKeyFile(file)
  const { id } = readKeyFile(file)
  const text = readFileSync(file, 'utf8')
  makeKeyFile(file)
  t.equal(readFileSync(file, 'utf8'), text, 'one that is there stays')
  t.equal(readKeyFile(file).id, id)
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.throws(() => makeKeyFile(path.join(file, 'x')), { code: 'key-file' })
})
