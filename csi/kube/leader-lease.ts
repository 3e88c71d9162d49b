/**
 * One of several processes does something: who holds a Lease of the Kubernetes API. The holder writes it every two
 * seconds; another one takes it when it saw no change of it for `leaseMs`, by its own monotonic clock. No time that is
 * written there is compared with a clock of ours.
 *
 *   absent, let go of, ours, or unchanged for leaseMs as seen here -> written on the version that was seen -> leads
 *   leads: written anew; `holdMs` after the last write that came through was sent, it leads no more (holdMs < leaseMs)
 *   it leads no more -> the body's signal is aborted -> the body has ended -> only then it stands again
 *
 * Invariant: a holder stops before another one can begin: what it counts from is the moment at which it sent what the
 * other one saw later. It counts by the clock that went further, so a host that slept stops at once. A call that was
 * sent before may still arrive: what a body does has to be right with two of them, and mostly is done by one.
 */
import { randomBytes } from 'node:crypto'
import os from 'node:os'
import { segment } from '../../cluster/kubernetes/api-client.ts'
import type { ApiClient } from '../../cluster/kubernetes/api-client.ts'
import { pause } from '../../cluster/pause.ts'
import { isRecord } from '../../engine/value-shape.ts'

export interface LeaseTiming {
  /** Unchanged for so long it is another one's. */
  leaseMs: number
  /** Without a write that came through the holder leads for so long. */
  holdMs: number
  /** Between two writes, or two looks. */
  turnMs: number
}

export const LEASE_TIMING: LeaseTiming = { leaseMs: 15_000, holdMs: 10_000, turnMs: 2_000 }

export interface LeadOptions {
  client: Pick<ApiClient, 'call'>
  namespace: string
  /** Of the Lease. */
  name: string
  /** Ours alone, also after a restart. */
  identity?: string
  /**
   * While we lead, once at a time. It ends soon after its signal is aborted; when it ends by itself another one may
   * lead. What it throws is thrown by `leadByLease`.
   * @param isLeading  to be asked where a signal may come too late: behind whatever the process may have slept over
   */
  onLead(signal: AbortSignal, isLeading: () => boolean): Promise<void>
  log(line: string): void
  timing?: LeaseTiming
  /** Monotonic, and since 1970. */
  nowMs?(): number
  wallMs?(): number
}

/** Of this process: its host's (in a pod: the pod's) name, and what no other process has. */
export const ownIdentity = (): string => `${os.hostname()}_${randomBytes(6).toString('hex')}`

/** Stands, leads, and stands again until the signal is aborted; then lets go of the Lease, so that nobody waits. */
export async function leadByLease(options: LeadOptions, signal: AbortSignal): Promise<void> {
  const lease = new LeaderLease(options)
  while (!signal.aborted) {
    if (await lease.turn()) await lease.lead(signal)
    await pause(lease.timing.turnMs, signal)
  }
}

interface Seen {
  /** Empty: there is none. */
  version: string
  holder: string
  transitions: number
  /** When it was first seen so. */
  sinceMs: number
}

/** One candidate. Its turns come well more often than every `holdMs`, one at a time. */
export class LeaderLease {
  readonly timing: LeaseTiming
  private readonly options: LeadOptions
  private readonly identity: string
  private readonly path: string
  private seen: Seen | undefined
  /** When the last write that came through was sent, by both clocks. */
  private writtenAt = { nowMs: -Infinity, wallMs: 0 }
  private acquiredAt = ''
  private problem = ''

  constructor(options: LeadOptions) {
    this.options = options
    this.timing = options.timing ?? LEASE_TIMING
    this.identity = options.identity ?? ownIdentity()
    this.path = `/apis/coordination.k8s.io/v1/namespaces/${segment(options.namespace)}/leases`
  }

  /** Write it, or look and perhaps take it. @returns whether we lead */
  async turn(): Promise<boolean> {
    if (this.isLeading()) await this.write(this.seen!)
    else {
      this.writtenAt = { nowMs: -Infinity, wallMs: 0 }
      if ((await this.look()) && this.mayTake(this.seen!)) await this.write(this.seen!)
    }
    return this.isLeading()
  }

  /** The body under a signal of its own, which is aborted the moment that we do not lead any more. */
  async lead(signal: AbortSignal): Promise<void> {
    const { name, log, onLead } = this.options
    const leading = new AbortController()
    const stop = (): void => leading.abort()
    signal.addEventListener('abort', stop)
    if (signal.aborted) stop()
    const isLeading = (): boolean => {
      if (!this.isLeading()) stop()
      return !leading.signal.aborted
    }
    log(`leads by Lease ${name}`)
    let hasEnded = false
    const body = onLead(leading.signal, isLeading).finally(() => {
      hasEnded = true
      stop()
    })
    // It is waited for below; a turn may take a while.
    body.catch(() => undefined)
    let watch = setTimeout(isLeading, this.leftMs())
    while (!hasEnded && isLeading()) {
      await pause(this.timing.turnMs, leading.signal)
      if (!isLeading()) break
      await this.turn()
      clearTimeout(watch)
      watch = setTimeout(isLeading, this.leftMs())
    }
    clearTimeout(watch)
    stop()
    signal.removeEventListener('abort', stop)
    try {
      await body
    } finally {
      log(`leads no more by Lease ${name}`)
      await this.letGo()
    }
  }

  isLeading(): boolean {
    return this.leftMs() > 0
  }

  private leftMs(): number {
    const { nowMs, wallMs } = this.now()
    const passedMs = Math.max(nowMs - this.writtenAt.nowMs, wallMs - this.writtenAt.wallMs)
    return Math.max(0, this.timing.holdMs - passedMs)
  }

  private now(): { nowMs: number; wallMs: number } {
    const { nowMs = () => performance.now(), wallMs = Date.now } = this.options
    return { nowMs: nowMs(), wallMs: wallMs() }
  }

  private mayTake({ version, holder, sinceMs }: Seen): boolean {
    // One with our identity was written by us, and nobody else took it since.
    return version === '' || holder === '' || holder === this.identity
      || this.now().nowMs - sinceMs >= this.timing.leaseMs
  }

  /** @returns whether it could be read */
  private async look(): Promise<boolean> {
    const path = `${this.path}/${segment(this.options.name)}`
    const answer = await this.options.client.call({ method: 'GET', path, deadlineMs: this.timing.turnMs * 2 })
    if (answer.ok) this.note(answer.body)
    else if (answer.failure.status === 404) this.seen = { version: '', holder: '', transitions: 0, sinceMs: 0 }
    else return this.tell(answer.failure.reason)
    this.problem = ''
    return true
  }

  private note({ metadata, spec }: Record<string, unknown>): void {
    const version = isRecord(metadata) ? String(metadata.resourceVersion) : ''
    if (this.seen?.version === version) return
    const { holderIdentity, leaseTransitions } = isRecord(spec) ? spec : {}
    this.seen = {
      version,
      holder: typeof holderIdentity === 'string' ? holderIdentity : '',
      transitions: typeof leaseTransitions === 'number' ? leaseTransitions : 0,
      // Not when it was asked for: what is seen was sent before it is seen.
      sinceMs: this.now().nowMs,
    }
  }

  private async write(seen: Seen): Promise<void> {
    const { namespace, name, client } = this.options
    const sentAt = this.now()
    const isNew = seen.holder !== this.identity
    const time = microTime(sentAt.wallMs)
    if (isNew || this.acquiredAt === '') this.acquiredAt = time
    const transitions = seen.transitions + (isNew && seen.version !== '' ? 1 : 0)
    const spec = {
      holderIdentity: this.identity, leaseDurationSeconds: Math.ceil(this.timing.leaseMs / 1000), renewTime: time,
      acquireTime: this.acquiredAt, leaseTransitions: transitions,
    }
    const metadata = { namespace, name, ...(seen.version === '' ? {} : { resourceVersion: seen.version }) }
    const body = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata, spec }
    const isThere = seen.version !== ''
    const answer = await client.call({
      method: isThere ? 'PUT' : 'POST', path: isThere ? `${this.path}/${segment(name)}` : this.path, body,
      deadlineMs: this.timing.turnMs * 2,
    })
    if (answer.ok) {
      this.note(answer.body)
      this.writtenAt = sentAt
      this.problem = ''
      return
    }
    const { status, reason } = answer.failure
    // Without an answer the last one counts until its time is over; the next turn goes on from it, or meets a conflict.
    if (status !== 409 && status !== 404) return void this.tell(reason)
    const couldLook = await this.look()
    // Ours: a write that came through without an answer, or somebody who changed something else.
    if (!couldLook || this.seen?.holder === this.identity) return
    this.writtenAt = { nowMs: -Infinity, wallMs: 0 }
  }

  /** So that nobody has to wait; nothing where it is another one's by now. */
  private async letGo(): Promise<void> {
    this.writtenAt = { nowMs: -Infinity, wallMs: 0 }
    if (this.seen?.holder !== this.identity) return
    const { namespace, name, client } = this.options
    const { version, transitions } = this.seen
    const spec = { holderIdentity: '', leaseDurationSeconds: 1, leaseTransitions: transitions }
    const metadata = { namespace, name, resourceVersion: version }
    const body = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata, spec }
    await client.call({ method: 'PUT', path: `${this.path}/${segment(name)}`, body, deadlineMs: this.timing.turnMs })
    this.seen = undefined
  }

  private tell(reason: string): false {
    if (reason !== this.problem) this.options.log(`Lease ${this.options.name}: ${reason}`)
    this.problem = reason
    return false
  }
}

/** As the API writes times of Leases. */
const microTime = (wallMs: number): string => new Date(wallMs).toISOString().replace('Z', '000Z')
