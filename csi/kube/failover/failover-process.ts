/** Failover as a part of a process: it stands for election, looks after nodes while it leads, ends when it is told. */
import os from 'node:os'
import type { ControlClient } from '../../../cluster/api/client.ts'
import type { ApiClient } from '../../../cluster/kubernetes/api-client.ts'
import { pause } from '../../../cluster/pause.ts'
import { EventRecorder } from '../event-recorder.ts'
import { Failover, TURN_MS } from './failover.ts'
import { FailoverCluster } from './failover-cluster.ts'
import type { FailoverFigures } from './failover-metrics.ts'
import { leadByLease } from '../leader-lease.ts'

const LEASE = 'holdfast-failover'
/** Of jobs that are under way when we lead no more: they do nothing that is not on its way already. */
const END_MS = 2000

export interface FailoverProcessOptions {
  client: ApiClient
  /** Of the Lease, and of Holdfast's own pods. */
  namespace: string
  /** Opens a connection to the control API. */
  connect(): ControlClient
  log(line: string): void
}

export class FailoverProcess {
  private readonly options: FailoverProcessOptions
  private readonly events: EventRecorder
  private failover: Failover | undefined
  private movedBefore = 0

  constructor(options: FailoverProcessOptions) {
    this.options = options
    const { client, log } = options
    this.events = new EventRecorder({ client, component: 'holdfast-controller', instance: os.hostname(), log })
  }

  figures(): FailoverFigures {
    const counts = this.failover?.counts
    return { counts, moved: this.movedBefore + (counts?.moved ?? 0), eventsLeftOut: this.events.leftOut }
  }

  /** Until the signal is aborted. What it throws is a bug. */
  async run(signal: AbortSignal): Promise<void> {
    const { client, namespace, log } = this.options
    const onLead = (leading: AbortSignal, isLeading: () => boolean) => this.lead(leading, isLeading)
    await leadByLease({ client, namespace, name: LEASE, onLead, log }, signal)
    await this.events.close()
  }

  private async lead(signal: AbortSignal, isLeading: () => boolean): Promise<void> {
    const cluster = new FailoverCluster({ ...this.options, events: this.events })
    const failover = new Failover(cluster, isLeading)
    this.failover = failover
    try {
      while (!signal.aborted) {
        const nextAtMs = cluster.nowMs() + TURN_MS
        await failover.turn()
        // Where one API hangs, the other is still seen more often than the 5 s after which all begins anew.
        await pause(nextAtMs - cluster.nowMs(), signal)
      }
      await Promise.race([failover.settled(), pause(END_MS)])
    } finally {
      this.movedBefore += failover.counts.moved
      this.failover = undefined
      cluster.close()
    }
  }
}
