/** Risk: a call that is refused each time (a quota, a policy) keeps back others, also those that take leave back. */
import t from 'tap'
import type { ApiCall } from '../../../cluster/kubernetes/api-client.ts'
import { guardBudget, guardDeployment, guardName } from '../../../csi/kube/leaving/guard-objects.ts'
import type { LeaveReading } from '../../../csi/kube/leaving/leave-calls.ts'
import { LeaveLoop } from '../../../csi/kube/leaving/leave-loop.ts'
import type { LeaveLoopOptions } from '../../../csi/kube/leaving/leave-loop.ts'
import { guardsOf, kubeNodesOf, nodePodsOf, setOf } from '../../../csi/kube/leaving/leave-objects.ts'
import type { VolumeFact } from '../../../csi/kube/leaving/leave-rules.ts'
import type { LeaveAction, LeavePlan } from '../../../csi/kube/leaving/leave-step.ts'

type Json = Record<string, any>

const REGISTER = { turn: 3, nodes: { w1: { guard: { state: 'closing', mark: 3 } } } }
const SELECTOR = { 'app.kubernetes.io/name': 'holdfast', 'app.kubernetes.io/component': 'node' }
const DAEMON_SET: Json = {
  metadata: {
    name: 'holdfast-node', uid: 'set', resourceVersion: '9', generation: 1,
    annotations: { 'holdfast.io/may-leave': JSON.stringify(REGISTER) },
  },
  spec: {
    selector: { matchLabels: SELECTOR }, template: { spec: { containers: [{ name: 'data', image: 'r/holdfast:1' }] } },
  },
  status: { observedGeneration: 1, desiredNumberScheduled: 2 },
}
const OWNER = [{ kind: 'DaemonSet', name: 'holdfast-node', uid: 'set', controller: true }]
const READY = { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] }

const VOLUME: VolumeFact = {
  name: 'v', wanted: 2, minInSync: 1, awaitsCopy: false,
  copies: [{ node: 'w1', isPrimary: true, isInSync: true, isComplete: true }],
}

const nodePod = (node: string): Json => ({
  metadata: {
    name: `p-${node}`, uid: `p-${node}`, resourceVersion: '1', ownerReferences: OWNER,
    labels: { 'controller-revision-hash': 'h' },
  },
  spec: { nodeName: node }, status: READY,
})

const guardPod = (node: string): Json => ({
  metadata: { name: `g-${node}`, labels: { 'holdfast.io/guards': node } },
  spec: { nodeName: node, containers: [{ image: 'r/holdfast:1' }] }, status: READY,
})

const source = (node: string) => ({ namespace: 'storage', daemonSet: DAEMON_SET, node, taints: [] })

/** w1 has leave that is being taken back, as the volume has no other complete copy; others have no guard yet. */
class World {
  readonly put: string[] = []
  readonly performed: LeaveAction[] = []
  readonly logged: string[] = []
  plan: LeavePlan | undefined
  refuses: (call: ApiCall) => boolean = () => false
  fails: (action: LeaveAction) => boolean = () => false
  /** Nodes with an open budget, and a guard. */
  open = ['w1']
  /** Nodes with a closed budget, and no pod for it. */
  bare: string[] = []
  daemonSet = DAEMON_SET
  /** By their hashes; pods are of `h`. */
  revisions: Json[] = []
  volumes = [VOLUME]
  readonly #deleted = new Set<string>()
  putMs = 0
  nowMs = 0
  readonly #others: string[]

  constructor(others = ['w2']) {
    this.#others = others
  }

  loop(options: Partial<LeaveLoopOptions> = {}): LeaveLoop {
    return new LeaveLoop({
      calls: {
        read: async () => this.#read(),
        perform: async (action) => {
          this.performed.push(action)
          return this.fails(action) ? `${action.type}: refused` : undefined
        },
        put: async (call) => {
          this.nowMs += this.putMs
          const isRefused = this.refuses(call)
          if (call.method === 'DELETE') this.#deleted.add(call.path)
          const { name } = (call.body as Json).metadata ?? { name: '' }
          this.put.push(`${call.method} ${call.path} ${name}`.trim())
          return isRefused ? `${call.method} ${call.path}: refused` : undefined
        },
        budgetPath: () => '/b',
        deploymentPath: () => '/d',
      },
      namespace: 'storage', isReplacing: true, isGuarding: true, tell: () => {}, nowMs: () => this.nowMs,
      log: (line) => void this.logged.push(line), onPlan: (plan) => void (this.plan = plan), pause: async () => {},
      ...options,
    })
  }

  #read(): LeaveReading {
    const names = ['w1', ...this.#others]
    const pods = [...names.map(nodePod), ...this.open.map(guardPod)]
    const nodes: Json[] = names.map((name) => ({ metadata: { name }, spec: {} }))
    const left = (place: string): string[] =>
      this.open.filter((node) => !this.#deleted.has(`${place}/${guardName(node)}`))
    const closed = this.bare.map((node) => guardBudget(source(node)))
    const open: Json[] = left('/b').map((node) => {
      const { metadata, spec, ...kind } = guardBudget(source(node)) as Json
      return { ...kind, metadata: { ...metadata, resourceVersion: '5' }, spec: { ...spec, maxUnavailable: 1 } }
    })
    const { daemonSet } = this
    const budgets = [...open, ...closed]
    const states = names.map((name) => ({ name, state: 'up' as const, instance: 'i', isElected: name === 'w1' }))
    return {
      look: {
        pods: nodePodsOf(pods, daemonSet), guards: guardsOf({ budgets, pods, daemonSet }),
        kubeNodes: kubeNodesOf(nodes), silentMs: 0, awayMs: 0,
        cluster: { nodes: states, volumes: this.volumes },
        set: setOf(daemonSet, this.revisions),
      },
      clusterProblem: '', askedAtMs: this.nowMs, daemonSet, budgets,
      deployments: left('/d').map((node) => guardDeployment(source(node))), nodes,
    }
  }
}

const closed = { type: 'budget', node: 'w1', version: '5', isOpen: false, mark: 3 }

t.test('leave is taken back, whatever is refused of guards', async (t) => {
  const world = new World()
  world.refuses = () => true
  const loop = world.loop()
  await loop.turn(() => true)
  t.same(world.performed[0], closed)
  t.ok(world.plan, 'what is decided is shown')
  await loop.turn(() => true)
  t.same(world.logged.filter((line) => line.includes('refused')), ['POST /b: refused'], 'which is said once')
})

t.test('leave is taken back first, however long guards take', async (t) => {
  const world = new World()
  world.putMs = 6000
  await world.loop().turn(() => true)
  t.same(world.performed[0], closed)
})

t.test('an action that is refused keeps no other back that takes leave', async (t) => {
  const world = new World(['w2', 'w3'])
  // That of w3 was opened by hand.
  world.open = ['w1', 'w3']
  world.fails = () => true
  t.equal(await world.loop().turn(() => true), false)
  t.match(world.performed, [closed, { type: 'budget', node: 'w3', isOpen: false }])
  t.equal(world.performed.length, 2, 'and none is given')
  t.same(world.put, ['POST /b holdfast-guard-w2'], 'guards are kept')
})

t.test('of guards that are refused others are not kept back', async (t) => {
  const many = Array.from({ length: 50 }, (_, i) => `n${String(i).padStart(2, '0')}`)
  const world = new World([...many, 'w2'])
  world.refuses = ({ body }) => !/guard-w2$/.test((body as Json).metadata.name as string)
  // As one whose webhook does not answer: one call a turn.
  world.putMs = 6000
  const loop = world.loop()
  for (let i = 0; i <= many.length; i++) await loop.turn(() => true)
  t.equal(new Set(world.put).size, many.length + 1, 'each had its turn')
  t.ok(world.put.includes('POST /b holdfast-guard-w2'))
})

t.test('without guards and replacement: guards go, and that is all', async (t) => {
  const world = new World()
  const [pauses, ending] = [[] as number[], new AbortController()]
  const pause = async (ms: number): Promise<void> => {
    if (pauses.push(ms) === 4) ending.abort()
  }
  // However old the look is.
  world.putMs = 6000
  await world.loop({ isReplacing: false, isGuarding: false, pause }).run(ending.signal, () => true)
  t.same(world.put, ['DELETE /d/holdfast-guard-w1', 'DELETE /b/holdfast-guard-w1'], 'the budget last')
  t.same(world.performed, [], 'no register, and no right to write it')
  t.equal(world.plan, undefined)
  t.ok(pauses[2]! >= 60_000, 'it looks seldom then')
})

t.test('an upgrade waits for pods of guards, and not for ever', async (t) => {
  const world = new World()
  world.open = []
  world.bare = ['w1', 'w2']
  world.volumes = []
  const { metadata: { annotations, ...metadata }, ...rest } = DAEMON_SET
  world.daemonSet = { ...rest, metadata }
  const labels = { 'controller-revision-hash': 'newer' }
  world.revisions = [{ revision: 2, metadata: { name: 'r2', labels, ownerReferences: OWNER } }]
  // Their ReplicaSets have no room, say.
  const loop = world.loop()
  for (const [minutes, state] of [[0, 'waits'], [4, 'waits'], [5, 'replacing']] as const) {
    world.nowMs = minutes * 60_000
    await loop.turn(() => true)
    t.equal(world.plan?.replacement?.state, state, `after ${minutes} min`)
    if (state === 'waits') t.match(world.plan?.replacement?.why, 'the guard of w2 has no pod of the new version yet')
  }
})
