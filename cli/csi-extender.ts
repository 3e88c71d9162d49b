/** The scheduler extender of `holdfast csi controller --extender HOST:PORT`: its parts put together. */
import { connectControlApi } from '../cluster/api/client.ts'
import type { Endpoint } from '../cluster/api/client.ts'
import type { ApiClient } from '../cluster/kubernetes/api-client.ts'
import { TlsFolder } from '../cluster/tls/tls-folder.ts'
import { ClaimLook } from '../csi/kube/health/claim-look.ts'
import { serveExtender } from '../csi/kube/scheduling/scheduler-extender.ts'
import type { SchedulerExtender } from '../csi/kube/scheduling/scheduler-extender.ts'
import { ANSWER_MS, Scheduling } from '../csi/kube/scheduling/scheduling.ts'
import { parseTcpAddress } from '../dataplane/node-config.ts'

export interface ExtenderParts {
  /** `HOST:PORT`. */
  listen: string
  /** A folder; undefined: plain HTTP. */
  tls: string | undefined
  kubernetes: ApiClient
  endpoint: Endpoint
  mayAsk(): Promise<void>
  log(line: string): void
}

/** @throws HoldfastError `parameter`, `port-busy`, `listen`, `tls-files` */
export async function startExtender(parts: ExtenderParts): Promise<SchedulerExtender> {
  const { kubernetes, endpoint, mayAsk, log } = parts
  const { host, port } = parseTcpAddress(parts.listen, 'extender')
  const tls = parts.tls === undefined ? undefined : new TlsFolder(parts.tls)
  if (tls !== undefined) tls.onProblem = (error) => log(error.message)
  // Of its own: what nobody waits for any more is given up.
  const api = connectControlApi(endpoint, ANSWER_MS)
  const scheduling = new Scheduling({ api, claims: new ClaimLook(kubernetes, ANSWER_MS), mayAsk, log })
  const onBug = (error: unknown): void => log(error instanceof Error ? error.stack ?? error.message : String(error))
  try {
    const judge: Scheduling['judge'] = (pod, names) => scheduling.judge(pod, names)
    const server = await serveExtender({ host, port, tls, judge, onBug })
    const by = tls === undefined ? 'over HTTP, whoever asks' : `over TLS, with certificates of ${parts.tls}`
    log(`schedulers are answered at ${parts.listen} ${by}`)
    return {
      port: server.port,
      close: () => {
        server.close()
        api.close()
      },
    }
  } catch (error) {
    api.close()
    throw error
  }
}
