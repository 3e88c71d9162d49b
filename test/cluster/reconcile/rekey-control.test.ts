/**
 * Risk: something is written under a data key that a copy did not note, or a frontend does not have; a pass that left
 * something is taken for one that did not; what was begun is forgotten when its command or its controller dies.
 */
import { randomBytes } from 'node:crypto'
import t from 'tap'
import type { Test } from 'tap'
import { newDataKey, newEncryption, wrapDataKey } from '../../../cluster/keys/data-key.ts'
import { userKeyOf } from '../../../cluster/keys/user-key.ts'
import { decodeEncryption } from '../../../cluster/store/volume-records.ts'
import { MIB } from '../../../engine/units.ts'
import {
  encryptionOfClone, isRekeyed, newestFrom, rewriteBegun, rewriteEnded, rewriteWished, wrappedKeyOf,
} from '../../../engine/volume/volume-encryption.ts'
import type { VolumeEncryption } from '../../../engine/volume/volume-encryption.ts'
import { ControlCluster } from './control-cluster.ts'

const HEX = /^[0-9a-f]{16}$/
const [WISH, OTHER] = ['1'.repeat(16), '2'.repeat(16)]
const ID = 'f0'.repeat(16)
const key = userKeyOf(new Uint8Array(randomBytes(32)))

function withOneMore(former: VolumeEncryption, volumeId = ID): VolumeEncryption {
  const place = { cipher: former.cipher, volumeId, keyNumber: former.keys.length + 1 }
  const keys = [...former.keys, { volumeId, dataKey: wrapDataKey(newDataKey(), key, place) }]
  return { ...former, keys, writesUnder: former.keys.length }
}

async function begin(t: Test) {
  const cluster = await ControlCluster.start(t, ['n1', 'n2', 'n3'])
  await cluster.until('one is elected', () => cluster.elected()[0]?.control.controller.term() !== undefined)
  const { volumes } = cluster.elected()[0]!
  const first = newEncryption('aes-256-xts', ID, key)
  const parameters = { encryption: 'true', replicas: '1' }
  const wish = { name: 'v', sizeBytes: 64 * MIB, parameters, volumeId: ID, ...wrappedKeyOf(first) }
  await cluster.answered(volumes.createVolume(wish))
  const now = async () => JSON.parse((await volumes.getKeys({ name: 'v' })).encryption) as VolumeEncryption
  const rekey = async () => {
    const former = await now()
    const encryption = JSON.stringify(withOneMore(former))
    const change = { name: 'v', former: JSON.stringify(former), encryption, wrappedBy: key.id }
    await volumes.changeKeys(change)
  }
  const step = () => cluster.answered(volumes.rekeyVolume({ name: 'v' }))
  const fakes = [...cluster.nodes.values()].map(({ fake }) => fake)
  return { cluster, volumes, now, rekey, step, fakes }
}

t.test('nobody writes under it before all that are there know it', async (t) => {
  const { now, rekey, step, fakes, volumes } = await begin(t)
  t.match(await step(), { stage: 'done' }, 'there is nothing to do')
  await rekey()
  t.match(await now(), { keys: { length: 2 }, writesUnder: 1, rewriting: undefined })
  const asked = await now()
  const more = JSON.stringify(withOneMore(asked))
  const late = volumes.changeKeys({ name: 'v', former: JSON.stringify(asked), encryption: more, wrappedBy: key.id })
  await t.rejects(late, { code: 'parameter' }, 'one after the other')
  for (const fake of fakes) {
    fake.rekeying = { ...fake.rekeying, keyCount: 1, why: 'it is locked' }
    t.match(await step(), { stage: 'waits', why: /does not have the new key: it is locked/ })
    t.match(await now(), { writesUnder: 1 })
    fake.rekeying = { ...fake.rekeying, keyCount: -1 }
  }
  for (const fake of fakes) t.ok(fake.rekeyed.some(({ keys }) => keys.length === 2), 'every node was told')
  t.match(await step(), { stage: 'waits' }, 'known, and nobody makes a pass')
  t.match(await now(), { keys: { length: 2 }, writesUnder: undefined, rewriting: HEX })
})

t.test('who is down, and neither has the volume nor uses it, is not waited for', async (t) => {
  const { cluster, now, rekey, step } = await begin(t)
  await cluster.until('it is served', () => cluster.health(ID) === 'healthy')
  const { inSync } = (await cluster.config(ID))!
  const elected = cluster.elected()[0]!.name
  const dead = [...cluster.nodes.keys()].find((name) => name !== elected && !inSync.includes(name))!
  cluster.kill(dead)
  await rekey()
  const why = new RegExp(`^${dead} does not know the new key`)
  t.match(await step(), { stage: 'waits', why }, 'it may be there yet')
  await cluster.until('all others know it', async () => {
    await step()
    return (await now()).writesUnder === undefined
  })
})

t.test('a pass is over when all of it was written anew; it goes on where it was begun, by itself', async (t) => {
  const { cluster, now, rekey, step, fakes } = await begin(t)
  await rekey()
  const [one] = fakes
  one!.rekeying = { ...one!.rekeying, totalBytes: 8, doneBytes: 3 }
  t.match(await step(), { stage: 'rewriting', doneBytes: 3, totalBytes: 8 })
  one!.rekeying = { ...one!.rekeying, doneBytes: 8, damagedBlocks: 1 }
  t.match(await step(), { stage: 'rewriting', damagedBlocks: 1 }, 'one was left')
  t.match(await now(), { rewriting: HEX })
  one!.rekeying = { ...one!.rekeying, damagedBlocks: 0, isDone: true }
  await cluster.until('it is done without being asked', async () => (await now()).rewriting === undefined)
  t.match(await step(), { stage: 'done' })
})

t.test('a clone has the key of each block that it shows, also one that came while its snapshot was made', async (t) => {
  const { cluster, volumes, now, rekey, fakes } = await begin(t)
  await cluster.until('it is served', () => cluster.health(ID) === 'healthy')
  for (const fake of fakes) {
    const order = fake.change.bind(fake)
    fake.change = async (id, command) => {
      if (command.change.operation === 'snapshot' && (await now()).keys.length === 1) await rekey()
      return order(id, command)
    }
  }
  const wish = { name: 'c', sizeBytes: 0, parameters: { 'clone-of': 'v' } }
  // Its record stands; whether its copies are there by then is another matter.
  await cluster.answered(volumes.createVolume(wish).catch((error: Error) => error))
  const { keys } = JSON.parse((await volumes.getKeys({ name: 'c' })).encryption) as VolumeEncryption
  t.same(keys.slice(0, 2), (await now()).keys)
  t.equal(keys.length, 3)
})

t.test('what may follow what', async (t) => {
  const first = newEncryption('aes-256-xts', ID, key)
  const second = withOneMore(first)
  t.same(decodeEncryption(JSON.parse(JSON.stringify(second)), ID), second)
  t.ok(isRekeyed(first, second))
  const third = withOneMore(second)
  const others: Array<[string, VolumeEncryption, VolumeEncryption]> = [
    ['a step before is not done', second, third],
    ['written under at once', first, { cipher: first.cipher, keys: second.keys }],
    ['another cipher', first, { ...second, cipher: 'aes-256-gcm' }],
    ['two at once', first, { ...third, writesUnder: 1 }],
    ['of another volume', first, withOneMore(first, 'e0'.repeat(16))],
    ['with another wrap before it', newEncryption('aes-256-xts', ID, key), second],
    ['no data key', first, { ...second, keys: [...first.keys, { volumeId: ID }] }],
  ]
  for (const [why, former, next] of others) t.notOk(isRekeyed(former, next), why)
  const begun = rewriteBegun(second, 2, WISH)!
  t.same(begun, { cipher: first.cipher, keys: second.keys, rewriting: WISH })
  t.same(decodeEncryption(JSON.parse(JSON.stringify(begun)), ID), begun)
  t.equal(decodeEncryption({ ...begun, rewriting: 'x' }, ID), undefined)
  t.equal(rewriteBegun(begun, 2, OTHER), undefined)
  t.equal(rewriteBegun(second, 1, WISH), undefined, 'for another one')
  t.equal(rewriteEnded(second, WISH), undefined, 'not begun')
  t.equal(rewriteEnded(begun, OTHER), undefined, 'of another one')
  const done = rewriteEnded(begun, WISH)!
  t.same(done, { cipher: first.cipher, keys: second.keys })
  t.same([newestFrom(first), newestFrom(second), newestFrom(encryptionOfClone(second, 'c0'.repeat(16)))], [1, 2, 2])
  t.match(rewriteWished(done, ID, WISH), { rewriting: WISH }, 'a rollback')
  t.match(rewriteWished(begun, ID, OTHER), { rewriting: OTHER }, 'and one while it is wished')
  t.equal(rewriteWished(first, ID, WISH), undefined)
  const clone = encryptionOfClone(done, 'c0'.repeat(16))
  t.equal(rewriteWished(clone, 'c0'.repeat(16), WISH), undefined, 'a clone is left shared')
})

t.test('a rollback between the end of a pass and the hearing of it is another wish, and stays', async (t) => {
  const { cluster, volumes, now, rekey, step, fakes } = await begin(t)
  await cluster.until('it is served', () => cluster.health(ID) === 'healthy')
  await cluster.answered(volumes.createSnapshot({ volume: 'v', name: 'one', labels: {}, id: '1'.repeat(32) }))
  await rekey()
  t.match(await step(), { stage: 'waits' })
  let isRolledBack = false
  for (const fake of fakes) {
    fake.rekeying = { ...fake.rekeying, totalBytes: 8, doneBytes: 8, isDone: true }
    const answer = fake.rekey.bind(fake)
    fake.rekey = async (seen) => {
      const said = await answer(seen)
      if (isRolledBack) return { ...said, doneBytes: 0, isDone: false }
      isRolledBack = true
      await volumes.rollBackVolume({ volume: 'v', to: 'one', keepAs: '', force: false, id: '2'.repeat(32) })
      return said
    }
  }
  const before = (await now()).rewriting
  await step()
  t.ok(isRolledBack)
  const after = (await now()).rewriting
  t.match(after, HEX)
  t.not(after, before)
})
