/** A key whose one writer puts what it should have, whatever it had. */
import { HoldfastError } from '../../engine/errors.ts'
import type { ClusterStore, StoreAnswer } from './cluster-store.ts'

const ATTEMPTS = 5

/** @param value  undefined: the key goes */
export async function putKey(
  store: ClusterStore, key: string, value: Uint8Array | undefined,
): Promise<StoreAnswer<undefined>> {
  let failed = new HoldfastError('store-contended', { what: key })
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const found = await store.get(key)
    if (!found.ok) return found
    const now = found.value
    if (isSame(now?.value, value)) return { ok: true, value: undefined }
    const cas = await store.compareAndSwap({ key, version: now?.version, value })
    if (cas.outcome === 'won') return { ok: true, value: undefined }
    if (cas.outcome !== 'lost') failed = cas.error
  }
  return { ok: false, error: failed }
}

const isSame = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a === undefined || b === undefined ? a === b : Buffer.compare(a, b) === 0
