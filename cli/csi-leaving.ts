/**
 * `holdfast csi controller --replacement --drain-guard`: who lets nodes leave one after the other, put together. With
 * `--no-drain-guard` guards that are there are removed, also where it is the only one: it is said and not concluded, so
 * that a controller beside another one does not take guards away that the other one keeps.
 */
import { connectControlApi } from '../cluster/api/client.ts'
import type { Endpoint } from '../cluster/api/client.ts'
import type { ApiClient } from '../cluster/kubernetes/api-client.ts'
import { LeaveProcess } from '../csi/kube/leaving/leave-process.ts'
import { usageError } from './arguments.ts'
import type { Arguments } from './arguments.ts'

/** Of a look at what nodes have: what comes later is too old. */
const LOOK_MS = 5000
export const LEAVING_FLAGS = ['replacement', 'drain-guard', 'no-drain-guard'] as const

export interface LeavingParts {
  kubernetes: ApiClient
  endpoint: Endpoint
  log(line: string): void
}

/** Undefined: none of it was asked for. @throws HoldfastError `usage` */
export function leavingOf(given: Arguments, { kubernetes, endpoint, log }: LeavingParts): LeaveProcess | undefined {
  const [isReplacing, isGuarding, isUnguarding] = LEAVING_FLAGS.map((one) => given.flag(one))
  if (isGuarding && isUnguarding) throw usageError('guards are wanted and not wanted', 'leave out --no-drain-guard')
  if (!isReplacing && !isGuarding && !isUnguarding) return undefined
  return new LeaveProcess({
    client: kubernetes, namespace: kubernetes.access.namespace, connect: () => connectControlApi(endpoint, LOOK_MS),
    isReplacing: isReplacing!, isGuarding: isGuarding!, log,
  })
}
