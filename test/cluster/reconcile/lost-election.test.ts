/**
 * Who loses the election between what it wrote and its answer. Risk: it says that nothing was begun, so the next one
 * that is elected is asked for the same, and refuses what was done as something that cannot be done.
 */
import { randomBytes } from 'node:crypto'
import t from 'tap'
import type { Test } from 'tap'
import type { ControlClient } from '../../../cluster/api/client.ts'
import type { ControlApi } from '../../../cluster/api/definition.ts'
import { newEncryption, rewrap, unwrapKeys } from '../../../cluster/keys/data-key.ts'
import { userKeyOf } from '../../../cluster/keys/user-key.ts'
import { ClusterControl } from '../../../cluster/reconcile/cluster-control.ts'
import type { Controller } from '../../../cluster/reconcile/controller.ts'
import { ForwardingControl } from '../../../cluster/reconcile/forwarding-control.ts'
import { RecordStore } from '../../../cluster/reconcile/record-store.ts'
import { VolumeWishes } from '../../../cluster/reconcile/volume-wishes.ts'
import type { HoldfastError } from '../../../engine/errors.ts'
import { MIB } from '../../../engine/units.ts'
import { wrappedKeyOf } from '../../../engine/volume/volume-encryption.ts'
import type { VolumeEncryption } from '../../../engine/volume/volume-encryption.ts'
import { ControlCluster } from './control-cluster.ts'

t.setTimeout(110_000)

/** @returns a node that asks one that is elected until it has written, then one that is elected from then on */
async function twoElected(t: Test, cluster: ControlCluster) {
  await cluster.until('one is elected', () => cluster.elected()[0]?.control.controller.term() !== undefined)
  const { name: node, volumes: second, control: { controller } } = cluster.elected()[0]!
  let hasWritten = false
  class LastWrites extends RecordStore {
    override async put(...words: Parameters<RecordStore['put']>): Promise<boolean> {
      const isPut = await super.put(...words)
      if (isPut) hasWritten = true
      return isPut
    }
  }
  const records = new LastWrites(cluster.store)
  const ended: Controller = Object.create(controller, {
    term: { value: () => (hasWritten ? undefined : controller.term()) },
  }) as Controller
  const first = new ClusterControl({
    node, controller: ended, wishes: new VolumeWishes(records, 0), records, clusterId: 'c', storeAddress: 'http://w:1',
    nowMs: () => cluster.nowMs, wallMs: () => cluster.wallMs, onBug: (error) => void t.fail(String(error)),
  })
  const asked: string[] = []
  const told = (who: string, api: ControlApi) => new Proxy(api, {
    get: (_, method: keyof ControlApi) => (request: never) => {
      asked.push(`${who} ${method}`)
      return (api[method] as (request: never) => unknown)(request)
    },
  })
  const control = new ForwardingControl({
    node: 'n1', local: told('first', first), connect: () => told('second', second) as ControlClient,
    leader: () => ({ node: hasWritten ? 'n2' : 'n1', api: 'n2:1', instance: '' }), storeProblem: () => undefined,
    nbdOf: () => [], addDisk: () => t.fail('no disk') as never, whenOffered: async () => undefined,
  })
  const once = async <T>(method: keyof ControlApi, call: () => Promise<T>): Promise<T> => {
    hasWritten = false
    asked.length = 0
    try {
      return await cluster.answered(call())
    } finally {
      t.ok(hasWritten)
      t.same(asked, [`first ${method}`], 'nobody else is asked')
    }
  }
  const before = <T>(call: Promise<T>): Promise<T> => cluster.answered(call)
  return { second, control, once, before }
}

t.test('keys are changed once', async (t) => {
  const { second, control, once, before } = await twoElected(t, await ControlCluster.start(t, ['n1', 'n2', 'n3']))
  const [key, next] = [userKeyOf(new Uint8Array(randomBytes(32))), userKeyOf(new Uint8Array(randomBytes(32)))]
  const volumeId = randomBytes(16).toString('hex')
  const parameters = { encryption: 'true', cipher: 'aes-256-gcm' }
  const wrapped = wrappedKeyOf(newEncryption('aes-256-gcm', volumeId, key))
  const wish = { name: 'safe', sizeBytes: 64 * MIB, parameters, volumeId, ...wrapped }
  await before(second.createVolume(wish))
  const { encryption: former } = await second.getKeys({ name: 'safe' })
  const encryption = JSON.parse(former) as VolumeEncryption
  const anew = JSON.stringify(rewrap(encryption, unwrapKeys(encryption, key, 'safe'), next))
  const request = { name: 'safe', former, encryption: anew, wrappedBy: next.id }
  t.match(await once('changeKeys', () => control.changeKeys(request)), { id: volumeId, keyId: next.id })
  t.equal((await second.getKeys({ name: 'safe' })).encryption, anew)
})

t.test('so is everything else that is answered with what it is about', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1', 'n2', 'n3'])
  const { second, control, once, before } = await twoElected(t, cluster)
  const name = 'data'
  const { id, copies } = await before(second.createVolume({ name, sizeBytes: 64 * MIB, parameters: {} }))
  const attached = await once('attachVolume', () => control.attachVolume({ name, node: 'n1', mode: '', force: false }))
  t.match(attached, { id, attach: { holders: [{ node: 'n1' }] } })
  await cluster.round()
  const detached = () => control.detachVolume({ name, node: 'n1' })
  await t.rejects(once('detachVolume', detached), { code: 'detach-unproved' }, 'who is elected has to say that it is')
  const modified = await once('modifyVolume', () => control.modifyVolume({ name, parameters: { 'qos-iops': '100' } }))
  t.match(modified, { id, qos: { iops: 100 } })
  const to = copies.find(({ role }) => role !== 'primary')!.node
  t.match(await once('moveVolume', () => control.moveVolume({ name, what: 'primary', to, from: '' })), { id })
  const schedule = { volume: name, schedule: 'every 1h keep-last 24' }
  t.match(await once('setSnapshotSchedule', () => control.setSnapshotSchedule(schedule)), { id })
  const cordoned = { name: 'n3', isCordoned: true, isDraining: false }
  t.match(await once('setNodeWish', () => control.setNodeWish(cordoned)), { name: 'n3', state: 'cordoned' })
  await second.deleteVolume({ name, force: true })
  t.match(await once('restoreVolume', () => control.restoreVolume({ name })), { id, name })
})

t.test('a copy is made to lead once, and no other token is asked for', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1', 'n2', 'n3'])
  const { second: maker, before } = await twoElected(t, cluster)
  const name = 'data'
  const { id, copies } = await before(maker.createVolume({ name, sizeBytes: 64 * MIB, parameters: { replicas: '1' } }))
  const [primary, to] = ['primary', 'replica'].map((wanted) => copies.find(({ role }) => role === wanted)!.node)
  cluster.node(to!).fake.isAlive = false
  await cluster.until('it leads alone', async () => (await cluster.config(id))?.inSync.length === 1)
  cluster.kill(primary!)
  cluster.node(to!).fake.isAlive = true
  let token = ''
  await cluster.until('nobody leads, and what is there was told', async () => {
    const elected = cluster.elected()[0]
    if (elected?.control.controller.term() === undefined) return false
    const asked = elected.volumes.forcePromotion({ name, to: to!, confirm: '' })
    const error = await asked.then(() => undefined, (refusal: HoldfastError) => refusal)
    token = error?.code === 'promotion-unconfirmed' ? String(error.detail.token) : ''
    return token !== ''
  })
  const { control, once } = await twoElected(t, cluster)
  const promoted = once('forcePromotion', () => control.forcePromotion({ name, to: to!, confirm: token }))
  t.match(await promoted, { id, name })
  t.equal((await cluster.config(id))!.primary, to)
})
