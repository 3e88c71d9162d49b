/** The cluster store that an address names: the Kubernetes API, or what speaks the etcd v3 API. */
import { accessOf } from '../kubernetes/api-access.ts'
import type { StoreTls } from '../tls/store-tls.ts'
import type { ClusterStore, KnownStore } from './cluster-store.ts'
import { connectEtcdStore } from './etcd-store.ts'
import { connectKubeStore } from './kube-store.ts'
import { kubeconfigOf } from './store-addresses.ts'

export interface StoreOptions {
  /** As it is typed: `http(s)://HOST:PORT`, several with commas between them, or `kube:`, `kube:///PATH`. */
  addresses: string
  /** For `https`. */
  tls?: StoreTls | undefined
  /** Which store it has to be, as `known()` said before; undefined: whichever it is at first. */
  known?: KnownStore | undefined
}

/**
 * Nothing is connected before something is asked.
 * @throws HoldfastError `store-address`, `store-needs-tls`, `kube-access`
 */
export function connectClusterStore(options: StoreOptions): ClusterStore {
  const { addresses, known } = options
  const kubeconfig = kubeconfigOf(addresses)
  if (kubeconfig === undefined) return connectEtcdStore(options)
  return connectKubeStore({ access: accessOf(kubeconfig), known })
}
