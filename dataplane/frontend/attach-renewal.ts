/**
 * A new attach generation in place of a broken one, for volumes in mode `open` (SPEC S2, S3, S6): there a connection is
 * an attachment by itself and nobody else makes generations, so the node that hears first that the sessions broke asks
 * for the next one. In every other mode a generation belongs to its holder, who has to let go of it and take it anew.
 *
 * Several nodes may ask at once. All ask for the generation after the broken one, by compare-and-swap on a value that
 * still has the broken one, so one wins and the others read what it made. An unknown outcome is read as well: the swap
 * is built anew on what is there, and of two on one version only one can land.
 */
import { randomBytes } from 'node:crypto'
import type { ClockPort } from '../../engine/ports.ts'
import { withHolderAnew } from '../../engine/replication/configuration.ts'
import type { NodeId, VolumeConfig } from '../../engine/replication/configuration.ts'
import type { VersionedConfig } from '../../engine/replication/copy-port.ts'
import type { ConfigPort } from '../copy/config-port.ts'

/** Between one attempt and the next while the cluster store is away. */
const RETRY_MS = 200

export interface AttachRenewalsOptions {
  node: NodeId
  configs: ConfigPort
  clock: Pick<ClockPort, 'after'>
  /** What was read, or made. */
  onConfig(value: VersionedConfig): void
}

export class AttachRenewals {
  readonly #o: AttachRenewalsOptions
  /** By volume: the generation that is to be replaced. */
  readonly #broken = new Map<string, number>()
  readonly #retries = new Set<{ cancel(): void }>()

  constructor(options: AttachRenewalsOptions) {
    this.#o = options
  }

  /** Goes on until a later generation is there, the volume is gone or in another mode, or `end`. */
  renew(volumeId: string, broken: number): void {
    const isUnderWay = this.#broken.has(volumeId)
    this.#broken.set(volumeId, Math.max(broken, this.#broken.get(volumeId) ?? 0))
    if (!isUnderWay) this.#look(volumeId)
  }

  end(volumeId: string): void {
    this.#broken.delete(volumeId)
  }

  close(): void {
    this.#broken.clear()
    for (const retry of this.#retries) retry.cancel()
  }

  #look(volumeId: string): void {
    this.#o.configs.read(volumeId, (read) => {
      if (!this.#broken.has(volumeId)) return
      if (!read.ok) return this.#lookLater(volumeId)
      if (read.value === undefined) return this.end(volumeId)
      if (this.#isRenewed(volumeId, read.value.config)) return this.#ended(volumeId, read.value)
      this.#swap(volumeId, read.value)
    })
  }

  #swap(volumeId: string, { config, version }: VersionedConfig): void {
    const { node, configs } = this.#o
    const next = withHolderAnew(config, node, randomBytes(16).toString('hex'))
    configs.compareAndSwap(volumeId, version, next, (cas) => {
      if (!this.#broken.has(volumeId)) return
      if (cas.outcome === 'won') this.#ended(volumeId, { config: next, version: cas.version })
      else if (cas.outcome === 'lost') this.#look(volumeId)
      else this.#lookLater(volumeId)
    })
  }

  #isRenewed(volumeId: string, { attach }: VolumeConfig): boolean {
    return attach.mode !== 'open' || attach.generation > this.#broken.get(volumeId)!
  }

  #ended(volumeId: string, value: VersionedConfig): void {
    this.end(volumeId)
    this.#o.onConfig(value)
  }

  #lookLater(volumeId: string): void {
    const retry = this.#o.clock.after(RETRY_MS, () => {
      this.#retries.delete(retry)
      if (this.#broken.has(volumeId)) this.#look(volumeId)
    })
    this.#retries.add(retry)
  }
}
