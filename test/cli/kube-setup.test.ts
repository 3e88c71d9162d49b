/**
 * `holdfast ca init --secret`: makes what a cluster needs once, goes on where it was interrupted, and makes nothing
 * where a Secret was lost: a second CA would be one that no node believes.
 */
import t from 'tap'
import { objectName, objectOf, recordsPath } from '../../cluster/store/kube-records.ts'
import { encodeCluster } from '../../cluster/store/cluster-record.ts'
import { PaperApi } from '../cluster/kubernetes/paper-api.ts'
import { holdfast } from './run-holdfast.ts'

const [SECRETS, MAPS] = ['/api/v1/namespaces/storage/secrets', '/api/v1/namespaces/storage/configmaps']
const RECORDS = recordsPath('storage')

const made = (api: PaperApi) => holdfast(['ca', 'init', '--secret', 'ca', '--kubeconfig', api.kubeconfig])

t.test('once, and on where it was interrupted', async (t) => {
  const api = await PaperApi.start(t, [SECRETS, MAPS, RECORDS])
  t.match(await made(api), { code: 0, stdout: /: Secret ca, Secret ca-cluster-key, ConfigMap ca$/m })
  const kept = JSON.stringify([...api.objects])
  t.match(await made(api), { code: 0, stdout: /: nothing, all of it is there/ })
  t.equal(JSON.stringify([...api.objects]), kept)

  api.delete(`${MAPS}/ca`)
  api.delete(`${SECRETS}/ca-cluster-key`)
  t.match(await made(api), { code: 0, stdout: /: Secret ca-cluster-key, ConfigMap ca$/m }, 'the mark was not made yet')
})

t.test('what was lost is not made again', async (t) => {
  const api = await PaperApi.start(t, [SECRETS, MAPS, RECORDS])
  await made(api)
  const clusterId = 'c'.repeat(32)
  const refused = async (lost: string[], wanted: RegExp): Promise<void> => {
    const before = [...api.objects]
    for (const path of lost) api.delete(path)
    const left = [...api.objects.keys()]
    t.match(await made(api), { code: 1, stderr: wanted })
    t.same([...api.objects.keys()], left, 'nothing was made')
    for (const [path, object] of before) if (!api.objects.has(path)) api.objects.set(path, object)
  }
  await refused([`${SECRETS}/ca`], /Secret ca of namespace storage is gone, and cluster [0-9a-f]{32} was set up/)
  await refused([`${SECRETS}/ca-cluster-key`], /Secret ca-cluster-key .* is gone.*so are the volumes/)
  const record = objectOf('cluster', encodeCluster({ id: clusterId, era: 0, rebuilt: {} }), undefined)
  api.put(`${RECORDS}/${objectName('cluster')}`, record)
  const all = [`${SECRETS}/ca`, `${MAPS}/ca`, `${SECRETS}/ca-cluster-key`]
  await refused(all, new RegExp(`cluster ${clusterId} was set up`))
  api.put(`${RECORDS}/${objectName('cluster')}`, { spec: { key: 'cluster', value: 'AAAA' } })
  await refused(all, /something under cluster that this Holdfast cannot read/)
})

t.test('the store is an etcd: there are no records, or no rights to them', async (t) => {
  const api = await PaperApi.start(t, [SECRETS, MAPS])
  t.match(await made(api), { code: 0, stdout: /: Secret ca, / })
})
