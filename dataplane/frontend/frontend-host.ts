/** The frontends of a data worker: one for each volume that is attached here, with its messages and hints. */
import type { NodeId } from '../../engine/replication/configuration.ts'
import type { ClientFailure, FrontendOptions } from '../../engine/replication/frontend-port.ts'
import type { FrontendMessage } from '../../engine/replication/messages.ts'
import type { Session } from '../../engine/replication/record.ts'
import { BLOCK_BYTES } from '../../engine/units.ts'
import type { ConfigPort } from '../copy/config-port.ts'
import type { TurnLoop } from '../copy/turn-loop.ts'
import type { WakeTimer } from '../copy/wake-timer.ts'
import type { SlabPool } from '../slab-pool.ts'
import { BlobMemory } from './blob-memory.ts'
import { HostedFrontend } from './hosted-frontend.ts'
import type { ExportFacts, FrontendBeginning, FrontendOwner } from './hosted-frontend.ts'

/** The largest record of the smallest segments a disk may have (4 MiB): a part becomes one record on every copy. */
const PART_BYTES_MAX = 32 * BLOCK_BYTES

export type FrontendLimits = Pick<
  FrontendOptions,
  'resendMs' | 'retryMs' | 'partBytesMax' | 'inFlightPartsMax' | 'inFlightBytesMax'
>

export const FRONTEND_LIMITS: FrontendLimits = {
  resendMs: 1000,
  retryMs: 50,
  partBytesMax: PART_BYTES_MAX,
  inFlightPartsMax: 1024,
  inFlightBytesMax: 32 << 20,
}

export interface Attachment extends ExportFacts, FrontendBeginning {
  session: Session
  mode: 'read' | 'write'
  /** How long a request is held before it fails; 0 = for ever. */
  ioTimeoutMs: number
}

export interface FrontendHostOptions {
  self: { node: NodeId }
  loop: TurnLoop
  timer: WakeTimer
  configs: ConfigPort
  /** Of this worker. */
  pool: SlabPool
  limits?: Partial<FrontendLimits>
  /** The copy of this worker. */
  askHere(volumeId: string, message: FrontendMessage): void
  askPeer(to: NodeId, volumeId: string, message: FrontendMessage): void
}

export class FrontendHost implements FrontendOwner {
  readonly loop: TurnLoop
  readonly timer: WakeTimer
  readonly configs: ConfigPort
  readonly blobs: BlobMemory
  readonly compressed: BlobMemory
  readonly #o: FrontendHostOptions
  readonly #frontends = new Map<string, HostedFrontend>()
  readonly #unwatch: () => void

  constructor(options: FrontendHostOptions) {
    this.#o = options
    const { loop, timer, configs, pool } = options
    this.loop = loop
    this.timer = timer
    this.configs = configs
    this.blobs = new BlobMemory(pool)
    this.compressed = new BlobMemory(pool)
    this.#unwatch = configs.watch((value) => {
      this.#frontends.get(value.config.volumeId)?.inbox.put({ type: 'config-hint', value })
    })
  }

  /** A new attachment takes the place of the one that is there, whose clients get errors from now on. */
  attach(attachment: Attachment): HostedFrontend {
    const { session, mode, ioTimeoutMs, known, onFailed, keys, onRefusedBlock, onStrangeBlock, ...facts } = attachment
    this.#frontends.get(facts.volumeId)?.end()
    const options: FrontendOptions = { session, mode, ioTimeoutMs, ...FRONTEND_LIMITS, ...this.#o.limits }
    const frontend = new HostedFrontend(facts, options, this, {
      known, onFailed, keys, onRefusedBlock, onStrangeBlock,
    })
    this.#frontends.set(facts.volumeId, frontend)
    return frontend
  }

  /** @param code  what its clients hear of it; without one they are ended with this worker */
  detach(volumeId: string, code?: ClientFailure): void {
    this.#frontends.get(volumeId)?.end(code)
    this.#frontends.delete(volumeId)
  }

  frontend(volumeId: string): HostedFrontend | undefined {
    return this.#frontends.get(volumeId)
  }

  /** A copy answers, of this worker or another. */
  tell(volumeId: string, from: NodeId, message: FrontendMessage): void {
    this.#frontends.get(volumeId)?.inbox.put({ type: 'message', from, message })
  }

  ask(to: NodeId, volumeId: string, message: FrontendMessage): void {
    if (to === this.#o.self.node) this.#o.askHere(volumeId, message)
    else this.#o.askPeer(to, volumeId, message)
  }

  close(): void {
    this.#unwatch()
    for (const frontend of this.#frontends.values()) frontend.end()
    this.#frontends.clear()
  }
}
