/**
 * What can be no name and no id is answered like one that is not there, over every store. Risk: it becomes a key that a
 * store cannot have, which is a bug of ours and ends the daemon that was asked, and the next one that is elected.
 */
import t from 'tap'
import type { Test } from 'tap'
import { GroupRemains } from '../../../cluster/reconcile/group-remains.ts'
import type { RemainsOptions } from '../../../cluster/reconcile/group-remains.ts'
import { RecordStore } from '../../../cluster/reconcile/record-store.ts'
import { VolumeWishes } from '../../../cluster/reconcile/volume-wishes.ts'
import { accessOfKubeconfig } from '../../../cluster/kubernetes/api-access.ts'
import type { ClusterStore } from '../../../cluster/store/cluster-store.ts'
import { GROUP, PLURAL, recordsPath } from '../../../cluster/store/kube-records.ts'
import { connectKubeStore } from '../../../cluster/store/kube-store.ts'
import { putKey } from '../../../cluster/store/put-key.ts'
import { encodeVolume, volumeKey } from '../../../cluster/store/volume-records.ts'
import { PaperApi } from '../kubernetes/paper-api.ts'
import { recordOf } from '../../engine/control/small-cluster.ts'
import { storeInProcess } from '../store-in-process.ts'
import { ControlCluster } from './control-cluster.ts'

const NAMES = ['a b', '\u00fc', 'x'.repeat(600), 'x'.repeat(130), '../x', '/', 'a\0b', '__proto__', '']

async function kubeStore(t: Test): Promise<ClusterStore> {
  const definitions = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'
  const api = await PaperApi.start(t, ['/api/v1/namespaces', definitions, recordsPath('storage')])
  for (const name of ['kube-system', 'storage']) api.put(`/api/v1/namespaces/${name}`, { kind: 'Namespace' })
  api.put(`${definitions}/${PLURAL}.${GROUP}`, { kind: 'CustomResourceDefinition' })
  const store = connectKubeStore({ access: accessOfKubeconfig(api.kubeconfig) })
  t.teardown(() => store.close())
  return store
}

const STORES: Record<string, (t: Test) => Promise<ClusterStore>> = {
  etcd: async (t) => (await storeInProcess(t)).client(), kubernetes: kubeStore,
}

for (const [kind, connect] of Object.entries(STORES)) {
  t.test(`records of volumes and groups on ${kind}`, async (t) => {
    const records = new RecordStore(await connect(t))
    const wishes = new VolumeWishes(records, 0)
    const groups = new GroupRemains({ records } as unknown as RemainsOptions)
    for (const name of NAMES) {
      const calls: Record<string, () => Promise<unknown>> = {
        find: () => wishes.find(name),
        delete: () => wishes.delete(name, { keepMs: 0, force: true }),
        restore: () => wishes.restore(name),
        purge: () => wishes.purge(name),
        detach: () => wishes.detach(name, 'all'),
      }
      const shown = name.length > 20 ? `${name.length} letters` : JSON.stringify(name)
      for (const [call, run] of Object.entries(calls)) {
        await t.rejects(run(), { code: 'volume-not-found' }, `${call} ${shown}`)
      }
      t.equal(await wishes.isUsed(name), false)
      t.equal(await groups.read(name), undefined)
    }
  })
}

for (const [kind, connect] of Object.entries(STORES)) {
  t.test(`a record on ${kind} whose own name is none`, async (t) => {
    const store = await connect(t)
    const wishes = new VolumeWishes(new RecordStore(store), 0)
    const id = 'a'.repeat(32)
    for (const name of NAMES) {
      for (const trash of [null, { deletedAtAgeMs: 0, keepMs: 60_000, isPurging: false }]) {
        const record = recordOf(id, { trash }, { name })
        await putKey(store, volumeKey(id), encodeVolume(record))
        const calls: Array<() => Promise<unknown>> = [
          () => wishes.delete(id, { keepMs: 0, force: true }), () => wishes.restore(id), () => wishes.purge(id),
          () => wishes.find(id), () => wishes.detach(id, 'all'), () => wishes.update(id, (one) => one),
        ]
        for (const call of calls) await t.rejects(call(), { code: 'store-record' }, `${call}`)
        t.same(await wishes.trash(), [])
      }
    }
  })
}

t.test('as users ask for them', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1'])
  await cluster.until('it is elected', () => cluster.elected()[0]?.control.controller.term() !== undefined)
  const api = cluster.node('n1').volumes
  for (const name of NAMES) {
    const refused = (code: string, asked: Promise<unknown>) => t.rejects(cluster.answered(asked), { code })
    await refused('volume-not-found', api.getVolume({ name }))
    await refused('volume-not-found', api.restoreVolume({ name }))
    await refused('volume-not-found', api.getSnapshot({ volume: name, name: 's' }))
    if (name !== '') await refused('volume-not-found', api.listSnapshots({ volume: name, limit: 0, after: '' }))
    await refused('group-not-found', api.getGroup({ name }))
    await refused('group-not-found', api.deleteGroup({ name, id: '' }))
  }
})
