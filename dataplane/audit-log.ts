/**
 * The audit log of a node (cluster/api/audit-trail.ts has what stands in it): JSON lines, on the medium a moment after
 * they were written, 10 MiB a file, nine predecessors kept. What cannot be written stops nobody, and is told: in the
 * daemon's log, by a metric, and when it works again by a line that says how many are missing.
 */
import type { AuditEntry, AuditPort } from '../cluster/api/audit-trail.ts'
import type { LogPort } from '../engine/ports.ts'
import { LineFile } from './line-file.ts'

const ROTATE_BYTES = 10 * 1024 * 1024
const KEPT = 9

export class AuditLog implements AuditPort {
  readonly #file: LineFile
  readonly #node: string
  readonly #path: string
  readonly #log: LogPort
  /** Since the last one that was written. */
  #missing = 0
  /** Entries that were not written, or may not be on the medium, since the daemon started. */
  failures = 0

  constructor(options: { file: string; node: string; log: LogPort; rotateBytes?: number; kept?: number }) {
    const { file, node, log, rotateBytes = ROTATE_BYTES, kept = KEPT } = options
    this.#file = new LineFile({ file, rotateBytes, kept, onFailed: (error) => this.#failed(error, {}) })
    this.#path = file
    this.#node = node
    this.#log = log
  }

  write(entry: AuditEntry): void {
    const line = JSON.stringify({ time: new Date().toISOString(), node: this.#node, ...entry })
    if (this.#missing > 0) this.#mend()
    const failure = this.#file.append(line)
    if (failure !== undefined) {
      this.#missing++
      return this.#failed(failure, entry)
    }
    this.#file.sync()
  }

  close(): void {
    this.#file.close()
  }

  #mend(): void {
    const line = JSON.stringify({
      time: new Date().toISOString(), node: this.#node, stage: 'missing', entries: this.#missing,
    })
    if (this.#file.append(line) === undefined) this.#missing = 0
  }

  /** The entry goes to the daemon's log instead: it has no secrets, and may lie elsewhere. */
  #failed({ code = '', message }: NodeJS.ErrnoException, entry: AuditEntry): void {
    this.failures++
    const fields = { file: this.#path, reason: code === '' ? message : code, entry: JSON.stringify(entry) }
    this.#log.event('error', 'the audit log cannot be written', fields)
  }
}
