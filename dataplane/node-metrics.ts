/**
 * What the daemon shows over HTTP: its metrics, whether it is alive, whether it serves (docs/metrics.md).
 *
 *   live    this thread answers (or nothing would), and every data worker that has opened its disks answers it
 *   ready   the cluster store was reached once, the disks are open and at least one of them works, clients are let in
 *
 * Neither turns over what passes by itself: held I/O, a store that is away, a copy that is missing are metrics.
 */
import { joinFigures } from '../cluster/metrics/figures.ts'
import type { CopyFigures, WorkerFigures } from '../cluster/metrics/figures.ts'
import type { Check, MetricsSource } from '../cluster/metrics/http-server.ts'
import { METRICS } from '../cluster/metrics/metric-table.ts'
import type { NodeFigures } from '../cluster/metrics/node-figures.ts'
import type { TlsFolder } from '../cluster/tls/tls-folder.ts'
import { HoldfastError } from '../engine/errors.ts'

/** A worker answers between two turns, which take milliseconds. */
export const WORKER_ANSWER_MS = 5000

/** A data worker as this thread sees it. */
export interface MeasuredWorker {
  figures(): Promise<WorkerFigures>
  ping(): Promise<void>
}

export interface NodeMetricsOptions {
  node: string
  version: string
  instance: string
  /** URL of the cluster store; undefined: the node is by itself. */
  store: string | undefined
  answerMs?: number
}

export class NodeMetrics implements MetricsSource<NodeFigures> {
  readonly table = METRICS
  readonly #o: NodeMetricsOptions
  readonly #startedAtMs = Date.now() - performance.now()
  #workers: readonly MeasuredWorker[] | undefined
  #hasJoined = false
  #isServing = false
  #isStopping = false
  /** The cluster store answers, as far as is known. */
  isStoreReachable = false
  /** Entries that its audit log lacks. */
  auditFailures: () => number = () => 0
  /** Undefined: the node talks in plain text. */
  tls: TlsFolder | undefined
  /** Of a volume whose copy here leads: versions in which its copies differ, by the last comparison. */
  differencesOf: (volumeId: string) => number = () => 0

  constructor(options: NodeMetricsOptions) {
    this.#o = options
  }

  /** The cluster store was reached, and said which cluster this is. */
  joined(): void {
    this.#hasJoined = true
    this.isStoreReachable = true
  }

  opened(workers: readonly MeasuredWorker[]): void {
    this.#workers = workers
  }

  serving(): void {
    this.#isServing = true
  }

  stopping(): void {
    this.#isStopping = true
  }

  async figures(): Promise<NodeFigures> {
    const { node, version, instance, store } = this.#o
    const { user, system } = process.cpuUsage()
    const counted = await this.#counted()
    return {
      ...counted,
      copies: counted.copies.map((copy) => this.#compared(copy)),
      node, version, instance,
      startedAtMs: this.#startedAtMs,
      residentBytes: process.memoryUsage.rss(),
      cpuSeconds: (user + system) / 1e6,
      isStoreReachable: store === undefined ? undefined : this.isStoreReachable,
      certificateExpiresAtMs: this.tls?.current.expiresAtMs,
      auditFailures: this.auditFailures(),
    }
  }

  #compared(copy: CopyFigures): CopyFigures {
    const differences = copy.isLeading ? this.differencesOf(copy.volumeId) : 0
    return differences === 0 ? copy : { ...copy, scrubs: { ...copy.scrubs, differences } }
  }

  async live(): Promise<Check[]> {
    if (this.#workers === undefined) return [{ name: 'daemon', ok: true, words: 'it is starting' }]
    return Promise.all(this.#workers.map(async (one, worker): Promise<Check> => {
      const name = `data worker ${worker}`
      try {
        await this.#inTime(one.ping(), worker)
        return { name, ok: true, words: 'it answers' }
      } catch (error) {
        return { name, ok: false, words: sentenceOf(error) }
      }
    }))
  }

  async ready(): Promise<Check[]> {
    const { store } = this.#o
    const now = this.isStoreReachable ? 'it answers' : 'it was reached, and does not answer now; volumes go on'
    const storeWords = this.#hasJoined ? now : `waiting for ${store}`
    return [
      ...(store === undefined ? [] : [{ name: 'cluster store', ok: this.#hasJoined, words: storeWords }]),
      await this.#disks(),
      {
        name: 'clients',
        ok: this.#isServing && !this.#isStopping,
        words: this.#isStopping ? 'it is stopping' : this.#isServing ? 'they are let in' : 'not yet',
      },
    ]
  }

  async #disks(): Promise<Check> {
    const name = 'disks'
    if (this.#workers === undefined) return { name, ok: false, words: 'they are being opened' }
    try {
      const { disks } = await this.#counted()
      const online = disks.filter(({ isOnline }) => isOnline).length
      return { name, ok: online > 0 || disks.length === 0, words: `${online} of ${disks.length} work` }
    } catch (error) {
      return { name, ok: false, words: sentenceOf(error) }
    }
  }

  async #counted(): Promise<WorkerFigures> {
    const workers = this.#workers ?? []
    return joinFigures(await Promise.all(workers.map((one, worker) => this.#inTime(one.figures(), worker))))
  }

  async #inTime<T>(answer: Promise<T>, worker: number): Promise<T> {
    const { node, answerMs = WORKER_ANSWER_MS } = this.#o
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      const seconds = answerMs / 1000
      timer = setTimeout(() => reject(new HoldfastError('worker-silent', { worker, node, seconds })), answerMs)
    })
    try {
      return await Promise.race([answer, late])
    } finally {
      clearTimeout(timer)
    }
  }
}

function sentenceOf(error: unknown): string {
  if (error instanceof HoldfastError) return error.message
  throw error
}
