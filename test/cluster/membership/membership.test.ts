/** Nodes find their cluster, their names and each other through a real store; who runs twice is told so. */
import t from 'tap'
import type { Test } from 'tap'
import type { ClusterStore } from '../../../cluster/store/cluster-store.ts'
import { beatKey, encodeBeatBody } from '../../../cluster/membership/beat-body.ts'
import { BeatList, digestOfBeats } from '../../../cluster/membership/beat-list.ts'
import { agreeOnClusterId } from '../../../cluster/membership/cluster-id.ts'
import { CLUSTER_KEY } from '../../../cluster/store/cluster-record.ts'
import { Membership } from '../../../cluster/membership/membership.ts'
import type { NodeAddress } from '../../../cluster/membership/membership.ts'
import { Pulse } from '../../../cluster/pulse.ts'
import { registerNode } from '../../../cluster/membership/registration.ts'
import { nextStartNumber } from '../../../cluster/membership/start-number.ts'
import { nodeKey } from '../../../cluster/store/node-records.ts'
import { clock } from '../../../dataplane/clock.ts'
import type { HoldfastError } from '../../../engine/errors.ts'
import { storeInProcess } from '../store-in-process.ts'

const id = (digit: string): string => digit.repeat(32)
const put = (store: ClusterStore, key: string, text: string) =>
  store.compareAndSwap({ key, version: undefined, value: Buffer.from(text) })

t.test('the first one names the cluster, the others hear of it', async (t) => {
  const { client } = await storeInProcess(t)
  const wished = ['a', 'b', 'c'].map(id)
  const agreed = await Promise.all(wished.map((one) => agreeOnClusterId(client(), one)))
  const ids = new Set(agreed.map((one) => (one.ok ? one.value : one.error.message)))
  t.equal(ids.size, 1)
  t.ok(wished.includes([...ids][0]!))
})

t.test('what is no cluster id is not overwritten', async (t) => {
  const store = (await storeInProcess(t)).client()
  await put(store, CLUSTER_KEY, '{"id": 7}')
  t.match(await agreeOnClusterId(store, id('a')), { ok: false, error: { code: 'store-record' } })
})

t.test('a name belongs to the node that took it first', async (t) => {
  const store = (await storeInProcess(t)).client()
  const node = { name: 'n1', nodeId: id('1'), zone: '' }
  t.equal(await registerNode(store, node), undefined)
  t.equal(await registerNode(store, node), undefined, 'it comes back')
  t.equal(await registerNode(store, { ...node, zone: 'east' }), undefined, 'and may have moved')
  t.match(await registerNode(store, { ...node, nodeId: id('2') }), { code: 'node-name-taken' })
  await put(store, nodeKey('n2'), 'nonsense')
  t.match(await registerNode(store, { ...node, name: 'n2' }), { code: 'store-record' })
})

t.test('no two starts have one number', async (t) => {
  const { client } = await storeInProcess(t)
  const stores = [client(), client(), client()]
  const next = (store: ClusterStore, former = 0) => nextStartNumber(store, { former, address: 'http://store:1' })
  const numbers = await Promise.all(stores.flatMap((store) => [next(store), next(store)]))
  t.same(numbers.map((one) => one.ok && one.value).sort(), [1, 2, 3, 4, 5, 6])
  const behind = { code: 'starts-behind', message: /store:1 went back in time: it counts 6 starts.*was number 7/ }
  t.match(await next(stores[0]!, 7), { ok: false, error: behind }, 'an old store would give a number to two')
  t.match(await next(stores[0]!, 6), { ok: true, value: 7 })
})

class Node {
  readonly told: NodeAddress[][] = []
  readonly problems: Array<string | undefined> = []
  /** What is told is taken. */
  isTaking = true
  rival: HoldfastError | undefined
  readonly membership: Membership
  readonly beats: BeatList

  constructor(t: Test, store: ClusterStore, name: string, instance: string, clusterId = id('c'), pulseMs = 20) {
    const self = { peer: `${name}:1`, api: `${name}:2`, nodeId: id('1'), clusterId, instance, version: '1' }
    this.beats = new BeatList(store, () => clock.nowMs())
    this.membership = new Membership({
      store, name, self, pulse: new Pulse(pulseMs, clock), beats: this.beats,
      onNodes: (nodes) => {
        this.told.push(nodes)
        return this.isTaking
      },
      onProblem: (error) => this.problems.push(error?.code),
      onRival: (error) => (this.rival = error),
    })
    t.teardown(() => this.membership.stop())
  }

  get known(): string {
    return (this.told.at(-1) ?? []).map(({ node, instance, peer }) => `${node} ${instance} ${peer}`).join(', ')
  }
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 5))
}

t.test('nodes that could not be taken are told again, until they are', async (t) => {
  const { client } = await storeInProcess(t)
  const n1 = new Node(t, client(), 'n1', 'first')
  n1.isTaking = false
  await n1.membership.start()
  await until(() => n1.told.length === 3)
  n1.isTaking = true
  await until(() => n1.told.length === 4)
  await new Node(t, client(), 'n2', 'first').membership.start()
  await until(() => n1.known === 'n2 first n2:1')
  t.equal(n1.told.length, 5, 'and then when something changed')
})

t.test('nodes learn where the others are, and when one comes back elsewhere', async (t) => {
  const { client } = await storeInProcess(t)
  const n1 = new Node(t, client(), 'n1', 'first')
  await n1.membership.start()
  t.same(n1.told, [[]], 'nobody is there yet, which is said once')
  const n2 = new Node(t, client(), 'n2', 'first')
  await n2.membership.start()
  t.equal(n2.known, 'n1 first n1:1')
  await until(() => n1.known === 'n2 first n2:1')
  await n2.membership.stop()
  const again = new Node(t, client(), 'n2', 'second')
  await again.membership.start()
  await until(() => n1.known === 'n2 second n2:1')
  t.equal(n1.told.length, 3, 'told when something changed, and not else')
  await put(client(), beatKey('n3'), 'nonsense')
  const stranger = new Node(t, client(), 'n4', 'first', id('d'))
  await stranger.membership.start()
  t.equal(n1.told.length, 3, 'what is no node of this cluster is none')
  for (const name of ['-', 'n5-', 'N5', 'n'.repeat(64)]) await new Node(t, client(), name, 'first').membership.start()
  const addresses = ['', 'n5', 'n5:', 'n5:0', 'n5:65536', 'n5:1x', ':1', 'n5:1:1', '[n5:1', 'n5\0:1', 'dns://n5/n5:1']
  for (const [i, address] of addresses.entries()) {
    for (const part of ['peer', 'api']) {
      const good = { peer: 'n5:1', api: 'n5:2', nodeId: id('5'), clusterId: id('c'), instance: 'i', version: '1' }
      const body = encodeBeatBody({ ...good, [part]: address })
      await put(client(), beatKey(`m-${part}-${i}`), JSON.stringify({ instance: 'i', beat: 1, body }))
    }
  }
  const n6 = new Node(t, client(), 'n6', 'first')
  await n6.membership.start()
  t.equal(n6.known, 'n1 first n1:1, n2 second n2:1', 'nor is what cannot be dialled')
})

t.test('of two daemons of one node one is told to end', async (t) => {
  const { client } = await storeInProcess(t)
  const first = new Node(t, client(), 'n1', 'first')
  await first.membership.start()
  const second = new Node(t, client(), 'n1', 'second')
  await second.membership.start()
  await until(() => first.rival !== undefined || second.rival !== undefined)
  t.match(first.rival ?? second.rival, { code: 'node-twice', detail: { name: 'n1' } })
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.ok(first.rival === undefined || second.rival === undefined, 'and the other one goes on')
})

t.test('a store that is away is told once, and what is known stays known', async (t) => {
  const { client } = await storeInProcess(t)
  const store = client()
  const node = new Node(t, store, 'n1', 'first')
  await node.membership.start()
  store.close()
  await until(() => node.problems.length > 0)
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.equal(node.problems.length, 1)
  t.equal(node.told.length, 1)
})

/** What a node asks of the store, in order. */
function counted(store: ClusterStore, calls: string[]): ClusterStore {
  return {
    get: (key) => store.get(key),
    list: (options) => {
      calls.push('list')
      return store.list(options)
    },
    compareAndSwap: (change) => {
      calls.push('beat')
      return store.compareAndSwap(change)
    },
    watch: (options, listener) => store.watch(options, listener),
    known: () => store.known(),
    close: () => store.close(),
  }
}

t.test('all beats are listed with every second beat of ours while nobody says that they are the same', async (t) => {
  const { client } = await storeInProcess(t)
  const calls: string[] = []
  // Lists that are asked for sooner one after the other are shared.
  const node = new Node(t, counted(client(), calls), 'n1', 'i1', id('c'), 150)
  await node.membership.start()
  t.same(calls, ['beat', 'list'], 'whoever came before is seen at once')
  calls.length = 0
  await until(() => calls.length >= 9)
  t.same(calls.slice(0, 9), ['beat', 'list', 'beat', 'beat', 'list', 'beat', 'beat', 'list', 'beat'])
})

t.test('they are not listed while the elected node lists what is known here', async (t) => {
  const { client } = await storeInProcess(t)
  const [store, other] = [client(), client()]
  const digest = async (): Promise<string> => {
    const { answer } = await new BeatList(other, () => clock.nowMs()).read()
    return answer.ok ? digestOfBeats(answer.entries) : ''
  }
  const calls: string[] = []
  const node = new Node(t, counted(store, calls), 'n1', 'i1', id('c'), 150)
  await node.membership.start()
  const beats = async (count: number): Promise<void> => {
    const from = calls.length
    await until(() => calls.slice(from).filter((call) => call === 'beat').length >= count)
  }
  // As each report is answered.
  let said = await digest()
  const saying = setInterval(() => node.beats.electedSaid(said), 2)
  t.teardown(() => clearInterval(saying))
  node.beats.electedSaid(said)
  await beats(1)
  calls.length = 0
  await beats(4)
  t.notOk(calls.includes('list'), 'beats move, and what they tell does not')
  await put(client(), beatKey('n2'), JSON.stringify({ instance: 'i2', beat: 1, body: JSON.stringify({
    peer: 'n2:1', api: 'n2:2', nodeId: id('2'), clusterId: id('c'), instance: 'i2', version: '1',
  }) }))
  said = await digest()
  await until(() => node.known === 'n2 i2 n2:1')
  await beats(1)
  calls.length = 0
  await beats(4)
  t.notOk(calls.includes('list'), 'and that is known now')
  said = ''
  await until(() => calls.includes('list'))
  t.same(node.problems, [], 'who is elected does not know: the store is asked')
})

t.test('what the elected node said a while ago stands for nothing', async (t) => {
  const { client } = await storeInProcess(t)
  let nowMs = 1_000
  const beats = new BeatList(client(), () => nowMs)
  t.notOk(beats.isAsElectedSaid('', 100), 'nothing was said')
  beats.electedSaid('one')
  t.ok(beats.isAsElectedSaid('one', 100))
  t.notOk(beats.isAsElectedSaid('two', 100))
  nowMs += 101
  t.notOk(beats.isAsElectedSaid('one', 100))
})
