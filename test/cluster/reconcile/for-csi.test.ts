/** What Kubernetes asks of the control API: pages, places, capacity; and a detachment that is true when it is told. */
// test-timeout-seconds: 180
import t from 'tap'
import type { Test } from 'tap'
import type { HoldfastError } from '../../../engine/errors.ts'
import { GIB, MIB } from '../../../engine/units.ts'
import { isRefusingOthers } from '../../../cluster/reconcile/attach-end.ts'
import { allVolumes, pageOfIds } from '../../../cluster/api/volume-page.ts'
import { decodeMove, moveKey } from '../../../cluster/store/volume-moves.ts'
import { ControlCluster } from './control-cluster.ts'
import { drawn, request, servedVolume } from './snapshot-world.ts'

t.setTimeout(170_000)

async function started(t: Test, names = ['n1', 'n2', 'n3']) {
  const cluster = await ControlCluster.start(t, names)
  await cluster.until('one is elected', () => cluster.elected()[0]?.control.controller.term() !== undefined)
  const { volumes } = cluster.elected()[0]!
  const make = (name: string, more = {}) => cluster.answered(volumes.createVolume({
    name, sizeBytes: 64 * MIB, parameters: { replicas: '1' }, ...more,
  }))
  return { cluster, volumes, make }
}

t.test('pages of ids', async (t) => {
  const [a, b, c] = ['a', 'b', 'c'].map((digit) => digit.repeat(32)) as [string, string, string]
  t.same(pageOfIds([c, a, b], {}), { ids: [a, b, c], next: '' })
  t.same(pageOfIds([c, a, b], { limit: 2 }), { ids: [a, b], next: b })
  t.same(pageOfIds([c, a, b], { limit: 2, after: b }), { ids: [c], next: '' })
  t.same(pageOfIds([c, a], { limit: 1, after: b }), { ids: [c], next: '' }, 'what the page ended with may be gone')
  t.same(pageOfIds([], { limit: 1 }), { ids: [], next: '' })
  for (const limit of [-1, 0.5, 1001]) t.throws(() => pageOfIds([], { limit }), { code: 'parameter' })
  t.throws(() => pageOfIds([], { after: 'x' }), { code: 'parameter' })
})

t.test('volumes by pages, where they were wished, and how large another one could be', async (t) => {
  const { cluster, volumes, make } = await started(t)
  for (const name of ['one', 'two', 'three']) await make(name)
  const seen: string[] = []
  for (let after = ''; ;) {
    const page = await volumes.listVolumes({ limit: 2, after })
    seen.push(...page.volumes.map(({ id }) => id))
    if ((after = page.next) === '') break
  }
  t.same(seen, [...seen].sort())
  t.equal(seen.length, 3)
  t.same((await allVolumes(volumes)).map(({ name }) => name), ['one', 'three', 'two'])
  for (const node of ['n3', 'n2', 'n1']) {
    const { copies } = await make(`on-${node}`, { preferredNodes: ['elsewhere', node, 'n1'] })
    t.equal(copies.find(({ role }) => role === 'primary')?.node, node)
  }
  const strict = { replicas: '1', 'data-locality': 'strict' }
  const bound = await make('bound', { allowedNodes: ['n3', 'n1'], parameters: strict })
  t.same(bound.copies.map(({ node }) => node).sort(), ['n1', 'n3'])
  t.match(bound, { allowedNodes: ['n1', 'n3'], allowedZones: [], dataLocality: 'strict' })
  const label = (labels: Record<string, string>) => volumes.modifyVolume({ name: 'bound', parameters: {}, labels })
  t.same((await label({ 'csi-pod': 'db-0' })).labels, { 'csi-pod': 'db-0' })
  t.same((await label({ 'csi-pod': '' })).labels, {})
  const far = make('far', { allowedZones: ['moon'] })
  await t.rejects(far, { code: 'volume-unplaced', message: /is not in zone moon/ })
  await t.rejects(make('odd', { allowedNodes: ['No Name'] }), { code: 'parameter' })
  const near = { parameters: { 'data-locality': 'near' } }
  await t.rejects(make('odd', near), { code: 'parameter', message: /best-effort/ })

  const ask = (parameters: Record<string, string>, node = '') => volumes.capacity({ parameters, node, zone: '' })
  const { largestBytes, localBytes } = await ask({ replicas: '2' }, 'n1')
  t.ok(largestBytes >= GIB && localBytes >= largestBytes, `${largestBytes}, ${localBytes}`)
  const larger = make('larger', { sizeBytes: largestBytes + MIB, parameters: { replicas: '2' } })
  await t.rejects(larger, { code: 'volume-unplaced' })
  await make('largest', { sizeBytes: largestBytes, parameters: { replicas: '2' } })
  const each = await volumes.capacity({ parameters: { replicas: '2' }, node: '', zone: '', eachNode: true })
  t.same(each.nodes.map(({ node }) => node).sort(), ['n1', 'n2', 'n3'])
  const none = { largestBytes: 0, localBytes: 0, freeBytes: 0, nodes: [] }
  t.same(await ask({ replicas: '4' }), none, 'more copies than nodes')
  t.equal((await ask({ replicas: '0', pool: 'gold' })).largestBytes, 0)
  t.ok((await ask({ encryption: 'true', 'holdfast.io/replicas': '0' })).largestBytes >= 0, 'no key is needed')
  await t.rejects(ask({ replica: '1' }), { code: 'parameter', message: /did you mean replicas/ })
  await t.rejects(ask({}, 'n9'), { code: 'node-not-found' })
  await cluster.round()
})

t.test('detached is answered when the primary refuses what comes late, each time', async (t) => {
  const { cluster, volumes, make } = await started(t)
  const { id, copies } = await make('data')
  const { fake } = cluster.node(copies.find(({ role }) => role === 'primary')!.node)
  const attach = (node: string) => volumes.attachVolume({ name: 'data', node, mode: '', force: false })
  const detach = (node: string, all = false) => volumes.detachVolume({ name: id, node, all })
  const held = (await attach('n1')).attach
  fake.knownAttach = { ...held, holders: { n1: held.generation } }
  const late = (asked: Promise<unknown>) =>
    cluster.answered(asked).then(() => undefined, (error: HoldfastError) => error)
  const message = /data is detached, but .* does not know it yet/
  t.match(await late(detach('n1')), { code: 'detach-unproved', message })
  t.match(await late(detach('n1')), { code: 'detach-unproved' }, 'it is agreed by now, and no more certain')
  t.match(await late(detach('', true)), { code: 'detach-unproved' })
  const answered = detach('', true)
  fake.knownAttach = undefined
  t.same((await answered).attach.holders, [])
  await t.rejects(detach('n1'), { code: 'volume-not-attached' })
  t.same((await detach('', true)).attach.holders, [], 'nobody holds it: so it is')
  for (const node of ['n1', 'n2']) await volumes.attachVolume({ name: 'data', node, mode: 'shared', force: false })
  await t.rejects(detach(''), { code: 'parameter' })
  t.same((await detach('', true)).attach.holders, [], 'all of them')
})

t.test('detached is what a primary of that agreement says, and no silence', async (t) => {
  const { cluster, volumes, make } = await started(t)
  // Who decides calls itself directly.
  const other = ['n1', 'n2'].find((name) => name !== cluster.elected()[0]!.name)!
  const { copies } = await make('data', { preferredNodes: [other] })
  t.equal(copies.find(({ role }) => role === 'primary')?.node, other)
  let said = {}
  const wrapped = cluster.wrapCalls
  cluster.wrapCalls = (calls, from, to) => {
    const usual = wrapped(calls, from, to)
    return { ...usual, snapshots: async (query) => ({ ...(await usual.snapshots(query)), ...said }) }
  }
  const detach = async () => {
    await cluster.answered(volumes.attachVolume({ name: 'data', node: 'n1', mode: '', force: false }))
    const asked = volumes.detachVolume({ name: 'data', node: 'n1' })
    return cluster.answered(asked).then(() => undefined, (error: HoldfastError) => error)
  }
  said = { attach: null }
  t.match(await detach(), { code: 'detach-unproved', message: /node n\d, which leads it, is of a former version/ })
  said = { epoch: 0 }
  t.match(await detach(), { code: 'detach-unproved', message: /does not know it yet.* volume promote data --to NODE/ })
  said = {}
  t.equal(await detach(), undefined)
})

t.test('a volume that has no copies yet is held by nobody', async (t) => {
  const { cluster, volumes } = await started(t)
  // On disks that are not there.
  await cluster.createVolume('e'.repeat(32), 1, { firstNode: '', allowed: { nodes: ['n9'], zones: [] } })
  for (let i = 0; i < 3; i++) await cluster.round()
  const name = 'e'.repeat(32)
  await t.rejects(volumes.detachVolume({ name, node: 'n1' }), { code: 'volume-not-attached' })
  await t.rejects(volumes.detachVolume({ name, node: '' }), { code: 'volume-not-attached' })
  t.same((await volumes.detachVolume({ name, node: '', all: true })).attach.holders, [])
})

t.test('who is named by a primary, and who holds it', async (t) => {
  const agreed = { generation: 4, holders: { n2: 4 } }
  t.ok(isRefusingOthers({ generation: 4, holders: { n2: 4 } }, agreed))
  t.ok(isRefusingOthers({ generation: 4, holders: {} }, agreed))
  t.ok(isRefusingOthers({ generation: 5, holders: { n1: 5 } }, agreed), 'it knows more')
  t.notOk(isRefusingOthers({ generation: 4, holders: { n1: 3, n2: 4 } }, agreed))
  t.notOk(isRefusingOthers({ generation: 3, holders: { n2: 3 } }, agreed), 'a former attachment of the same node')
  t.notOk(isRefusingOthers({ generation: 3, holders: {} }, agreed), 'it has not heard of any')
})

t.test('the lead follows who attaches, where a copy is', async (t) => {
  const { cluster, volumes, make } = await started(t)
  const { copies } = await make('data', { preferredNodes: ['n1'], allowedNodes: ['n1', 'n2'] })
  t.same(copies.map(({ node }) => node).sort(), ['n1', 'n2'])
  const attach = (node: string) =>
    cluster.answered(volumes.attachVolume({ name: 'data', node, mode: '', force: true, primary: true }))
  const copiesNow = async () => (await volumes.getVolume({ name: 'data' })).copies
  const leads = async () => (await copiesNow()).find(({ role }) => role === 'primary')?.node
  t.match((await attach('n3')).attach, { holders: [{ node: 'n3' }] })
  for (let i = 0; i < 4; i++) await cluster.round()
  t.equal(await leads(), 'n1', 'no copy there: nothing moves')
  await attach('n2')
  await cluster.until('it leads', async () => (await leads()) === 'n2')
})

t.test('data locality: a copy follows who attaches, or he attaches where one is', async (t) => {
  const { cluster, volumes, make } = await started(t)
  const parameters = { 'replicas': '1', 'data-locality': 'strict' }
  const { copies } = await make('data', { preferredNodes: ['n1'], parameters })
  const [away] = ['n2', 'n3'].filter((name) => !copies.some(({ node }) => node === name))
  const near = away === 'n2' ? 'n3' : 'n2'
  const attach = (node: string) =>
    cluster.answered(volumes.attachVolume({ name: 'data', node, mode: '', force: true }))
  const isAt = async (lead: string, other: string): Promise<boolean> => {
    const now = (await volumes.getVolume({ name: 'data' })).copies
    return now.length === 2 && now.some(({ node, role }) => node === lead && role === 'primary')
      && now.some(({ node }) => node === other)
  }
  const refused = { code: 'volume-not-local', message: `no copy on ${away}: its copies are on n1, ${near}` }
  await t.rejects(attach(away!), { code: refused.code }, 'by force neither')
  await attach(away!).catch((error: HoldfastError) => t.ok(error.message.includes(refused.message), error.message))
  await attach(near)
  await cluster.until('the lead follows', () => isAt(near, 'n1'))
  await cluster.answered(volumes.modifyVolume({ name: 'data', parameters: { 'data-locality': 'best-effort' } }))
  await attach(away!)
  await cluster.until('a copy follows, and the lead', async () =>
    (await isAt(away!, 'n1')) || (await isAt(away!, near)))
})

t.test('that the lead follows gives way to an operator, and ends with the attachment', async (t) => {
  const { cluster, volumes, make } = await started(t)
  const { id } = await make('data', { preferredNodes: ['n1'], allowedNodes: ['n1', 'n2'] })
  const attach = (node: string, mode = 'single') =>
    volumes.attachVolume({ name: 'data', node, mode, force: true, primary: true })
  const wished = async () => {
    const entry = await cluster.entry(moveKey(id))
    return entry === undefined ? undefined : decodeMove(entry.value)
  }
  await attach('n2', 'shared')
  t.equal(await wished(), undefined, 'several may use it')
  await attach('n2')
  t.same(await wished(), { what: 'primary', to: 'n2', from: '', isFollowing: true })
  await volumes.detachVolume({ name: 'data', node: 'n2' })
  t.equal(await wished(), undefined)
  await volumes.moveVolume({ name: 'data', what: 'copy', to: 'n3', from: 'n2' })
  const asked = { what: 'copy', to: 'n3', from: 'n2' }
  await attach('n2')
  t.same(await wished(), asked)
  await volumes.detachVolume({ name: 'data', node: 'n2' })
  t.same(await wished(), asked)
})

t.test('snapshots of all volumes by pages, and groups by id', async (t) => {
  const { cluster, elected: { volumes }, create } = await servedVolume(t)
  const make = (name: string) => cluster.answered(volumes.createVolume({ name, sizeBytes: 64 * MIB, parameters: {} }))
  const [other] = [await make('other'), await make('without')]
  const ask = <T>(asked: Promise<T>): Promise<T> => cluster.answered(asked)
  await create(request('first', 1))
  await create(request('second', 2))
  await ask(volumes.createSnapshot({ volume: other.id, name: 'third', labels: {}, id: drawn(3) }))
  const group = await ask(volumes.createGroup({ name: 'g', volumes: ['v-aaaa', other.id], labels: {}, id: drawn(4) }))
  const list = (limit: number, after = '') => ask(volumes.listSnapshots({ volume: '', limit, after }))
  const whole = await list(0)
  t.same(whole.snapshots.map(({ name }) => name).sort(), ['first', 'g', 'g', 'second', 'third'])
  t.same([whole.next, whole.unread], ['', []])
  const found: string[] = []
  for (let after = ''; ;) {
    const page = await list(2, after)
    found.push(...page.snapshots.map(({ volumeId, id }) => `${volumeId} ${id}`))
    if ((after = page.next) === '') break
  }
  t.same(found, whole.snapshots.map(({ volumeId, id }) => `${volumeId} ${id}`))
  for (let i = 0; i < 3; i++) await cluster.round()
  t.same((await list(0)).snapshots, whole.snapshots, 'when nodes have told how many there are')
  await t.rejects(list(0, 'x'), { code: 'parameter' })
  t.same(await ask(volumes.getGroup({ name: group.id })), group)
  await ask(volumes.deleteGroup({ name: group.id, id: '' }))
  t.same(await ask(volumes.deleteGroup({ name: group.id, id: group.id })), {}, 'it is gone')
  await t.rejects(ask(volumes.getGroup({ name: group.id })), { code: 'group-not-found' })
  t.equal((await list(0)).snapshots.length, 3)
})
