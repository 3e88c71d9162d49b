/**
 * Replacement and drain guard as a part of a process: it stands for election, decides about nodes that may leave while
 * it leads (SPEC.md section 7), and ends when it is told.
 */
import os from 'node:os'
import type { ApiClient } from '../../../cluster/kubernetes/api-client.ts'
import { pause } from '../../../cluster/pause.ts'
import { EventRecorder } from '../event-recorder.ts'
import { LeaveCalls } from './leave-calls.ts'
import type { LeaveApi } from './leave-calls.ts'
import { LeaveLoop } from './leave-loop.ts'
import type { LeaveFigures } from './leave-metrics.ts'
import type { LeavePlan } from './leave-step.ts'
import { leadByLease } from '../leader-lease.ts'

const LEASE = 'holdfast-leaving-nodes'

export interface LeaveProcessOptions {
  client: ApiClient
  /** Of the DaemonSet, of guards and of the Lease. */
  namespace: string
  /** Opens a connection to the control API. */
  connect(): LeaveApi
  isReplacing: boolean
  /** Else guards that are there are removed. */
  isGuarding: boolean
  log(line: string): void
}

export class LeaveProcess {
  readonly #options: LeaveProcessOptions
  readonly #events: EventRecorder
  #plan: LeavePlan | undefined

  constructor(options: LeaveProcessOptions) {
    this.#options = options
    const { client, log } = options
    this.#events = new EventRecorder({ client, component: 'holdfast-controller', instance: os.hostname(), log })
  }

  /** Undefined: it decides nothing. */
  figures(): LeaveFigures | undefined {
    const { isReplacing, isGuarding } = this.#options
    return isReplacing || isGuarding ? { plan: this.#plan } : undefined
  }

  /** Until the signal is aborted. What it throws is a bug. */
  async run(signal: AbortSignal): Promise<void> {
    const { client, namespace, log } = this.#options
    const onLead = (leading: AbortSignal, isLeading: () => boolean) => this.#lead(leading, isLeading)
    await leadByLease({ client, namespace, name: LEASE, onLead, log }, signal)
    await this.#events.close()
  }

  async #lead(signal: AbortSignal, isLeading: () => boolean): Promise<void> {
    const { client, namespace, connect, isReplacing, isGuarding, log } = this.#options
    const calls = new LeaveCalls({ client, connect, namespace })
    const loop = new LeaveLoop({
      calls, namespace, isReplacing, isGuarding, log, pause,
      tell: (event) => this.#events.tell(event),
      onPlan: (plan) => void (this.#plan = plan),
    })
    try {
      await loop.run(signal, isLeading)
    } finally {
      calls.close()
      this.#plan = undefined
    }
  }
}
