/**
 * The starts of daemons, counted over the whole cluster under the key `starts`: each gets a number that nobody had
 * before and that is above all of its own earlier ones. Sessions of frontends are told apart by it.
 */
import { HoldfastError } from '../../engine/errors.ts'
import type { ClusterStore, StoreAnswer } from '../store/cluster-store.ts'
import { decodeStarts, encodeStarts, STARTS_KEY } from '../store/start-counter.ts'
import { unreadable } from './unreadable.ts'

/** So that a number and 2^24 attachments of a volume fit into 48 of the 53 bits that a record has for them. */
export const STARTS_MAX = 2 ** 24 - 1
/** Of several daemons that start at once each loses to the others a few times. */
const ATTEMPTS = 20

/**
 * One that was perhaps given away is not given again.
 * @param former  of this node's last start: a store that counts fewer is an old one, whatever else it shows, and would
 *   give a number to two
 * @returns error `starts-behind`
 */
export async function nextStartNumber(
  store: ClusterStore, { former, address }: { former: number; address: string },
): Promise<StoreAnswer<number>> {
  let failed: HoldfastError = unreadable(STARTS_KEY)
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const found = await store.get(STARTS_KEY)
    if (!found.ok) return found
    const known = found.value === undefined ? 0 : decodeStarts(found.value.value)
    if (known === undefined || known >= STARTS_MAX) return { ok: false, error: unreadable(STARTS_KEY) }
    if (known < former) {
      const detail = { endpoint: address, found: known, known: former }
      return { ok: false, error: new HoldfastError('starts-behind', detail) }
    }
    const count = known + 1
    const { value } = found
    const cas = await store.compareAndSwap({ key: STARTS_KEY, version: value?.version, value: encodeStarts(count) })
    if (cas.outcome === 'won') return { ok: true, value: count }
    if (cas.outcome !== 'lost') failed = cas.error
  }
  return { ok: false, error: failed }
}
