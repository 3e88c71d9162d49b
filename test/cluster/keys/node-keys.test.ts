/**
 * Risk: a node opens a volume with another key than it wants, does not find one that it has, forgets one after a
 * rewrap, or leaves keys where others look.
 */
import { randomBytes } from 'node:crypto'
import {
  chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync,
} from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { newDataKey, newEncryption, rewrap, unwrapKeys, wrapDataKey } from '../../../cluster/keys/data-key.ts'
import { KeyFolder } from '../../../cluster/keys/key-folder.ts'
import { NodeKeys } from '../../../cluster/keys/node-keys.ts'
import { userKeyOf } from '../../../cluster/keys/user-key.ts'
import type { UserKey } from '../../../cluster/keys/user-key.ts'
import { requireCipher } from '../../../dataplane/cipher/libcrypto.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import type { VolumeSpec } from '../../../engine/volume/volume-spec.ts'
import { encryptionOfClone } from '../../../engine/volume/volume-encryption.ts'
import type { VolumeEncryption } from '../../../engine/volume/volume-encryption.ts'

const ID = 'a0'.repeat(16)
const aKey = () => userKeyOf(new Uint8Array(randomBytes(32)))
const again = ({ key }: UserKey) => userKeyOf(key.reveal().slice())
const specOf = (encryption: VolumeEncryption): VolumeSpec => ({
  id: ID, name: 'v', sizeBytes: 2 ** 20, blockSizeBytes: 4096, replicas: 0, durability: 'durable', onFull: 'hold',
  ioTimeoutMs: 0, pool: 'default', diskTags: [], encryption,
})

/** In memory, as the real one, and under a parent of its own. */
function folderOf(t: Test): KeyFolder {
  const parent = mkdtempSync('/dev/shm/holdfast-test-')
  t.teardown(() => rmSync(parent, { recursive: true }))
  return new KeyFolder('0f'.repeat(16), parent)
}

t.test('a volume opens with the key that it wants', async (t) => {
  const folder = folderOf(t)
  const [own, cluster] = [aKey(), aKey()]
  const without = new NodeKeys({ node: 'n1', folder, cluster: undefined, requireCipher })
  const keys = new NodeKeys({ node: 'n1', folder, cluster, requireCipher })
  t.equal(keys.open({ ...specOf(newEncryption('aes-256-xts', ID, own)), encryption: undefined as never }), undefined)
  const ofCluster = specOf(newEncryption('aes-256-xts', ID, cluster))
  t.equal(keys.open(ofCluster)?.keys.length, 1)
  t.match(without.whyLocked(ofCluster), { code: 'key-missing', detail: { wanted: cluster.id, node: 'n1' } })
  const encryption = newEncryption('aes-256-gcm', ID, own)
  t.match(keys.whyLocked(specOf(encryption)), { code: 'key-missing', detail: { wanted: own.id } })
  folder.put(ID, { key: again(own), encryption })
  t.equal(keys.whyLocked(specOf(encryption)), undefined)
  t.equal(keys.open(specOf(encryption))?.cipher, 'aes-256-gcm')
  keys.forget(ID)
  t.match(keys.whyLocked(specOf(encryption)), { code: 'key-missing' })
  t.same(readdirSync(folder.dir), [`${ID}.was`], 'that it was there is left, and nothing else')
  keys.forget(ID)
  folder.put(ID, { key: again(own), encryption })
  t.equal(keys.whyLocked(specOf(encryption)), undefined, 'and it is unlocked again')
})

t.test('a volume that was unlocked here is not plain, whatever its spec says', async (t) => {
  const folder = folderOf(t)
  const key = aKey()
  const encryption = newEncryption('aes-256-xts', ID, key)
  const keys = new NodeKeys({ node: 'n1', folder, cluster: undefined, requireCipher })
  const { encryption: _, ...plain } = specOf(encryption)
  folder.put(ID, { key: again(key), encryption })
  t.throws(() => keys.open(plain), { code: 'key-refused', detail: { volume: 'v', wanted: key.id } })
  t.match(keys.whyLocked(plain), { code: 'key-refused' })
  t.equal(keys.whyLocked({ ...plain, id: 'b0'.repeat(16) }), undefined, 'another one is')
  t.equal(keys.whyLocked(specOf(encryption)), undefined)
  chmodSync(folder.dir, 0o755)
  t.equal(keys.whyLocked(plain), undefined, 'a folder that is not ours says nothing')
  chmodSync(folder.dir, 0o700)
  keys.forget(ID)
  t.throws(() => keys.open(plain), { code: 'key-refused' }, 'nor when its key was forgotten')
  folder.put(ID, { key: again(key), encryption })
  rmSync(path.join(folder.dir, `${ID}.was`))
  t.equal(folder.remove(ID), true)
  t.match(keys.whyLocked(plain), { code: 'key-refused' }, 'nor when it was locked, and unlocked by a version of before')
  t.match(keys.whyLocked(specOf(encryption)), { code: 'key-missing' })
  t.same(readdirSync(folder.dir), [`${ID}.was`])
  t.equal(folder.checkValues(ID)?.length, 1, 'with what its data key is known by')
  chmodSync(folder.dir, 0o755)
  t.equal(keys.whyLocked(plain), undefined, 'a folder that is not ours still says nothing')
  rmSync(folder.dir, { recursive: true })
  t.equal(keys.whyLocked(plain), undefined, 'a reboot empties it')
})

t.test('where nothing can be encrypted, it is refused before anybody writes', async (t) => {
  const cluster = aKey()
  const refuse = (): never => {
    throw new HoldfastError('cipher-unavailable', { reason: 'no OpenSSL' })
  }
  const keys = new NodeKeys({ node: 'n1', folder: folderOf(t), cluster, requireCipher: refuse })
  const spec = specOf(newEncryption('aes-256-xts', ID, cluster))
  t.match(keys.tryOpen(spec), { ok: false, error: { code: 'cipher-unavailable' } })
  t.match(keys.whyLocked(spec), { code: 'cipher-unavailable' })
  const { encryption: _, ...plain } = spec
  t.equal(keys.whyLocked(plain), undefined)
})

t.test('after a rewrap, and a restart, it still opens with what was given', async (t) => {
  const folder = folderOf(t)
  const [former, next] = [aKey(), aKey()]
  const encryption = newEncryption('aes-256-xts', ID, former)
  folder.put(ID, { key: again(former), encryption })
  const keys = new NodeKeys({ node: 'n1', folder, cluster: undefined, requireCipher })
  const dataKey = keys.open(specOf(encryption))!.keys[0]!.dataKey.reveal().slice()
  const wrappedAnew = rewrap(encryption, unwrapKeys(encryption, former, 'v'), next)
  t.same(keys.open(specOf(wrappedAnew))!.keys[0]!.dataKey.reveal(), dataKey)
  folder.put(ID, { key: again(next), encryption: wrappedAnew })
  t.same(keys.open(specOf(wrappedAnew))!.keys[0]!.dataKey.reveal(), dataKey)
  const other = encryptionOfClone(newEncryption('aes-256-xts', 'c0'.repeat(16), next), ID)
  folder.put(ID, { key: again(former), encryption })
  t.match(keys.whyLocked(specOf(other)), { code: 'key-missing' }, 'of what is not the same volume nothing is opened')
})

t.test('a rekey takes effect where other wraps than those of the spec are kept', async (t) => {
  const folder = folderOf(t)
  const [server, random, later] = [aKey(), aKey(), aKey()]
  const first = newEncryption('aes-256-xts', ID, server)
  const place = { cipher: first.cipher, volumeId: ID, keyNumber: 2 }
  const entries = [...first.keys, { volumeId: ID, dataKey: wrapDataKey(newDataKey(), server, place) }]
  const begun: VolumeEncryption = { cipher: first.cipher, keys: entries, writesUnder: 1 }
  const known: VolumeEncryption = { cipher: first.cipher, keys: entries }
  // As for a key server's key: the same data keys, under a key that lies beside them.
  folder.put(ID, { key: again(random), encryption: rewrap(begun, unwrapKeys(begun, server, 'v'), random) })
  const keys = new NodeKeys({ node: 'n1', folder, cluster: undefined, requireCipher })
  t.match(keys.open(specOf(begun)), { writesUnder: 1, newestFrom: 2 })
  t.match(keys.open(specOf(known)), { writesUnder: undefined, newestFrom: 2 })
  folder.put(ID, { key: again(server), encryption: begun })
  const rewrapped = rewrap(known, unwrapKeys(known, server, 'v'), later)
  t.match(keys.open(specOf(rewrapped)), { writesUnder: undefined }, 'wrapped anew elsewhere since')
  folder.put(ID, { key: again(server), encryption: known })
  t.match(keys.open(specOf({ ...rewrapped, writesUnder: 1 })), { writesUnder: 1 }, 'nor is the next step too early')
  const shared: VolumeEncryption = { ...rewrapped, keys: [rewrapped.keys[0]!, { volumeId: ID }] }
  t.match(keys.whyLocked(specOf(shared)), { code: 'key-missing' }, 'an entry without a data key of its own is another')
})

t.test('removed is what was there, and what somebody who was killed left of it', async (t) => {
  const folder = folderOf(t)
  const [key, other] = [aKey(), 'b0'.repeat(16)]
  const encryption = newEncryption('aes-256-xts', ID, key)
  t.equal(folder.remove(ID), false)
  folder.put(ID, { key: again(key), encryption })
  t.equal(folder.remove(other), false, 'not of that volume')
  writeFileSync(path.join(folder.dir, `${other}.new`), randomBytes(40), { mode: 0o600 })
  t.equal(folder.remove(ID), true)
  t.same(readdirSync(folder.dir).sort(), [`${ID}.was`, `${other}.new`])
  t.equal(folder.remove(other), false)
  t.same(readdirSync(folder.dir), [`${ID}.was`])
  rmSync(path.join(folder.dir, `${ID}.was`))
  writeFileSync(path.join(folder.dir, `${other}.new`), randomBytes(40), { mode: 0o600 })
  t.equal(folder.remove(other), false)
  t.notOk(existsSync(folder.dir), 'an empty folder is not left')
})

t.test('the folder is its owner\'s, or it is not used', async (t) => {
  const folder = folderOf(t)
  const key = aKey()
  const encryption = newEncryption('aes-256-xts', ID, key)
  folder.put(ID, { key: again(key), encryption })
  t.equal(lstatSync(folder.dir).mode & 0o777, 0o700)
  t.equal(lstatSync(path.join(folder.dir, ID)).mode & 0o777, 0o600)
  t.equal(folder.get('b0'.repeat(16)), undefined)
  for (const id of ['../x', '', 'A0'.repeat(16)]) t.throws(() => folder.get(id), { code: 'key-folder' })
  chmodSync(folder.dir, 0o755)
  t.throws(() => folder.get(ID), { code: 'key-folder' })
  t.throws(() => folder.put(ID, { key: again(key), encryption }), { code: 'key-folder' })
  rmSync(folder.dir, { recursive: true })
  const elsewhere = path.join(path.dirname(folder.dir), 'elsewhere')
  mkdirSync(elsewhere, { mode: 0o700 })
  symlinkSync(elsewhere, folder.dir)
  t.throws(() => folder.put(ID, { key: again(key), encryption }), { code: 'key-folder' }, 'somebody made a link of it')
  t.notOk(existsSync(path.join(elsewhere, ID)))
  rmSync(folder.dir)
  mkdirSync(folder.dir, { mode: 0o700 })
  writeFileSync(path.join(folder.dir, ID), Buffer.alloc(40))
  t.throws(() => folder.get(ID), { code: 'key-folder' }, 'what is no key is told')
  const onDisk = mkdtempSync('/var/tmp/holdfast-test-')
  t.teardown(() => rmSync(onDisk, { recursive: true }))
  t.throws(() => new KeyFolder('0f'.repeat(16), onDisk).put(ID, { key: again(key), encryption }), /tmpfs/)
})

t.test('another data key is not taken for the one that a volume was unlocked with', async (t) => {
  const folder = folderOf(t)
  const [own, cluster] = [aKey(), aKey()]
  const encryption = newEncryption('aes-256-xts', ID, own)
  const keys = new NodeKeys({ node: 'n1', folder, cluster, requireCipher })
  const ofCluster = newEncryption('aes-256-xts', ID, cluster)
  const place = { cipher: ofCluster.cipher, volumeId: ID, keyNumber: 2 }
  const twice = [...ofCluster.keys, { volumeId: ID, dataKey: wrapDataKey(newDataKey(), cluster, place) }]
  // Who has the cluster key and writes the store can put each of these in its place.
  const others: Record<string, VolumeEncryption> = {
    'another entry': ofCluster, 'one entry more': { ...ofCluster, keys: twice },
    'another cipher': newEncryption('aes-256-gcm', ID, cluster),
  }
  folder.put(ID, { key: again(own), encryption })
  const dataKey = keys.open(specOf(encryption))!.keys[0]!.dataKey.reveal().slice()
  const isItsOwn = (spec: VolumeEncryption): boolean => {
    const opened = keys.tryOpen(specOf(spec))
    if (!opened.ok) return opened.error.code === 'key-refused'
    return Buffer.compare(opened.value!.keys.at(-1)!.dataKey.reveal(), dataKey) === 0
  }
  for (const [what, other] of Object.entries(others)) t.ok(isItsOwn(other), `while it is unlocked: ${what}`)
  const rewrapped = rewrap(encryption, unwrapKeys(encryption, own, 'v'), cluster)
  keys.forget(ID)
  for (const [what, other] of Object.entries(others)) {
    t.match(keys.whyLocked(specOf(other)), { code: 'key-refused' }, `when it was locked: ${what}`)
  }
  t.equal(keys.whyLocked(specOf(rewrapped)), undefined, 'its own data key may be wrapped by the cluster key')
  const more = wrapDataKey(newDataKey(), cluster, place)
  const rekeyed = { ...rewrapped, keys: [...rewrapped.keys, { volumeId: ID, dataKey: more }] }
  t.equal(keys.whyLocked(specOf(rekeyed)), undefined, 'and have another one behind it')
  folder.put(ID, { key: again(cluster), encryption: ofCluster })
  t.equal(keys.whyLocked(specOf(ofCluster)), undefined, 'who unlocks it says that it is right')
})

t.test('a data key that a volume had is not taken away from it', async (t) => {
  const folder = folderOf(t)
  const own = aKey()
  const former = newEncryption('aes-256-xts', ID, own)
  const place = { cipher: former.cipher, volumeId: ID, keyNumber: 2 }
  const now = { ...former, keys: [...former.keys, { volumeId: ID, dataKey: wrapDataKey(newDataKey(), own, place) }] }
  folder.put(ID, { key: again(own), encryption: now })
  const keys = new NodeKeys({ node: 'n1', folder, cluster: undefined, requireCipher })
  t.match(keys.whyLocked(specOf(former)), { code: 'key-refused' }, 'it would be written under one that leaked')
  t.equal(keys.whyLocked(specOf({ ...now, writesUnder: 1 })), undefined)
})

t.test('what a version of before left of a key says that it was there, and not which', async (t) => {
  const folder = folderOf(t)
  const [own, cluster] = [aKey(), aKey()]
  const encryption = newEncryption('aes-256-xts', ID, own)
  const rewrapped = rewrap(encryption, unwrapKeys(encryption, own, 'v'), cluster)
  const keys = new NodeKeys({ node: 'n1', folder, cluster, requireCipher })
  const mark = path.join(folder.dir, `${ID}.was`)
  folder.put(ID, { key: again(own), encryption })
  for (const text of ['', '[', '{}', '[1]']) {
    writeFileSync(mark, text)
    t.equal(keys.whyLocked(specOf(encryption)), undefined, 'the key itself says it')
    keys.forget(ID)
    t.equal(keys.whyLocked(specOf(rewrapped)), undefined, 'also to who locks it')
    writeFileSync(mark, text)
    t.match(keys.whyLocked(specOf(rewrapped)), { code: 'key-refused' }, 'else nobody knows')
    folder.put(ID, { key: again(own), encryption })
  }
  writeFileSync(mark, '')
  writeFileSync(path.join(folder.dir, ID), Buffer.alloc(40))
  t.equal(folder.remove(ID), true, 'what is damaged goes all the same')
})
