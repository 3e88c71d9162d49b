/**
 * What a data worker asks of the cluster store about configurations, and nothing more. The client of the store lives
 * where the control plane does; a worker talks to it by messages, so every call ends in a callback of a later turn.
 */
import type { VolumeConfig } from '../../engine/replication/configuration.ts'
import type { VersionedConfig } from '../../engine/replication/copy-port.ts'

export type ConfigRead =
  /** Undefined: there is no such volume. */
  | { ok: true; value: VersionedConfig | undefined }
  /** The store did not answer, or what is there is no configuration. */
  | { ok: false }

export type ConfigCas =
  | { outcome: 'won'; version: string }
  /** `lost`: another value is there. `refused`: it did not happen, and will not. `unknown`: it may, even later. */
  | { outcome: 'lost' | 'refused' | 'unknown' }

export interface ConfigPort {
  /** Linearizable. */
  read(volumeId: string, ended: (read: ConfigRead) => void): void
  /** Sent at most once. */
  compareAndSwap(volumeId: string, version: string, config: VolumeConfig, ended: (cas: ConfigCas) => void): void
  /** Hints of every volume, which may be old or missing. @returns what ends them */
  watch(hint: (value: VersionedConfig) => void): () => void
}
