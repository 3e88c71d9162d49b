/**
 * `ConfigPort` over a client of the cluster store in the same thread. However many follow, the store is watched once:
 * in a large cluster each change of a configuration is told to every node.
 */
import type { ClusterStore, Version } from '../../cluster/store/cluster-store.ts'
import { PrefixWatch } from '../../cluster/store/prefix-watch.ts'
import {
  CONFIG_PREFIX, configKey, decodeConfig, encodeConfig, volumeOfKey,
} from '../../cluster/store/volume-configs.ts'
import type { LogPort } from '../../engine/ports.ts'
import type { VolumeConfig } from '../../engine/replication/configuration.ts'
import type { VersionedConfig } from '../../engine/replication/copy-port.ts'
import type { ConfigCas, ConfigPort, ConfigRead } from './config-port.ts'

/** Between one attempt to list or watch and the next. */
const RETRY_MS = 500

/** Undefined: there is none any more. */
export type ConfigSeen = (volumeId: string, value: VersionedConfig | undefined) => void

export class StoreConfigs implements ConfigPort {
  readonly #store: ClusterStore
  readonly #log: LogPort
  readonly #known = new Map<string, VersionedConfig>()
  readonly #followers = new Set<ConfigSeen>()
  /** While somebody follows. */
  #watch: PrefixWatch | undefined

  /** The store stays the caller's. */
  constructor({ store, log }: { store: ClusterStore; log: LogPort }) {
    this.#store = store
    this.#log = log
  }

  read(volumeId: string, ended: (read: ConfigRead) => void): void {
    void this.#store.get(configKey(volumeId)).then((answer) => {
      if (!answer.ok) return ended({ ok: false })
      const { value } = answer
      if (value === undefined) return ended({ ok: true, value: undefined })
      const config = this.#decode(volumeId, value.value)
      ended(config === undefined ? { ok: false } : { ok: true, value: { config, version: value.version } })
    })
  }

  compareAndSwap(volumeId: string, version: string, config: VolumeConfig, ended: (cas: ConfigCas) => void): void {
    const change = { key: configKey(volumeId), version: version as Version, value: encodeConfig(config) }
    void this.#store.compareAndSwap(change).then((cas) => {
      if (cas.outcome === 'won') ended({ outcome: 'won', version: cas.version! })
      else ended({ outcome: cas.outcome })
    })
  }

  watch(hint: (value: VersionedConfig) => void): () => void {
    return this.follow((_, value) => {
      if (value !== undefined) hint(value)
    })
  }

  /** Hints as `watch` gives them, also of what went. Who comes later is told what is known. @returns what ends them */
  follow(seen: ConfigSeen): () => void {
    const follower: ConfigSeen = (volumeId, value) => seen(volumeId, value)
    this.#followers.add(follower)
    if (this.#watch === undefined) this.#begin()
    else queueMicrotask(() => {
      for (const [volumeId, value] of this.#known) if (this.#followers.has(follower)) follower(volumeId, value)
    })
    return () => {
      if (!this.#followers.delete(follower) || this.#followers.size > 0) return
      this.#watch?.close()
      this.#watch = undefined
      this.#known.clear()
    }
  }

  #begin(): void {
    this.#watch = new PrefixWatch({
      store: this.#store,
      prefix: CONFIG_PREFIX,
      retryMs: RETRY_MS,
      onChange: (key, bytes, version) => {
        const volumeId = volumeOfKey(key)
        if (volumeId === undefined) return
        const config = bytes === undefined ? undefined : this.#decode(volumeId, bytes)
        // What is none is no news of the volume: it does not end who uses it.
        if (bytes !== undefined && config === undefined) return
        const value = config === undefined || version === undefined ? undefined : { config, version }
        if (value === undefined) this.#known.delete(volumeId)
        else this.#known.set(volumeId, value)
        for (const follower of this.#followers) follower(volumeId, value)
      },
      onListed: () => undefined,
      // Hints are missed meanwhile; who needs to know reads, and says when that fails.
      onProblem: () => undefined,
    })
  }

  #decode(volumeId: string, value: Uint8Array): VolumeConfig | undefined {
    const config = decodeConfig(volumeId, value)
    if (config === undefined)
      this.#log.event('error', 'what the cluster store has for a volume is no configuration', { volumeId })
    return config
  }
}
