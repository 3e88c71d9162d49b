/** Where a cluster store is, as it is typed. Light: a supervisor reads it too. */
import { HoldfastError } from '../../engine/errors.ts'

/** `http://HOST:PORT`, or `https` for TLS, several with commas between them. */
export function parseAddresses(text: string): string[] {
  const addresses = text.split(',').map((address) => address.trim().replace(/\/$/, ''))
  for (const address of addresses) {
    const port = /^https?:\/\/(?:\[[0-9a-fA-F:.]+\]|[^\s:/@[\]]+):(\d{1,5})$/.exec(address)?.[1]
    if (port === undefined || Number(port) > 65535 || !URL.canParse(address)) {
      throw new HoldfastError('store-address', { address: JSON.stringify(address) })
    }
  }
  return addresses
}

const KUBE = /^kube:(?:\/\/(\/[^,]+))?$/

/**
 * `kube:`, or `kube:///PATH`: the Kubernetes API.
 * @returns the kubeconfig that says how to reach it, empty: as a pod is told; undefined: it is another store
 */
export function kubeconfigOf(text: string): string | undefined {
  const found = KUBE.exec(text)
  return found === null ? undefined : (found[1] ?? '')
}
