/**
 * Every node offers every volume that it may use: what is wished (`volumes/`) and agreed (`configs/`) is watched, and
 * the node is told what to offer, what to hide (others hold it) and what to withdraw (it is gone). One thing at a time
 * for each volume, the last wish wins; what was refused because it is too early is tried again.
 *
 * A record that does not decode is no news: a newer version wrote it, or somebody who should not, and neither is a
 * reason to end whoever uses the volume.
 *
 * The limits of a volume (engine/volume/qos-limits.ts) are kept where clients come in, so nodes that hold it together
 * have equal parts of them. Who uses a volume in mode `open` nobody knows: there each node has all of it.
 */
import type { LocalNode, OfferedVolume } from '../cluster/local-node.ts'
import type { ClusterStore } from '../cluster/store/cluster-store.ts'
import { afterPrefix } from '../cluster/store/json-value.ts'
import { PrefixWatch } from '../cluster/store/prefix-watch.ts'
import { decodeVolume, VOLUME_PREFIX } from '../cluster/store/volume-records.ts'
import type { VolumeRecord } from '../engine/control/volume-record.ts'
import { HoldfastError } from '../engine/errors.ts'
import type { LogPort } from '../engine/ports.ts'
import type { NodeId, VolumeConfig } from '../engine/replication/configuration.ts'
import { shareOf } from '../engine/volume/qos-limits.ts'
import type { StoreConfigs } from './copy/store-configs.ts'

const RETRY_MS = 500
/** What a node was told that was told nothing. */
const NOTHING = JSON.stringify({ what: 'withdraw' })

type Wish = { what: 'offer'; offer: OfferedVolume } | { what: 'hide' | 'withdraw' }

interface Known {
  record: VolumeRecord | undefined
  config: VolumeConfig | undefined
  /** What the store has is no record here; that was told. */
  isUnread: boolean
  /** As JSON. */
  told: string
  isBusy: boolean
}

export interface VolumeOffersOptions {
  node: NodeId
  store: ClusterStore
  configs: Pick<StoreConfigs, 'follow'>
  local: Pick<LocalNode, 'offer' | 'hide' | 'withdraw'>
  log: LogPort
  /** What the store says of a volume now. */
  onSeen(volumeId: string, seen: Pick<Known, 'record' | 'config'>): void
  /** The store has no record of it any more: it was erased for good. */
  onGone(volumeId: string): void
  onBug(error: unknown): void
}

export class VolumeOffers {
  readonly #o: VolumeOffersOptions
  readonly #volumes = new Map<string, Known>()
  readonly #watch: PrefixWatch
  readonly #unfollow: () => void
  readonly #retries = new Set<NodeJS.Timeout>()

  constructor(options: VolumeOffersOptions) {
    this.#o = options
    this.#watch = new PrefixWatch({
      store: options.store,
      prefix: VOLUME_PREFIX,
      onChange: (key, value) => {
        const id = afterPrefix(key, VOLUME_PREFIX)
        if (id === undefined) return
        if (value === undefined) options.onGone(id)
        const record = value === undefined ? undefined : decodeVolume(id, value)
        if (value !== undefined && record === undefined) return this.#unread(id)
        Object.assign(this.#at(id), { record, isUnread: false })
        this.#seen(id)
      },
      onListed: () => undefined,
      // What is offered stays so; membership says that the store is away.
      onProblem: () => undefined,
    })
    this.#unfollow = options.configs.follow((id, value) => {
      this.#at(id).config = value?.config
      this.#seen(id)
    })
  }

  /** By name, else by id; one that is not in the trash, as far as it is known here. */
  volume(nameOrId: string): VolumeRecord | undefined {
    let found: VolumeRecord | undefined
    for (const { record } of this.#volumes.values()) {
      if (record === undefined || record.trash !== null) continue
      if (record.spec.name === nameOrId) return record
      if (record.spec.id === nameOrId) found = record
    }
    return found
  }

  close(): void {
    this.#watch.close()
    this.#unfollow()
    for (const timer of this.#retries) clearTimeout(timer)
  }

  #unread(id: string): void {
    const known = this.#at(id)
    if (known.isUnread) return
    known.isUnread = true
    const message = 'what the cluster store has for a volume is no record of this version; the one before counts'
    this.#o.log.event('error', message, { volume: id })
  }

  #seen(id: string): void {
    const { record, config } = this.#at(id)
    this.#o.onSeen(id, { record, config })
    this.#catchUp(id)
  }

  #at(id: string): Known {
    let known = this.#volumes.get(id)
    if (known === undefined) {
      known = { record: undefined, config: undefined, isUnread: false, told: NOTHING, isBusy: false }
      this.#volumes.set(id, known)
    }
    return known
  }

  #wished({ record, config }: Known): Wish {
    if (record === undefined || record.trash !== null || config === undefined) return { what: 'withdraw' }
    const { attach } = config
    const { mode, holders } = attach
    const generation = mode === 'open' ? attach.generation : holders[this.#o.node]
    if (generation === undefined) return { what: 'hide' }
    const { spec } = record
    const users = mode === 'open' ? 1 : Object.keys(holders).length
    const qos = spec.qos === undefined ? undefined : shareOf(spec.qos, users)
    return { what: 'offer', offer: { spec, mode, generation, ioTimeoutMs: spec.ioTimeoutMs, qos } }
  }

  #catchUp(id: string): void {
    const known = this.#at(id)
    const wished = this.#wished(known)
    const wish = JSON.stringify(wished)
    if (known.isBusy || wish === known.told) return
    known.isBusy = true
    void this.#tell(id, wished).then(
      () => {
        known.told = wish
        known.isBusy = false
        this.#catchUp(id)
      },
      (error: unknown) => {
        if (!(error instanceof HoldfastError)) return this.#o.onBug(error)
        this.#o.log.event('warn', 'a volume cannot be offered yet', { volume: id, reason: error.message })
        const timer = setTimeout(() => {
          this.#retries.delete(timer)
          known.isBusy = false
          this.#catchUp(id)
        }, RETRY_MS)
        this.#retries.add(timer)
      },
    )
  }

  #tell(id: string, wished: Wish): Promise<void> {
    const { local } = this.#o
    return wished.what === 'offer' ? local.offer(wished.offer) : local[wished.what](id)
  }
}
