/** NBD over TLS in a data worker, where the node has certificates: its parts, and what the main thread says of it. */
import { TlsFolder } from '../cluster/tls/tls-folder.ts'
import { assert } from '../engine/assert.ts'
import type { LogPort } from '../engine/ports.ts'
import { AskedExports } from './nbd/export-calls.ts'
import { SecureNbd } from './nbd/secure-nbd.ts'
import type { NbdSessions } from './session-table.ts'
import type { FromWorker, ToWorker } from './worker-messages.ts'

/** The certificates of the node, one for all that a worker does. @param dir  undefined: it has none */
export function openWorkerTls(dir: string | undefined, log: LogPort): TlsFolder | undefined {
  if (dir === undefined) return undefined
  const folder = new TlsFolder(dir)
  folder.onProblem = ({ message }) => log.event('warn', 'new certificates cannot be used', { reason: message })
  return folder
}

export class WorkerTls {
  readonly #exports: AskedExports
  readonly #nbd: SecureNbd

  constructor({ folder, worker, sessions, log, post }: {
    folder: TlsFolder
    worker: number
    sessions: NbdSessions
    log: LogPort
    post(message: FromWorker): void
  }) {
    this.#exports = new AskedExports((ask) => post({ kind: 'exports', ask }))
    this.#nbd = new SecureNbd({
      folder,
      worker,
      exports: this.#exports,
      sessions,
      onElsewhere: (session) => post({ kind: 'session', session }),
      onEnded: (session) => post({ kind: 'session-ended', session }),
      onRefused: (reason) => log.event('info', 'an NBD handshake was refused', { reason }),
    })
  }

  /** Undefined: the node has no certificates. */
  static of(options: Omit<ConstructorParameters<typeof WorkerTls>[0], 'folder'> & { folder: TlsFolder | undefined }) {
    const { folder } = options
    return folder === undefined ? undefined : new WorkerTls({ ...options, folder })
  }

  /** No more sessions. */
  close(): void {
    this.#nbd.close()
  }

  take(message: Extract<ToWorker, { kind: 'secure-nbd' | 'exports' }>): void {
    if (message.kind === 'exports') this.#exports.answered(message.answer)
    else this.#nbd.accept(message.arrival)
  }
}

/** Nobody is sent to a worker that does not speak TLS. */
export function takeTls(tls: WorkerTls | undefined, message: Parameters<WorkerTls['take']>[0]): void {
  assert(tls !== undefined, 'clients over TLS come where there are certificates')
  tls.take(message)
}
