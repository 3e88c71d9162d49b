/** `holdfast csi may-uninstall`: refuses while a cluster has volumes or snapshots of ours, and of nobody else's. */
import t from 'tap'
import { PaperApi } from '../cluster/kubernetes/paper-api.ts'
import { holdfast } from './run-holdfast.ts'

const VOLUMES = '/api/v1/persistentvolumes'
const NODES = '/api/v1/nodes'
const SNAPSHOTS = '/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents'

t.test('volumes and snapshots of ours', async (t) => {
  const api = await PaperApi.start(t, [VOLUMES, SNAPSHOTS, NODES])
  const asked = () => holdfast(['csi', 'may-uninstall', '--kubeconfig', api.kubeconfig])
  api.put(`${VOLUMES}/other`, { spec: { csi: { driver: 'driver.longhorn.io' } } })
  api.put(`${VOLUMES}/nfs`, { spec: { nfs: {} } })
  t.match(await asked(), { code: 0, stdout: /no volumes and no snapshots/ })
  api.put(`${SNAPSHOTS}/snap`, { spec: { driver: 'csi.holdfast.io' } })
  t.match(await asked(), { code: 1, stderr: /not uninstalled.*1 of kind VolumeSnapshotContent \(snap\)/ })
  for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) {
    api.put(`${VOLUMES}/${name}`, { spec: { csi: { driver: 'csi.holdfast.io' } } })
  }
  t.match(await asked(), { code: 1, stderr: /6 of kind PersistentVolume \(a, b, c, d, e and 1 more\), 1 of kind Vol/ })
})

t.test('a cluster without snapshots, and one that does not answer', async (t) => {
  const without = await PaperApi.start(t, [VOLUMES, NODES])
  t.match(await holdfast(['csi', 'may-uninstall', '--kubeconfig', without.kubeconfig]), { code: 0 })
  const empty = await PaperApi.start(t, [])
  const asked = await holdfast(['csi', 'may-uninstall', '--kubeconfig', empty.kubeconfig])
  t.match(asked, { code: 1, stderr: /the Kubernetes API at .* refused/ }, 'what is not known is no yes')
})

t.test('nodes whose taints of ours are left are named', async (t) => {
  const api = await PaperApi.start(t, [VOLUMES, NODES])
  const out = { key: 'node.kubernetes.io/out-of-service', effect: 'NoExecute' }
  api.put(`${NODES}/n1`, { spec: { taints: [{ key: 'holdfast.io/unreachable', effect: 'NoSchedule' }] } })
  api.put(`${NODES}/n2`, { spec: { taints: [{ ...out, value: 'nodeshutdown' }] } })
  api.put(`${NODES}/n3`, { spec: { taints: [{ ...out, value: 'holdfast' }] } })
  api.put(`${NODES}/n4`, { spec: {} })
  const { code, stdout } = await holdfast(['csi', 'may-uninstall', '--kubeconfig', api.kubeconfig])
  t.equal(code, 0)
  t.match(stdout, /kubectl taint node n1 holdfast.io\/unreachable:NoSchedule-\n/)
  t.match(stdout, /node n3 has taints of Holdfast/)
  t.notMatch(stdout, /n2|n4/)
})
