/**
 * `holdfast csi may-uninstall`: whether the driver may leave a Kubernetes cluster. Run by the chart before it is
 * uninstalled. While there are volumes or snapshots of ours it fails and names some: their pods would lose their disks,
 * and nobody would be left to delete them. Nodes that have taints of ours are named: these nobody takes away after.
 */
import { accessOf } from '../cluster/kubernetes/api-access.ts'
import { ApiClient, refusalOf } from '../cluster/kubernetes/api-client.ts'
import { listPages } from '../cluster/kubernetes/api-list.ts'
import { nameOf, recordOf, recordsOf } from '../cluster/kubernetes/api-objects.ts'
import { DRIVER_NAME } from '../csi/identity.ts'
import { isOurTaint, OUT_OF_SERVICE, OURS, UNREACHABLE } from '../csi/kube/failover/failover-facts.ts'
import type { Taint } from '../csi/kube/failover/failover-facts.ts'
import { someOf } from '../engine/control/amounts.ts'
import { HoldfastError } from '../engine/errors.ts'
import type { Invocation } from './command.ts'
import { EXIT_OK } from './output.ts'

const SHOWN_MOST = 5
const NOT_FOUND = 404

const VOLUMES = '/api/v1/persistentvolumes'
/** Their kind is there only where external-snapshotter is. */
const SNAPSHOTS = '/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents'

const NODES = '/api/v1/nodes'

/** Names of the objects of that kind which are ours. */
async function namesOf(client: ApiClient, path: string, isOurs: (spec: Record<string, unknown>) => boolean) {
  const names: string[] = []
  for await (const page of listPages(client, { path })) {
    if (!page.ok) {
      if (path === SNAPSHOTS && page.failure.status === NOT_FOUND) return names
      throw refusalOf(client, page.failure)
    }
    for (const item of page.items) if (isOurs(recordOf(item.spec))) names.push(nameOf(item))
  }
  return names
}

/** Not before: failover would set them again. */
const whatToType = (node: string): string[] => [
  `node ${node} has taints of Holdfast, which stay; after the uninstall, and when it is back or gone for good, type`,
  `  kubectl taint node ${node} ${UNREACHABLE}:NoSchedule-`,
  `  kubectl taint node ${node} ${OUT_OF_SERVICE}:NoExecute-    # only where its value is ${OURS}`,
]

/** @throws HoldfastError `uninstall-refused`, `kube-access`, `kube-refused`, `kube-unreachable` */
export async function mayUninstall({ arguments: given, output }: Invocation): Promise<number> {
  const client = new ApiClient(accessOf(given.text('kubeconfig')))
  try {
    const volumes = await namesOf(client, VOLUMES, ({ csi }) => recordOf(csi).driver === DRIVER_NAME)
    const snapshots = await namesOf(client, SNAPSHOTS, ({ driver }) => driver === DRIVER_NAME)
    const found = [['PersistentVolume', volumes], ['VolumeSnapshotContent', snapshots]] as const
    const there = found.filter(([, names]) => names.length > 0)
      .map(([kind, names]) => `${names.length} of kind ${kind} (${someOf(names, SHOWN_MOST)})`)
    if (there.length > 0) throw new HoldfastError('uninstall-refused', { found: there.join(', ') })
    const tainted = await namesOf(client, NODES, ({ taints }) =>
      (recordsOf(taints) as unknown as Taint[]).some(isOurTaint))
    output.result({ volumes: 0, snapshots: 0, tainted }, () => [
      'there are no volumes and no snapshots of this driver', ...tainted.flatMap(whatToType),
    ])
    return EXIT_OK
  } finally {
    client.close()
  }
}
