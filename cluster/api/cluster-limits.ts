/**
 * What a small cluster cannot promise, in sentences for `holdfast status`: one node, two nodes, and a cluster store on
 * the host of a node. Where things are is told by the addresses that they are reached at, as far as those tell.
 */
import { someOf } from '../../engine/control/amounts.ts'

export interface NodePlace {
  name: string
  /** `HOST:PORT`; empty: it is not known. */
  address: string
}

export const LONE_NODE = 'one node: while it is down nothing is served, and what is on its disks is nowhere else'

/** @param store  addresses with commas between them */
export function limitsOf(nodes: readonly NodePlace[], store: string): string[] {
  if (nodes.length <= 1) return nodes.length === 0 ? [] : [LONE_NODE]
  const hosts = new Map<string, string[]>()
  for (const { name, address } of nodes) hosts.set(hostOf(address), [...hosts.get(hostOf(address)) ?? [], name].sort())
  // A host without which most members of the store are gone.
  const members = store.split(',').map(hostOf)
  const host = [...hosts.keys()].find((one) => members.filter((other) => other === one).length * 2 >= members.length)
  const goesOn = 'either may be lost and the other goes on, without a copy to spare'
  if (host === undefined) {
    if (nodes.length > 2) return []
    const witness = 'two nodes, and the cluster store elsewhere as a witness'
    return [`${witness}: ${goesOn}; while the store is away, nobody takes over`]
  }
  if (hosts.size === 1) {
    if (nodes.length > 2) return []
    return [`two nodes and the cluster store on one host (${host}): ${goesOn}, but with the host all is away`]
  }
  const there = someOf(hosts.get(host)!)
  const lost = 'when that host is lost, I/O of volumes with a copy there is held until the store is back'
  const count = nodes.length === 2 ? 'two nodes, and the cluster store' : 'the cluster store is'
  return [`${count} on the host of ${there}: ${lost}; keep it elsewhere`]
}

/** Of `HOST:PORT` or `http://HOST:PORT`. */
function hostOf(address: string): string {
  const text = address.trim()
  const url = URL.parse(text.includes('://') ? text : `tcp://${text}`)
  const host = url?.hostname ?? ''
  return host === 'localhost' ? '127.0.0.1' : host
}
