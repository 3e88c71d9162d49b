/**
 * The calls of the decision about leaving nodes (SPEC.md section 7): one look, in the order of `leave-look.ts`, and
 * what is done, each with the preconditions of Q2.
 */
import type { ControlClient } from '../../../cluster/api/client.ts'
import { VOLUME_PAGE_MAX } from '../../../cluster/api/volume-page.ts'
import { segment } from '../../../cluster/kubernetes/api-client.ts'
import type { ApiCall, ApiClient } from '../../../cluster/kubernetes/api-client.ts'
import { listPages } from '../../../cluster/kubernetes/api-list.ts'
import type { ApiObject } from '../../../cluster/kubernetes/api-objects.ts'
import { MARK_ANNOTATION, guardName } from './guard-objects.ts'
import type { LeaveLook } from './leave-look.ts'
import {
  guardsOf, kubeNodesOf, nodePodsOf, REGISTER_ANNOTATION, setOf, volumeFactOf,
} from './leave-objects.ts'
import { registerText } from './leave-register.ts'
import type { VolumeFact } from './leave-rules.ts'
import type { LeaveAction } from './leave-step.ts'

/** Of all nodes of Kubernetes with what they say of themselves. */
const LIST_MS = 20_000
export const DAEMON_SET = 'holdfast-node'

export type LeaveApi = Pick<ControlClient, 'listNodes' | 'listVolumes' | 'close'>

export interface LeaveCallsOptions {
  client: Pick<ApiClient, 'call'>
  /** Opens a connection to the control API: another one, where one went dead. */
  connect(): LeaveApi
  namespace: string
  /** Monotonic. */
  nowMs?(): number
}

/** What was read, and the objects of which guards are made. */
export interface LeaveReading {
  /** Without what only time tells: `silentMs`, `awayMs`. */
  look: LeaveLook
  /** When the control API was asked. */
  askedAtMs: number
  /** Why the control API did not say; empty: it did. */
  clusterProblem: string
  daemonSet: ApiObject
  budgets: ApiObject[]
  deployments: ApiObject[]
  nodes: ApiObject[]
}

export class LeaveCalls {
  readonly #options: LeaveCallsOptions
  #api: LeaveApi | undefined
  readonly #places: { apps: string; budgets: string; pods: string }

  constructor(options: LeaveCallsOptions) {
    this.#options = options
    const namespace = `namespaces/${segment(options.namespace)}`
    this.#places = {
      apps: `/apis/apps/v1/${namespace}`,
      budgets: `/apis/policy/v1/${namespace}/poddisruptionbudgets`,
      pods: `/api/v1/${namespace}/pods`,
    }
  }

  /** A string: why it could not be read. */
  async read(): Promise<LeaveReading | string> {
    const { apps, budgets: budgetsPath, pods: podsPath } = this.#places
    const ours = { labelSelector: 'app.kubernetes.io/name=holdfast' }
    const budgets = await this.#list(budgetsPath, ours)
    if (typeof budgets === 'string') return budgets
    const pods = await this.#list(podsPath, ours)
    if (typeof pods === 'string') return pods
    const deployments = await this.#list(`${apps}/deployments`, { labelSelector: 'app.kubernetes.io/component=guard' })
    if (typeof deployments === 'string') return deployments
    const nodes = await this.#list('/api/v1/nodes', {})
    if (typeof nodes === 'string') return nodes
    const askedAtMs = this.#options.nowMs?.() ?? performance.now()
    const cluster = await this.#cluster()
    const found = await this.#options.client.call({ method: 'GET', path: `${apps}/daemonsets/${DAEMON_SET}` })
    if (!found.ok) return `DaemonSet ${DAEMON_SET}: ${found.failure.reason}`
    const daemonSet = found.body
    const revisions = await this.#list(`${apps}/controllerrevisions`, ours)
    if (typeof revisions === 'string') return revisions
    return {
      look: {
        pods: nodePodsOf(pods, daemonSet),
        guards: guardsOf({ budgets, pods, daemonSet }),
        kubeNodes: kubeNodesOf(nodes),
        cluster: typeof cluster === 'string' ? undefined : cluster,
        silentMs: 0,
        awayMs: 0,
        set: setOf(daemonSet, revisions),
      },
      clusterProblem: typeof cluster === 'string' ? cluster : '',
      askedAtMs, daemonSet, budgets, deployments, nodes,
    }
  }

  close(): void {
    this.#api?.close()
    this.#api = undefined
  }

  async #cluster(): Promise<LeaveLook['cluster'] | string> {
    try {
      const api = (this.#api ??= this.#options.connect())
      // First: what is told of copies later is of that instance of their node, or of a newer one (U1).
      const { nodes } = await api.listNodes()
      const volumes: VolumeFact[] = []
      let after = ''
      do {
        const page = await api.listVolumes({ limit: VOLUME_PAGE_MAX, after })
        volumes.push(...page.volumes.map(volumeFactOf))
        after = page.next
      } while (after !== '')
      return {
        nodes: nodes.map(({ name, state, instanceId: instance, isElected }) => ({ name, state, instance, isElected })),
        volumes,
      }
    } catch (error) {
      this.close()
      return (error as Error).message
    }
  }

  async #list(path: string, query: Record<string, string>): Promise<ApiObject[] | string> {
    const found: ApiObject[] = []
    for await (const page of listPages(this.#options.client, { path, query, deadlineMs: LIST_MS })) {
      if (!page.ok) return `${path}: ${page.failure.reason}`
      found.push(...page.items)
    }
    return found
  }

  /** Undefined: done. A sentence else, whether it was not done or that is not known: the next look shows it. */
  async perform(action: LeaveAction): Promise<string | undefined> {
    return this.put(this.#callOf(action))
  }

  async put(call: ApiCall): Promise<string | undefined> {
    const answer = await this.#options.client.call(call)
    return answer.ok ? undefined : `${call.method} ${call.path}: ${answer.failure.reason}`
  }

  #callOf(action: LeaveAction): ApiCall {
    const { apps, pods } = this.#places
    switch (action.type) {
      case 'register': {
        const annotations = { [REGISTER_ANNOTATION]: registerText(action.register) }
        const body = { metadata: { resourceVersion: action.version, annotations } }
        return { method: 'PATCH', path: `${apps}/daemonsets/${DAEMON_SET}`, body }
      }
      case 'budget': {
        const { version: resourceVersion, isOpen, mark } = action
        const metadata = { resourceVersion, annotations: { [MARK_ANNOTATION]: String(mark) } }
        const body = { metadata, spec: { maxUnavailable: isOpen ? 1 : 0 } }
        return { method: 'PATCH', path: this.budgetPath(action.node), body }
      }
      case 'touch-pod': {
        const { uid, version: resourceVersion, mark } = action
        const metadata = { uid, resourceVersion, annotations: { [MARK_ANNOTATION]: String(mark) } }
        return { method: 'PATCH', path: `${pods}/${segment(action.pod)}`, body: { metadata } }
      }
      case 'delete-pod': {
        const { uid, version: resourceVersion } = action
        const body = { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid, resourceVersion } }
        return { method: 'DELETE', path: `${pods}/${segment(action.pod)}`, body }
      }
    }
  }

  /** Of the budget of a node's guard; without one: of all. */
  budgetPath(node?: string): string {
    return node === undefined ? this.#places.budgets : `${this.#places.budgets}/${segment(guardName(node))}`
  }

  deploymentPath(node?: string): string {
    const all = `${this.#places.apps}/deployments`
    return node === undefined ? all : `${all}/${segment(guardName(node))}`
  }
}
