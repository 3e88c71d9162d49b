/**
 * The daemon's log: one JSON object a line, quiet (nothing per request), rotated at 10 MiB with one predecessor kept.
 * Lines are written at once and synchronously by the control thread; data workers send theirs as messages. A log that
 * cannot be written never stops a daemon (line-file.ts).
 */
import type { LogPort } from '../engine/ports.ts'
import { LineFile } from './line-file.ts'

const ROTATE_BYTES = 10 * 1024 * 1024

export class DaemonLog implements LogPort {
  readonly #file: LineFile
  readonly #node: string

  constructor({ file, node, rotateBytes = ROTATE_BYTES }: { file: string; node: string; rotateBytes?: number }) {
    this.#file = new LineFile({ file, rotateBytes, kept: 1 })
    this.#node = node
  }

  event(level: 'info' | 'warn' | 'error', message: string, fields: Record<string, string | number | boolean>): void {
    const line = JSON.stringify({ time: new Date().toISOString(), level, node: this.#node, message, ...fields })
    // A full or failing file system under the log is no reason to stop serving volumes.
    this.#file.append(line)
  }

  close(): void {
    this.#file.close()
  }
}
