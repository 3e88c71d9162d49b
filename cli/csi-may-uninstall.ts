/**
 * `holdfast csi may-uninstall`: whether the driver may leave a Kubernetes cluster. Run by the chart before it is
 * uninstalled. While there are volumes or snapshots of ours it fails and names some: their pods would lose their disks,
 * and nobody would be left to delete them.
 */
import { accessOf } from '../cluster/kubernetes/api-access.ts'
import { ApiClient, refusalOf } from '../cluster/kubernetes/api-client.ts'
import { DRIVER_NAME } from '../csi/identity.ts'
import { someOf } from '../engine/control/amounts.ts'
import { HoldfastError } from '../engine/errors.ts'
import { isRecord } from '../engine/value-shape.ts'
import type { Invocation } from './command.ts'
import { EXIT_OK } from './output.ts'

const PAGE = 500
const SHOWN_MOST = 5
const NOT_FOUND = 404

const VOLUMES = '/api/v1/persistentvolumes'
/** Their kind is there only where external-snapshotter is. */
const SNAPSHOTS = '/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents'

/** Names of the objects of that kind which are of our driver. */
async function namesOf(client: ApiClient, path: string, driverOf: (spec: Record<string, unknown>) => unknown) {
  const names: string[] = []
  let next = ''
  do {
    const query = { limit: String(PAGE), ...(next === '' ? {} : { continue: next }) }
    const page = await client.call({ method: 'GET', path, query })
    if (!page.ok) {
      if (path === SNAPSHOTS && page.failure.status === NOT_FOUND) return names
      throw refusalOf(client, page.failure)
    }
    const { items, metadata } = page.body
    for (const item of Array.isArray(items) ? items : []) {
      if (!isRecord(item) || !isRecord(item.metadata) || !isRecord(item.spec)) continue
      if (driverOf(item.spec) === DRIVER_NAME) names.push(String(item.metadata.name))
    }
    next = isRecord(metadata) && typeof metadata.continue === 'string' ? metadata.continue : ''
  } while (next !== '')
  return names
}

/** @throws HoldfastError `uninstall-refused`, `kube-access`, `kube-refused`, `kube-unreachable` */
export async function mayUninstall({ arguments: given, output }: Invocation): Promise<number> {
  const client = new ApiClient(accessOf(given.text('kubeconfig')))
  try {
    const volumes = await namesOf(client, VOLUMES, ({ csi }) => (isRecord(csi) ? csi.driver : undefined))
    const snapshots = await namesOf(client, SNAPSHOTS, ({ driver }) => driver)
    const found = [['PersistentVolume', volumes], ['VolumeSnapshotContent', snapshots]] as const
    const there = found.filter(([, names]) => names.length > 0)
      .map(([kind, names]) => `${names.length} of kind ${kind} (${someOf(names, SHOWN_MOST)})`)
    if (there.length > 0) throw new HoldfastError('uninstall-refused', { found: there.join(', ') })
    output.result({ volumes: 0, snapshots: 0 }, () => ['there are no volumes and no snapshots of this driver'])
    return EXIT_OK
  } finally {
    client.close()
  }
}
