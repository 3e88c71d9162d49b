/** What `holdfast csi controller` shows of nodes that may leave (docs/metrics.md); who does not lead: only that. */
import type { Metric } from '../../../cluster/metrics/metric-table.ts'
import type { LeavePlan } from './leave-step.ts'
import type { ReplacementReport } from './replacement.ts'

export interface LeaveFigures {
  /** Undefined: another process leads. */
  plan: LeavePlan | undefined
}

const ofReplacement = (value: (report: ReplacementReport) => number) => ({ plan }: LeaveFigures) =>
  plan?.replacement === undefined ? [] : [[{}, value(plan.replacement)] as [Record<string, string>, number]]

const ofPlan = (value: (plan: LeavePlan) => number) => ({ plan }: LeaveFigures) =>
  plan === undefined ? [] : [[{}, value(plan)] as [Record<string, string>, number]]

export const LEAVE_METRICS: ReadonlyArray<Metric<LeaveFigures>> = [
  {
    name: 'holdfast_leaving_nodes_leads', type: 'gauge', labels: [],
    help: 'Whether this process is the one that lets nodes leave.',
    values: ({ plan }) => [[{}, plan === undefined ? 0 : 1]],
  },
  {
    name: 'holdfast_replacement_former_pods', type: 'gauge', labels: [],
    help: 'Pods of nodes that are of a former template.',
    values: ofReplacement(({ former }) => former),
  },
  {
    name: 'holdfast_replacement_stopped', type: 'gauge', labels: [],
    help: 'Whether a node that was replaced is not back, or the register cannot be read: no other is touched.',
    values: ofPlan(({ replacement }) => (replacement === undefined || replacement.state === 'stopped' ? 1 : 0)),
  },
  {
    name: 'holdfast_drain_guards_closed', type: 'gauge', labels: [],
    help: 'Nodes that may not be drained now.',
    values: ofPlan(({ closed }) => closed.length),
  },
  {
    name: 'holdfast_drain_waiting_nodes', type: 'gauge', labels: [],
    help: 'Nodes that are being drained and wait, since a volume needs them.',
    values: ofPlan(({ waiting }) => waiting.length),
  },
]
