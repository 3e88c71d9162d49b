/** Configurations in memory, for workers of one process: compare-and-swap and hints, and a store that is away. */
import { assert } from '../../../engine/assert.ts'
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import type { VersionedConfig } from '../../../engine/replication/copy-port.ts'
import type { ConfigCas, ConfigPort, ConfigRead } from '../../../dataplane/copy/config-port.ts'

export class MemoryConfigs implements ConfigPort {
  /** Nobody is answered. */
  isAway = false
  readonly #values = new Map<string, VersionedConfig>()
  readonly #hints = new Set<(value: VersionedConfig) => void>()
  #version = 0

  get(volumeId: string): VolumeConfig {
    const value = this.#values.get(volumeId)
    assert(value !== undefined, 'the volume is there')
    return value.config
  }

  /** As an operator would. */
  change(volumeId: string, change: (config: VolumeConfig) => VolumeConfig): void {
    this.put(change(this.get(volumeId)))
  }

  put(config: VolumeConfig): void {
    const value = { config: structuredClone(config), version: String(++this.#version) }
    this.#values.set(config.volumeId, value)
    for (const hint of this.#hints) setImmediate(() => this.#hints.has(hint) && hint(structuredClone(value)))
  }

  read(volumeId: string, ended: (read: ConfigRead) => void): void {
    setImmediate(() => {
      if (this.isAway) return ended({ ok: false })
      ended({ ok: true, value: structuredClone(this.#values.get(volumeId)) })
    })
  }

  compareAndSwap(volumeId: string, version: string, config: VolumeConfig, ended: (cas: ConfigCas) => void): void {
    setImmediate(() => {
      if (this.isAway) return ended({ outcome: 'unknown' })
      if (this.#values.get(volumeId)?.version !== version) return ended({ outcome: 'lost' })
      this.put(config)
      ended({ outcome: 'won', version: String(this.#version) })
    })
  }

  watch(hint: (value: VersionedConfig) => void): () => void {
    this.#hints.add(hint)
    for (const value of this.#values.values()) setImmediate(() => this.#hints.has(hint) && hint(value))
    return () => this.#hints.delete(hint)
  }
}
