/**
 * A node says that it is there, under its name, before it does anything else. A name belongs to the node that took it
 * first, known by the id in its folder; another one is refused until an operator has removed the first.
 */
import { HoldfastError } from '../../engine/errors.ts'
import type { ClusterStore, Cursor, StoreAnswer, Version } from '../store/cluster-store.ts'
import { NODE_PREFIX, decodeNode, encodeNode, nodeKey } from '../store/node-records.ts'
import type { RegisteredNode } from '../store/node-records.ts'
import { unreadable } from './unreadable.ts'

type Self = Pick<RegisteredNode, 'name' | 'nodeId'>

interface Registered {
  /** Undefined: the name is nobody's. */
  node: RegisteredNode | undefined
  version: Version | undefined
}

/** @returns `node-name-taken`, or what the store said */
export async function readRegistration(store: ClusterStore, { name, nodeId }: Self): Promise<StoreAnswer<Registered>> {
  const key = nodeKey(name)
  const found = await store.get(key)
  if (!found.ok) return found
  if (found.value === undefined) return { ok: true, value: { node: undefined, version: undefined } }
  const node = decodeNode(name, found.value.value)
  if (node === undefined) return { ok: false, error: unreadable(key) }
  if (node.nodeId !== nodeId) {
    return { ok: false, error: new HoldfastError('node-name-taken', { name, owner: node.nodeId, id: nodeId }) }
  }
  return { ok: true, value: { node, version: found.value.version } }
}

/** By name the zone of every other node; empty: it has none. */
export async function zonesOfOthers(store: ClusterStore, self: string): Promise<StoreAnswer<Map<string, string>>> {
  const zones = new Map<string, string>()
  let after: Cursor | undefined
  do {
    const page = await store.list({ prefix: NODE_PREFIX, after })
    if (!page.ok) return page
    for (const { key, value } of page.value.entries) {
      const name = key.slice(NODE_PREFIX.length)
      const node = decodeNode(name, value)
      if (node !== undefined && name !== self) zones.set(name, node.zone)
    }
    after = page.value.next
  } while (after !== undefined)
  return { ok: true, value: zones }
}

/** @returns undefined when it is registered; `node-name-taken`, or what the store said */
export async function registerNode(store: ClusterStore, node: RegisteredNode): Promise<HoldfastError | undefined> {
  const { name, zone } = node
  const key = nodeKey(name)
  const found = await readRegistration(store, node)
  if (!found.ok) return found.error
  if (found.value.node?.zone === zone) return undefined
  const cas = await store.compareAndSwap({ key, version: found.value.version, value: encodeNode(node) })
  if (cas.outcome === 'won') return undefined
  return cas.outcome === 'lost' ? new HoldfastError('store-contended', { what: `node ${name}` }) : cas.error
}
