/** What `holdfast csi controller` shows of failover over HTTP (docs/metrics.md). Who does not lead shows only that. */
import type { Metric } from '../../../cluster/metrics/metric-table.ts'
import type { FailoverCounts } from './failover.ts'

export interface FailoverFigures {
  /** Undefined: another process leads. */
  counts: FailoverCounts | undefined
  /** Since this process began. */
  moved: number
  eventsLeftOut: number
}

const ofLeader = (value: (counts: FailoverCounts) => number) => ({ counts }: FailoverFigures) =>
  counts === undefined ? [] : [[{}, value(counts)] as [Record<string, string>, number]]

export const FAILOVER_METRICS: ReadonlyArray<Metric<FailoverFigures>> = [
  {
    name: 'holdfast_failover_leads', type: 'gauge', labels: [],
    help: 'Whether this process is the one that moves pods off nodes that died.',
    values: ({ counts }) => [[{}, counts === undefined ? 0 : 1]],
  },
  {
    name: 'holdfast_failover_stopped', type: 'gauge', labels: [],
    help: 'Whether no pod is moved, since too many nodes look dead or something cannot be read.',
    values: ofLeader(({ stopped }) => (stopped === '' ? 0 : 1)),
  },
  {
    name: 'holdfast_failover_dead_nodes', type: 'gauge', labels: ['kind'],
    help: 'Nodes that look dead, and nodes of which only the storage is.',
    values: ({ counts }) => counts === undefined ? []
      : [[{ kind: 'node' }, counts.dead], [{ kind: 'storage' }, counts.deadStorage]],
  },
  {
    name: 'holdfast_failover_waiting_pods', type: 'gauge', labels: [],
    help: 'Pods of such nodes that are to be moved and are there still.',
    values: ofLeader(({ waiting }) => waiting),
  },
  {
    name: 'holdfast_failover_moved_pods_total', type: 'counter', labels: [],
    help: 'Pods that this process moved.',
    values: ({ moved }) => [[{}, moved]],
  },
  {
    name: 'holdfast_failover_events_left_out_total', type: 'counter', labels: [],
    help: 'Events of Kubernetes that were not put: too many, or the API did not take them.',
    values: ({ eventsLeftOut }) => [[{}, eventsLeftOut]],
  },
]
