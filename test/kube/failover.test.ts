/**
 * Nodes that die, on a real kube-apiserver and three real daemons, with the rights that the chart gives the controller:
 * the order of the steps, how long our part takes, and that everything is as before when the node is back. Objects that
 * kubelets and controllers of Kubernetes would make are made here.
 */
// test-timeout-seconds: 600
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import type { ControlClient } from '../../cluster/api/client.ts'
import { watchApi } from '../../cluster/kubernetes/api-watch.ts'
import { MIB } from '../../engine/units.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { startKubernetes } from '../conformance/cluster-store/kube-process.ts'
import { ControllerProcess } from '../csi/controller-process.ts'
import { until } from '../e2e/until.ts'
import { NAMESPACE } from './kube-api.ts'
import { leftOut } from './kube-binaries.ts'
import { KubeObjects } from './kube-objects.ts'
import { putRights, renderedChart } from './rendered-chart.ts'
import type { Json } from './rendered-chart.ts'

const DB = '/api/v1/namespaces/db'
const LEASES = '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases'
const ATTACHMENTS = '/apis/storage.k8s.io/v1/volumeattachments'
const DRIVER = 'csi.holdfast.io'
const KUBELET_MS = 2000
const SILENT_MS = 20_000
/** Of three nodes one is begun in a minute. */
const PACE_MS = 60_000
/** Of ours, from when nothing is missing to the pod's end. */
const OUR_PART_MS = 10_000

/** Kubelets as far as they say that they live. */
class Kubelets {
  readonly alive = new Set<string>()
  readonly renewedAtMs = new Map<string, number>()
  readonly #objects: KubeObjects

  constructor(t: Pick<Test, 'teardown'>, objects: KubeObjects) {
    this.#objects = objects
    const timer = setInterval(() => void this.#renew(), KUBELET_MS)
    t.teardown(() => clearInterval(timer))
  }

  async register(name: string): Promise<void> {
    const foreign = { key: 'example.com/other', effect: 'PreferNoSchedule', value: 'x' }
    await this.#objects.make('/api/v1/nodes', {
      apiVersion: 'v1', kind: 'Node', metadata: { name }, spec: { taints: [foreign] },
    })
    // What a node that is not known to be ready is given, and its controller takes away.
    await this.#objects.change(`/api/v1/nodes/${name}`, { spec: { taints: [foreign] } })
    await this.#objects.make(LEASES, {
      apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name }, spec: { holderIdentity: name },
    })
    await this.#objects.make('/apis/storage.k8s.io/v1/csinodes', {
      apiVersion: 'storage.k8s.io/v1', kind: 'CSINode', metadata: { name },
      spec: { drivers: [{ name: DRIVER, nodeID: name.replace('worker-', 'n'), topologyKeys: [] }] },
    })
    this.alive.add(name)
  }

  async #renew(): Promise<void> {
    for (const name of this.alive) {
      const renewTime = new Date().toISOString().replace('Z', '000Z')
      await this.#objects.change(`${LEASES}/${name}`, { spec: { renewTime } }).catch(() => undefined)
      this.renewedAtMs.set(name, performance.now())
    }
  }
}

interface Seen { atMs: number; version: number; what: string }

/** What happened to nodes and pods, in the order of the API's versions. */
class Chronicle {
  readonly seen: Seen[] = []

  constructor(t: Pick<Test, 'teardown'>, { client }: KubeObjects, resourceVersion: string) {
    const note = (what: string, { metadata }: Json): void => {
      this.seen.push({ atMs: performance.now(), version: Number(metadata.resourceVersion), what })
    }
    const follow = (path: string, onEvent: (type: string, object: Json) => void): void => {
      t.teardown(watchApi(client, {
        path, resourceVersion, onEvent: ({ type, object }) => onEvent(type, object), onEnd: () => undefined,
      }))
    }
    follow('/api/v1/nodes', (type, node) => {
      if (type !== 'MODIFIED') return
      note(`${node.metadata.name}: ${(node.spec.taints ?? []).map(({ key }: Json) => key).sort().join(' ')}`, node)
    })
    follow(`${DB}/pods`, (type, pod) => {
      if (type === 'DELETED') note(`${pod.metadata.name} is gone`, pod)
      else if (pod.metadata.deletionTimestamp !== undefined) note(`${pod.metadata.name} is going`, pod)
    })
  }

  async until(what: string): Promise<Seen> {
    await until(async () => this.seen.length, () => this.seen.some((one) => one.what === what))
    return this.seen.find((one) => one.what === what)!
  }
}

const FOREIGN = 'example.com/other'
const UNREACHABLE = 'holdfast.io/unreachable'
const OUT = 'node.kubernetes.io/out-of-service'

t.test('nodes that die', { skip: leftOut('etcd', 'kube-apiserver', 'helm') }, async (t) => {
  const kubernetes = await startKubernetes(t)
  const objects = new KubeObjects(kubernetes.api.client())
  await putRights(objects.client, renderedChart(NAMESPACE))
  await objects.make('/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'db' } })
  const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default' } }
  await objects.make(`${DB}/serviceaccounts`, account)
  const cluster = await ClusterOfDaemons.make(t, { storeProcess: kubernetes })
  // Who dies first is the one that decides for Holdfast.
  await cluster.node('n1').start()
  await until(() => cluster.elected().catch(() => undefined), (name) => name === 'n1')
  await Promise.all(['n2', 'n3'].map((name) => cluster.node(name).start()))
  const kubelets = new Kubelets(t, objects)
  for (const name of ['worker-1', 'worker-2', 'worker-3']) await kubelets.register(name)
  const api = cluster.api('n3')
  const pods = new Pods(objects, api)
  const data = await pods.withVolume('data-0', 'worker-1')
  const cache = await pods.withVolume('cache-0', 'worker-2')
  await pods.plain('web', 'worker-1')

  const own = await objects.make(`/api/v1/namespaces/${NAMESPACE}/pods`, {
    apiVersion: 'v1', kind: 'Pod', metadata: { name: 'controller' },
    spec: { serviceAccountName: 'holdfast-controller', containers: [{ name: 'x', image: 'x' }] },
  })
  const kubeconfig = await kubernetes.api.podKubeconfig(objects.client, 'holdfast-controller', own.metadata)
  const controller = new ControllerProcess(t, cluster.node('n3').paths.api, 128, [
    '--failover', '--kubeconfig', kubeconfig,
  ])
  await controller.start()
  await until(async () => controller.log, (log) => /nodes are looked after/.test(log))
  // Until a Lease was seen to be renewed nobody is well, and nobody is silent before 20 s.
  await sleep(KUBELET_MS * 2)
  const { metadata: { resourceVersion } } = (await objects.find('/api/v1/nodes'))!
  const chronicle = new Chronicle(t, objects, resourceVersion)
  const isDown = async (name: string): Promise<number> => {
    await until(() => api.listNodes(), ({ nodes }) => nodes.some((one) => one.name === name && one.state === 'down'))
    return performance.now()
  }

  await t.test('a host', async (t) => {
    const elected = await cluster.elected()
    kubelets.alive.delete('worker-1')
    await cluster.node('n1').killNode()
    const killedAtMs = performance.now()
    // Where it was elected the control API is silent until another one is; its kubelet is silent meanwhile.
    await api.listNodes()
    const answeredMs = Math.round(performance.now() - killedAtMs)
    const downAtMs = await isDown('n1')
    const readyAtMs = Math.max(downAtMs, kubelets.renewedAtMs.get('worker-1')! + SILENT_MS)
    const downMs = Math.round(downAtMs - killedAtMs)
    t.comment(`${elected} was elected: the control API answers after ${answeredMs} ms, n1 is down after ${downMs} ms`)
    const tainted = await chronicle.until(`worker-1: ${FOREIGN} ${UNREACHABLE}`)
    const gone = await chronicle.until('data-0 is gone')
    const { attach } = await api.getVolume({ name: data.volumeId })
    t.same(attach.holders, [], 'it is fenced')
    t.ok(attach.generation >= data.generation)
    const out = await chronicle.until(`worker-1: ${FOREIGN} ${UNREACHABLE} ${OUT}`)
    t.ok(tainted.version < gone.version && gone.version < out.version, 'taint, fence, deletion, out of service')
    t.ok(tainted.atMs >= readyAtMs - 1000, 'nothing before its kubelet was silent for 20 s')
    const [podMs, allMs] = [gone, out].map(({ atMs }) => Math.round(atMs - readyAtMs))
    t.comment(`from when its kubelet is silent for 20 s and its storage down: pod gone ${podMs} ms, all ${allMs} ms`)
    t.ok(allMs! <= OUR_PART_MS, `our part took ${allMs} ms`)
    t.ok(await objects.find(`${DB}/pods/web`), 'a pod without volumes is Kubernetes\' own')
    const moved = await api.attachVolume({ name: data.volumeId, node: 'n2', mode: 'single', force: false })
    t.same(moved.attach.holders.map(({ node }) => node), ['n2'], 'another node may have it at once')
    const events = await until(() => objects.list(`${DB}/events`), (all) => all.length >= 2)
    t.match(events.map(({ reason }) => reason).sort(), ['PodMoved', 'VolumeFenced'])
    const onNode = await until(() => objects.list('/api/v1/namespaces/default/events'), (all) => all.length >= 2)
    t.match(onNode.map(({ reason }) => reason).sort(), ['NodeFailover', 'NodeOutOfService'])
  })

  await t.test('its return', async (t) => {
    await cluster.node('n1').start()
    kubelets.alive.add('worker-1')
    const beganAtMs = performance.now()
    const clean = await chronicle.until(`worker-1: ${FOREIGN}`)
    t.comment(`its taints are gone ${Math.round(clean.atMs - beganAtMs)} ms after it is back`)
    t.match((await objects.find('/api/v1/nodes/worker-1'))!.spec.taints, [{ key: FOREIGN }], 'those of others stay')
  })

  await t.test('storage alone', async (t) => {
    await objects.make('/apis/policy/v1/namespaces/db/poddisruptionbudgets', {
      apiVersion: 'policy/v1', kind: 'PodDisruptionBudget', metadata: { name: 'cache' },
      spec: { maxUnavailable: 0, selector: { matchLabels: { app: 'cache-0' } } },
    })
    await cluster.node('n2').killNode()
    const downAtMs = await isDown('n2')
    const tainted = await chronicle.until(`worker-2: ${FOREIGN} ${UNREACHABLE}`)
    const going = await chronicle.until('cache-0 is going')
    t.ok(tainted.version < going.version)
    const { atMs: begunAtMs } = await chronicle.until(`worker-1: ${FOREIGN} ${UNREACHABLE}`)
    const takenMs = Math.round(going.atMs - Math.max(downAtMs + SILENT_MS, begunAtMs + PACE_MS))
    t.comment(`from when its storage is down for 20 s, and the node before was begun a minute ago: ${takenMs} ms`)
    t.ok(takenMs <= OUR_PART_MS)
    t.same((await api.getVolume({ name: cache.volumeId })).attach.holders, [])
    const pod = (await objects.find(`${DB}/pods/cache-0`))!
    t.equal(pod.metadata.deletionGracePeriodSeconds, 30, 'its kubelet lives and ends it in order')
    await cluster.node('n2').start()
    await chronicle.until(`worker-2: ${FOREIGN}`)
    const isOut = ({ what }: Seen): boolean => what.startsWith('worker-2') && what.includes(OUT)
    t.notOk(chronicle.seen.some(isOut), 'never out of service')
  })
  t.notMatch(controller.log, /forbidden/i, 'the rights of the chart are enough')
})

/** Pods with their claims and volumes, as they are when they run. */
class Pods {
  readonly #objects: KubeObjects
  readonly #api: ControlClient

  constructor(objects: KubeObjects, api: ControlClient) {
    this.#objects = objects
    this.#api = api
  }

  async plain(name: string, nodeName: string, volumes: Json[] = []): Promise<void> {
    await this.#objects.make(`${DB}/pods`, {
      apiVersion: 'v1', kind: 'Pod',
      metadata: {
        name, labels: { app: name },
        ownerReferences: [{ apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'x', uid: 'x', controller: true }],
      },
      spec: { nodeName, automountServiceAccountToken: false, containers: [{ name: 'x', image: 'x' }], volumes },
    })
    const status = { phase: 'Running', startTime: new Date().toISOString() }
    await this.#objects.change(`${DB}/pods/${name}/status`, { status })
  }

  async withVolume(name: string, nodeName: string): Promise<{ volumeId: string; generation: number }> {
    const volume = await this.#api.createVolume({ name, sizeBytes: 16 * MIB, parameters: { replicas: '2' } })
    const node = nodeName.replace('worker-', 'n')
    const held = { name: volume.id, node, mode: 'single', force: false, primary: true }
    const { attach: { generation } } = await this.#api.attachVolume(held)
    const capacity = { storage: '16Mi' }
    const accessModes = ['ReadWriteOnce']
    await this.#objects.make('/api/v1/persistentvolumes', {
      apiVersion: 'v1', kind: 'PersistentVolume', metadata: { name: `pv-${name}` },
      spec: { capacity, accessModes, csi: { driver: DRIVER, volumeHandle: volume.id } },
    })
    await this.#objects.make(`${DB}/persistentvolumeclaims`, {
      apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { name },
      spec: { accessModes, resources: { requests: capacity }, volumeName: `pv-${name}`, storageClassName: '' },
    })
    await this.#objects.make(ATTACHMENTS, {
      apiVersion: 'storage.k8s.io/v1', kind: 'VolumeAttachment', metadata: { name: `va-${name}` },
      spec: { attacher: DRIVER, nodeName, source: { persistentVolumeName: `pv-${name}` } },
    })
    await this.#objects.change(`${ATTACHMENTS}/va-${name}/status`, { status: { attached: true } })
    await this.plain(name, nodeName, [{ name: 'data', persistentVolumeClaim: { claimName: name } }])
    return { volumeId: volume.id, generation }
  }
}
