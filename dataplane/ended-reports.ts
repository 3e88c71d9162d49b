/**
 * The supervisor's word to the peers that a daemon has ended (SPEC L5): the daemon says who they are while it lives,
 * and when it was reaped each of them is told, again until it has heard it or has found out by the end of a grace.
 *
 * What speaks to peers is loaded when there are some: a supervisor is to stay small, and the moment at which it speaks
 * is no time for loading.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { clock } from './clock.ts'
import type { PeersNow } from './daemon-start.ts'
import type { TlsFolder } from '../cluster/tls/tls-folder.ts'
import type { PeerAddress } from './peer/transport.ts'

/** A peer that was not reached for so long has waited for the grace by itself. */
const TELL_MS = 5000
const ATTEMPT_MS = 1000
const PAUSE_MS = 50

type Report = typeof import('./peer/supervisor-report.ts')

export class EndedReports {
  readonly #node: string
  readonly #tlsDir: string | undefined
  /** Undefined: not opened yet, or not when it was tried. */
  #tls: Promise<TlsFolder | undefined | 'unusable'> | undefined
  /** Of this supervisor. */
  readonly #instance = randomBytes(16).toString('hex')
  #known: PeersNow | undefined
  #report: Promise<Report> | undefined

  /** @param tlsDir  unset: peers talk in plain text */
  constructor(node: string, tlsDir: string | undefined) {
    this.#node = node
    this.#tlsDir = tlsDir
  }

  /** The daemon lives, and these are its peers now. */
  know(peers: PeersNow): void {
    this.#known = peers
    this.#report ??= import('./peer/supervisor-report.ts')
    void this.#folder()
  }

  /** The daemon that told its peers last was reaped. Resolves when all have heard it, or will not. */
  async reaped(): Promise<void> {
    const known = this.#known
    this.#known = undefined
    await Promise.all((known?.peers ?? []).map((peer) => this.#tell(known!, peer)))
  }

  /** Its daemon has opened it too; but files may be in the middle of being replaced now. Never rejects. */
  #folder(): Promise<TlsFolder | undefined | 'unusable'> {
    this.#tls ??= openFolder(this.#tlsDir).catch(() => {
      this.#tls = undefined
      return 'unusable' as const
    })
    return this.#tls
  }

  async #tell({ clusterId, instance }: PeersNow, { node, worker, endpoint }: PeerAddress): Promise<void> {
    if (endpoint === undefined) return
    const { reportEnded } = await this.#report!
    const tls = await this.#folder()
    // Peers find out by the end of a grace.
    if (tls === 'unusable') return
    const self = { clusterId, node: this.#node, instance: this.#instance, worker, role: 'supervisor' as const }
    const to = { node, worker, endpoint }
    const untilMs = performance.now() + TELL_MS
    while (!(await reportEnded({ self, to, tls, ended: instance, clock, deadlineMs: ATTEMPT_MS }))) {
      if (performance.now() >= untilMs) return
      await sleep(PAUSE_MS)
    }
  }
}

/** @throws HoldfastError `tls-files` */
async function openFolder(dir: string | undefined): Promise<TlsFolder | undefined> {
  if (dir === undefined) return undefined
  const { TlsFolder } = await import('../cluster/tls/tls-folder.ts')
  return new TlsFolder(dir)
}
