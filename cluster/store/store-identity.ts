/**
 * S4: the store that answers is the one we know, and has not gone back in time. A linearizable answer shows at least
 * what every answer showed that came before its request was sent; a lower revision than that is an old backup.
 */
import { HoldfastError } from '../../engine/errors.ts'
import type { KnownStore } from './cluster-store.ts'
import { revisionOf } from './etcd-api.ts'
import type { ResponseHeader } from './etcd-api.ts'

/** An answer that no cluster store gives. */
export const nonsense = (endpoint: string): HoldfastError =>
  new HoldfastError('store-refused', { endpoint, reason: 'its answer is not what a cluster store says' })

/** Of an answer that names no member of a store. */
export const NO_HEADER = { memberId: '0', raftTerm: '0' }

export class StoreIdentity {
  private knownStore: KnownStore | undefined

  constructor(known: KnownStore | undefined) {
    this.knownStore = known
  }

  known(): KnownStore | undefined {
    return this.knownStore
  }

  /** The store that was known as `former` is known by more from now on. */
  extend(former: string, clusterId: string): void {
    if (this.knownStore?.clusterId === former) this.knownStore = { ...this.knownStore, clusterId }
  }

  /** To be taken before a request is sent, and held against its answer. */
  get revision(): number {
    return this.knownStore?.revision ?? 0
  }

  /** @param revisionBefore  `revision` as it was when the request was sent; 0 for an answer that may be old */
  check(endpoint: string, header: ResponseHeader | null, revisionBefore: number): HoldfastError | undefined {
    // The protocol lets a server leave it out, and no server does.
    if (header === null) return nonsense(endpoint)
    const { clusterId } = header
    const revision = revisionOf(header.revision)
    const known = this.knownStore
    if (known !== undefined && known.clusterId !== clusterId) {
      return new HoldfastError('store-replaced', { endpoint, found: clusterId, known: known.clusterId })
    }
    if (revision < revisionBefore) {
      return new HoldfastError('store-behind', { endpoint, found: revision, known: revisionBefore })
    }
    this.knownStore = { clusterId, revision: Math.max(revision, known?.revision ?? 0) }
    return undefined
  }
}
