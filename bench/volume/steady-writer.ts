/**
 * Writes of 4 KiB at random places of a volume, a fixed number in flight, until it is stopped; when each was sent and
 * how it was answered. A write that is not acknowledged ends it: no benchmark of ours has an error at its client.
 */
import { NbdConnection, WRITE } from '../../cli/load/nbd-connection.ts'
import { pause } from './scratch.ts'

export const WRITE_BYTES = 4096

export interface Acknowledged {
  sentMs: number
  atMs: number
}

export interface SteadyWriterOptions {
  socketPath: string
  volume: string
  sizeBytes: number
  depth: number
}

export class SteadyWriter {
  readonly acknowledged: Acknowledged[] = []
  readonly #connection: NbdConnection
  readonly #blocks: number
  readonly #lanes: Promise<void>
  #isOver = false

  private constructor(connection: NbdConnection, { sizeBytes, depth }: SteadyWriterOptions) {
    this.#connection = connection
    this.#blocks = sizeBytes / WRITE_BYTES
    this.#lanes = Promise.all(Array.from({ length: depth }, (_, lane) => this.#run(lane))).then(() => undefined)
    // Whoever waits for it next is told.
    this.#lanes.catch(() => undefined)
  }

  static async start(options: SteadyWriterOptions): Promise<SteadyWriter> {
    const connection = await NbdConnection.open(options.socketPath, options.volume, true)
    if (connection === undefined) throw new Error(`${options.volume} is not served at ${options.socketPath}`)
    return new SteadyWriter(connection, options)
  }

  async #run(lane: number): Promise<void> {
    const data = Buffer.alloc(WRITE_BYTES, 7 + lane)
    while (!this.#isOver) {
      const offset = Math.floor(Math.random() * this.#blocks) * WRITE_BYTES
      const sentMs = performance.now()
      const answer = await this.#connection.ask({ type: WRITE, offset, data })
      if (answer === 'closed' || answer.errno !== 0) {
        this.#isOver = true
        throw new Error(`a write was not acknowledged: ${answer === 'closed' ? answer : `errno ${answer.errno}`}`)
      }
      this.acknowledged.push({ sentMs, atMs: performance.now() })
    }
  }

  /** When the first write that was sent after that moment was acknowledged. */
  async firstAfter(momentMs: number): Promise<number> {
    for (;;) {
      const found = this.acknowledged.findLast(({ sentMs }) => sentMs > momentMs)
      if (found !== undefined) return this.acknowledged.find(({ sentMs }) => sentMs > momentMs)!.atMs
      await Promise.race([pause(1), this.#lanes])
    }
  }

  /** Milliseconds from sent to acknowledged of those that were sent in an interval, in ascending order. */
  latenciesMs(fromMs: number, toMs: number): number[] {
    const inside = this.acknowledged.filter(({ sentMs }) => sentMs >= fromMs && sentMs < toMs)
    return inside.map(({ sentMs, atMs }) => atMs - sentMs).sort((a, b) => a - b)
  }

  async stop(): Promise<void> {
    this.#isOver = true
    await this.#lanes
    await this.#connection.disconnect()
  }
}

/** Of an ascending list. */
export const quantile = (ascending: readonly number[], share: number): number =>
  ascending[Math.min(ascending.length - 1, Math.floor(ascending.length * share))]!
