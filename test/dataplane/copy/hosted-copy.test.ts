/** What the host of copies does besides stepping them: bugs, strangers, copies that come and go. */
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import type { PeerMessage } from '../../../engine/replication/messages.ts'
import { BLOCK_BYTES } from '../../../engine/units.ts'
import type { VolumeSpec } from '../../../engine/volume/volume-spec.ts'
import { readAll } from './copy-content.ts'
import { configOf, hex, specOf, startHosts, until } from './hosts.ts'
import type { Host } from './hosts.ts'
import { MemoryConfigs } from './memory-configs.ts'

const BLOCK = Buffer.alloc(BLOCK_BYTES, 7)

async function twoCopies(t: Test) {
  const configs = new MemoryConfigs()
  const hosts = await startHosts(t, ['n1', 'n2'], configs)
  const spec = specOf({ replicas: 1 })
  const ids = hosts.map(() => hex())
  configs.put(configOf(spec.id, Object.fromEntries(hosts.map(({ node }, i) => [node, ids[i]!]))))
  await Promise.all(hosts.map((host, i) => host.create(spec, ids[i]!)))
  const [n1, n2] = hosts as [Host, Host]
  // Each is `starting` for a grace from its own start (SPEC.md L7): n2 acknowledges writes before it is a replica.
  await until(() => n1.role(spec.id) === 'primary' && n2.role(spec.id) === 'replica')
  return { configs, hosts, spec, ids, n1, n2 }
}

t.test('a failed assert in a step fences that copy, and the volume goes on without it', async (t) => {
  const { configs, spec, n1, n2 } = await twoCopies(t)
  const device = n2.attach(spec)
  t.equal(await device.write(0, BLOCK), 0)
  // What no peer can say: the transport looks at the shape of every message.
  const message = { type: 'refused', epoch: 99, why: 'epoch' } as unknown as PeerMessage
  n1.worker.copies.copy(spec.id)!.received('n2', hex(), message)
  const written = device.write(BLOCK_BYTES, BLOCK)
  await until(() => n1.role(spec.id) === 'fenced')
  t.equal(await written, 0, 'the request that met it is answered by the other copy')
  t.equal(configs.get(spec.id).primary, 'n2')
  const event = n1.events.find(({ message }) => message.includes('bug of ours'))
  t.equal(event?.fields.volumeId, spec.id)
  const text = fs.readFileSync(String(event?.fields.evidence), 'utf8')
  const evidence = JSON.parse(text) as Record<string, unknown>
  const state = { options: { node: 'n1' } }
  t.match(evidence, { volumeId: spec.id, stack: /Error/, event: { type: 'message' }, state })
  t.match(path.basename(String(event?.fields.evidence)), /^copy-/)
  t.ok(n1.worker.copies.copy(spec.id)!.store!.failedReason.includes('bug of ours'), 'its store takes nothing more')
})

t.test('how it is checked who leads is the volume\'s, also after a start', async (t) => {
  const configs = new MemoryConfigs()
  const hosts = await startHosts(t, ['n1'], configs)
  const [n1] = hosts as [Host]
  const checks = async (spec: VolumeSpec): Promise<string | undefined> => {
    const copyId = hex()
    configs.put(configOf(spec.id, { n1: copyId }))
    await n1.create(spec, copyId)
    await until(() => n1.role(spec.id) === 'primary')
    return n1.worker.copies.copy(spec.id)?.state.options.readCheck
  }
  const [plain, careful] = [specOf({ replicas: 0 }), specOf({ replicas: 0, name: 'careful', readCheck: 'confirm' })]
  t.equal(await checks(plain), 'lease')
  t.equal(await checks(careful), 'confirm')
  const device = n1.attach(careful)
  t.equal(await device.write(0, BLOCK), 0)
  await n1.stop()
  await n1.start()
  n1.meet(hosts)
  const now = [plain, careful].map(({ id }) => n1.worker.copies.copy(id)?.state.options.readCheck)
  t.same(now, ['lease', 'confirm'])
})

t.test('a copy that was removed is gone after a start, and another takes its place', async (t) => {
  const { configs, hosts, spec, n1, n2 } = await twoCopies(t)
  const device = n1.attach(spec)
  t.equal(await device.write(0, BLOCK), 0)
  configs.change(spec.id, ({ members, ...rest }) => ({
    ...rest, members: { n1: members.n1! }, inSync: ['n1'], epoch: rest.epoch + 1, nonce: hex(),
  }))
  await n2.remove(spec.id)
  t.equal(n2.role(spec.id), 'none')
  await until(() => n1.role(spec.id) === 'primary')
  t.equal(await device.write(BLOCK_BYTES, BLOCK), 0, 'the other one goes on')
  await n2.stop()
  await n2.start()
  n2.meet(hosts)
  t.equal(n2.role(spec.id), 'none', 'it did not come back')
  const copyId = hex()
  configs.change(spec.id, (config) => ({
    ...config, members: { ...config.members, n2: { copyId, state: 'catching-up' } }, nonce: hex(),
  }))
  await n2.create(spec, copyId)
  await until(() => configs.get(spec.id).inSync.length === 2)
  t.equal(configs.get(spec.id).members.n2!.state, 'in-sync', 'it was filled')
})

t.test('a copy that was no member for a while begins anew by itself', async (t) => {
  const { configs, spec, ids, n1, n2 } = await twoCopies(t)
  const device = n1.attach(spec)
  t.equal(await device.write(0, BLOCK), 0)
  configs.change(spec.id, ({ members, ...rest }) => ({
    ...rest, members: { n1: members.n1! }, inSync: ['n1'], epoch: rest.epoch + 1, nonce: hex(),
  }))
  await until(() => n2.role(spec.id) === 'fenced')
  await until(() => n1.role(spec.id) === 'primary')
  t.equal(await device.write(BLOCK_BYTES, BLOCK), 0)
  const { copies } = n2.worker
  configs.change(spec.id, (config) => ({
    ...config, members: { ...config.members, n2: { copyId: ids[1]!, state: 'needs-full' } }, nonce: hex(),
  }))
  await until(() => configs.get(spec.id).inSync.length === 2)
  await until(() => n2.role(spec.id) === 'replica')
  t.equal(await new Promise((resolve) => copies.reopen(spec.id, resolve)), false, 'one that is well goes on as it is')
  t.equal(n2.role(spec.id), 'replica')
  const versions = await readAll(copies.copy(spec.id)!, 2)
  t.same(versions.map(({ kind }) => kind), ['write', 'write'], 'it has what was written while it was none')
})

t.test('what a node without a copy brings is read over, told once, and ends no connection', async (t) => {
  const configs = new MemoryConfigs()
  const [n1, n2, n3] = await startHosts(t, ['n1', 'n2', 'n3'], configs)
  const spec = specOf()
  const ids = [hex(), hex()]
  configs.put(configOf(spec.id, { n1: ids[0]!, n2: ids[1]! }))
  await Promise.all([n1!, n2!].map((host, index) => host.create(spec, ids[index]!)))
  await until(() => n1!.role(spec.id) === 'primary' && n2!.role(spec.id) === 'replica')
  const device = n3!.attach(spec)
  t.equal(await device.write(0, BLOCK), 0, 'a node without a copy may use it')
  const copy = n2!.worker.copies.copy(spec.id)!
  const { epoch } = copy.state.promise
  const { tail } = copy.state.log
  const control = { operation: 'resize' as const, sizeBytes: 128 << 20 }
  const record = { epoch, seq: tail + 1, request: undefined, kind: 'control' as const, change: control }
  const append = { type: 'append' as const, epoch, previous: { epoch, seq: tail }, records: [record], commitSeq: tail }
  for (let sent = 0; sent < 3; sent++) n3!.worker.transport.send({ node: 'n2', worker: 0 }, spec.id, append)
  const told = () => n2!.events.filter(({ message }) => message === 'a frame was read over')
  await until(() => told().length > 0)
  const reason = /has no copy of that volume/
  t.match(told()[0], { level: 'warn', fields: { peer: 'n3', type: 'append', volumeId: spec.id, epoch, reason } })
  t.equal(await device.write(BLOCK_BYTES, BLOCK), 0, 'who sent it goes on through the same connections')
  t.equal(told().length, 1, 'once for all three')
  t.equal(copy.state.sizeBytes, spec.sizeBytes, 'nothing of it was stored')
  const events = [n1!, n2!, n3!].flatMap((host) => host.events.map(({ message }) => message))
  t.notOk(events.includes('connection ended'))
})

t.test('a filling that says nonsense of the volume is read over, and told once', async (t) => {
  const { spec, n1, n2 } = await twoCopies(t)
  const device = n1.attach(spec)
  t.equal(await device.write(0, BLOCK), 0)
  const copy = n2.worker.copies.copy(spec.id)!
  const { state } = copy
  const from = { node: 'n1', instance: hex(), worker: 0, role: 'worker' as const, address: '' }
  const descriptor = {
    spec, epochs: [[1, 1]], snapshots: [], rollbacks: [], deleted: false, forgottenSeq: 0,
  }
  for (const wrong of [
    {}, null, { ...descriptor, epochs: null }, { ...descriptor, snapshots: [{}] },
    { ...descriptor, spec: { ...spec, sizeBytes: 2 ** 53 } }, { ...descriptor, spec: { ...spec, id: hex() } },
  ]) {
    const message = {
      type: 'fill-start' as const, epoch: state.promise.epoch, fill: 1, fork: 0, target: state.log.tail,
      slices: [] as Array<readonly [number, number]>, wipe: [], descriptor: wrong, epochs: state.log.epochs,
      windows: [], sizeBytes: spec.sizeBytes, forInstance: state.options.instance, joinOf: state.joinNumber,
      attach: state.attach, forgottenSeq: 0, isWhole: true,
    }
    const end = (): void => undefined
    const delivery = { family: 'copy', from, volumeId: spec.id, message, release: end, done: end }
    n2.worker.copies.deliver(delivery as unknown as Parameters<typeof n2.worker.copies.deliver>[0])
  }
  t.equal(await device.write(BLOCK_BYTES, BLOCK), 0)
  t.equal(n2.role(spec.id), 'replica')
  t.equal(state.fillTarget, undefined, 'nothing of it began')
  const told = n2.events.filter(({ message }) => /no descriptor/.test(message))
  t.match(told, [{ level: 'warn', fields: { volumeId: spec.id, peer: 'n1' } }])
  t.equal(told.length, 1)
})

t.test('who has no copy may join, brings nothing and reads nothing', async (t) => {
  const { spec, n1 } = await twoCopies(t)
  const { copies } = n1.worker
  const peer = { node: 'n9', instance: hex(), worker: 0, role: 'worker' as const, address: '' }
  const frame = { family: 'copy' as const, volumeId: spec.id, epoch: 1 }
  t.match(copies.mayReceive(peer, { ...frame, type: 'append' }), { action: 'skip' })
  t.equal(copies.mayReceive(peer, { ...frame, type: 'join' }), undefined)
  t.equal(copies.mayReceive({ ...peer, node: 'n2' }, { ...frame, type: 'append' }), undefined)
  t.equal(copies.mayReceive(peer, { ...frame, type: 'append', epoch: 9 }), undefined, 'it may know more than we')
  t.match(copies.mayReceive(peer, { ...frame, type: 'fetch-versions', epoch: 9 }), { action: 'skip' })
  t.equal(copies.mayReceive({ ...peer, node: 'n2' }, { ...frame, type: 'fetch-versions' }), undefined)
  t.match(copies.mayReceive(peer, { ...frame, type: 'join', volumeId: hex() }), { action: 'skip' })
})
