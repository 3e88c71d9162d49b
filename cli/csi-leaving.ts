/** `holdfast csi controller --replacement --drain-guard`: who lets nodes leave one after the other, put together. */
import { connectControlApi } from '../cluster/api/client.ts'
import type { Endpoint } from '../cluster/api/client.ts'
import type { ApiClient } from '../cluster/kubernetes/api-client.ts'
import { LeaveProcess } from '../csi/kube/leaving/leave-process.ts'
import type { Arguments } from './arguments.ts'

/** Of a look at what nodes have: what comes later is too old. */
const LOOK_MS = 5000
export const LEAVING_FLAGS = ['replacement', 'drain-guard'] as const

export interface LeavingParts {
  kubernetes: ApiClient
  endpoint: Endpoint
  log(line: string): void
}

/** Undefined: neither was asked for. */
export function leavingOf(given: Arguments, { kubernetes, endpoint, log }: LeavingParts): LeaveProcess | undefined {
  const [isReplacing, isGuarding] = LEAVING_FLAGS.map((one) => given.flag(one))
  if (!isReplacing && !isGuarding) return undefined
  return new LeaveProcess({
    client: kubernetes, namespace: kubernetes.access.namespace, connect: () => connectControlApi(endpoint, LOOK_MS),
    isReplacing: isReplacing!, isGuarding: isGuarding!, log,
  })
}
