/** The objects of the chart as helm renders them, and put into a Kubernetes API. */
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { parseAllDocuments } from 'yaml'
import { segment } from '../../cluster/kubernetes/api-client.ts'
import type { ApiClient } from '../../cluster/kubernetes/api-client.ts'
import { pathOf } from './kube-binaries.ts'

export type Json = Record<string, any>

const CHART = path.resolve(import.meta.dirname, '../../charts/holdfast')
const OTHERS = [
  'snapshot.storage.k8s.io/v1', 'groupsnapshot.storage.k8s.io/v1', 'storage.k8s.io/v1/VolumeAttributesClass',
  'monitoring.coreos.com/v1', 'cbt.storage.k8s.io/v1beta1',
]

export function helmTemplate(namespace: string, ...words: string[]) {
  return helmTemplateOf(CHART, namespace, ...words)
}

/** @param chart  the folder of a chart */
export function helmTemplateOf(chart: string, namespace: string, ...words: string[]) {
  const api = OTHERS.flatMap((one) => ['--api-versions', one])
  const cluster = ['--namespace', namespace, '--kube-version', '1.37.0', '--include-crds', ...api]
  return spawnSync(pathOf('helm'), ['template', 'holdfast', chart, ...cluster, ...words], { encoding: 'utf8' })
}

export function renderedChart(namespace: string, ...words: string[]): Json[] {
  const { status, stdout, stderr } = helmTemplate(namespace, ...words)
  if (status !== 0) throw new Error(stderr)
  return parseAllDocuments(stdout).map((one) => one.toJS() as Json).filter((one) => one !== null)
}

const RIGHTS: Record<string, string> = {
  ServiceAccount: 'serviceaccounts', Role: 'roles', RoleBinding: 'rolebindings', ClusterRole: 'clusterroles',
  ClusterRoleBinding: 'clusterrolebindings',
}
/** What the driver tells of itself, classes, and who answers for the cluster. */
const DRIVER: Record<string, string> = {
  CSIDriver: 'csidrivers', StorageClass: 'storageclasses', VolumeSnapshotClass: 'volumesnapshotclasses',
  VolumeGroupSnapshotClass: 'volumegroupsnapshotclasses', VolumeAttributesClass: 'volumeattributesclasses',
  FlowSchema: 'flowschemas', PriorityLevelConfiguration: 'prioritylevelconfigurations', Deployment: 'deployments',
}

/** Service accounts and their rights, no more. */
export const putRights = (client: ApiClient, objects: readonly Json[]): Promise<void> => put(client, objects, RIGHTS)

/** The rest, without what only kubelets could run. */
export const putDriver = (client: ApiClient, objects: readonly Json[]): Promise<void> => put(client, objects, DRIVER)

async function put(client: ApiClient, objects: readonly Json[], plurals: Record<string, string>): Promise<void> {
  for (const body of objects) {
    const { apiVersion, kind, metadata } = body
    const plural = plurals[kind]
    if (plural === undefined) continue
    const group = apiVersion === 'v1' ? '/api/v1' : `/apis/${apiVersion}`
    const place = metadata.namespace === undefined ? group : `${group}/namespaces/${segment(metadata.namespace)}`
    const answer = await client.call({ method: 'POST', path: `${place}/${plural}`, body })
    if (!answer.ok) throw new Error(`${kind} ${metadata.name}: ${answer.failure.reason}`)
  }
}
