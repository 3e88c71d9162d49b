/**
 * A data worker as the main thread holds it: the thread, its calls in flight, and the sessions given to it. An uncaught
 * exception in the thread is a bug of ours and goes to `onBug`, which ends the process: the store is crash-safe, a
 * half-working process is not.
 */
import { Worker } from 'node:worker_threads'
import { assert, unreachable } from '../engine/assert.ts'
import type { LogPort } from '../engine/ports.ts'
import { unpackError } from './worker-messages.ts'
import type {
  Answer, AnyCall, CallName, CallOf, FromWorker, ToWorker, WorkerCalls, WorkerReport, WorkerStart,
} from './worker-messages.ts'
import type { NbdSession } from './nbd/listener.ts'
import type { WorkerHandle } from './node-control.ts'

export interface WorkerThreadOptions {
  start: WorkerStart
  log: LogPort
  onBug: (error: unknown) => void
  onSessionEnded: (session: number) => void
}

export class WorkerThread implements WorkerHandle {
  readonly #thread: Worker
  readonly #options: WorkerThreadOptions
  readonly #waiting = new Map<number, (answer: Answer<unknown>) => void>()
  readonly #opened = Promise.withResolvers<WorkerReport>()
  #nextCall = 0

  constructor(options: WorkerThreadOptions) {
    this.#options = options
    this.#thread = new Worker(new URL('./worker.ts', import.meta.url), {
      workerData: options.start,
      name: `data-${options.start.worker}`,
    })
    this.#thread.on('message', (message: FromWorker) => this.#receive(message))
    this.#thread.on('error', (error) => options.onBug(error))
    this.#thread.on('exit', (code) => {
      options.onBug(new Error(`data worker ${options.start.worker} ended, code ${code}`))
    })
  }

  /** What the store holds once it is open; rejects with the refusal that kept it from opening. */
  opened(): Promise<WorkerReport> {
    return this.#opened.promise
  }

  call<K extends CallName>(call: CallOf<K>): Promise<WorkerCalls[K]['answer']> {
    const id = this.#nextCall++
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, (answer) => {
        if (answer.ok) resolve(answer.value as WorkerCalls[K]['answer'])
        else reject(unpackError(answer.error))
      })
      this.#post({ kind: 'call', id, call: call as AnyCall })
    })
  }

  /** The descriptor in it is the worker's from now on. */
  session(session: NbdSession): void {
    this.#post({ kind: 'session', session })
  }

  #post(message: ToWorker): void {
    this.#thread.postMessage(message)
  }

  #receive(message: FromWorker): void {
    switch (message.kind) {
      case 'opened': return this.#opened.resolve(message.report)
      case 'refused': return this.#opened.reject(unpackError(message.error))
      case 'session-ended': return this.#options.onSessionEnded(message.session)
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
