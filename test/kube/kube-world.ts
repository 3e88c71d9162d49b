/**
 * A Kubernetes with Holdfast in it, on this machine: kube-apiserver, kube-controller-manager, kube-scheduler and the
 * snapshot-controller as they are; the objects of the chart; three daemons that keep their cluster in that same API
 * with the rights of their service account; `holdfast csi node` beside each; and the controller pod of the chart with
 * its sidecars. What only a kubelet does, `Kubelet` does.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Test } from 'tap'
import { parse } from 'yaml'
import type { ControlClient } from '../../cluster/api/client.ts'
import { GIB } from '../../engine/units.ts'
import { moduleFolder } from '../charts/openapi.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { KubeProcess } from '../conformance/cluster-store/kube-process.ts'
import { freePort } from '../conformance/cluster-store/store-process.ts'
import { NodeProcess } from '../csi/node-process.ts'
import { until } from '../e2e/until.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { ControllerPod } from './controller-pod.ts'
import { NAMESPACE } from './kube-api.ts'
import { KubeObjects } from './kube-objects.ts'
import { KubeProgram } from './kube-program.ts'
import { Kubelet } from './kubelet-double.ts'
import { putDriver, putRights, renderedChart } from './rendered-chart.ts'
import type { Json } from './rendered-chart.ts'

/** What was deleted counts until the trash lets it go. */
const DISK_BYTES = GIB
const SNAPSHOT_CLIENT = 'github.com/kubernetes-csi/external-snapshotter/client/v8'
/** Of users. */
export const USERS = 'db'
const STORAGE = '/apis/storage.k8s.io/v1'

export class KubeWorld {
  readonly objects: KubeObjects
  readonly cluster: ClusterOfDaemons
  readonly api: ControlClient
  readonly kubelets: Kubelet[]
  readonly pod: ControllerPod
  /** The controller's, as Kubernetes made it. */
  readonly deployment: Json

  private constructor(parts: Pick<KubeWorld, 'objects' | 'cluster' | 'kubelets' | 'pod' | 'deployment'>) {
    this.objects = parts.objects
    this.cluster = parts.cluster
    this.api = parts.cluster.api('n1')
    this.kubelets = parts.kubelets
    this.pod = parts.pod
    this.deployment = parts.deployment
  }

  kubelet(nodeName: string): Kubelet {
    return this.kubelets.find((one) => one.nodeName === nodeName)!
  }

  static async start(t: Test): Promise<KubeWorld> {
    const folder = temporaryFolder(t)
    const kubernetes = new KubeProcess(t, freePort(), [])
    await kubernetes.start()
    const { api } = kubernetes
    const objects = new KubeObjects(api.client())
    for (const body of snapshotResources()) {
      await objects.make('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', body)
    }
    for (const group of ['snapshot', 'groupsnapshot']) {
      await until(() => objects.find(`/apis/${group}.storage.k8s.io/v1`), (found) => found !== undefined)
    }
    const kubeconfig = api.kubeconfig()
    const program = (name: ConstructorParameters<typeof KubeProgram>[1], ...words: string[]) =>
      new KubeProgram(t, name, { words: [...words, `--kubeconfig=${kubeconfig}`], folder })
    program('kube-controller-manager', '--secure-port=0', '--leader-elect=false',
      `--service-account-private-key-file=${api.accountKey}`,
      // No kubelet says that its node lives.
      '--controllers=*,-node-lifecycle-controller')
    program('kube-scheduler', '--secure-port=0', '--leader-elect=false')
    program('snapshot-controller')
    const chart = renderedChart(NAMESPACE)
    await putRights(objects.client, chart)
    await objects.make('/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: USERS } })
    const account = `/api/v1/namespaces/${USERS}/serviceaccounts/default`
    await until(() => objects.find(account), (found) => found !== undefined)

    const nodePod = await objects.make(`/api/v1/namespaces/${NAMESPACE}/pods`, {
      apiVersion: 'v1', kind: 'Pod', metadata: { name: 'daemons' },
      spec: { serviceAccountName: 'holdfast-node', containers: [{ name: 'x', image: 'x' }] },
    })
    kubernetes.nodeKubeconfig = await api.podKubeconfig(objects.client, 'holdfast-node', podOf(nodePod))
    const clusterKey = path.join(folder, 'cluster-key')
    writeFileSync(clusterKey, randomBytes(32).toString('hex'))
    const cluster = await ClusterOfDaemons.make(t, {
      storeProcess: kubernetes, diskBytes: DISK_BYTES, setUp: () => ({ change: { clusterKey } }),
    })
    await cluster.start()

    const kubelets: Kubelet[] = []
    for (const [i, { paths: { api: endpoint } }] of cluster.nodes.entries()) {
      const node = new NodeProcess(t, { endpoint })
      await node.start()
      kubelets.push(new Kubelet(t, objects, `worker-${i + 1}`, node))
      await kubelets.at(-1)!.register()
    }
    await putDriver(objects.client, chart)
    const made = await objects.untilOne(`/apis/apps/v1/namespaces/${NAMESPACE}/deployments`,
      ({ metadata }) => metadata.name === 'holdfast-controller')
    const running = await objects.untilOne(`/api/v1/namespaces/${NAMESPACE}/pods`, ({ metadata, spec }) =>
      metadata.labels?.['app.kubernetes.io/component'] === 'controller' && spec.nodeName !== undefined)
    const deployment = chart.find(({ kind, metadata }) =>
      kind === 'Deployment' && metadata.name === made.metadata.name)!
    const pod = new ControllerPod(t, {
      deployment, pod: running, folder, endpoint: cluster.node('n2').paths.api,
      kubeconfig: await api.podKubeconfig(objects.client, 'holdfast-controller', podOf(running)),
    })
    await pod.start()
    return new KubeWorld({ objects, cluster, kubelets, pod, deployment: made })
  }

  /** @param wish  of the spec, beside mode and size */
  claim(name: string, storageClassName: string, wish: Json = {}, size = '64Mi', labels: Json = {}): Promise<Json> {
    return this.objects.make(claimPath(), {
      apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { name, labels: { app: name, ...labels } },
      spec: {
        storageClassName, accessModes: ['ReadWriteOnce'], resources: { requests: { storage: size } }, ...wish,
      },
    })
  }

  bound(name: string): Promise<Json> {
    return this.objects.until(claimPath(name), ({ status }) => status.phase === 'Bound')
  }

  /** Its volume, as Holdfast shows it. */
  async volumeOf(claim: string) {
    const { spec: { volumeName } } = (await this.objects.find(claimPath(claim)))!
    const { spec } = (await this.objects.find(`/api/v1/persistentvolumes/${volumeName}`))!
    return this.api.getVolume({ name: spec.csi.volumeHandle })
  }

  /** When the scheduler has found a node for it. @param nodeName  where it has to be */
  async podOn(name: string, claimName: string, nodeName?: string): Promise<{ pod: Json; kubelet: Kubelet }> {
    const selector = nodeName === undefined ? {} : { nodeSelector: { 'kubernetes.io/hostname': nodeName } }
    await this.objects.make(`/api/v1/namespaces/${USERS}/pods`, {
      apiVersion: 'v1', kind: 'Pod', metadata: { name },
      spec: {
        ...selector, containers: [{ name: 'x', image: 'x' }],
        volumes: [{ name: 'data', persistentVolumeClaim: { claimName } }],
      },
    })
    const pod = await this.objects.until(`/api/v1/namespaces/${USERS}/pods/${name}`,
      ({ spec }) => spec.nodeName !== undefined)
    return { pod, kubelet: this.kubelet(pod.spec.nodeName) }
  }

  attachments(): Promise<Json[]> {
    return this.objects.list(`${STORAGE}/volumeattachments`)
  }
}

export const claimPath = (name?: string): string =>
  `/api/v1/namespaces/${USERS}/persistentvolumeclaims${name === undefined ? '' : `/${name}`}`

const podOf = ({ metadata: { name, uid } }: Json): { name: string; uid: string } => ({ name, uid })

/** CRDs of snapshots and groups of them. */
function snapshotResources(): Json[] {
  const folder = path.join(moduleFolder(SNAPSHOT_CLIENT), 'config/crd')
  return readdirSync(folder).filter((name) => /^(group)?snapshot\.storage\.k8s\.io_/.test(name))
    .map((name) => parse(readFileSync(path.join(folder, name), 'utf8')) as Json)
}
