/**
 * A data worker as the main thread holds it: the thread, its calls in flight, and the sessions given to it. An uncaught
 * exception in the thread is a bug of ours and goes to `onBug`, which ends the process: the store is crash-safe, a
 * half-working process is not.
 */
import { setFlagsFromString } from 'node:v8'
import { Worker } from 'node:worker_threads'
import type { WorkerFigures } from '../cluster/metrics/figures.ts'
import { assert, unreachable } from '../engine/assert.ts'
import type { LogPort } from '../engine/ports.ts'
import { YOUNG_HALF_MIB } from './daemon-memory.ts'
import { unpackError } from './worker-messages.ts'
import type {
  Answer, AnyCall, AnyReplicationCall, CallName, CallOf, FromWorker, ReplicationCallName, ReplicationCallOf,
  ReplicationCalls, ToWorker, WorkerCalls, WorkerReport, WorkerStart,
} from './worker-messages.ts'
import type { ConfigAnswer, ConfigAsk } from './copy/config-messages.ts'
import type { Arrival } from './peer/arrival.ts'
import type { PeerAddress } from './peer/transport.ts'
import { answerExports } from './nbd/export-calls.ts'
import type { ExportAsk } from './nbd/export-calls.ts'
import type { ExportDirectory, NbdSession, SecureArrival } from './nbd/listener.ts'
import type { WorkerHandle } from './node-control.ts'

export interface WorkerThreadOptions {
  start: WorkerStart
  log: LogPort
  onBug: (error: unknown) => void
  onSessionEnded: (session: number) => void
  /** For clients over TLS. */
  exports?: ExportDirectory
  /** One whose volume another worker has. */
  onSession?: (session: NbdSession) => void
  /** Of a node of a cluster: the worker asks for the cluster store. */
  onConfigAsk?: (ask: ConfigAsk) => void
  /** Of a node of a cluster: which copies lead is not what the last status said. */
  onLeadsChanged?: () => void
}

export class WorkerThread implements WorkerHandle {
  readonly #thread: Worker
  readonly #options: WorkerThreadOptions
  readonly #exports: (ask: ExportAsk) => void
  readonly #waiting = new Map<number, (answer: Answer<unknown>) => void>()
  readonly #opened = Promise.withResolvers<WorkerReport>()
  #nextCall = 0
  #isEnded = false

  constructor(options: WorkerThreadOptions) {
    this.#options = options
    const { exports = { list: () => [], find: () => undefined }, onBug } = options
    this.#exports = answerExports(exports, (answer) => this.#post({ kind: 'exports', answer }), onBug)
    // Read when an isolate is made: this one and no other, the main thread has what the supervisor said.
    setFlagsFromString(`--max-semi-space-size=${YOUNG_HALF_MIB.data}`)
    this.#thread = new Worker(new URL('./worker.ts', import.meta.url), {
      workerData: options.start,
      name: `data-${options.start.worker}`,
    })
    this.#thread.on('message', (message: FromWorker) => this.#receive(message))
    this.#thread.on('error', (error) => options.onBug(error))
    this.#thread.on('exit', (code) => {
      if (!this.#isEnded) options.onBug(new Error(`data worker ${options.start.worker} ended, code ${code}`))
    })
  }

  /** What the store holds once it is open; rejects with the refusal that kept it from opening. */
  opened(): Promise<WorkerReport> {
    return this.#opened.promise
  }

  call<K extends CallName>(call: CallOf<K>): Promise<WorkerCalls[K]['answer']> {
    return this.#ask((id) => ({ kind: 'call', id, call: call as AnyCall }))
  }

  /** Of the worker of a node of a cluster. */
  replicationCall<K extends ReplicationCallName>(call: ReplicationCallOf<K>): Promise<ReplicationCalls[K]['answer']> {
    return this.#ask((id) => ({ kind: 'replication-call', id, call: call as AnyReplicationCall }))
  }

  /** The descriptor in it is the worker's from now on. */
  session(session: NbdSession): void {
    this.#post({ kind: 'session', session })
  }

  /** The descriptor in it is the worker's from now on. */
  arrival(arrival: Arrival): void {
    this.#post({ kind: 'arrival', arrival })
  }

  secureNbd(arrival: SecureArrival): void {
    this.#post({ kind: 'secure-nbd', arrival })
  }

  /** What it has counted since its start. */
  figures(): Promise<WorkerFigures> {
    return this.#ask((id) => ({ kind: 'figures', id }))
  }

  /** Resolves when it is between two turns. */
  ping(): Promise<void> {
    return this.#ask((id) => ({ kind: 'ping', id }))
  }

  peers(addresses: PeerAddress[]): void {
    this.#post({ kind: 'peers', addresses })
  }

  config(message: ConfigAnswer): void {
    this.#post({ kind: 'config', message })
  }

  /** After `stop`, for a process that goes on. */
  async end(): Promise<void> {
    this.#isEnded = true
    await this.#thread.terminate()
  }

  #ask<T>(message: (id: number) => ToWorker): Promise<T> {
    const id = this.#nextCall++
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, (answer) => {
        if (answer.ok) resolve(answer.value as T)
        else reject(unpackError(answer.error))
      })
      this.#post(message(id))
    })
  }

  #post(message: ToWorker): void {
    this.#thread.postMessage(message)
  }

  #receive(message: FromWorker): void {
    switch (message.kind) {
      case 'opened': return this.#opened.resolve(message.report)
      case 'refused': return this.#opened.reject(unpackError(message.error))
      case 'session-ended': return this.#options.onSessionEnded(message.session)
      case 'exports': return this.#exports(message.ask)
      case 'session': {
        const { onSession } = this.#options
        assert(onSession !== undefined, 'only one of several workers has clients of another one')
        return onSession(message.session)
      }
      case 'config': {
        const { onConfigAsk } = this.#options
        assert(onConfigAsk !== undefined, 'only the worker of a node of a cluster asks for configurations')
        return onConfigAsk(message.message)
      }
      case 'leads-changed': return this.#options.onLeadsChanged?.()
      case 'event': return this.#options.log.event(message.level, message.message, message.fields)
      case 'answer': {
        const waiting = this.#waiting.get(message.id)
        assert(waiting !== undefined, 'an answer of a worker belongs to one call')
        this.#waiting.delete(message.id)
        return waiting(message.answer)
      }
      default: return unreachable(message)
    }
  }
}
