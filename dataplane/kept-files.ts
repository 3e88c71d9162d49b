/**
 * Small files that a node keeps while it serves. A file system below its folder that is full, read-only or failing is
 * told in the log, once, and ends nothing: what such a file has to say first is held back by who asked, everything else
 * goes on, and it is tried again.
 */
import { HoldfastError } from '../engine/errors.ts'
import type { LogPort } from '../engine/ports.ts'

export class KeptFiles {
  readonly #log: LogPort
  readonly #failing = new Set<string>()

  constructor(log: LogPort) {
    this.#log = log
  }

  /** @returns whether it was kept */
  tried(file: string, keep: () => void): boolean {
    try {
      keep()
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error
      const reason = error.message
      if (!this.#failing.has(file)) {
        this.#log.event('error', 'a file of the node is not kept; the node goes on and tries again', { file, reason })
      }
      this.#failing.add(file)
      return false
    }
    if (this.#failing.delete(file)) this.#log.event('info', 'a file of the node is kept again', { file })
    return true
  }
}
