/**
 * Risk: who writes the cluster store, or a newer version, ends the users of a volume, takes its key away, or has it
 * offered in the clear where it was unlocked.
 */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import t from 'tap'
import type { Test } from 'tap'
import { newEncryption } from '../../cluster/keys/data-key.ts'
import { KeyFolder } from '../../cluster/keys/key-folder.ts'
import { NodeKeys } from '../../cluster/keys/node-keys.ts'
import { userKeyOf } from '../../cluster/keys/user-key.ts'
import { configKey, encodeConfig } from '../../cluster/store/volume-configs.ts'
import { encodeVolume, volumeKey } from '../../cluster/store/volume-records.ts'
import { requireCipher } from '../../dataplane/cipher/libcrypto.ts'
import { ClusterNode } from '../../dataplane/cluster-node.ts'
import type { ClusterNodeOptions } from '../../dataplane/cluster-node.ts'
import { StoreConfigs } from '../../dataplane/copy/store-configs.ts'
import { VolumeExports } from '../../dataplane/export-directory.ts'
import { VolumeOffers } from '../../dataplane/volume-offers.ts'
import type { VolumeRecord } from '../../engine/control/volume-record.ts'
import { storeInProcess } from '../cluster/store-in-process.ts'
import { configOf } from '../engine/control/described.ts'
import { recordOf } from '../engine/control/small-cluster.ts'

const ID = 'a0'.repeat(16)
const TRASH = { deletedAtAgeMs: 1, keepMs: 3_600_000, isPurging: false }

/** What the store says of one volume reaches the exports and the keys of a node without workers. */
async function setUp(t: Test) {
  const parent = mkdtempSync('/dev/shm/holdfast-test-')
  t.teardown(() => rmSync(parent, { recursive: true }))
  const folder = new KeyFolder('0f'.repeat(16), parent)
  const keys = new NodeKeys({ node: 'n1', folder, cluster: undefined, requireCipher })
  const exports = new VolumeExports()
  const told: string[] = []
  let tell = (): void => undefined
  const options: Partial<ClusterNodeOptions> = {
    node: 'n1', workers: 1, joined: {} as never, homes: new Map(), exports, keys,
    attachments: { offer: async () => undefined, withdraw: () => undefined },
    worker: () => ({ replicationCall: async () => undefined }) as never,
  }
  const node = new ClusterNode(options as ClusterNodeOptions)
  const say = (word: string): void => {
    told.push(word)
    tell()
  }
  const store = (await storeInProcess(t)).client()
  const log = { event: (_: string, message: string) => say(message) }
  const offers = new VolumeOffers({
    node: 'n1', store, log,
    configs: new StoreConfigs({ store, log }),
    local: {
      offer: (volume) => node.offer(volume).then(() => say(volume.spec.encryption === undefined ? 'plain' : 'offered')),
      hide: (id) => node.hide(id).then(() => say('hidden')),
      withdraw: (id) => node.withdraw(id).then(() => say('withdrawn')),
    },
    onSeen: () => undefined,
    onGone: (id) => keys.forget(id),
    onBug: (error) => t.fail(String(error)),
  })
  t.teardown(() => offers.close())
  const put = async (key: string, value: Uint8Array | undefined): Promise<void> => {
    const read = await store.get(key)
    if (!read.ok) throw read.error
    const { outcome } = await store.compareAndSwap({ key, version: read.value?.version, value })
    t.equal(outcome, 'won')
  }
  /** Whatever is told next is this. */
  const next = async (word: string | RegExp): Promise<void> => {
    while (told.length === 0) await new Promise<void>((resolve) => (tell = resolve))
    t.match(told.shift(), word)
  }
  const key = userKeyOf(new Uint8Array(randomBytes(32)))
  const encryption = newEncryption('aes-256-xts', ID, key)
  folder.put(ID, { key, encryption })
  const record = recordOf(ID, {}, { encryption })
  const { encryption: _, ...spec } = record.spec
  const plain: VolumeRecord = { ...record, spec }
  const putRecord = (value: VolumeRecord) => put(volumeKey(ID), encodeVolume(value))
  const config = encodeConfig(configOf(ID, 1, ['n1']))
  await put(configKey(ID), config)
  await putRecord(record)
  await next('offered')
  return { put, putRecord, next, told, folder, keys, exports, record, plain, config }
}

t.test('what is no record, or no configuration, ends nobody, and takes no key away', async (t) => {
  const { put, putRecord, next, told, folder, keys, exports, record, plain } = await setUp(t)
  await put(volumeKey(ID), Buffer.from('{'))
  await next(/no record of this version/)
  await put(volumeKey(ID), Buffer.from('{}'))
  await put(configKey(ID), Buffer.from('{'))
  await next(/is no configuration/)
  t.same(told, [], 'it is said once')
  t.ok(exports.find(ID))
  await putRecord(plain)
  await next('plain')
  t.match(keys.whyLocked(plain.spec), { code: 'key-refused' })
  t.ok(folder.has(ID))
  await putRecord(record)
  await next('offered')
  t.equal(keys.whyLocked(record.spec), undefined)
})

t.test('out of the trash, and with its configuration again, a volume opens, and never as a plain one', async (t) => {
  const { put, putRecord, next, keys, exports, record, plain, config } = await setUp(t)
  await putRecord({ ...record, trash: TRASH })
  await next('withdrawn')
  t.equal(exports.find(ID), undefined)
  await putRecord(plain)
  await next('plain')
  t.match(keys.whyLocked(plain.spec), { code: 'key-refused' })
  await put(configKey(ID), undefined)
  await next('withdrawn')
  await put(configKey(ID), config)
  await next('plain')
  t.match(keys.whyLocked(plain.spec), { code: 'key-refused' })
  await putRecord(record)
  await next('offered')
  t.equal(keys.whyLocked(record.spec), undefined)
})

t.test('with the record the key goes, and the volume is not plain all the same', async (t) => {
  const { put, putRecord, next, folder, keys, exports, record, plain } = await setUp(t)
  await put(volumeKey(ID), undefined)
  await next('withdrawn')
  t.equal(exports.find(ID), undefined)
  t.notOk(folder.has(ID))
  await putRecord(plain)
  await next('plain')
  t.match(keys.whyLocked(plain.spec), { code: 'key-refused' })
  t.match(keys.whyLocked(record.spec), { code: 'key-missing' }, 'and opens when it is unlocked again')
})
