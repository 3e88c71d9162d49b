/**
 * Which cluster this is: the id under the key `cluster`, made by whoever comes first and never changed. It is on every
 * disk and in every folder, so that what belongs elsewhere is not taken for ours.
 */
import type { HoldfastError } from '../../engine/errors.ts'
import { CLUSTER_KEY, decodeCluster, encodeCluster } from '../store/cluster-record.ts'
import type { ClusterRecord } from '../store/cluster-record.ts'
import type { ClusterStore, StoreAnswer } from '../store/cluster-store.ts'
import { unreadable } from './unreadable.ts'

/** Linearizable. Undefined: the store belongs to no cluster yet. */
export async function readCluster(store: ClusterStore): Promise<StoreAnswer<ClusterRecord | undefined>> {
  const found = await store.get(CLUSTER_KEY)
  if (!found.ok) return found
  if (found.value === undefined) return { ok: true, value: undefined }
  const record = decodeCluster(found.value.value)
  return record === undefined ? { ok: false, error: unreadable(CLUSTER_KEY) } : { ok: true, value: record }
}

/** @param wished  the id that is given when there is none: 32 hex digits */
export async function agreeOnClusterId(store: ClusterStore, wished: string): Promise<StoreAnswer<string>> {
  let failed: HoldfastError | undefined
  for (let attempt = 0; attempt < 2; attempt++) {
    const found = await readCluster(store)
    if (!found.ok) return found
    if (found.value !== undefined) return { ok: true, value: found.value.id }
    const value = encodeCluster({ id: wished, era: 0, rebuilt: {} })
    const cas = await store.compareAndSwap({ key: CLUSTER_KEY, version: undefined, value })
    if (cas.outcome === 'won') return { ok: true, value: wished }
    // Lost: another one was first. Not known: what is there says it.
    failed = cas.outcome === 'lost' ? undefined : cas.error
  }
  return { ok: false, error: failed ?? unreadable(CLUSTER_KEY) }
}
