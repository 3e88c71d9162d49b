/**
 * The worker's side of the calls in worker-messages.ts: runs each against the store and knows the sessions that use
 * its volumes. It answers exactly once per call and holds no other state, so tests run it on a store in memory.
 */
import { unreachable } from '../engine/assert.ts'
import { HoldfastError } from '../engine/errors.ts'
import type { QosLimits } from '../engine/volume/qos-limits.ts'
import type { Reply, Result, StoreApi } from '../engine/volume/store-api.ts'
import type { VolumeStatus } from '../engine/volume/volume-spec.ts'
import type { PreparedDisk } from './disk-preparation.ts'
import type { VolumeGates } from './volume-gates.ts'
import { packError } from './worker-messages.ts'
import type { Answer, AnyCall, SessionReport, WorkerReport } from './worker-messages.ts'

/** Users of a volume that is deleted by force get this long for what they had already asked. */
const FORCED_END_DRAIN_MS = 500

/** The store of a worker, and its shell, which can take disks while it runs. */
export type WorkerStore = StoreApi & {
  /** Take a disk that the main thread prepared, with the volumes it holds. */
  addDisk(disk: PreparedDisk, otherNames: string[], reply: Reply<undefined>): void
}

/** Who uses which volume; kept by whoever serves the sessions. */
export interface SessionTable {
  reports(): SessionReport[]
  /** Sessions of one volume. */
  count(volume: string): number
  /** End the sessions of `volume` (all when undefined): finish what was accepted, for at most `drainMs`, then close. */
  end(volume: string | undefined, drainMs: number): Promise<void>
}

export class StoreCalls {
  readonly #store: WorkerStore
  readonly #sessions: SessionTable
  readonly #gates: Pick<VolumeGates, 'change' | 'forget'>

  constructor(store: WorkerStore, sessions: SessionTable, gates: Pick<VolumeGates, 'change' | 'forget'>) {
    this.#store = store
    this.#sessions = sessions
    this.#gates = gates
  }

  report(): WorkerReport {
    return { volumes: this.#store.volumes(), disks: this.#store.disks(), sessions: this.#sessions.reports() }
  }

  run(call: AnyCall, answer: (answer: Answer<unknown>) => void): void {
    const reply = (result: Result<unknown>) => {
      answer(result.ok ? { ok: true, value: result.value } : { ok: false, error: packError(result.error) })
    }
    switch (call.kind) {
      case 'create': return this.#store.createVolume(call.spec, reply)
      case 'resize': return this.#store.resizeVolume(call.name, call.sizeBytes, reply)
      case 'set-qos': return this.#setQos(call.name, call.qos, reply)
      case 'delete': return this.#delete(call.name, call.force, reply)
      case 'report': return reply({ ok: true, value: this.report() })
      case 'add-disk': return this.#store.addDisk(call.disk, call.otherNames, reply)
      case 'stop': return this.#stop(call.drainMs, reply)
      default: return unreachable(call)
    }
  }

  #setQos(name: string, qos: QosLimits | undefined, reply: Reply<VolumeStatus>): void {
    this.#store.setQos(name, qos, (result) => {
      if (result.ok) this.#gates.change(result.value.spec.id, qos)
      reply(result)
    })
  }

  #delete(name: string, force: boolean, reply: Reply<undefined>): void {
    const volume = this.#store.volume(name)
    if (volume === undefined) return reply({ ok: false, error: new HoldfastError('volume-not-found', { name }) })
    const sessions = this.#sessions.count(name)
    if (sessions > 0 && !force) {
      return reply({ ok: false, error: new HoldfastError('volume-in-use', { name, sessions }) })
    }
    void this.#sessions.end(name, FORCED_END_DRAIN_MS).then(() => {
      this.#store.deleteVolume(name, (result) => {
        if (result.ok) this.#gates.forget(volume.spec.id)
        reply(result.ok ? { ok: true, value: undefined } : result)
      })
    })
  }

  #stop(drainMs: number, reply: Reply<undefined>): void {
    void this.#sessions.end(undefined, drainMs).then(() => {
      this.#store.stop((result) => reply(result.ok ? { ok: true, value: undefined } : result))
    })
  }
}
