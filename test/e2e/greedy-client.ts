/** A client of a volume that asks for all it can. */
import { NbdConnection, READ, WRITE } from '../../cli/load/nbd-connection.ts'
import { until } from './until.ts'

export const BLOCK = Buffer.alloc(4096, 7)

/** Keeps `depth` requests in flight on one connection, until it is told to stop; counts answers. */
export class Greedy {
  answers = 0
  errors = 0
  #isStopped = false
  readonly #ended: Promise<void>
  readonly #connection: NbdConnection

  constructor(connection: NbdConnection, depth: number, isWriting = true) {
    this.#connection = connection
    this.#ended = Promise.all(Array.from({ length: depth }, (_, i) => this.#ask(i, isWriting))).then(() => undefined)
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#ended
    await this.#connection.disconnect()
  }

  async #ask(place: number, isWriting: boolean): Promise<void> {
    const offset = (place % 1024) * 4096
    while (!this.#isStopped) {
      const request = isWriting ? { type: WRITE, offset, data: BLOCK } : { type: READ, offset, length: 4096 }
      const answer = await this.#connection.ask(request)
      if (answer === 'closed' || answer.errno !== 0) this.errors++
      else this.answers++
      if (answer === 'closed') return
    }
  }
}

/** As soon as it is served. */
export async function opened(socketPath: string, name: string): Promise<NbdConnection> {
  return (await until(() => NbdConnection.open(socketPath, name, true), (found) => found !== undefined))!
}
