/**
 * Schedulers and Events of a real Kubernetes API, with the rights and the configuration that the chart gives: a real
 * kube-scheduler asks the extender of a real `holdfast csi controller` beside three daemons, and what becomes of a
 * volume's health is told at its PVC and at its pod.
 */
// test-timeout-seconds: 600
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { parse } from 'yaml'
import { MIB } from '../../engine/units.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { freePort, HOST } from '../conformance/cluster-store/store-process.ts'
import { startKubernetes } from '../conformance/cluster-store/kube-process.ts'
import { ControllerProcess } from '../csi/controller-process.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { NAMESPACE } from './kube-api.ts'
import { KubeObjects } from './kube-objects.ts'
import { KubeProgram } from './kube-program.ts'
import { leftOut } from './kube-binaries.ts'
import { putRights, renderedChart } from './rendered-chart.ts'
import type { Json } from './rendered-chart.ts'

t.setTimeout(590_000)

const USERS = 'db'
const PODS = `/api/v1/namespaces/${USERS}/pods`
const EVENTS = `/api/v1/namespaces/${USERS}/events`
const SCHEDULER = 'holdfast-scheduler'
const skip = leftOut('etcd', 'kube-apiserver', 'kube-scheduler', 'helm')

async function accountOf(objects: KubeObjects, name: string): Promise<{ name: string; uid: string }> {
  const pod = await objects.make(`/api/v1/namespaces/${NAMESPACE}/pods`, {
    apiVersion: 'v1', kind: 'Pod', metadata: { name: `as-${name}` },
    spec: { serviceAccountName: name, containers: [{ name: 'x', image: 'x' }] },
  })
  return { name: pod.metadata.name, uid: pod.metadata.uid }
}

async function started(t: Test) {
  const folder = temporaryFolder(t)
  const kubernetes = await startKubernetes(t)
  const { api } = kubernetes
  const objects = new KubeObjects(api.client())
  const chart = renderedChart(NAMESPACE, '--set', 'scheduler.create=true')
  await putRights(objects.client, chart)
  await objects.make('/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: USERS } })
  await objects.make(`/api/v1/namespaces/${USERS}/serviceaccounts`, {
    apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default' },
  })
  const cluster = await ClusterOfDaemons.make(t, { storeProcess: kubernetes })
  await cluster.start()

  const port = freePort()
  const rights = (account: string) =>
    accountOf(objects, account).then((pod) => api.podKubeconfig(objects.client, account, pod))
  const controller = new ControllerProcess(t, cluster.node('n1').paths.api, 128, [
    '--events', '--extender', `${HOST}:${port}`, '--kubeconfig', await rights('holdfast-controller'),
  ])
  await controller.start()

  // As the chart has it, but for where the extender is and who schedules.
  const map = chart.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === SCHEDULER)!
  const config = parse(map.data['scheduler.yaml']) as Json
  config.extenders[0].urlPrefix = `http://${HOST}:${port}`
  config.clientConnection = { kubeconfig: await rights(SCHEDULER) }
  const file = path.join(folder, 'scheduler.yaml')
  writeFileSync(file, JSON.stringify(config))
  const scheduler = new KubeProgram(t, 'kube-scheduler', { words: ['--secure-port=0', `--config=${file}`], folder })
  for (const name of ['n1', 'n2', 'n3', 'x1', 'x2']) {
    await objects.make('/api/v1/nodes', {
      apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { 'kubernetes.io/hostname': name } },
    })
    await objects.change(`/api/v1/nodes/${name}/status`, {
      status: {
        capacity: { pods: '20', cpu: '4', memory: '8Gi' }, allocatable: { pods: '20', cpu: '4', memory: '8Gi' },
        conditions: [{ type: 'Ready', status: 'True' }],
      },
    })
    // Without a controller nobody takes it away.
    await objects.change(`/api/v1/nodes/${name}`, { spec: { taints: null } })
  }
  return { objects, cluster, controller, scheduler }
}

/** A volume that is bound to a PVC, as provisioner and controllers would leave it. */
async function claimed(
  objects: KubeObjects, cluster: ClusterOfDaemons, name: string, parameters: Record<string, string>,
): Promise<string> {
  const { id } = await cluster.api('n1').createVolume({
    name: `pv-${name}`, sizeBytes: 16 * MIB, parameters: { 'attach-mode': 'single', ...parameters },
    labels: { 'csi-pvc': name, 'csi-pvc-namespace': USERS, 'csi-pv': `pv-${name}` },
  })
  const spec = { accessModes: ['ReadWriteOnce'], storageClassName: '' }
  await objects.make('/api/v1/persistentvolumes', {
    apiVersion: 'v1', kind: 'PersistentVolume', metadata: { name: `pv-${name}` },
    spec: {
      ...spec, capacity: { storage: '16Mi' }, csi: { driver: 'csi.holdfast.io', volumeHandle: id },
      claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace: USERS, name },
    },
  })
  const claims = `/api/v1/namespaces/${USERS}/persistentvolumeclaims`
  const { metadata: { uid } } = await objects.make(claims, {
    apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: {
      name, annotations: { 'pv.kubernetes.io/bind-completed': 'yes' },
    },
    spec: { ...spec, volumeName: `pv-${name}`, resources: { requests: { storage: '16Mi' } } },
  })
  await objects.change(`/api/v1/persistentvolumes/pv-${name}`, { spec: { claimRef: { uid } } })
  await objects.change(`/api/v1/persistentvolumes/pv-${name}/status`, { status: { phase: 'Bound' } })
  await objects.change(`${claims}/${name}/status`, { status: { phase: 'Bound', capacity: { storage: '16Mi' } } })
  return id
}

async function podWith(objects: KubeObjects, name: string, claim: string): Promise<void> {
  await objects.make(PODS, {
    apiVersion: 'v1', kind: 'Pod', metadata: { name },
    spec: {
      schedulerName: SCHEDULER, containers: [{ name: 'x', image: 'x' }],
      volumes: [{ name: 'data', persistentVolumeClaim: { claimName: claim } }],
    },
  })
}

t.test('pods go to their volumes, and PVCs are told how these are', { skip }, async (t) => {
  const { objects, cluster, controller, scheduler } = await started(t)
  try {
    await story(t, objects, cluster)
  } catch (error) {
    t.comment(`${scheduler.said.slice(-3000)}\n${controller.log.slice(-3000)}`)
    throw error
  }
  t.notMatch(scheduler.said, /forbidden/i, 'it has the rights that it needs')
})

async function story(t: Test, objects: KubeObjects, cluster: ClusterOfDaemons): Promise<void> {
  const api = cluster.api('n1')
  const id = await claimed(objects, cluster, 'data', { replicas: '2' })
  const primary = (await cluster.whole(id)).primary
  await podWith(objects, 'db-0', 'data')
  const placed = await objects.until(`${PODS}/db-0`, ({ spec }) => spec.nodeName !== undefined)
  t.equal(placed.spec.nodeName, primary, 'of five nodes the one that leads')

  const lone = await claimed(objects, cluster, 'lone', { 'replicas': '0', 'data-locality': 'strict' })
  const { copies: [only] } = await api.getVolume({ name: lone })
  await objects.change(`/api/v1/nodes/${only!.node}`, { spec: { unschedulable: true } })
  await podWith(objects, 'lone-0', 'lone')
  const waiting = await objects.until(`${PODS}/lone-0`, ({ status }) =>
    status.conditions?.some(({ reason }: Json) => reason === 'Unschedulable'))
  const [{ message }] = waiting.status.conditions
  t.match(message, /2 Holdfast: volume pv-lone has data-locality strict and no copy there/)
  t.match(message, /2 Holdfast: no node of it runs there/)
  await objects.change(`/api/v1/nodes/${only!.node}`, { spec: { unschedulable: false } })
  const there = await objects.until(`${PODS}/lone-0`, ({ spec }) => spec.nodeName !== undefined)
  t.equal(there.spec.nodeName, only!.node)

  await api.attachVolume({ name: id, node: primary, mode: 'single', force: false })
  const told = (kind: string, name: string, reason: string) =>
    objects.untilOne(EVENTS, (event) => event.involvedObject.kind === kind && event.involvedObject.name === name
      && event.reason === reason)
  const labelled = async (): Promise<string | undefined> => (await api.getVolume({ name: id })).labels['csi-pod']
  while ((await labelled()) !== 'db-0') await new Promise((resolve) => setTimeout(resolve, 200))
  const other = ['n2', 'n3'].find((name) => name !== primary)!
  await cluster.node(other).killNode()
  const worse = await told('PersistentVolumeClaim', 'data', 'VolumeDegraded')
  t.match(worse, { type: 'Warning', message: /^degraded, it works, and a copy is missing: / })
  t.match(await told('Pod', 'db-0', 'VolumeDegraded'), { type: 'Warning' })
  await cluster.node(other).start()
  await cluster.whole(id)
  t.match(await told('PersistentVolumeClaim', 'data', 'VolumeHealthy'), { type: 'Normal' })
  t.match(await told('Pod', 'db-0', 'VolumeHealthy'), { type: 'Normal' })
  await api.detachVolume({ name: id, node: primary })
  while ((await labelled()) !== undefined) await new Promise((resolve) => setTimeout(resolve, 200))
  t.pass('nobody uses it any more')
}
