/**
 * The daemon's log: one JSON object a line, quiet (nothing per request), rotated at 10 MiB with one predecessor kept.
 * Lines are written at once and synchronously by the control thread, so that the last words of a dying process are
 * there; data workers send theirs as messages. A log that cannot be written never stops a daemon, and a
 * line that was cut off, by a full file system or the end of a process, takes no other line with it.
 */
import { closeSync, fstatSync, openSync, readSync, renameSync, writeSync } from 'node:fs'
import type { LogPort } from '../engine/ports.ts'

const ROTATE_BYTES = 10 * 1024 * 1024

export class DaemonLog implements LogPort {
  readonly #file: string
  readonly #node: string
  readonly #rotateBytes: number
  #fd = -1
  #sizeBytes = 0
  /** What was written last has no end of line. */
  #isTorn = false

  constructor(options: { file: string; node: string; rotateBytes?: number }) {
    this.#file = options.file
    this.#node = options.node
    this.#rotateBytes = options.rotateBytes ?? ROTATE_BYTES
    this.#open()
  }

  #open(): void {
    try {
      this.#fd = openSync(this.#file, 'a+', 0o600)
      this.#sizeBytes = fstatSync(this.#fd).size
      const last = Buffer.from('\n')
      if (this.#sizeBytes > 0) readSync(this.#fd, last, 0, 1, this.#sizeBytes - 1)
      this.#isTorn = last.toString() !== '\n'
    } catch {
      this.#fd = -1
    }
  }

  event(level: 'info' | 'warn' | 'error', message: string, fields: Record<string, string | number | boolean>): void {
    const line = `${JSON.stringify({ time: new Date().toISOString(), level, node: this.#node, message, ...fields })}\n`
    if (this.#fd < 0) return
    try {
      const bytes = Buffer.from(this.#isTorn ? `\n${line}` : line)
      const writtenBytes = writeSync(this.#fd, bytes)
      this.#sizeBytes += writtenBytes
      if (writtenBytes > 0) this.#isTorn = writtenBytes < bytes.length
      if (this.#sizeBytes >= this.#rotateBytes) this.#rotate()
    } catch {
      // A full or failing file system under the log is no reason to stop serving volumes.
    }
  }

  #rotate(): void {
    renameSync(this.#file, `${this.#file}.1`)
    closeSync(this.#fd)
    this.#open()
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd)
    this.#fd = -1
  }
}
