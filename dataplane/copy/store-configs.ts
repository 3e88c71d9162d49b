/** `ConfigPort` over a client of the cluster store in the same thread. */
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

export class StoreConfigs implements ConfigPort {
  readonly #store: ClusterStore
  readonly #log: LogPort

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
    const watch = new PrefixWatch({
      store: this.#store,
      prefix: CONFIG_PREFIX,
      retryMs: RETRY_MS,
      onChange: (key, value, version) => {
        const volumeId = volumeOfKey(key)
        if (volumeId === undefined || value === undefined || version === undefined) return
        const config = this.#decode(volumeId, value)
        if (config !== undefined) hint({ config, version })
      },
      onListed: () => undefined,
      // Hints are missed meanwhile; who needs to know reads, and says when that fails.
      onProblem: () => undefined,
    })
    return () => watch.close()
  }

  #decode(volumeId: string, value: Uint8Array): VolumeConfig | undefined {
    const config = decodeConfig(volumeId, value)
    if (config === undefined)
      this.#log.event('error', 'what the cluster store has for a volume is no configuration', { volumeId })
    return config
  }
}
