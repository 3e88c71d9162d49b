/** Ctrl-C, or a signal, while a command has something to take back: the first ends it in order, the second at once. */
import { HoldfastError } from '../engine/errors.ts'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

export class Interruption {
  readonly #controller = new AbortController()
  readonly #what: string
  readonly #noted: () => void

  constructor(what: string) {
    this.#what = what
    this.#noted = () => this.#controller.abort()
    for (const signal of SIGNALS) process.once(signal, this.#noted)
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** @throws HoldfastError `copy-ended`, once it was asked for */
  check(): void {
    if (this.#controller.signal.aborted) {
      throw new HoldfastError('copy-ended', { what: this.#what, reason: 'it was interrupted' })
    }
  }

  end(): void {
    for (const signal of SIGNALS) process.off(signal, this.#noted)
  }
}
