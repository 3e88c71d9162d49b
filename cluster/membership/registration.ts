/**
 * A node says that it is there, under its name, before it does anything else. A name belongs to the node that took it
 * first, known by the id in its folder; another one is refused until an operator has removed the first.
 */
import { HoldfastError } from '../../engine/errors.ts'
import type { ClusterStore } from '../store/cluster-store.ts'
import { decodeNode, encodeNode, nodeKey } from '../store/node-records.ts'
import type { RegisteredNode } from '../store/node-records.ts'
import { unreadable } from './unreadable.ts'

/** @returns undefined when it is registered; `node-name-taken`, or what the store said */
export async function registerNode(store: ClusterStore, node: RegisteredNode): Promise<HoldfastError | undefined> {
  const { name, nodeId, zone } = node
  const key = nodeKey(name)
  const found = await store.get(key)
  if (!found.ok) return found.error
  const known = found.value === undefined ? undefined : decodeNode(name, found.value.value)
  if (found.value !== undefined && known === undefined) return unreadable(key)
  if (known !== undefined && known.nodeId !== nodeId) {
    return new HoldfastError('node-name-taken', { name, owner: known.nodeId, id: nodeId })
  }
  if (known?.zone === zone) return undefined
  const cas = await store.compareAndSwap({ key, version: found.value?.version, value: encodeNode(node) })
  if (cas.outcome === 'won') return undefined
  return cas.outcome === 'lost' ? new HoldfastError('store-contended', { what: `node ${name}` }) : cas.error
}
