/** What a user asks of a cluster: volumes are made, grown, deleted and brought back; names are given once. */
import { randomBytes } from 'node:crypto'
import t from 'tap'
import type { CreateVolumeRequest } from '../../../cluster/api/volume-wish-messages.ts'
import { newEncryption, rewrap, unwrapKeys } from '../../../cluster/keys/data-key.ts'
import { userKeyOf } from '../../../cluster/keys/user-key.ts'
import { RecordStore } from '../../../cluster/reconcile/record-store.ts'
import { VolumeWishes } from '../../../cluster/reconcile/volume-wishes.ts'
import { diskWishKey } from '../../../cluster/store/disk-wishes.ts'
import { nameKey, encodeName } from '../../../cluster/store/volume-names.ts'
import type { HoldfastError } from '../../../engine/errors.ts'
import { GIB, MIB } from '../../../engine/units.ts'
import { wrappedKeyOf } from '../../../engine/volume/volume-encryption.ts'
import type { VolumeEncryption } from '../../../engine/volume/volume-encryption.ts'
import { listAll } from '../../conformance/cluster-store/calls-suite.ts'
import { ControlCluster } from './control-cluster.ts'
import type { TestNode } from './control-cluster.ts'

const request = (name: string, parameters: Record<string, string> = {}): CreateVolumeRequest =>
  ({ name, sizeBytes: 64 * MIB, parameters })

async function electedOf(cluster: ControlCluster): Promise<TestNode> {
  await cluster.until('one is elected', () => cluster.elected()[0]?.control.controller.term() !== undefined)
  return cluster.elected()[0]!
}

t.test('a volume is made when it is answered, grows, and is shown', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1', 'n2', 'n3'])
  const elected = await electedOf(cluster)
  const { volumes } = elected
  const [other] = [...cluster.nodes.values()].filter((node) => node !== elected)
  await t.rejects(other!.volumes.createVolume(request('data')), { code: 'no-controller' }, 'who is not elected refuses')

  const made = await cluster.answered(volumes.createVolume(request('data')))
  t.match(made, { name: 'data', health: 'healthy', replicas: 2, minInSync: 2, epoch: 1, sizeBytes: 64 * MIB })
  t.same(made.copies.map(({ state }) => state), ['in-sync', 'in-sync', 'in-sync'])
  t.equal(made.copies.filter(({ role }) => role === 'primary').length, 1)
  await t.rejects(volumes.createVolume(request('data')), { code: 'volume-exists' })
  await t.rejects(volumes.createVolume(request('wide', { replicas: '3' })), { code: 'too-few-nodes' })
  await t.rejects(volumes.createVolume(request('odd', { 'min-in-sync': '4' })), { code: 'parameter' })

  const grown = await cluster.answered(volumes.resizeVolume({ name: 'data', sizeBytes: 128 * MIB }))
  t.equal(grown.sizeBytes, 128 * MIB)
  const primary = made.copies.find(({ role }) => role === 'primary')!.node
  t.same(cluster.node(primary).fake.volume(made.id).changes, [{ operation: 'resize', sizeBytes: 128 * MIB }])
  await t.rejects(volumes.resizeVolume({ name: 'data', sizeBytes: 64 * MIB }), { code: 'volume-shrink' })
  await cluster.answered(volumes.resizeVolume({ name: 'data', sizeBytes: 128 * MIB }))
  t.equal(cluster.node(primary).fake.volume(made.id).changes.length, 1, 'it is as large')
  const { fake } = cluster.node(primary)
  fake.volume(made.id).occupied = '4096 bytes of data live beyond the new end'
  const small = () => cluster.answered(volumes.resizeVolume({ name: 'data', sizeBytes: 32 * MIB, force: true }))
  await t.rejects(small(), { code: 'volume-occupied', message: /^volume data does not shrink: 4096 bytes/ })
  t.match(await volumes.getVolume({ name: 'data' }), { sizeBytes: 128 * MIB })
  fake.volume(made.id).occupied = ''
  const old = [...cluster.nodes.values()].find((node) => node !== elected)!
  old.protocol = 2
  for (let i = 0; i < 3; i++) await cluster.round()
  await t.rejects(small(), { code: 'node-too-old', message: new RegExp(`newer nodes: ${old.name} \\(version 0\\)`) })
  const set = (parameters: Record<string, string>) => volumes.modifyVolume({ name: 'data', parameters })
  await t.rejects(set({ compression: 'lz4' }), { code: 'node-too-old' })
  t.equal((await set({ compression: 'none' })).compression, 'none')
  old.protocol = 6
  for (let i = 0; i < 3; i++) await cluster.round()
  t.equal((await small()).sizeBytes, 32 * MIB)
  // What that node, elected, would take out of the record.
  for (const [what, parameters] of [
    ['failure-mode', { 'failure-mode': 'hard' }], ['data-locality', { 'data-locality': 'best-effort' }],
  ] as const) {
    const refused = { code: 'node-too-old', message: new RegExp(`^${what} of volume \\S+ waits for newer nodes`) }
    await t.rejects(set(parameters), refused)
    await t.rejects(volumes.createVolume(request('newer', parameters)), refused)
  }
  const newer: Array<[string, Partial<CreateVolumeRequest>]> = [
    ['labels', { labels: { a: 'b' } }], ['allowed nodes or zones', { allowedNodes: ['n1', 'n2', 'n3'] }],
    ['read-check', { parameters: { 'read-check': 'confirm' } }],
  ]
  for (const [what, more] of newer) {
    const asked = volumes.createVolume({ ...request('newer'), ...more })
    await t.rejects(asked, { code: 'node-too-old', message: new RegExp(`^${what} of volume newer waits`) })
  }
  old.protocol = 7
  for (let i = 0; i < 3; i++) await cluster.round()
  t.equal((await set({ 'data-locality': 'best-effort' })).dataLocality, 'best-effort')
  old.protocol = 6
  for (let i = 0; i < 3; i++) await cluster.round()
  t.equal((await set({ 'qos-iops': '70' })).dataLocality, 'best-effort', 'what it had is no wish')
  old.protocol = 7
  for (let i = 0; i < 3; i++) await cluster.round()
  await set({ 'qos-iops': 'none', 'data-locality': 'disabled' })
  t.match(fake.volume(made.id).changes.at(-1), { operation: 'shrink', sizeBytes: 32 * MIB })
  const count = fake.volume(made.id).changes.length
  t.equal((await small()).sizeBytes, 32 * MIB, 'once more')
  t.equal(fake.volume(made.id).changes.length, count)
  await cluster.answered(volumes.resizeVolume({ name: 'data', sizeBytes: 128 * MIB }))
  t.same((await set({ 'qos-iops': '500' })).qos, { iops: 500, bandwidthBytes: 0, burstMs: 1000 })
  const more = await set({ 'qos-bandwidth': '2Mi', 'qos-burst': '10s' })
  t.same(more.qos, { iops: 500, bandwidthBytes: 2 * MIB, burstMs: 10_000 })
  t.match(more, { sizeBytes: 128 * MIB }, 'nothing else is changed')
  await t.rejects(set({ 'qos-iops': '3', 'io-timeout': '1m' }), { code: 'parameter' })
  t.equal((await volumes.getVolume({ name: 'data' })).ioTimeoutMs, 600_000, 'all of them or none')
  const lifted = await set({ 'qos-iops': 'none', 'qos-bandwidth': 'none' })
  t.same(lifted.qos, { iops: 0, bandwidthBytes: 0, burstMs: 0 })
  const packed = await set({ compression: 'lz4' })
  t.match(packed, { compression: 'lz4', sizeBytes: 128 * MIB }, 'nothing else is changed')
  await t.rejects(set({ compression: 'zip' }), { code: 'parameter' })
  t.equal((await set({ compression: 'none' })).compression, 'none')
  t.match(await set({ 'io-timeout': '0', 'on-full': 'error', 'data-locality': 'strict' }), {
    ioTimeoutMs: 0, onFull: 'error', dataLocality: 'strict', failureMode: '',
  })
  const least = async () => (await cluster.config(made.id))!.minInSync
  t.equal(await least(), 2)
  t.equal((await set({ 'failure-mode': 'hard' })).failureMode, 'hard')
  await cluster.until('all copies are required', async () => (await least()) === 3)
  t.equal((await set({ 'failure-mode': 'alwayson' })).failureMode, 'alwayson')
  await cluster.until('one is enough', async () => (await least()) === 1)
  t.equal((await set({ 'min-in-sync': '2' })).failureMode, '', 'the later wish counts')
  await cluster.until('two are required', async () => (await least()) === 2)
  await t.rejects(set({ 'min-in-sync': '2', 'failure-mode': 'hard' }), { code: 'parameter', message: /one of the two/ })
  await t.rejects(volumes.getVolume({ name: 'none' }), { code: 'volume-not-found' })

  t.match(await volumes.status(), { health: 'healthy', volumes: 1, volumesHealthy: 1, problems: [] })
  const { nodes } = await volumes.listNodes()
  t.match(await volumes.status(), { copiesNeverScrubbed: 3, oldestScrubAtMs: 0, oldestScrubVolume: '' })
  for (const [name, scrubbedAtMs] of [['n1', 7], ['n2', 5]] as const) {
    const scrub = { scrubbedAtMs, isScrubbing: true, scrubPercent: 10 * scrubbedAtMs }
    Object.assign(cluster.node(name).fake.copies.get(made.id)!, scrub)
  }
  await cluster.until('that is told', async () => (await volumes.status()).copiesNeverScrubbed === 1)
  t.match(await volumes.status(), {
    oldestScrubAtMs: 5, oldestScrubVolume: 'data', oldestScrubNode: 'n2', copiesScrubbing: 2, scrubPercent: 60,
  })
  const up = ['n1', 'n2', 'n3'].map((name) => [name, 'up', `id-${name}`])
  t.same(nodes.map(({ name, state, id }) => [name, state, id]), up)
  t.equal((await volumes.listDisks()).disks.length, 3)
  await cluster.round()
  t.same((await volumes.listVolumes()).volumes.map(({ name }) => name), ['data'])
})

t.test('H2: who is elected anew shows nothing before it has heard from all nodes, for a while', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1', 'n2', 'n3'])
  const elected = await electedOf(cluster)
  const { volumes } = elected
  await cluster.answered(volumes.createVolume(request('data')))
  const term = elected.control.controller.term()!
  term.cluster.nodes.get('n2')!.said = undefined
  term.cluster.startedAtMs = Infinity
  await t.rejects(volumes.status(), { code: 'no-controller' })
  await t.rejects(volumes.listVolumes(), { code: 'no-controller' })
  term.cluster.startedAtMs = -10_000
  t.match(await volumes.status(), { volumes: 1 }, 'a node that is gone is not waited for')
})

t.test('a name is given once, whoever asks at the same time', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1'])
  const { volumes } = await electedOf(cluster)
  const ask = () => volumes.createVolume(request('data')).then(() => 'made', () => 'refused')
  const asked = Array.from({ length: 5 }, ask)
  const answers = await cluster.answered(Promise.all(asked))
  t.same(answers.sort(), ['made', 'refused', 'refused', 'refused', 'refused'])
  await cluster.put(nameKey('left'), encodeName('f'.repeat(32)))
  const left = await cluster.answered(volumes.createVolume(request('left')))
  t.match(left, { name: 'left', health: 'healthy' }, 'a name whose volume was never made is taken over')
})

t.test('P5: a volume that no node can hold is refused before anything of it is written', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1', 'n2', 'n3'])
  const elected = await electedOf(cluster)
  const { volumes } = elected
  const refused = (change: Partial<CreateVolumeRequest>, message: RegExp): Promise<unknown> =>
    t.rejects(cluster.answered(volumes.createVolume({ ...request('data'), ...change })), {
      code: 'volume-unplaced', message,
    })
  await refused({ parameters: { pool: 'fast' } }, /pool fast; there is default \(n1, n2, n3\); name a pool/)
  await refused({ parameters: { 'disk-tags': 'ssd' } }, /pool default with tags ssd; there is default \(n1, n2, n3\)/)
  const large = { sizeBytes: 10 * 1024 * GIB }
  await refused(large, /3 more nodes are needed: n1 has promised 0 KiB .* 200 % of 100.0 GiB;.* at most 200.0 GiB/)
  await refused({ ...large, parameters: { 'allow-degraded': 'true' } }, /1 more node is needed: n1 has promised/)
  cluster.node('n3').fake.freeBytes = GIB
  const isHeard = async () => (await volumes.listDisks()).disks.some(({ freeBytes }) => freeBytes === GIB)
  await cluster.until('that is heard', isHeard)
  await refused({}, /1 more node is needed: n3 would have 1.0 GiB free, less than 10 % of 100.0 GiB; ask for/)
  await t.rejects(volumes.getVolume({ name: 'data' }), { code: 'volume-not-found' })
  const written = ['volumes/', 'names/'].map(async (prefix) => (await listAll(cluster.store, prefix)).entries.length)
  t.same(await Promise.all(written), [0, 0], 'the store has nothing of it')

  const degraded = { parameters: { 'allow-degraded': 'true', replicas: '2' } }
  const made = await cluster.answered(volumes.createVolume({ ...request('data'), ...degraded }))
  t.same(made.copies.length, 2, 'fewer copies, where that is allowed')
  const again = cluster.answered(volumes.createVolume({ ...request('data'), ...large }))
  await t.rejects(again, { code: 'volume-exists' }, 'who asks again for what is there is told so')
  await cluster.answered(volumes.deleteVolume({ name: 'data', force: false }))
  const huge = { sizeBytes: 300 * GIB }
  await refused(huge, /trash holds 0 KiB of 128 MiB in 1 volume\(s\), which count until `holdfast volume purge`/)

  cluster.node('n3').fake.freeBytes = 100 * GIB
  const many = await cluster.answered(volumes.createVolume(request('data')))
  t.equal(many.copies.length, 3, 'what a node has got by now is heard before anything is refused')
})

t.test('P5: a node that is down counts by what it had: a volume waits for it', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1', 'n2', 'n3'])
  const { volumes, name } = await electedOf(cluster)
  await cluster.round()
  const down = ['n1', 'n2', 'n3'].find((one) => one !== name)!
  await cluster.until('all have spoken', async () => (await volumes.listDisks()).disks.length === 3)
  cluster.kill(down)
  await cluster.until('it is down', async () => (await volumes.getNode({ name: down })).state === 'down')
  await t.rejects(cluster.answered(volumes.createVolume(request('data'))), {
    code: 'volume-waits', message: new RegExp(`${down} is down`),
  })
  t.match(await volumes.getVolume({ name: 'data' }), { health: 'suspended', copies: [] })
  const refused = volumes.createVolume({ ...request('more'), sizeBytes: 300 * GIB })
  await t.rejects(cluster.answered(refused), { code: 'volume-unplaced', message: /3 more nodes/ })
})

t.test('what is deleted comes back, until it is purged', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1', 'n2'])
  const { volumes } = await electedOf(cluster)
  const wishes = new VolumeWishes(new RecordStore(cluster.store))
  const first = await cluster.answered(volumes.createVolume(request('data')))
  await volumes.deleteVolume({ name: 'data', force: false })
  await t.rejects(volumes.getVolume({ name: 'data' }), { code: 'volume-not-found' })
  await wishes.restore('data')
  t.equal((await volumes.getVolume({ name: 'data' })).id, first.id)
  await t.rejects(wishes.restore('data'), { code: 'volume-kept' })

  await volumes.deleteVolume({ name: 'data', force: false })
  await cluster.round()
  t.match(await volumes.listVolumes(), { volumes: [] })
  const [resting, ...more] = (await volumes.listVolumes({ isInTrash: true })).volumes
  t.match({ id: resting?.id, more }, { id: first.id, more: [] })
  t.ok(resting!.keptMs > 3_500_000 && resting!.keptMs <= 3_660_000, `for about an hour: ${resting!.keptMs} ms`)
  const second = await cluster.answered(volumes.createVolume(request('data')))
  t.not(second.id, first.id, 'the name was free')
  await t.rejects(wishes.restore('data'), { code: 'volume-exists' })
  await wishes.purge(first.id)
  await t.rejects(wishes.restore(first.id), { code: 'volume-purged' })
  await cluster.until('its copies are erased', () =>
    [...cluster.nodes.values()].every(({ fake }) => fake.copies.size === 1 && fake.copies.has(second.id)))
  await cluster.until('and it is forgotten', async () => (await wishes.trash()).length === 0)
  await cluster.round()
  t.match((await volumes.listVolumes()).volumes, [{ id: second.id, health: 'healthy' }])
})

t.test('T1: the trash keeps a volume for as long as was asked', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1', 'n2'])
  const { volumes } = await electedOf(cluster)
  const make = (name: string) => cluster.answered(volumes.createVolume(request(name)))
  const remove = (name: string, keep: string, purge = false) =>
    volumes.deleteVolume({ name, force: false, purge, keep })
  for (const name of ['day', 'none', 'usual', 'late']) await make(name)
  for (const [keep, purge] of [['1', false], ['721h', false], ['-1h', false], ['x', false], ['1h', true]] as const) {
    await t.rejects(remove('day', keep, purge), { code: 'parameter', message: /^keep = / }, keep)
  }
  t.match(await volumes.getVolume({ name: 'day' }), { health: 'healthy' }, 'a slip deletes nothing')
  t.same(await remove('day', '24h'), { keptMs: 86_400_000 })
  t.same(await remove('none', '0'), { keptMs: 0 })
  t.same(await remove('usual', ''), { keptMs: 3_600_000 })
  t.same(await remove('late', '0', true), { keptMs: 0 })
  const isEmptied = async () => (await volumes.listVolumes({ isInTrash: true })).volumes.length === 2
  await cluster.until('what is not kept is gone', isEmptied)
  const { volumes: kept } = await volumes.listVolumes({ isInTrash: true })
  const hours = kept.map(({ name, keptMs }) => [name, Math.floor(keptMs / 3_600_000)]).sort()
  t.same(hours, [['day', 24], ['usual', 1]])
})

t.test('copies and leads go where the operator wants them', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1', 'n2', 'n3', 'n4'])
  const { volumes } = await electedOf(cluster)
  await cluster.answered(volumes.createVolume(request('data', { replicas: '1' })))
  const nodes = async () => (await volumes.getVolume({ name: 'data' })).copies.map(({ node }) => node)
  const explained = await volumes.explainVolume({ name: 'data' })
  t.equal(explained.copies.length, 2)
  const spare = 'could take a copy; all that are wished have a place'
  t.same(explained.others.map(({ why }) => why), [spare, spare])
  t.match(explained, { wished: 2, placed: 2 })
  for (const { reasons } of explained.copies) t.match(reasons[0], /^the best of 3 nodes for it, then n/)

  const set = (replicas: string) => volumes.modifyVolume({ name: 'data', parameters: { replicas } })
  t.equal((await set('2')).replicas, 2)
  await cluster.until('a third copy', async () => {
    const { health, copies } = await volumes.getVolume({ name: 'data' })
    return health === 'healthy' && copies.length === 3
  })
  await t.rejects(set('4'), { code: 'too-few-nodes' })

  const { copies } = await volumes.getVolume({ name: 'data' })
  const to = copies.find(({ role }) => role === 'replica')!.node
  await volumes.moveVolume({ name: 'data', what: 'primary', to, from: '' })
  await cluster.until('it leads', async () =>
    (await volumes.getVolume({ name: 'data' })).copies.some(({ node, role }) => node === to && role === 'primary'))
  await t.rejects(volumes.moveVolume({ name: 'data', what: 'copy', to: 'n9', from: '' }), { code: 'node-not-found' })

  const drained = (await nodes()).find((name) => name !== to)!
  t.match(await volumes.setNodeWish({ name: drained, isCordoned: false, isDraining: true }), { state: 'draining' })
  await cluster.until('it is empty', () => cluster.node(drained).fake.copies.size === 0)
  t.notOk((await nodes()).includes(drained))
  t.match(await volumes.setNodeWish({ name: drained, isCordoned: false, isDraining: false }), { state: 'up' })

  await cluster.until('its disk is known to be free', async () => (await nodes()).length === 3)
  const evicted = (await nodes()).find((name) => name !== to)!
  await volumes.setDiskEvicted({ uuid: `disk-${evicted}`, isEvicted: true })
  await cluster.until('nothing is on it', () => cluster.node(evicted).fake.copies.size === 0)
  await t.rejects(volumes.setDiskEvicted({ uuid: 'none', isEvicted: true }), { code: 'disk-not-found' })
  const [liar, owner] = [evicted, to]
  cluster.node(liar).fake.diskUuid = `disk-${owner}`
  await cluster.until('it says that it has the disk of another node', async () =>
    (await volumes.listDisks()).disks.filter(({ uuid }) => uuid === `disk-${owner}`).length === 2)
  const both = { code: 'parameter', message: new RegExp(`(${liar}|${owner}) and (${liar}|${owner}) both say`) }
  await t.rejects(volumes.setDiskEvicted({ uuid: `disk-${owner}`, isEvicted: true }), both)
  t.same(await cluster.entry(diskWishKey(`disk-${owner}`)), undefined, 'nothing is emptied for its word')
  await volumes.setDiskEvicted({ uuid: `disk-${owner}`, isEvicted: false })
  await volumes.deleteVolume({ name: 'data', force: false, purge: true })
  await cluster.until('nothing is left', () => [...cluster.nodes.values()].every(({ fake }) => fake.copies.size === 0))
})

t.test('the last resort: told what it costs first, and only that happens', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1', 'n2', 'n3'])
  await cluster.answered((await electedOf(cluster)).volumes.createVolume(request('data', { replicas: '1' })))
  const { volumes: [made] } = await (await electedOf(cluster)).volumes.listVolumes()
  const primary = made!.copies.find(({ role }) => role === 'primary')!.node
  const to = made!.copies.find(({ role }) => role === 'replica')!.node
  const ask = async (confirm: string) =>
    (await electedOf(cluster)).volumes.forcePromotion({ name: 'data', to, confirm })
  await t.rejects(ask(''), { code: 'promotion-refused', message: /leads it and serves/ })

  // Alone in the set, then dead: nobody takes over by himself.
  cluster.node(to).fake.isAlive = false
  await cluster.until('it leads alone', async () => (await cluster.config(made!.id))?.inSync.length === 1)
  cluster.kill(primary)
  cluster.node(to).fake.isAlive = true
  let token = ''
  const isTold = async () => {
    if (cluster.elected()[0]?.control.controller.term() === undefined) return false
    const error = await ask('').then(() => undefined, (refusal: HoldfastError) => refusal)
    token = error?.code === 'promotion-unconfirmed' ? String(error.detail.token) : ''
    return token !== ''
  }
  await cluster.until('nobody leads, and what is there was told', isTold)
  t.match(token, /^[0-9a-f]{10}$/)
  await t.rejects(ask('0123456789'), { code: 'promotion-unconfirmed', message: /not in sync: what was acknowledged/ })
  const before = (await cluster.config(made!.id))!
  await ask(token)
  t.match(await cluster.config(made!.id), {
    epoch: before.epoch + 2 ** 20, primary: to, inSync: [to], members: { [primary]: { state: 'needs-full' } },
    attach: { mode: 'open', generation: before.attach.generation + 1 },
  })
  await cluster.until('it is served', async () => {
    const { health } = await (await electedOf(cluster)).volumes.getVolume({ name: 'data' })
    return ['healthy', 'at-risk'].includes(health)
  })
})

t.test('an encrypted volume has the wrapped key that its user made, and another one when he says so', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1', 'n2', 'n3'])
  const { volumes } = await electedOf(cluster)
  const [key, next] = [userKeyOf(new Uint8Array(randomBytes(32))), userKeyOf(new Uint8Array(randomBytes(32)))]
  const wish = { encryption: 'true', cipher: 'aes-256-gcm' }
  await t.rejects(volumes.createVolume(request('safe', wish)), { code: 'key-unnamed' }, 'nobody has a key')
  const volumeId = randomBytes(16).toString('hex')
  const wrapped = wrappedKeyOf(newEncryption('aes-256-gcm', volumeId, key))
  const wrong: Array<[CreateVolumeRequest, string]> = [
    [{ ...request('safe', { cipher: 'aes-256-xts' }) }, 'parameter'],
    [{ ...request('safe', { ...wish, cipher: 'rot13' }), volumeId, ...wrapped }, 'parameter'],
    [{ ...request('safe', wish), volumeId, wrappedBy: 'me', wrapped: wrapped.wrapped }, 'parameter'],
    [{ ...request('safe', wish), volumeId, ...wrapped, wrapped: 'AAAA' }, 'parameter'],
    [{ ...request('safe', wish), ...wrapped, volumeId: '../../configs/x' }, 'parameter'],
    [{ ...request('safe'), volumeId, ...wrapped }, 'parameter'],
  ]
  for (const [one, code] of wrong) await t.rejects(volumes.createVolume(one), { code }, JSON.stringify(one))
  const made = await cluster.answered(volumes.createVolume({ ...request('safe', wish), volumeId, ...wrapped }))
  t.match(made, { id: volumeId, encryption: true, cipher: 'aes-256-gcm', keyId: key.id })
  const again = { ...request('other', wish), volumeId, ...wrapped }
  await t.rejects(cluster.answered(volumes.createVolume(again)), { code: 'volume-exists' }, 'an id is given once')

  const keys = await volumes.getKeys({ name: 'safe' })
  t.match(keys, { volumeId, nodes: ['n1', 'n2', 'n3'], sharedWith: [] })
  const encryption = JSON.parse(keys.encryption) as VolumeEncryption
  const opened = unwrapKeys(encryption, key, 'safe')
  const dataKey = Buffer.from(opened.keys[0]!.dataKey.reveal())
  const anew = rewrap(encryption, opened, next)
  const { encryption: former } = keys
  const change = (to: object) =>
    volumes.changeKeys({ name: 'safe', former, encryption: JSON.stringify(to), wrappedBy: next.id })
  for (const bad of [
    { ...anew, cipher: 'aes-256-xts' }, { ...anew, keys: [] }, { ...anew, keys: [...anew.keys, ...anew.keys] },
    { ...anew, keys: [{ ...anew.keys[0]!, volumeId: 'f1'.repeat(16) }] }, { ...anew, keys: [{ volumeId }] },
    { ...anew, keys: [{ volumeId, dataKey: { ...anew.keys[0]!.dataKey, wrapped: '' } }] },
  ]) await t.rejects(change(bad), { code: 'parameter' }, JSON.stringify(bad))
  const after = await change(anew)
  t.match(after, { keyId: next.id, sizeBytes: made.sizeBytes })
  await t.rejects(change(anew), { code: 'key-changed' }, 'of two one wins')
  const now = JSON.parse((await volumes.getKeys({ name: 'safe' })).encryption) as VolumeEncryption
  t.same(now, anew)
  t.ok(dataKey.equals(unwrapKeys(now, next, 'safe').keys[0]!.dataKey.reveal()))

  await cluster.answered(volumes.createVolume(request('plain')))
  t.match(await volumes.getKeys({ name: 'plain' }), { encryption: '' })
  const ofPlain = { name: 'plain', former, encryption: JSON.stringify(anew), wrappedBy: next.id }
  await t.rejects(volumes.changeKeys(ofPlain), { code: 'volume-plain' })
})
