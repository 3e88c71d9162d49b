/**
 * That each node with a pod of the DaemonSet has its guard (SPEC.md D1), and no other has one: which calls that takes,
 * of one look. A budget is made before the Deployment, so no guard is ever without; it goes last.
 */
import { segment } from '../../../cluster/kubernetes/api-client.ts'
import type { ApiCall } from '../../../cluster/kubernetes/api-client.ts'
import { annotationOf, nameOf, uidOf, versionOf } from '../../../cluster/kubernetes/api-objects.ts'
import type { ApiObject } from '../../../cluster/kubernetes/api-objects.ts'
import { guardBudget, guardDeployment, isSameGuard, NODE_ANNOTATION } from './guard-objects.ts'
import type { LeaveLook } from './leave-look.ts'
import { taintsOf } from './leave-objects.ts'
import { holdfastNode } from './leave-sight.ts'

export interface GuardUpkeep {
  look: LeaveLook
  namespace: string
  daemonSet: ApiObject
  budgets: readonly ApiObject[]
  deployments: readonly ApiObject[]
  nodes: readonly ApiObject[]
  /** Where they lie. */
  budgetsPath: string
  deploymentsPath: string
  /** False: none is to be there. */
  isWanted: boolean
}

export function guardCalls(upkeep: GuardUpkeep): ApiCall[] {
  const { look, namespace, daemonSet, isWanted, budgetsPath, deploymentsPath } = upkeep
  const calls: ApiCall[] = []
  const present = { budgets: byNode(upkeep.budgets), deployments: byNode(upkeep.deployments) }
  const withPods = new Set(look.pods.map(({ node }) => node))
  for (const object of upkeep.nodes) {
    const node = nameOf(object)
    if (!isWanted || !withPods.has(node)) continue
    const source = { namespace, daemonSet, node, taints: taintsOf(object) }
    const deployment = guardDeployment(source)
    const known = present.deployments.get(node)
    if (!present.budgets.has(node)) calls.push({ method: 'POST', path: budgetsPath, body: guardBudget(source) })
    else if (known === undefined) calls.push({ method: 'POST', path: deploymentsPath, body: deployment })
    else if (!isSameGuard(known, deployment)) {
      const metadata = { ...(deployment.metadata as ApiObject), resourceVersion: versionOf(known) }
      const path = `${deploymentsPath}/${segment(nameOf(known))}`
      calls.push({ method: 'PUT', path, body: { ...deployment, metadata } })
    }
  }
  for (const [path, objects, others] of [
    [deploymentsPath, present.deployments, undefined], [budgetsPath, present.budgets, present.deployments],
  ] as const) {
    for (const [node, object] of objects) {
      if (others?.has(node) === true || (isWanted && !isOver(look, node))) continue
      const body = { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid: uidOf(object) } }
      calls.push({ method: 'DELETE', path: `${path}/${segment(nameOf(object))}`, body })
    }
  }
  return calls
}

/** In one turn: a cluster of hundreds is not made at once. */
const CALLS_MAX = 20

/** Which of the calls are made in a turn: those that failed when they were made last are the last to be made again. */
export class UpkeepOrder {
  readonly #failed = new Set<string>()

  /** @param wanted  all that there are now */
  next(wanted: readonly ApiCall[]): ApiCall[] {
    const there = new Set(wanted.map(keyOf))
    for (const key of this.#failed) if (!there.has(key)) this.#failed.delete(key)
    const rank = (call: ApiCall): number => [...this.#failed].indexOf(keyOf(call))
    return wanted.map((call) => ({ call, rank: rank(call) })).sort((a, b) => a.rank - b.rank)
      .slice(0, CALLS_MAX).map(({ call }) => call)
  }

  tried(call: ApiCall, isDone: boolean): void {
    this.#failed.delete(keyOf(call))
    if (!isDone) this.#failed.add(keyOf(call))
  }
}

const keyOf = ({ method, path, body = {} }: ApiCall): string => `${method} ${path} ${nameOf(body as ApiObject)}`

/** Its node left Kubernetes, or no pod of ours is meant for it any more; a pod that is just replaced is. */
function isOver(look: LeaveLook, node: string): boolean {
  if (look.kubeNodes.has(node) && look.pods.some((pod) => pod.node === node)) return false
  if (look.set.register?.nodes[node] !== undefined || look.cluster === undefined) return false
  return (holdfastNode(look, node)?.state ?? 'down') === 'down'
}

const byNode = (objects: readonly ApiObject[]): Map<string, ApiObject> =>
  new Map(objects.flatMap((one) => {
    const node = annotationOf(one, NODE_ANNOTATION)
    return node === undefined ? [] : [[node, one] as const]
  }))
