/** A lost store through a real one: nodes wait and answer, a run may break off, and nobody is let in unseen. */
import { randomUUID } from 'node:crypto'
import t from 'tap'
import type { Test } from 'tap'
import { readCluster } from '../../../cluster/membership/cluster-id.ts'
import { nextStartNumber } from '../../../cluster/membership/start-number.ts'
import { CLUSTER_KEY, decodeCluster, encodeCluster } from '../../../cluster/store/cluster-record.ts'
import type { ClusterRecord } from '../../../cluster/store/cluster-record.ts'
import type { ClusterStore, StoreAnswer } from '../../../cluster/store/cluster-store.ts'
import {
  decodeDescribedCopy, decodeDescribedNode, decodeNoted, digestOf, encodeDescribedCopy, encodeDescribedNode,
} from '../../../cluster/store/node-descriptions.ts'
import { decodeNode, encodeNode, nodeKey } from '../../../cluster/store/node-records.ts'
import { putKey } from '../../../cluster/store/put-key.ts'
import { askNodes, lookAtStore, writeRebuilt } from '../../../cluster/store/rebuild-run.ts'
import { decodeConfig, configKey, encodeConfig } from '../../../cluster/store/volume-configs.ts'
import { decodeName, nameKey } from '../../../cluster/store/volume-names.ts'
import { volumeKey } from '../../../cluster/store/volume-records.ts'
import { waitForRebuild } from '../../../dataplane/waiting-node.ts'
import type { CopyDescription, NodeDescription } from '../../../engine/control/node-description.ts'
import { planRebuild } from '../../../engine/control/store-rebuild.ts'
import { MIB } from '../../../engine/units.ts'
import { ETCD, etcdMissing, startStore } from '../../conformance/cluster-store/store-process.ts'
import { configOf, copyOn, nodeOf } from '../../engine/control/described.ts'
import { recordOf } from '../../engine/control/small-cluster.ts'
import { storeInProcess } from '../store-in-process.ts'

const ID = 'a'.repeat(32)
const CLUSTER = 'c'.repeat(32)

function copy(node: string, tail: number): CopyDescription {
  const { spec } = recordOf(ID, {}, { name: 'data', sizeBytes: MIB, replicas: 1 })
  const config = configOf(ID, 7, ['n1', 'n2'], { nonce: 'x' })
  const made = copyOn(node, ID, [7, tail], { spec, config })
  return { ...made, noted: { config, record: { ...recordOf(ID), spec } } }
}

const node = (name: string, tail = 90): Omit<NodeDescription, 'digest'> => {
  const { digest: _, ...described } = nodeOf(name, [copy(name, tail)], { clusterId: CLUSTER })
  return described
}

type Described = Omit<NodeDescription, 'digest'>

function waiting(t: { teardown(run: () => void): void }, store: ClusterStore, described: Described) {
  const said: string[] = []
  let isOver = false
  t.teardown(() => (isOver = true))
  const answered = async <T>(ask: () => Promise<StoreAnswer<T>>): Promise<T> => {
    const answer = await ask()
    if (isOver) return new Promise<never>(() => undefined)
    if (!answer.ok) throw answer.error
    return answer.value
  }
  const options = { store, address: 'http://x', node: described, answered, say: (one: string) => void said.push(one) }
  return { said, let: waitForRebuild(options) }
}

t.test('what is said is read, and what is none is not believed', async (t) => {
  const one = copy('n1', 90)
  t.same(decodeDescribedCopy(encodeDescribedCopy(one)), one)
  t.equal(decodeDescribedCopy(encodeDescribedCopy({ ...one, tail: -1 })), undefined)
  t.equal(decodeDescribedCopy(encodeDescribedCopy({ ...one, volumeId: 'v' })), undefined)
  const { copies: _, ...rest } = nodeOf('n1', [], { clusterId: CLUSTER })
  const described = { ...rest, copyCount: 1, ask: 'a' }
  t.same(decodeDescribedNode('n1', encodeDescribedNode(described)), described)
  t.equal(decodeDescribedNode('n2', encodeDescribedNode(described)), undefined)
  t.equal(decodeNoted(ID, 'nonsense'), undefined)
  t.same(decodeNoted(ID, { config: { epoch: 1 }, record: 7 }), { config: undefined, record: undefined })
  const record: ClusterRecord = { id: CLUSTER, era: 2, rebuilt: { n1: 'd' } }
  t.same(decodeCluster(encodeCluster(record)), record)
  t.same(decodeCluster(Buffer.from(`{"id":"${CLUSTER}"}`)), { id: CLUSTER, era: 0, rebuilt: {} })
  t.equal(decodeCluster(Buffer.from(`{"id":"${CLUSTER}","era":-1}`)), undefined)
  t.not(digestOf([one]), digestOf([{ ...one, tail: 91 }]))
  t.equal(digestOf([one]), digestOf([{ ...one, isWhole: !one.isWhole }]), 'what a reboot changes is not in it')
})

for (const kind of ['embedded', 'etcd']) {
  t.test(`${kind}: nodes answer, the store is written, and those it names go on`, {
    skip: kind === 'etcd' && etcdMissing(),
  }, async (t) => {
    const etcd = kind === 'etcd' ? await startStore(t, ETCD) : undefined
    const { client } = etcd === undefined ? await storeInProcess(t) : { client: () => etcd.client() }
    await rebuild(t, client)
  })
}

async function rebuild(t: Test, client: () => ClusterStore): Promise<void> {
  const [n1, n2] = [waiting(t, client(), node('n1')), waiting(t, client(), node('n2'))]
  const target = { store: client(), address: 'http://x' }
  const found = await lookAtStore(target)
  let nodes: NodeDescription[] = []
  while (nodes.length < 2) nodes = await askNodes(target, found, randomUUID(), 5000)
  const plan = planRebuild(nodes, 'nonce')
  t.same(plan.problems, [])
  // A run that broke off wrote something else.
  await putKey(target.store, volumeKey('b'.repeat(32)), Buffer.from('{}'))
  await writeRebuilt(target, await lookAtStore(target), plan)
  t.match(await n1.let, { id: CLUSTER, era: 1 })
  t.same(Object.keys((await n2.let).rebuilt), ['n1', 'n2'])
  const empty = /^node n1 waits: .* is empty, and this node belongs to cluster c{32}; .*store rebuild --from-nodes/
  t.match(n1.said, [empty])

  const after = await lookAtStore(target)
  t.notOk(after.keys.has(volumeKey('b'.repeat(32))), 'nothing of it is left')
  const stored = async (key: string) => {
    const read = await target.store.get(key)
    return read.ok ? read.value?.value : undefined
  }
  t.match(decodeConfig(ID, (await stored(configKey(ID)))!), { epoch: 7 + 2 ** 22, inSync: ['n1', 'n2'] })
  t.equal(decodeName((await stored(nameKey('data')))!), ID)
  t.match(await nextStartNumber(target.store, { former: 5, address: '' }), { ok: true, value: 5 + 1024 + 1 })

  const other = waiting(t, client(), node('n3', 80))
  const late = waiting(t, client(), node('n1', 95))
  while (other.said.length === 0 || late.said.length === 0) await new Promise((resolve) => setTimeout(resolve, 10))
  t.match(late.said, [/was rebuilt without what this node has now/], 'it went on elsewhere')
  let more: NodeDescription[] = []
  while (more.length < 2) more = await askNodes(target, await lookAtStore(target), randomUUID(), 5000)
  const second = planRebuild(more.filter(({ name }) => name === 'n3'), '', (await lookAtStore(target)).rebuilt)
  t.match(second, { problems: [], volumes: [] }, 'its copy is older than what is there')
  await writeRebuilt(target, await lookAtStore(target), second)
  t.match(await other.let, { era: 1, rebuilt: { n1: nodes[0]!.digest } })
}

t.test('a store with something else in it, or nodes of two clusters, are refused', async (t) => {
  const strange = (await storeInProcess(t)).client()
  await putKey(strange, configKey(ID), encodeConfig(configOf(ID, 1, ['n1'])))
  await t.rejects(lookAtStore({ store: strange, address: 'x' }), { code: 'store-in-use', message: /it has configs/ })
  const { client } = await storeInProcess(t)
  waiting(t, client(), node('n1'))
  waiting(t, client(), { ...node('n2'), clusterId: 'd'.repeat(32) })
  const target = { store: client(), address: 'x' }
  const ask = async (): Promise<unknown> => {
    for (;;) await askNodes(target, await lookAtStore(target), randomUUID(), 5000)
  }
  await t.rejects(ask(), { code: 'store-in-use', message: /nodes of 2 clusters wait at it/ })
})

t.test('E1: the store from before, and one of another cluster, are refused', async (t) => {
  const store = (await storeInProcess(t)).client()
  const put = (record: ClusterRecord) => putKey(store, CLUSTER_KEY, encodeCluster(record))
  await put({ id: CLUSTER, era: 1, rebuilt: {} })
  t.match(await readCluster(store), { ok: true, value: { era: 1 } })
  const known = { ...node('n1'), era: 2 }
  await t.rejects(waiting(t, store, known).let, { code: 'store-former', message: /era 1, this node knows era 2/ })
  await put({ id: 'd'.repeat(32), era: 3, rebuilt: {} })
  await t.rejects(waiting(t, store, known).let, { code: 'cluster-other' })
})

t.test('a node that was replaced does not get its name back', async (t) => {
  const { client } = await storeInProcess(t)
  const target = { store: client(), address: 'x' }
  await putKey(target.store, CLUSTER_KEY, encodeCluster({ id: CLUSTER, era: 1, rebuilt: { n3: 'former' } }))
  const key = nodeKey('n3')
  const register = (nodeId: string) => putKey(target.store, key, encodeNode({ name: 'n3', nodeId, zone: 'z' }))
  const registered = async () => {
    const read = await target.store.get(key)
    return read.ok && read.value !== undefined ? decodeNode('n3', read.value.value) : undefined
  }
  const former = node('n3')
  const refusal = { code: 'node-name-taken', detail: { name: 'n3', owner: 'another', id: former.nodeId } }
  waiting(t, client(), former)
  let nodes: NodeDescription[] = []
  while (nodes.length === 0) nodes = await askNodes(target, await lookAtStore(target), randomUUID(), 5000)
  const found = await lookAtStore(target)
  const plan = planRebuild(nodes, '', found.rebuilt)

  await register('another')
  await t.rejects(writeRebuilt(target, found, plan), refusal, 'it came behind the look')
  const ask = async () => askNodes(target, await lookAtStore(target), randomUUID(), 5000)
  await t.rejects(ask(), refusal, 'before a plan is shown')
  t.match(await registered(), { nodeId: 'another', zone: 'z' })
  const read = await target.store.get(CLUSTER_KEY)
  t.match(read.ok && decodeCluster(read.value!.value), { rebuilt: { n3: 'former' } }, 'nobody is let in')
  const { keys } = await lookAtStore(target)
  t.same([...keys].filter((one) => /^(volumes|configs|names)/.test(one)), [], 'nothing was written')

  await putKey(target.store, key, Buffer.from('nonsense'))
  await t.rejects(writeRebuilt(target, found, plan), { code: 'store-record', detail: { key } })
  await register(former.nodeId)
  await writeRebuilt(target, await lookAtStore(target), plan)
  t.match(await registered(), { nodeId: former.nodeId, zone: '' })
})
