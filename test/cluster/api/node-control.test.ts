/**
 * The control API end to end over a unix socket, with a store in memory below: answers, refusals in the same words on
 * both ends, the export directory in step before an answer, and concurrent creations of one name.
 */
import { statSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { connectControlApi } from '../../../cluster/api/client.ts'
import type { ControlClient } from '../../../cluster/api/client.ts'
import type { CreateVolumeRequest } from '../../../cluster/api/volume-wish-messages.ts'
import { allVolumes } from '../../../cluster/api/volume-page.ts'
import { serveControlApi } from '../../../cluster/api/server.ts'
import type { PreparedDisk } from '../../../dataplane/disk-preparation.ts'
import { VolumeExports } from '../../../dataplane/export-directory.ts'
import { NodeControl } from '../../../dataplane/node-control.ts'
import type { WorkerHandle } from '../../../dataplane/node-control.ts'
import { StoreCalls } from '../../../dataplane/store-calls.ts'
import type { SessionTable } from '../../../dataplane/store-calls.ts'
import { VolumeGates } from '../../../dataplane/volume-gates.ts'
import { unpackError } from '../../../dataplane/worker-messages.ts'
import type { AnyCall, DiskOption, SessionReport } from '../../../dataplane/worker-messages.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { GIB, MIB } from '../../../engine/units.ts'
import { MemoryStore } from '../../memory-store.ts'
import { SimClock } from '../../sim/clock.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

class FakeSessions implements SessionTable {
  list: SessionReport[] = []
  reports = () => this.list
  count = (volume: string) => this.list.filter((session) => session.volume === volume).length
  async end(volume: string | undefined): Promise<void> {
    this.list = this.list.filter((session) => volume !== undefined && session.volume !== volume)
  }
}

interface Stand {
  client: ControlClient
  socketPath: string
  exports: VolumeExports
  stores: MemoryStore[]
  sessions: FakeSessions
  gates: VolumeGates
  bugs: unknown[]
  remembered: DiskOption[]
}

function prepare({ path, pool, tags, sizeBytes = 0 }: DiskOption, adopt: boolean): PreparedDisk {
  if (adopt) throw new HoldfastError('disk-open', { disk: path, reason: 'planted' })
  const file = { path, fd: -1, sizeBytes, kind: 'file' as const }
  const grants = new SharedArrayBuffer(0)
  const barrier = new SharedArrayBuffer(4)
  return { file, pool, tags, diskUuid: 'u', segmentBytes: sizeBytes, segmentCount: 1, streamCount: 1, grants, barrier }
}

async function stand(t: Test, workers = 1): Promise<Stand> {
  const socketPath = path.join(temporaryFolder(t), 'api.sock')
  const exports = new VolumeExports()
  const sessions = new FakeSessions()
  const gates = new VolumeGates(new SimClock())
  const stores = Array.from({ length: workers }, () => new MemoryStore())
  const handles = stores.map((store) => {
    const calls = new StoreCalls(store, sessions, gates)
    const call = (request: AnyCall) => new Promise((resolve, reject) => {
      calls.run(request, (answer) => answer.ok ? resolve(answer.value) : reject(unpackError(answer.error)))
    })
    return { call } as unknown as WorkerHandle
  })
  const remembered: DiskOption[] = []
  const control = new NodeControl({
    facts: {
      name: 'n1', zone: 'z', folder: path.dirname(socketPath), nodeId: 'node', clusterId: 'cluster',
      instanceId: 'instance', version: '1.2.3', ioFlusher: 'set', socketPath: '/run/h f/nbd.sock',
      tcp: { host: '::1', port: 10809 }, startedMs: 0,
    },
    workers: handles,
    exports,
    disks: { prepare, release: () => {} },
    rememberDisk: (disk) => {
      remembered.push(disk)
      return () => void remembered.splice(remembered.indexOf(disk), 1)
    },
  })
  const bugs: unknown[] = []
  const server = await serveControlApi({ socketPath, api: control, onBug: (error) => void bugs.push(error) })
  const client = connectControlApi({ socketPath, source: 'from the test' }, 10_000)
  t.teardown(async () => {
    client.close()
    await server.close(100)
  })
  return { client, socketPath, exports, stores, sessions, gates, bugs, remembered }
}

function create(name: string, sizeBytes = GIB, parameters: Record<string, string> = {}): CreateVolumeRequest {
  return { name, sizeBytes, parameters }
}

async function refused(t: Test, answer: Promise<unknown>, code: string): Promise<HoldfastError> {
  try {
    await answer
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error
    t.equal(error.code, code)
    return error
  }
  t.fail(`${code} was expected`)
  throw new Error(code)
}

t.test('a volume from creation to deletion', async (t) => {
  const { client, exports, socketPath } = await stand(t)
  t.equal(statSync(socketPath).mode & 0o777, 0o600, 'only the owner may talk')
  const volume = await client.createVolume(create('data-1', 3 * MIB, { durability: 'writeback' }))
  t.match(volume, {
    name: 'data-1', id: /^[0-9a-f]{32}$/, sizeBytes: 3 * MIB, replicas: 0, durability: 'writeback', encryption: false,
    health: 'healthy', healthReason: '', minInSync: 1, blockSizeBytes: 4096, usedBytes: 0, logicalBytes: 0,
    frontends: [],
    copies: [{ node: 'n1', role: 'primary', state: 'in-sync', lagBytes: 0 }],
    nbd: ['nbd+unix:///data-1?socket=/run/h%20f/nbd.sock', 'nbd://[::1]:10809/data-1'],
  })
  t.match(exports.find('data-1'), { sizeBytes: 3 * MIB, worker: 0 })
  t.same((await client.listVolumes()).volumes, [volume])
  t.same(await client.getVolume({ name: 'data-1' }), volume)
  t.equal((await client.resizeVolume({ name: 'data-1', sizeBytes: 64 * 2 ** 40 })).sizeBytes, 2 ** 46, 'beyond 32 bits')
  t.match(exports.find('data-1'), { sizeBytes: 2 ** 46 })
  await refused(t, client.deleteVolume({ name: 'data-1', force: false, keep: '1h' }), 'not-supported')
  await client.deleteVolume({ name: 'data-1', force: false, keep: '0' })
  t.equal(exports.find('data-1'), undefined)
  t.same(await client.listVolumes(), { volumes: [], next: '' })
})

t.test('limits: at the creation, changed in parts, lifted; clients that wait hear of each change', async (t) => {
  const { client, gates } = await stand(t)
  const none = { iops: 0, bandwidthBytes: 0, burstMs: 0 }
  const made = await client.createVolume(create('data', GIB, { 'qos-iops': '10', 'qos-burst': '100ms' }))
  t.same(made.qos, { iops: 10, bandwidthBytes: 0, burstMs: 100 })
  t.same((await client.createVolume(create('free'))).qos, none)
  const waiting = { gateOpened: () => void told++ }
  let told = 0
  const gate = gates.of(made.id, made.qos)
  t.ok(gate.mayPass(waiting, 0))
  gate.take(waiting, 0)
  t.notOk(gate.mayPass(waiting, 0), 'the burst is one request')
  const set = (parameters: Record<string, string>) => client.modifyVolume({ name: 'data', parameters })
  t.same((await set({ 'qos-bandwidth': '100Mi' })).qos, { iops: 10, bandwidthBytes: 100 * MIB, burstMs: 100 })
  t.same((await set({ 'qos-burst': '5s' })).qos, { iops: 10, bandwidthBytes: 100 * MIB, burstMs: 5000 })
  t.equal(told, 0)
  t.same((await set({ 'holdfast.io/qos-iops': 'none' })).qos, { iops: 0, bandwidthBytes: 100 * MIB, burstMs: 5000 })
  t.equal(told, 1, 'what it waited for is gone')
  t.same((await set({ 'qos-bandwidth': 'none' })).qos, none)
  t.same((await client.getVolume({ name: 'data' })).qos, none)
  await refused(t, set({ 'qos-burst': '5s' }), 'parameter')
  await refused(t, set({ replicas: '1' }), 'not-supported')
  const missing = { name: 'nope', parameters: { 'qos-iops': '100' } }
  await refused(t, client.modifyVolume(missing), 'volume-not-found')
})

t.test('refusals arrive as they were made', async (t) => {
  const { client, bugs } = await stand(t)
  await client.createVolume(create('here'))
  await refused(t, client.getVolume({ name: 'nope' }), 'volume-not-found')
  await refused(t, client.deleteVolume({ name: 'x\n'.repeat(9999), force: false }), 'volume-not-found')
  await refused(t, client.createVolume(create('UPPER')), 'volume-name')
  await refused(t, client.createVolume(create('a', 0)), 'volume-size')
  const exists = await refused(t, client.createVolume(create('here')), 'volume-exists')
  t.equal(exists.message, new HoldfastError('volume-exists', { name: 'here', existing: '1 GiB' }).message)
  const shrink = await refused(t, client.resizeVolume({ name: 'here', sizeBytes: MIB }), 'volume-shrink')
  t.match(shrink.detail, { current: GIB, size: MIB })
  await refused(t, client.resizeVolume({ name: 'here', sizeBytes: 1 }), 'volume-size')
  await refused(t, client.createVolume(create('b', GIB, { pool: 'void' })), 'pool-not-found')
  await refused(t, client.getNode({ name: 'n2' }), 'node-not-found')
  await refused(t, client.adoptDisk({ path: '/x' }), 'disk-open')
  t.same(bugs, [])
})

t.test('a refused creation leaves the name free', async (t) => {
  const { client, exports } = await stand(t)
  await refused(t, client.createVolume(create('a', GIB, { pool: 'void' })), 'pool-not-found')
  t.equal(exports.find('a'), undefined)
  await client.createVolume(create('a'))
  t.ok(exports.find('a'))
})

t.test('one name on two workers: the second creation is refused while the first is under way', async (t) => {
  const { client, stores } = await stand(t, 2)
  for (const store of stores) store.hold = true
  const outcomes = Promise.allSettled(['a', 'a', 'b', 'c'].map((name) => client.createVolume(create(name))))
  const second = await refused(t, client.createVolume(create('b')), 'volume-exists')
  t.match(second.message, /being created/)
  for (const store of stores) store.release()
  t.same((await outcomes).map(({ status }) => status), ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'])
  t.same(stores.map((store) => store.volumes().length).sort(), [1, 2], 'spread over the workers')
  t.same((await allVolumes(client)).map(({ name }) => name), ['a', 'b', 'c'])
  const { volumes: [first], next } = await client.listVolumes({ limit: 1 })
  t.equal((await client.listVolumes({ limit: 2, after: next })).volumes.length, 2)
  t.equal((await client.getVolume({ name: first!.id })).name, first!.name, 'by its id')
})

t.test('a volume in use is deleted by force only, and stays exported when it is not', async (t) => {
  const { client, exports, sessions } = await stand(t)
  await client.createVolume(create('used'))
  await client.createVolume(create('other'))
  const using = (session: number, volume: string) => ({ session, volume, generation: 0 })
  sessions.list = [using(7, 'used'), using(8, 'used'), using(9, 'other')]
  t.same((await client.getVolume({ name: 'used' })).frontends, [
    { node: 'n1', session: '7', generation: 0 }, { node: 'n1', session: '8', generation: 0 },
  ])
  const error = await refused(t, client.deleteVolume({ name: 'used', force: false }), 'volume-in-use')
  t.equal(error.detail.sessions, 2)
  t.ok(exports.find('used'), 'offered again')
  const busy = await client.status()
  t.match(busy, { sessions: 3, nodes: [{ safeToReboot: false, because: /other, used|used, other/ }] })
  await client.deleteVolume({ name: 'used', force: true })
  t.same(sessions.list, [using(9, 'other')])
})

t.test('a volume whose creation is not answered is known by the id that was asked for', async (t) => {
  const { client, exports, stores } = await stand(t)
  const [store] = stores
  const volumeId = 'b'.repeat(32)
  store!.hold = true
  const made = client.createVolume({ ...create('a'), volumeId })
  made.catch(() => undefined)
  // Requests of one connection come in their order.
  const isMaking = async () => {
    t.equal((await refused(t, client.createVolume(create('a')), 'volume-exists')).detail.existing, 'being created')
  }
  await isMaking()
  const deleted = client.deleteVolume({ name: volumeId, force: true, purge: true })
  deleted.catch(() => undefined)
  await isMaking()
  store!.release()
  t.match(await made, { id: volumeId })
  await deleted
  t.same((await client.listVolumes()).volumes, [])
  t.equal(exports.find('a'), undefined)
  await client.createVolume({ ...create('a'), volumeId })
  await refused(t, client.createVolume({ ...create('c'), volumeId }), 'volume-exists')
  await refused(t, client.createVolume({ ...create('c'), volumeId: 'x' }), 'parameter')
})

t.test('disks and the node', async (t) => {
  const { client, remembered } = await stand(t)
  t.match(await client.status(), { health: 'healthy', problems: [{ what: 'node n1', why: /no disk/ }] })
  const disk = await client.addDisk({ path: '/dev/x', sizeBytes: 4 * GIB, pool: '', tags: ['ssd', 'nvme'] })
  t.match(disk, {
    path: '/dev/x', pool: 'default', tags: ['nvme', 'ssd'], capacityBytes: 4 * GIB, state: 'online', node: 'n1',
  })
  t.match(remembered, [{ path: '/dev/x', pool: 'default' }])
  await refused(t, client.addDisk({ path: '/dev/y', sizeBytes: 0, pool: 'No', tags: [] }), 'parameter')
  t.same((await client.listDisks()).disks, [disk])
  const { nodes } = await client.listNodes()
  t.match(nodes, [{ name: 'n1', state: 'up', zone: 'z', pid: process.pid, disks: [disk], ioFlusher: 'set' }])
  t.match(await client.getNode({ name: 'n1' }), { name: 'n1' })
  t.match(await client.status(), { capacityBytes: 4 * GIB, problems: [], nodes: [{ safeToReboot: true }] })
})

t.test('a bug of a handler is INTERNAL for the caller and reaches onBug', async (t) => {
  const { client, stores, bugs } = await stand(t)
  stores[0]!.volumes = () => {
    throw new TypeError('planted')
  }
  await refused(t, client.listVolumes(), 'internal')
  t.match(bugs, [{ message: 'planted' }])
})

t.test('nobody there, or somebody else', async (t) => {
  const folder = temporaryFolder(t)
  const gone = connectControlApi({ socketPath: path.join(folder, 'none.sock'), source: 'from the test' }, 5000)
  const error = await refused(t, gone.listVolumes(), 'unreachable')
  t.match(error.message, /none\.sock \(from the test\)/)
  gone.close()
  const other = net.createServer((socket) => socket.end('220 not gRPC\r\n'))
  await new Promise<void>((resolve) => other.listen(path.join(folder, 'other.sock'), resolve))
  const wrong = connectControlApi({ socketPath: path.join(folder, 'other.sock'), source: 'from the test' }, 500)
  await refused(t, wrong.listVolumes(), 'unreachable')
  wrong.close()
  other.close()
})
