/** Risk: a guard comes back to the node that it was evicted from, does not run where it should, or outlives it. */
import t from 'tap'
import { guardBudget, guardDeployment, isSameGuard } from '../../../csi/kube/leaving/guard-objects.ts'
import type { Taint } from '../../../csi/kube/failover/failover-facts.ts'
import { guardsOf } from '../../../csi/kube/leaving/leave-objects.ts'
import { guardCalls } from '../../../csi/kube/leaving/guard-upkeep.ts'
import type { GuardUpkeep } from '../../../csi/kube/leaving/guard-upkeep.ts'
import { EMPTY_REGISTER } from '../../../csi/kube/leaving/leave-register.ts'

const NODE = 'worker-1.example.internal'
const SELECTOR = { 'app.kubernetes.io/name': 'holdfast', 'app.kubernetes.io/component': 'node' }

const daemonSet = (image = 'r/holdfast:1') => ({
  metadata: { name: 'holdfast-node', uid: 'set-uid' },
  spec: {
    selector: { matchLabels: SELECTOR },
    template: {
      spec: { imagePullSecrets: [{ name: 'pull' }], containers: [{ name: 'host' }, { name: 'data', image }] },
    },
  },
})

const deployment = (taints: Taint[] = [], image?: string): any =>
  guardDeployment({ namespace: 'storage', daemonSet: daemonSet(image), node: NODE, taints })

t.test('a guard', async (t) => {
  const { metadata, spec } = deployment()
  const pod = spec.template.spec
  t.match(metadata.ownerReferences, [{ kind: 'DaemonSet', name: 'holdfast-node', uid: 'set-uid' }])
  t.same(spec.selector.matchLabels, spec.template.metadata.labels)
  t.equal(spec.selector.matchLabels['app.kubernetes.io/component'], 'guard', 'it is no pod of the DaemonSet')
  t.match(JSON.stringify(pod.affinity), /"matchFields":\[\{"key":"metadata.name","operator":"In","values":\["worker-1/)
  t.equal(pod.containers[0].image, 'r/holdfast:1')
  t.same(pod.imagePullSecrets, [{ name: 'pull' }])
  t.equal(pod.automountServiceAccountToken, false)
  const annotations = Object.keys({ ...metadata.annotations, ...spec.template.metadata.annotations })
  t.notMatch(annotations.join(), /autoscaler/, 'which would not ask its budget then')
  const budget: any = guardBudget({ namespace: 'storage', daemonSet: daemonSet(), node: NODE, taints: [] })
  t.equal(budget.spec.maxUnavailable, 0, 'closed')
  t.same(budget.spec.selector, spec.selector)
  t.notOk(isSameGuard(deployment(), deployment([], 'r/holdfast:2')))
  t.ok(isSameGuard(deployment(), deployment()))
})

t.test('the image of the new version is there', async (t) => {
  const source = { namespace: 'storage', daemonSet: daemonSet(), node: NODE, taints: [] }
  const budgets = [guardBudget(source)]
  const ready = { type: 'Ready', status: 'True' }
  /** As admission may make it of the template: with its image from elsewhere. */
  const pod = (template: any, image: string, status: object): any => ({
    metadata: template.metadata, spec: { nodeName: NODE, containers: [{ name: 'guard', image }] }, status,
  })
  const image = (pods: any[]) => guardsOf({ budgets, pods, daemonSet: daemonSet() }).get(NODE)!.image
  const { template } = deployment().spec
  const running = { phase: 'Running', conditions: [ready] }
  const former = pod(deployment([], 'r/holdfast:0').spec.template, 'r/holdfast:0', running)
  const mirror = 'mirror.example/r/holdfast@sha256:00'
  t.equal(image([former, pod(template, mirror, running)]), 'ready')
  t.equal(image([former, pod(template, mirror, { phase: 'Pending' })]), 'waits')
  const reason = 'Unschedulable'
  const unscheduled = { phase: 'Pending', conditions: [{ type: 'PodScheduled', status: 'False', reason }] }
  t.equal(image([former, pod(template, mirror, unscheduled)]), 'unknown')
  t.equal(image([former]), 'absent', 'that of the former version')
  t.equal(image([]), 'absent')
})

t.test('it tolerates what the node has for itself, and nothing by which it is emptied', async (t) => {
  const effect = 'NoSchedule'
  const keys = [
    'storage', 'node-role.kubernetes.io/control-plane', 'node.kubernetes.io/unschedulable', 'karpenter.sh/disrupted',
    'ToBeDeletedByClusterAutoscaler', 'holdfast.io/unreachable', 'node.kubernetes.io/unreachable',
  ]
  const { tolerations } = deployment(keys.map((key) => ({ key, effect }))).spec.template.spec
  t.same(tolerations.map(({ key }: { key: string }) => key), ['node-role.kubernetes.io/control-plane', 'storage'])
})

t.test('which calls', async (t) => {
  const node = { metadata: { name: 'w1' }, spec: {} }
  const pod = {
    node: 'w1', name: 'p', uid: 'p', version: '1', hash: 'h', isReady: true, isEnding: false, mark: 0,
  }
  const set = { version: '1', hash: 'h', wantedPods: 1, isPaused: false, register: EMPTY_REGISTER }
  const source = { namespace: 'storage', daemonSet: daemonSet(), node: 'w1', taints: [] }
  const of = (change: Partial<GuardUpkeep> = {}, pods = [pod], state: 'up' | 'down' = 'up'): string[] => guardCalls({
    look: {
      pods, guards: new Map(), silentMs: 0, awayMs: 0, set,
      kubeNodes: new Map([['w1', { isLeaving: false, isReleased: false, isUnreachable: false }]]),
      cluster: { nodes: [{ name: 'w1', state, instance: 'i', isElected: true }], volumes: [] },
    },
    namespace: 'storage', daemonSet: daemonSet(), budgets: [], deployments: [], nodes: [node], budgetsPath: '/b',
    deploymentsPath: '/d', isWanted: true, ...change,
  }).map(({ method, path }) => `${method} ${path}`)
  const [budgets, deployments] = [[guardBudget(source)], [guardDeployment(source)]]
  t.same(of(), ['POST /b'], 'the budget is first')
  t.same(of({ budgets }), ['POST /d'])
  t.same(of({ budgets, deployments }), [])
  t.same(of({ budgets, deployments, daemonSet: daemonSet('r/holdfast:2') }), ['PUT /d/holdfast-guard-w1'])
  t.same(of({ budgets, deployments }, []), [], 'its pod is just replaced')
  t.same(of({ budgets, deployments }, [], 'down'), ['DELETE /d/holdfast-guard-w1'])
  t.same(of({ budgets }, [], 'down'), ['DELETE /b/holdfast-guard-w1'], 'the budget goes last')
  t.same(of({ budgets, deployments, isWanted: false }), ['DELETE /d/holdfast-guard-w1'])
})
