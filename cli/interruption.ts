/**
 * Ctrl-C, or a signal, while a command has something to take back: the first ends it in order, the second at once, with
 * a word about what is left then.
 */
import { HoldfastError } from '../engine/errors.ts'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

export class Interruption {
  readonly #controller = new AbortController()
  readonly #what: string
  readonly #noted: (signal: NodeJS.Signals) => void
  /** What would be left if the command ended now, and how it is taken away: sentences. */
  left: string[] = []

  constructor(what: string) {
    this.#what = what
    this.#noted = (signal) => {
      if (!this.#controller.signal.aborted) return this.#controller.abort()
      this.end()
      for (const sentence of this.left) process.stderr.write(`holdfast: ${sentence}\n`)
      process.kill(process.pid, signal)
    }
    for (const signal of SIGNALS) process.on(signal, this.#noted)
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
