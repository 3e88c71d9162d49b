/**
 * Each copy of this node keeps what the cluster store says of its volume, in case that one is lost
 * (cluster/store/REBUILD.md section 1). The newest is written, one at a time for each volume; nothing waits for it.
 */
import type { VolumeRecord } from '../engine/control/volume-record.ts'
import { HoldfastError } from '../engine/errors.ts'
import type { NodeId, VolumeConfig } from '../engine/replication/configuration.ts'

/** A copy that is just being made, or failed, takes none. */
const RETRY_DEFAULT_MS = 5000

export interface VolumeNotesOptions {
  node: NodeId
  /** Resolves when it is durable. */
  note(volumeId: string, copyId: string, noted: Seen): Promise<void>
  retryMs?: number
  onBug(error: unknown): void
}

export interface Seen {
  record: VolumeRecord | undefined
  config: VolumeConfig | undefined
}

interface Noting {
  wished: Seen
  isBusy: boolean
}

export class VolumeNotes {
  readonly #o: VolumeNotesOptions
  readonly #volumes = new Map<string, Noting>()
  readonly #retries = new Set<NodeJS.Timeout>()

  constructor(options: VolumeNotesOptions) {
    this.#o = options
  }

  /** What the store says now. */
  seen(volumeId: string, seen: Seen): void {
    // One of the two alone was just listed before the other, or is all that is left of a volume that is gone.
    if (seen.record === undefined || seen.config?.members[this.#o.node] === undefined) return
    const known = this.#volumes.get(volumeId)
    if (known === undefined) this.#volumes.set(volumeId, { wished: seen, isBusy: false })
    else known.wished = seen
    this.#write(volumeId)
  }

  close(): void {
    for (const timer of this.#retries) clearTimeout(timer)
    this.#volumes.clear()
  }

  #write(volumeId: string): void {
    const noting = this.#volumes.get(volumeId)
    if (noting === undefined || noting.isBusy) return
    noting.isBusy = true
    const { wished } = noting
    const { copyId } = wished.config!.members[this.#o.node]!
    const again = (): void => {
      noting.isBusy = false
      this.#write(volumeId)
    }
    this.#o.note(volumeId, copyId, wished).then(
      () => {
        if (noting.wished === wished) this.#volumes.delete(volumeId)
        else again()
      },
      (error: unknown) => {
        if (!(error instanceof HoldfastError)) return this.#o.onBug(error)
        const timer = setTimeout(() => {
          this.#retries.delete(timer)
          again()
        }, this.#o.retryMs ?? RETRY_DEFAULT_MS)
        this.#retries.add(timer)
      },
    )
  }
}
