/** What `holdfast node --kube-node NAME` is told by Kubernetes: its name, and its zone unless that is given. */
import path from 'node:path'
import { accessOf } from '../cluster/kubernetes/api-access.ts'
import { ApiClient } from '../cluster/kubernetes/api-client.ts'
import { nodeNameOf } from '../csi/kube/node-name.ts'
import { zoneOfNode } from '../csi/kube/node-zone.ts'
import { makeFolder, replaceFile } from '../dataplane/node-folder.ts'
import type { NodeFlags } from '../dataplane/node-config.ts'
import { usageError } from './arguments.ts'
import type { Arguments } from './arguments.ts'

/** @throws HoldfastError `usage`, `kube-access`, `kube-unreachable` */
export async function asKubernetesSays(given: Arguments): Promise<Pick<NodeFlags, 'name' | 'zone' | 'new-zone'>> {
  const kubernetesName = given.text('kube-node')!
  if (given.text('name') !== undefined) throw usageError('--name and --kube-node contradict each other', 'give one')
  const dir = given.text('dir')
  if (dir === undefined) throw usageError('--dir is missing', 'e.g. --dir /var/lib/holdfast')
  const name = nodeNameOf(kubernetesName)
  if (given.text('zone') !== undefined) return { name }
  const client = new ApiClient(accessOf(given.text('kubeconfig')))
  try {
    makeFolder(path.resolve(dir))
    const file = path.join(path.resolve(dir), `${name}.zone`)
    const zone = await zoneOfNode({ client, kubernetesName, file, keep: replaceFile })
    // What labels say is nobody's slip.
    return { name, zone, 'new-zone': true }
  } finally {
    client.close()
  }
}
