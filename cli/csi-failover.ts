/** `holdfast csi controller --failover`: who moves pods off nodes that died, put together. */
import { connectControlApi } from '../cluster/api/client.ts'
import type { Endpoint } from '../cluster/api/client.ts'
import type { ApiClient } from '../cluster/kubernetes/api-client.ts'
import { FailoverProcess } from '../csi/kube/failover/failover-process.ts'
import type { Arguments } from './arguments.ts'

/** The longest of its calls, a proof that a volume is fenced, ends itself sooner. */
const CALL_MS = 30_000
export const FAILOVER_FLAG = 'failover'

export interface FailoverParts {
  kubernetes: ApiClient
  endpoint: Endpoint
  log(line: string): void
}

/** Undefined: it was not asked for. */
export function failoverOf(
  given: Arguments, { kubernetes: client, endpoint, log }: FailoverParts,
): FailoverProcess | undefined {
  if (!given.flag(FAILOVER_FLAG)) return undefined
  const connect = () => connectControlApi(endpoint, CALL_MS)
  return new FailoverProcess({ client, namespace: client.access.namespace, connect, log })
}
