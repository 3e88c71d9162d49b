/**
 * Nodes that may leave, in a real Kubernetes API with its own controllers (DaemonSet, Deployment, disruption, garbage
 * collector) and scheduler, by the rights that the chart gives: an eviction is refused while a node has a last copy, an
 * upgrade goes through nodes one by one, and an uninstall takes guards along. What kubelets and the control API say is
 * the test's.
 */
// test-timeout-seconds: 600
import t from 'tap'
import type { Node } from '../../cluster/api/node-messages.ts'
import type { Copy, Volume } from '../../cluster/api/volume-messages.ts'
import { accessOfKubeconfig } from '../../cluster/kubernetes/api-access.ts'
import { ApiClient } from '../../cluster/kubernetes/api-client.ts'
import type { ToldEvent } from '../../csi/kube/event-recorder.ts'
import { guardName } from '../../csi/kube/leaving/guard-objects.ts'
import { DAEMON_SET, LeaveCalls } from '../../csi/kube/leaving/leave-calls.ts'
import { LeaveLoop } from '../../csi/kube/leaving/leave-loop.ts'
import type { LeavePlan } from '../../csi/kube/leaving/leave-step.ts'
import { freePort, HOST } from '../conformance/cluster-store/store-process.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { KubeApi, NAMESPACE } from './kube-api.ts'
import { leftOut } from './kube-binaries.ts'
import { KubeObjects } from './kube-objects.ts'
import { KubeProgram } from './kube-program.ts'
import { putRights, renderedChart } from './rendered-chart.ts'
import type { Json } from './rendered-chart.ts'

t.setTimeout(590_000)
const NODES = ['w1', 'w2', 'w3']
const PODS = `/api/v1/namespaces/${NAMESPACE}/pods`
const BUDGETS = `/apis/policy/v1/namespaces/${NAMESPACE}/poddisruptionbudgets`
const APPS = `/apis/apps/v1/namespaces/${NAMESPACE}`
const SKIP = leftOut('etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'helm')

/** What the control API says: the volume has copies on two nodes; a node has another instance with each pod. */
class Cluster {
  incomplete = new Set<string>()
  readonly copies = ['w2', 'w1']
  readonly instances = new Map(NODES.map((name) => [name, 'before']))

  close(): void {}

  listNodes = async (): Promise<{ nodes: Node[] }> => ({
    nodes: NODES.map((name) => (
      { name, state: 'up', instanceId: this.instances.get(name), isElected: name === 'w1' }) as Node),
  })

  listVolumes = async (): Promise<{ volumes: Volume[]; next: string }> => {
    const copies = this.copies.map((node, i) => {
      const isComplete = !this.incomplete.has(node)
      return { node, role: i === 0 ? 'primary' : 'replica', state: 'in-sync', isComplete } as Copy
    })
    const volume = { name: 'data', replicas: 1, minInSync: 1, awaitsCopy: false, copies } as unknown as Volume
    return { volumes: [volume], next: '' }
  }
}

t.test('nodes leave one after the other', { skip: SKIP }, async (t) => {
  const etcdPort = freePort()
  freePort()
  const api = new KubeApi(t, { host: HOST, port: freePort(), etcdPort })
  await api.start()
  const objects = new KubeObjects(api.client())
  const folder = temporaryFolder(t)
  const kubeconfig = `--kubeconfig=${api.kubeconfig()}`
  const words = ['--secure-port=0', '--leader-elect=false', kubeconfig]
  new KubeProgram(t, 'kube-controller-manager', {
    // No kubelet says that its node lives.
    words: [
      ...words, `--service-account-private-key-file=${api.accountKey}`, '--controllers=*,-node-lifecycle-controller',
    ],
    folder,
  })
  new KubeProgram(t, 'kube-scheduler', { words, folder })
  const chart = renderedChart(NAMESPACE)
  await putRights(objects.client, chart)
  for (const name of NODES) await register(objects, name)
  const daemonSet = chart.find(({ kind }) => kind === 'DaemonSet')!
  await objects.make(`${APPS}/daemonsets`, daemonSet)
  const own = await objects.make(PODS, {
    apiVersion: 'v1', kind: 'Pod', metadata: { name: 'controller' },
    spec: { serviceAccountName: 'holdfast-controller', containers: [{ name: 'x', image: 'x' }] },
  })
  const pod = { name: 'controller', uid: own.metadata.uid as string }
  const client = new ApiClient(accessOfKubeconfig(await api.podKubeconfig(objects.client, 'holdfast-controller', pod)))
  t.teardown(() => client.close())

  const cluster = new Cluster()
  const kubelets = new Kubelets(objects, cluster)
  const told: ToldEvent[] = []
  const problems: string[] = []
  let plan: LeavePlan | undefined
  const loop = new LeaveLoop({
    calls: new LeaveCalls({ client, connect: () => cluster, namespace: NAMESPACE }), namespace: NAMESPACE,
    isReplacing: true, isGuarding: true, tell: (event) => void told.push(event),
    log: (line) => void problems.push(line), onPlan: (one) => void (plan = one), pause: async () => {},
  })
  const until = async (what: string, isSo: () => boolean | Promise<boolean>): Promise<void> => {
    const deadlineMs = performance.now() + 180_000
    while (!(await isSo())) {
      if (performance.now() > deadlineMs) throw new Error(`${what}: ${JSON.stringify({ plan, problems })}`)
      await kubelets.turn()
      await loop.turn(() => true)
    }
  }
  const budget = (node: string) => objects.find(`${BUDGETS}/${guardName(node)}`)
  const allowed = async (node: string): Promise<number> => {
    const found = await budget(node)
    const { observedGeneration, disruptionsAllowed } = found?.status ?? {}
    return observedGeneration === found?.metadata.generation ? disruptionsAllowed ?? -1 : -1
  }
  const guardOn = async (node: string): Promise<Json | undefined> => (await objects.list(PODS)).find((one) =>
    one.metadata.labels?.['holdfast.io/guards'] === node && one.metadata.deletionTimestamp === undefined)
  /** As kubectl drain does. @returns the status of the answer */
  const evict = async (node: string): Promise<number> => {
    const name = (await guardOn(node))!.metadata.name as string
    const body = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name, namespace: NAMESPACE } }
    const answer = await objects.client.call({ method: 'POST', path: `${PODS}/${name}/eviction`, body })
    return answer.ok ? 201 : answer.failure.status
  }
  const cordon = (node: string, unschedulable: boolean) =>
    objects.change(`/api/v1/nodes/${node}`, { spec: { unschedulable } })

  // Nobody gets leave before all can be asked: who is first keeps it, and that is whose guard runs first.
  for (const node of cluster.copies) cluster.incomplete.add(node)
  const isGuarded = async (node: string): Promise<boolean> => (await guardOn(node))?.status.phase === 'Running'
  await until('all are guarded', async () => (await Promise.all(NODES.map(isGuarded))).every((one) => one))
  cluster.incomplete.clear()
  // Of the two nodes with the volume one may leave at a time; the third has no copy.
  await until('guards run', async () => (await allowed('w3')) === 1 && (await allowed('w1')) === 1)
  t.equal(await allowed('w2'), 0)
  t.equal(await evict('w2'), 429, 'the API refuses the eviction')
  await cordon('w2', true)
  cluster.incomplete.add('w1')
  await until('w1 gave its leave back', async () => plan?.waiting[0]?.node === 'w2')
  const drainWaits = () => told.find(({ reason }) => reason === 'DrainWaits')?.note
  await until('its drain is told of', () => drainWaits() !== undefined)
  t.match(drainWaits(), /w2 has the last complete copy of data; .*node drain/)
  t.equal(await evict('w2'), 429, 'it has the last copy')
  cluster.incomplete.clear()
  await until('w2 may leave', async () => (await allowed('w2')) === 1)
  t.equal(await allowed('w1'), 0, 'then the other one may not')
  t.equal(await evict('w2'), 201)
  await cordon('w1', true)
  await loop.turn(() => true)
  t.equal(await evict('w1'), 429, 'w2 may be switched off now')
  await cordon('w1', false)
  await cordon('w2', false)
  await until('the guard of w2 is back', async () => (await guardOn('w2'))?.status.phase === 'Running')

  // An upgrade.
  const before = await objects.list(PODS)
  const uidsBefore = new Set(before.map(({ metadata }) => metadata.uid))
  cluster.incomplete.add('w2')
  await objects.change(`${APPS}/daemonsets/${DAEMON_SET}`, {
    spec: { template: { metadata: { annotations: { upgrade: '2' } } } },
  })
  await until('it is seen', () => plan?.replacement?.former === 3)
  for (let i = 0; i < 5; i++) await loop.turn(() => true)
  t.match(plan?.replacement, { state: 'waits', why: /not all copies of data are in sync/ })
  t.same(kubelets.ended, [])
  cluster.incomplete.clear()
  await until('all are replaced', () => plan?.replacement?.state === 'done')
  t.same(kubelets.ended, ['w3', 'w2', 'w1'], 'who leads no volume first, who is elected last')
  t.equal(kubelets.awayMost, 1, 'one at a time')
  const after = (await objects.list(PODS)).filter(isNodePod)
  t.equal(after.length, 3)
  t.equal(after.filter(({ metadata }) => uidsBefore.has(metadata.uid)).length, 0)
  t.same(problems.filter((line) => /forbidden/.test(line)), [], 'the rights of the chart are enough')

  await objects.delete(`${APPS}/daemonsets/${DAEMON_SET}`)
  await objects.untilAll(BUDGETS, (all) => all.length === 0)
  await objects.untilAll(`${APPS}/deployments`, (all) => all.length === 0)
})

const isNodePod = ({ metadata }: Json): boolean => metadata.labels?.['app.kubernetes.io/component'] === 'node'

async function register(objects: KubeObjects, name: string): Promise<void> {
  await objects.make('/api/v1/nodes', {
    apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { 'kubernetes.io/hostname': name } },
  })
  const room = { cpu: '8', memory: '32Gi', pods: '110' }
  const condition = { type: 'Ready', status: 'True', reason: 'Test', message: '' }
  await objects.change(`/api/v1/nodes/${name}/status`, {
    status: { capacity: room, allocatable: room, conditions: [condition] },
  })
  await objects.change(`/api/v1/nodes/${name}`, { spec: { taints: null } })
}

/** Pods that are bound run at once, and those that are deleted are gone in the next turn. */
class Kubelets {
  /** Nodes whose pod of the DaemonSet ended, in order. */
  readonly ended: string[] = []
  awayMost = 0
  private readonly objects: KubeObjects
  private readonly cluster: Cluster

  constructor(objects: KubeObjects, cluster: Cluster) {
    this.objects = objects
    this.cluster = cluster
  }

  async turn(): Promise<void> {
    const pods = await this.objects.list(PODS)
    const away = NODES.filter((node) => !pods.some((pod) =>
      isNodePod(pod) && pod.spec.nodeName === node && pod.metadata.deletionTimestamp === undefined))
    if (this.ended.length > 0) this.awayMost = Math.max(this.awayMost, away.length)
    for (const pod of pods) {
      const { metadata: { name, uid, deletionTimestamp }, spec: { nodeName }, status } = pod
      if (nodeName === undefined || name === 'controller') continue
      if (deletionTimestamp !== undefined) {
        if (isNodePod(pod)) this.ended.push(nodeName as string)
        await this.objects.delete(`${PODS}/${name}`)
      } else if (status.phase !== 'Running') {
        const conditions = ['Ready', 'ContainersReady', 'PodScheduled'].map((type) => ({ type, status: 'True' }))
        await this.objects.change(`${PODS}/${name}/status`, { status: { phase: 'Running', conditions } })
        if (isNodePod(pod)) this.cluster.instances.set(nodeName as string, uid as string)
      }
    }
  }
}
