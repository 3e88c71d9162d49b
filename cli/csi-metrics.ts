/** `--listen-metrics` of `holdfast csi controller`: what its parts beside CSI do, for Prometheus. */
import { serveMetrics } from '../cluster/metrics/http-server.ts'
import type { MetricsServer } from '../cluster/metrics/http-server.ts'
import { CONTROLLER_METRICS } from '../csi/kube/controller-metrics.ts'
import type { ControllerFigures } from '../csi/kube/controller-metrics.ts'
import { parseTcpAddress } from '../dataplane/node-config.ts'

/** Undefined: it was not asked for. @throws HoldfastError `parameter`, `port-busy`, `listen` */
export async function showMetrics(
  listen: string | undefined, figures: () => ControllerFigures, log: (line: string) => void,
): Promise<MetricsServer | undefined> {
  if (listen === undefined) return undefined
  const alive = async () => [{ name: 'process', ok: true, words: 'it answers' }]
  return serveMetrics(parseTcpAddress(listen, 'listen-metrics'), {
    table: CONTROLLER_METRICS, figures: async () => figures(), live: alive, ready: alive,
  }, (error) => log(`metrics: ${String(error)}`))
}
