/** All that `holdfast csi controller` shows over HTTP: of each part that runs in it, its table. */
import type { Metric } from '../../cluster/metrics/metric-table.ts'
import { FAILOVER_METRICS } from './failover/failover-metrics.ts'
import type { FailoverFigures } from './failover/failover-metrics.ts'
import { LEAVE_METRICS } from './leaving/leave-metrics.ts'
import type { LeaveFigures } from './leaving/leave-metrics.ts'

export interface ControllerFigures {
  /** Undefined: it was not asked for. */
  leaving: LeaveFigures | undefined
  failover: FailoverFigures | undefined
}

/** Nothing where that part does not run. */
function metricOf<Part>(
  metric: Metric<Part>, pick: (figures: ControllerFigures) => Part | undefined,
): Metric<ControllerFigures> {
  const of = <Value>(read: (part: Part) => Value[]) => (figures: ControllerFigures): Value[] => {
    const part = pick(figures)
    return part === undefined ? [] : read(part)
  }
  if (metric.type === 'histogram') return { ...metric, latencies: of(metric.latencies) }
  return { ...metric, values: of(metric.values) }
}

export const CONTROLLER_METRICS: ReadonlyArray<Metric<ControllerFigures>> = [
  ...LEAVE_METRICS.map((metric) => metricOf(metric, ({ leaving }) => leaving)),
  ...FAILOVER_METRICS.map((metric) => metricOf(metric, ({ failover }) => failover)),
]
