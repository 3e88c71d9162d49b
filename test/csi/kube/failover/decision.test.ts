/** Risk: a node is called dead that is not, a pod is ours to move that is not, or a step comes before its turn. */
import t from 'tap'
import {
  isStarting, lostAttachments, sortPods, stepsFor, usersOf, verdictOf, whyStopped, withoutOurs,
} from '../../../../csi/kube/failover/failover-decision.ts'
import type { NodeSeen } from '../../../../csi/kube/failover/failover-decision.ts'
import type { AttachmentFacts, NodeFacts, PodFacts, Taint } from '../../../../csi/kube/failover/failover-facts.ts'
import { NodeSilence } from '../../../../csi/kube/failover/node-silence.ts'

const node = (change: Partial<NodeFacts> = {}): NodeFacts =>
  ({ name: 'n1', uid: 'u1', version: '7', taints: [], lease: '10', holdfastNode: 'n1', storage: 'up', ...change })
const seen = (change: Partial<NodeSeen> = {}, facts: Partial<NodeFacts> = {}): NodeSeen =>
  ({ node: node(facts), silentMs: 0, doesRenew: true, storageForMs: 60_000, ...change })
const ours = (id: string) => ({ isOurs: true as const, id, claim: id, claimUid: id })
const pod = (name: string, change: Partial<PodFacts> = {}): PodFacts => ({
  namespace: 'db', name, uid: name, version: '1', owner: 'StatefulSet', isOptedOut: false, isMirror: false,
  isOver: false, isGoing: false, isGone: false, wasStarted: true, toleratesUs: false, isStorageStarting: false,
  volumes: [ours(`v-${name}`)], ...change,
})
const attachment = (volumeId: string, change: Partial<AttachmentFacts> = {}): AttachmentFacts =>
  ({ name: `a-${volumeId}`, uid: volumeId, volumeId, isAttached: true, isGoing: false, ...change })
const names = (pods: readonly PodFacts[]): string[] => pods.map(({ name }) => name)

t.test('what a node looks like', async (t) => {
  const rows: Array<[string, NodeSeen]> = [
    ['well', seen()],
    ['unclear', seen({ doesRenew: false })],
    ['unclear', seen({ storageForMs: 14_000 })],
    ['unclear', seen({ silentMs: 20_000 })],
    ['dead', seen({ silentMs: 20_000, storageForMs: 0, doesRenew: false }, { storage: 'down' })],
    ['unclear', seen({ silentMs: 19_999, storageForMs: 0 }, { storage: 'down' })],
    ['dead-storage', seen({ storageForMs: 20_000 }, { storage: 'down' })],
    ['unclear', seen({ storageForMs: 19_000 }, { storage: 'down' })],
    ['unclear', seen({ doesRenew: false }, { storage: 'down' })],
    ['unclear', seen({ silentMs: 90_000 }, { storage: 'unknown' })],
    ['well', seen({}, { storage: 'unknown' })],
  ]
  for (const [verdict, one] of rows) t.equal(verdictOf(one), verdict, JSON.stringify(one))
  const starting = [pod('data', { isStorageStarting: true })]
  t.equal(isStarting(seen({ storageForMs: 299_000 }), starting), true)
  t.equal(isStarting(seen({ storageForMs: 300_000 }), starting), false, 'not for ever')
  t.equal(isStarting(seen(), [pod('a')]), false)
})

t.test('F1: too many at once', async (t) => {
  const of = (down: number, silent: number, all: number) => whyStopped(Array.from({ length: all }, (_, i) =>
    seen({ silentMs: i < silent ? 20_000 : 0 }, { storage: i < down ? 'down' : 'up' })))
  t.equal(of(1, 1, 2), undefined, 'one is never many')
  t.equal(of(1, 1, 3), undefined)
  t.match(of(2, 0, 3), /2 of 3 nodes of Holdfast are down/)
  t.match(of(0, 2, 6), /2 of 6 kubelets are silent/)
  t.equal(of(2, 2, 7), undefined)
  const some = [seen({}, { storage: 'down' }), seen({}, { storage: 'down' }), seen({}, { storage: 'up' })]
  const others = Array.from({ length: 30 }, () => seen({}, { storage: 'unknown' }))
  t.match(whyStopped([...some, ...others]), /2 of 3/, 'nodes without Holdfast are no majority')
  const wellOnes = Array.from({ length: 4 }, () => seen())
  const silent = (change: Partial<NodeFacts>) => Array.from({ length: 2 }, () => seen({ silentMs: 1e9 }, change))
  t.equal(whyStopped([...wellOnes, ...silent({ lease: '', storage: 'unknown' })]), undefined, 'virtual ones are none')
  t.match(whyStopped([...wellOnes, ...silent({ lease: '' })]), /2 of 6 kubelets/, 'of ours a Lease may be lost')
  t.match(whyStopped([...wellOnes, ...silent({ storage: 'unknown' })]), /2 of 6 kubelets/, 'of others too, who had one')
})

t.test('F2: which pods are ours to move', async (t) => {
  const rows: Array<[boolean, PodFacts]> = [
    [true, pod('a')],
    [true, pod('a', { owner: 'ReplicaSet' })],
    [true, pod('a', { owner: 'Cluster' })],
    [true, pod('a', { owner: '', isGoing: true })],
    [false, pod('a', { owner: '' })],
    [false, pod('a', { owner: 'DaemonSet' })],
    [false, pod('a', { isMirror: true, owner: 'Node' })],
    [false, pod('a', { isOptedOut: true })],
    [false, pod('a', { volumes: [] })],
    [false, pod('a', { volumes: [ours('v'), { isOurs: false }] })],
    [false, pod('a', { isOver: true })],
    [false, pod('a', { isGoing: true, isGone: true })],
    [false, pod('a', { toleratesUs: true, wasStarted: false })],
    [true, pod('a', { toleratesUs: true })],
  ]
  for (const [isOurs, one] of rows) t.equal(sortPods([one]).toMove.length === 1, isOurs, JSON.stringify(one))
  const chain = [
    pod('a', { volumes: [ours('v1')], isOptedOut: true }), pod('b', { volumes: [ours('v1'), ours('v2')] }),
    pod('c', { volumes: [ours('v2')] }), pod('d', { volumes: [ours('v3')] }),
  ]
  t.same(names(sortPods(chain).toMove), ['d'], 'who shares with one that stays, stays')
  t.same(names(sortPods(chain).holdBack), ['a', 'b', 'c'])
})

t.test('F3, F4: what is next', async (t) => {
  const foreign: Taint = { key: 'x', effect: 'NoSchedule' }
  const ofUs: Taint = { key: 'holdfast.io/unreachable', effect: 'NoSchedule' }
  const out: Taint = { key: 'node.kubernetes.io/out-of-service', value: 'holdfast', effect: 'NoExecute' }
  const kinds = (...words: Parameters<typeof stepsFor>) => stepsFor(...words).map((step) => step.do)
  const look = { pods: [pod('a'), pod('plain', { volumes: [] })], attachments: [attachment('v-a'), attachment('v-b')] }
  t.same(stepsFor('dead', node({ taints: [foreign] }), look), [
    { do: 'taint', which: 'unreachable', taints: [foreign, ofUs] },
  ], 'nothing before that')
  const [move, release] = stepsFor('dead', node({ taints: [ofUs] }), look)
  t.match(move, { do: 'move', how: 'delete', pods: [{ name: 'a' }] })
  t.match(release, { do: 'release', attachments: [{ volumeId: 'v-b' }] }, 'of a pod that is gone already')
  const emptied = { pods: [pod('plain', { volumes: [] })], attachments: [attachment('v-a')] }
  t.same(stepsFor('dead', node({ taints: [ofUs] }), emptied), [
    { do: 'taint', which: 'out-of-service', taints: [ofUs, out] },
  ])
  t.same(kinds('dead', node({ taints: [ofUs, out] }), emptied), [])
  const humans = { ...out, value: 'nodeshutdown' }
  t.same(kinds('dead', node({ taints: [ofUs, humans] }), emptied), [], 'somebody set it')
  const stays = { pods: [pod('s', { isOptedOut: true })], attachments: [attachment('v-s'), attachment('v-a')] }
  t.match(stepsFor('dead', node({ taints: [ofUs] }), stays), [{ do: 'release', attachments: [{ volumeId: 'v-a' }] }])
  t.match(stepsFor('dead-storage', node({ taints: [ofUs] }), look), [{ do: 'move', how: 'evict' }])
  t.same(kinds('dead-storage', node({ taints: [ofUs] }), emptied), [], 'its kubelet releases what it has')

  t.same(withoutOurs(node({ taints: [foreign, ofUs, out] })), { do: 'untaint', taints: [foreign] })
  t.same(withoutOurs(node({ taints: [ofUs, humans] })), { do: 'untaint', taints: [humans] })
  t.equal(withoutOurs(node({ taints: [foreign, humans] })), undefined)
})

t.test('F5: what was taken from a node that came back', async (t) => {
  const attachments = [
    attachment('v-a'), attachment('v-b'), attachment('v-c', { isAttached: false }),
    attachment('v-d', { isGoing: true }),
  ]
  const lost = (...stale: string[]): string[] =>
    lostAttachments(attachments, { holds: new Set(['v-b']), stale: new Set(stale) }).map(({ volumeId }) => volumeId)
  t.same(lost(), ['v-a'])
  t.same(lost('v-b'), ['v-a', 'v-b'], 'given anew, and the device is of before')
  t.same(names(usersOf('v-a', [pod('a'), pod('b'), pod('x', { volumes: [ours('v-a')], isGoing: true })])), ['a'])
})

t.test('silence is what was seen, and only while something could be seen', async (t) => {
  const silence = new NodeSilence()
  const heard = (nowMs: number, storage: 'up' | 'down'): void =>
    silence.heard(new Map([['n1', storage]]), { askedAtMs: nowMs, nowMs })
  const at = (nowMs: number, lease: string, storage: 'up' | 'down' = 'up') => {
    silence.looked([node({ lease })], { askedAtMs: nowMs, nowMs })
    heard(nowMs, storage)
    return silence.seen('n1', nowMs)!
  }
  t.match(at(0, '10'), { silentMs: 0, doesRenew: false }, 'a Lease that is there may be an old one')
  for (let nowMs = 1000; nowMs <= 20_000; nowMs += 1000) at(nowMs, '10', 'down')
  t.match(silence.seen('n1', 20_000), { silentMs: 20_000, doesRenew: false, storageForMs: 19_000 })
  t.match(at(26_000, '10'), { silentMs: 0, storageForMs: 0 }, 'nobody looked for 6 s')
  t.equal(silence.isFresh(31_000), true)
  t.equal(silence.isFresh(31_001), false)
  t.equal(silence.isUnchanged('n1', '10', 30_000), true)
  t.equal(silence.isUnchanged('n1', '11', 30_000), false)
  t.match(silence.seen('n1', 30_000), { silentMs: 0, doesRenew: true })
  t.match(at(31_000, '10'), { silentMs: 1000 }, 'a list that lags is no renewal')
  t.match(at(32_000, ''), { silentMs: 2000 }, 'nor is the end of the Lease')
  silence.looked([node({ uid: 'u2', lease: '11' })], { askedAtMs: 33_000, nowMs: 33_000 })
  t.match(silence.seen('n1', 33_000), { silentMs: 0, doesRenew: false }, 'another node of that name')

  silence.looked([node({ uid: 'u2', lease: '12' })], { askedAtMs: 34_000, nowMs: 39_001 })
  t.match(silence.seen('n1', 39_001), { silentMs: 0 }, 'an answer that was late')
  for (let nowMs = 40_000; nowMs <= 50_000; nowMs += 1000) {
    silence.looked([node({ uid: 'u2', lease: '12' })], { askedAtMs: nowMs, nowMs })
  }
  t.equal(silence.isFresh(50_000), false, 'the control API was not heard')
  heard(50_000, 'up')
  t.equal(silence.isFresh(50_000), true)
  t.match(silence.seen('n1', 50_000), { silentMs: 10_999, storageForMs: 0 }, 'which says nothing of kubelets')
  for (let nowMs = 51_000; nowMs <= 60_000; nowMs += 1000) heard(nowMs, 'up')
  t.equal(silence.isFresh(60_000), false, 'Kubernetes was not seen')
  t.match(silence.seen('n1', 60_000), { silentMs: 20_999, storageForMs: 10_000 })
  silence.looked([node({ uid: 'u2', lease: '12' })], { askedAtMs: 60_000, nowMs: 60_000 })
  t.match(silence.seen('n1', 60_000), { silentMs: 0, storageForMs: 0 }, 'nor whether a data process was being started')
})
